//! The learning rate over the steps: up from 0 in a straight line, then down to 0 or constant, as `transformers`'
//! `get_scheduler("linear")` and `get_scheduler("constant_with_warmup")`.

pub use dpt::learn::ScheduleKind;

/// How many of `total` steps warm up: `option` is a count when it is above 1, else a fraction, cut to a whole number (so
/// 1 means all of them), as in the reference.
pub fn warmup_steps(option: f64, total: u64) -> u64 {
    if option > 1.0 { option as u64 } else { (option * total as f64) as u64 }
}

/// A rate that rises over `warmup` steps and falls until step `total`.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// The highest rate.
    pub rate: f64,
    /// Steps until it is reached.
    pub warmup: u64,
    /// Steps until it is 0 again.
    pub total: u64,
}

impl Linear {
    /// The rate used at `step`, counted from 0: at step 0 of a warm-up it is 0.
    pub fn at(&self, step: u64) -> f64 {
        let Self { rate, warmup, total } = *self;
        rate * if step < warmup {
            step as f64 / warmup as f64
        } else {
            total.saturating_sub(step) as f64 / total.saturating_sub(warmup).max(1) as f64
        }
    }
}

/// A rate that rises over `warmup` steps and then goes as `kind` says.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// How it goes after the warm-up.
    pub kind: ScheduleKind,
    /// The highest rate.
    pub rate: f64,
    /// Steps until it is reached.
    pub warmup: u64,
    /// All steps.
    pub total: u64,
}

impl Schedule {
    /// The rate used at `step`, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        let Self { kind, rate, warmup, total } = *self;
        match kind {
            ScheduleKind::Linear => Linear { rate, warmup, total }.at(step),
            ScheduleKind::Constant if step < warmup => rate * (step as f64 / warmup as f64),
            ScheduleKind::Constant => rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_rate_stays_after_its_warm_up() {
        let schedule = Schedule { kind: ScheduleKind::Constant, rate: 0.4, warmup: 2, total: 5 };
        assert_eq!([0, 1, 2, 4, 9].map(|step| schedule.at(step)), [0.0, 0.2, 0.4, 0.4, 0.4]);
        assert_eq!(Schedule { warmup: 0, ..schedule }.at(0), 0.4);
        let linear = Schedule { kind: ScheduleKind::Linear, ..schedule };
        assert_eq!(linear.at(4), Linear { rate: 0.4, warmup: 2, total: 5 }.at(4));
    }

    #[test]
    fn up_then_down() {
        let schedule = Linear { rate: 1.0, warmup: 2, total: 6 };
        assert_eq!((0..8).map(|s| schedule.at(s)).collect::<Vec<_>>(), [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]);
        assert_eq!(Linear { warmup: 0, ..schedule }.at(0), 1.0);
    }

    #[test]
    fn a_fraction_or_a_count() {
        assert_eq!([0.1, 0.0, 1.0, 2.0, 0.35].map(|option| warmup_steps(option, 10)), [1, 0, 10, 2, 3]);
    }
}
