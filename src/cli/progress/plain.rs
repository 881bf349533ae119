//! Lines on stderr, for logs and pipes: each running node tells how far it is, less and less often.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Meter, SharedLines};
use crate::cli::render::{self, BOLD, paint};
use crate::engine::event::{Event, HitNode, Sink};

/// Between the first two lines of one node; after each, twice as long, up to [`LONGEST`].
const EVERY: Duration = Duration::from_secs(5);
/// Between two lines of a node that runs for long.
const LONGEST: Duration = Duration::from_secs(60);
/// Before the first: what is over soon needs no line.
const FIRST: Duration = Duration::from_secs(1);

/// The sink.
#[derive(Debug, Default)]
pub struct PlainSink {
    running: Mutex<HashMap<String, (Meter, Instant, Duration)>>,
    once: Mutex<SharedLines>,
}

impl Sink for PlainSink {
    /// The last line counts them.
    fn hit(&self, _: &HitNode) {}

    fn event(&self, event: &Event) {
        let now = Instant::now();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::NodeStarted { node, .. } => {
                running.insert(node.clone(), (Meter::new(), now + FIRST, EVERY));
            }
            Event::NodeProgress { node, update } => {
                if let Some((meter, next, every)) = running.get_mut(node) {
                    meter.take(update, now);
                    if now >= *next {
                        *next = now + *every;
                        *every = LONGEST.min(*every * 2);
                        render::err(&format!("{} {node}  {}\n", paint(BOLD, "run"), meter.line(now)));
                    }
                }
            }
            Event::RunProgress { update } => {
                let first = || (Meter::new(), now, EVERY);
                let (meter, next, every) = running.entry(String::new()).or_insert_with(first);
                meter.take(update, now);
                if now >= *next {
                    *next = now + *every;
                    *every = LONGEST.min(*every * 2);
                    render::err(&format!("{} {}\n", paint(BOLD, "run"), meter.line(now)));
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
