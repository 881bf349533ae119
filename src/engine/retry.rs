//! When a failed node is tried again. Tries do not enter the key: the result is the same, however many it took.

use std::time::Duration;

use crate::base::diag::{Class, Diag};

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(600);

/// Returns `true` if another try may help. It may if a program ended with an error, a worker died, time ran out, a
/// server did not answer, or the machine lacked something. It cannot if the pipeline is wrong, the store is damaged,
/// the user interrupted the run, `dpt` has a bug, or the error is marked as lasting: no such program, a missing output,
/// a file that differs from its pin.
pub fn helps(error: &Diag) -> bool {
    !error.lasting && matches!(error.class, Class::Stage | Class::Environment)
}

/// How often a node gets another key because a file outside the store changed after it was counted.
pub const KEYED_AGAIN: u32 = 5;

/// The error of a node that reads a file which changed after its key was made.
pub fn changing(node: &str) -> Diag {
    Diag::error(Class::Stage, format!("a file that `{node}` reads changed after its key was made")).outdated()
}

/// The error of a node that got another key too often.
pub fn given_up(error: Diag) -> Diag {
    let tried =
        format!("its key was made {} times, and each time the file had changed before it was read", KEYED_AGAIN + 1);
    error.note(tried).help("run again when nothing writes to the file, or leave it out of what the stage declares")
}

/// How long to wait after try number `attempt`, counted from 1: `first` seconds, doubled each time.
pub fn pause(first: u64, attempt: u32) -> Duration {
    let factor = 2u32.saturating_pow(attempt.saturating_sub(1));
    Duration::from_secs(first).saturating_mul(factor).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_helps_only_errors_that_may_pass() {
        let error = |class| Diag::error(class, "x");
        assert!(helps(&error(Class::Stage)) && helps(&error(Class::Environment)));
        assert!(!helps(&error(Class::Stage).lasting()) && !helps(&error(Class::Environment).lasting()));
        for class in [Class::Usage, Class::Store, Class::Bug, Class::Interrupted] {
            assert!(!helps(&error(class)), "{class:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_ten_minutes() {
        let seconds = |attempt| pause(3, attempt).as_secs();
        assert_eq!([1, 2, 3, 4].map(seconds), [3, 6, 12, 24]);
        assert_eq!([20, 1000].map(seconds), [600, 600]);
        assert_eq!(pause(0, 5), Duration::ZERO);
    }
}
