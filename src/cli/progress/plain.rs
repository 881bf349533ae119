//! Prints lines to stderr, for logs and pipes. Progress of a running node is printed less and less often.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Meter, SharedLines};
use crate::cli::render::{self, BOLD, paint};
use crate::engine::event::{Event, HitNode, Sink};

/// The time between the first two lines of a node. It doubles after each line, up to [`LONGEST`].
const EVERY: Duration = Duration::from_secs(5);
/// The longest time between two lines of a node.
const LONGEST: Duration = Duration::from_secs(60);
/// The time before the first line of a node. Short nodes print none.
const FIRST: Duration = Duration::from_secs(1);

/// The sink that prints plain lines.
#[derive(Debug, Default)]
pub struct PlainSink {
    running: Mutex<HashMap<String, (Meter, Instant, Duration)>>,
    once: Mutex<SharedLines>,
}

impl Sink for PlainSink {
    /// Prints nothing: the last line of the run counts hits.
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
