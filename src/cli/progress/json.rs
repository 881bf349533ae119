//! One JSON object a line on stdout: the events themselves, each with the wall time, as in the journal. A node's
//! progress at most once a second.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::engine::event::{Event, Sink};

const EVERY: Duration = Duration::from_secs(1);

/// The sink.
#[derive(Debug, Default)]
pub struct JsonSink {
    told: Mutex<HashMap<String, Instant>>,
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
        // Held while writing, so that lines come out whole and in order.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let of = match event {
            Event::NodeProgress { node, .. } => Some(node.as_str()),
            // No node is called so.
            Event::RunProgress { .. } => Some(""),
            _ => None,
        };
        if let Some(node) = of {
            let now = Instant::now();
            if told.get(node).is_some_and(|last| now.duration_since(*last) < EVERY) {
                return;
            }
            told.insert(node.to_owned(), now);
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        let mut line = serde_json::to_vec(&Line { at, event }).expect("an event is JSON");
        line.push(b'\n');
        // A reader that has gone is no reason to stop the run.
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
    }
}
