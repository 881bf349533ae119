//! [`Recorder`]: listens to a running stage, and can stop it.

use std::sync::Mutex;

use crate::stages::ctx::{Cancel, Progress, Update};

/// Keeps what a stage reports. Ends the stage at a chosen point, if it is told to.
#[derive(Debug, Default)]
pub struct Recorder {
    /// The cancellation to run the stage with.
    pub cancel: Cancel,
    /// Cancels at the first update with at least so much done.
    pub cancel_at: Option<u64>,
    /// Cancels at this note.
    pub cancel_on_note: Option<&'static str>,
    /// Panics at the update with exactly so much done, as if the process were killed there.
    pub panic_at: Option<u64>,
    /// The notes so far.
    pub kept_notes: Mutex<Vec<String>>,
    /// The updates so far.
    pub kept_updates: Mutex<Vec<Update>>,
}

impl Recorder {
    /// Returns the notes so far.
    pub fn notes(&self) -> Vec<String> {
        self.kept_notes.lock().unwrap().clone()
    }

    /// Returns the updates so far.
    pub fn updates(&self) -> Vec<Update> {
        self.kept_updates.lock().unwrap().clone()
    }
}

impl Progress for Recorder {
    fn update(&self, update: Update) {
        if self.cancel_at.is_some_and(|at| update.done >= at) {
            self.cancel.ask();
        }
        assert!(self.panic_at != Some(update.done), "killed");
        self.kept_updates.lock().unwrap().push(update);
    }

    fn note(&self, text: &str) {
        if self.cancel_on_note == Some(text) {
            self.cancel.ask();
        }
        self.kept_notes.lock().unwrap().push(text.to_owned());
    }
}
