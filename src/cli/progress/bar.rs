//! [`Bar`]: a progress line for files that a command itself reads or writes. Draws nothing if stderr is not a terminal.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Meter;
use crate::base::watch::Amount;

/// The progress line. Dropping it clears the line.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    meter: Mutex<Meter>,
}

impl Bar {
    /// Draws nothing until the first [`Self::show`].
    pub fn new() -> Self {
        let bar = match std::io::stderr().is_terminal() {
            false => ProgressBar::hidden(),
            true => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10))
                .with_style(ProgressStyle::with_template("{wide_msg}").expect("a template")),
        };
        Self { bar, meter: Mutex::new(Meter::new()) }
    }

    /// Shows the progress.
    pub fn show(&self, amount: Amount) {
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        meter.take(&amount.into(), now);
        self.bar.set_message(meter.line(now));
    }
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
