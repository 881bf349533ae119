//! [`Bar`]: one line on the terminal for what a command itself reads or writes: how much, of how much, how fast. Nothing where
//! stderr is no terminal.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Meter;
use crate::base::watch::Amount;

/// The line. Dropped, it goes from the screen.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    meter: Mutex<Meter>,
}

impl Bar {
    /// Nothing is drawn until something is shown.
    pub fn new() -> Self {
        let bar = match std::io::stderr().is_terminal() {
            false => ProgressBar::hidden(),
            true => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10))
                .with_style(ProgressStyle::with_template("{wide_msg}").expect("a template")),
        };
        Self { bar, meter: Mutex::new(Meter::new()) }
    }

    /// Shows how far it is.
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
