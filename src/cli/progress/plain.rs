//! Lines on stderr, for logs and pipes: each running node tells how far it is every few seconds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Meter, Once};
use crate::cli::render::{self, BOLD, paint};
use crate::engine::event::{Event, Sink};

/// Between two lines of one node.
const EVERY: Duration = Duration::from_secs(5);
/// Before the first: what is over soon needs no line.
const FIRST: Duration = Duration::from_secs(1);

/// The sink.
#[derive(Debug, Default)]
pub struct Plain {
    running: Mutex<HashMap<String, (Meter, Instant)>>,
    once: Mutex<Once>,
}

impl Sink for Plain {
    fn event(&self, event: &Event) {
        let now = Instant::now();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::NodeStarted { node, .. } => {
                running.insert(node.clone(), (Meter::new(), now + FIRST));
            }
            Event::NodeProgress { node, update } => {
                if let Some((meter, next)) = running.get_mut(node) {
                    meter.take(update, now);
                    if now >= *next {
                        *next = now + EVERY;
                        render::err(&format!("{} {node}  {}\n", paint(BOLD, "run"), meter.line(now)));
                    }
                }
            }
            Event::NodeDone { node, .. } | Event::NodeFailed { node, .. } => {
                running.remove(node);
            }
            _ => (),
        }
        if let Some(lines) = self.once.lock().unwrap_or_else(PoisonError::into_inner).lines(event) {
            render::err(&format!("{lines}\n"));
        }
    }
}
