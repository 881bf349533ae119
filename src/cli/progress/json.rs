//! Prints events to stdout as JSON, one object a line with the wall time, as in the journal. Prints the progress of a
//! node at most once a second.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::engine::event::{Event, Sink};

const EVERY: Duration = Duration::from_secs(1);

/// The sink that prints JSON lines.
#[derive(Debug, Default)]
pub struct JsonSink {
    /// The time of the last progress line of each node.
    printed: Mutex<HashMap<String, Instant>>,
}

#[derive(Serialize)]
struct Line<'a> {
    /// Seconds since 1970.
    at: f64,
    #[serde(flatten)]
    event: &'a Event,
}

impl Sink for JsonSink {
    fn event(&self, event: &Event) {
        // Held while writing, so that lines are not mixed.
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let of = match event {
            Event::NodeProgress { node, .. } => Some(node.as_str()),
            // No node has an empty name.
            Event::RunProgress { .. } => Some(""),
            _ => None,
        };
        if let Some(node) = of {
            let now = Instant::now();
            if printed.get(node).is_some_and(|last| now.duration_since(*last) < EVERY) {
                return;
            }
            printed.insert(node.to_owned(), now);
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        let mut line = serde_json::to_vec(&Line { at, event }).expect("an event is JSON");
        line.push(b'\n');
        // A closed pipe does not stop the run.
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
    }
}
