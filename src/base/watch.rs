//! [`Watch`]: who follows long reading and writing by `dpt` itself. Between pieces and between files the work asks
//! whether it is to go on, and says how much is done. Knows no terminal and no signal.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::diag::Diag;

/// Follows long work. Work on several threads asks for one that is `Sync`.
pub trait Watch {
    /// Work of another kind begins; its counts start at 0.
    fn begin(&self, _work: Work) {}

    /// So many files and bytes more are done.
    fn advance(&self, _files: u64, _bytes: u64) {}

    /// Asked between pieces and between files.
    ///
    /// # Errors
    /// When the work is to end: it ends with this error.
    fn check(&self) -> Result<(), Diag>;
}

/// The work, and its amount if that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// In a word or two: `hashing sources`.
    pub what: &'static str,
    /// How many files in all.
    pub files: Option<u64>,
    /// How many bytes in all. `None` together with `files`: the files are what counts.
    pub bytes: Option<u64>,
}

/// Nobody follows: the work goes on to its end.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn check(&self) -> Result<(), Diag> {
        Ok(())
    }
}

/// How much of a [`Work`] is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Of what.
    pub work: Work,
    /// Files so far.
    pub files: u64,
    /// Bytes so far.
    pub bytes: u64,
}

/// Work is first reported after this long: short work needs no line.
const FIRST: Duration = Duration::from_secs(1);
/// The time between two reports.
const EVERY: Duration = Duration::from_millis(100);

/// A [`Watch`] that counts, and passes on the counts now and then.
pub struct Counting<'a> {
    check: &'a (dyn Fn() -> Result<(), Diag> + Sync),
    tell: &'a (dyn Fn(Amount) + Sync),
    state: Mutex<State>,
}

struct State {
    amount: Amount,
    next: Instant,
}

impl<'a> Counting<'a> {
    /// Of `work`, until another begins. Asks `check`, and tells `tell`.
    pub fn new(
        work: Work,
        check: &'a (dyn Fn() -> Result<(), Diag> + Sync),
        tell: &'a (dyn Fn(Amount) + Sync),
    ) -> Self {
        let amount = Amount { work, files: 0, bytes: 0 };
        Self { check, tell, state: Mutex::new(State { amount, next: Instant::now() + FIRST }) }
    }
}

impl Watch for Counting<'_> {
    fn begin(&self, work: Work) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.amount = Amount { work, files: 0, bytes: 0 };
    }

    fn advance(&self, files: u64, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.amount.files += files;
        state.amount.bytes += bytes;
        let now = Instant::now();
        if now >= state.next {
            state.next = now + EVERY;
            (self.tell)(state.amount);
        }
    }

    fn check(&self) -> Result<(), Diag> {
        (self.check)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_work_is_not_told_and_long_work_is_told_with_its_counts() {
        let told = Mutex::new(Vec::new());
        let (check, tell) = (|| Ok(()), |amount| told.lock().unwrap().push(amount));
        let counting = Counting::new(Work::default(), &check, &tell);
        let work = Work { what: "hashing", files: Some(3), bytes: None };
        counting.begin(work);
        counting.advance(1, 10);
        assert!(told.lock().unwrap().is_empty());
        counting.state.lock().unwrap().next = Instant::now();
        counting.advance(1, 5);
        counting.advance(1, 5);
        assert_eq!(*told.lock().unwrap(), [Amount { work, files: 2, bytes: 15 }]);
    }
}
