//! The outer loop of every training: [`drive`] takes a [`Run`] to its end, reports each step to an [`Observer`], hands
//! out snapshots, and stops with a snapshot when it is interrupted. The run itself decides what a step is.

use crate::base::diag::Diag;

use super::descent::CurveRow;
use super::selection::Scoring;
use super::snapshot::Snapshot;

/// A training run.
pub trait Run {
    /// The part of its snapshots that is not tensors.
    type State;

    /// Steps done.
    fn steps_done(&self) -> u64;

    /// Returns `true` when no step is left.
    fn ended(&self) -> bool;

    /// Makes the next step, and the scoring that is due after it, and reports both to `observer`.
    ///
    /// # Errors
    /// A loss or gradient that is not finite; a batch or a score that cannot be had.
    fn advance(&mut self, observer: &dyn Observer<Self::State>) -> Result<(), Diag>;

    /// Everything that [`restore`](Run::restore) needs to go on from here.
    fn snapshot(&self) -> Snapshot<Self::State>;

    /// Goes on from `snapshot`.
    ///
    /// # Errors
    /// A snapshot of another run; this run is then as it was.
    fn restore(&mut self, snapshot: Snapshot<Self::State>) -> Result<(), Diag>;
}

/// Watches a run, and keeps its snapshots. Nothing that it does changes the numbers. By default it only refuses snapshots
/// of other runs.
pub trait Observer<S> {
    /// Called before each step; an error ends the run, after a snapshot.
    ///
    /// # Errors
    /// When the run is to end.
    fn check(&self) -> Result<(), Diag> {
        Ok(())
    }

    /// The run resumes after so many steps.
    fn resumed(&self, step: u64) {
        let _ = step;
    }

    /// The snapshot to resume from is of another run: it is not used, and the run starts at its first step.
    ///
    /// # Errors
    /// When the run is not to start again.
    fn refused(&self, why: Diag) -> Result<(), Diag> {
        Err(why)
    }

    /// Called after each step, of so many examples.
    fn step(&self, row: &CurveRow, examples: i64) {
        let _ = (row, examples);
    }

    /// Called after each scoring.
    fn scored(&self, scoring: &Scoring) {
        let _ = scoring;
    }

    /// Keeps a snapshot from which the run can go on.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn save(&self, snapshot: Snapshot<S>) -> Result<(), Diag>;
}

/// Lets `run` go on from `snapshot`, if there is one and it is of this run.
///
/// # Errors
/// Those of [`Observer::refused`].
pub fn resume<R: Run>(
    run: &mut R,
    snapshot: Option<Snapshot<R::State>>,
    observer: &dyn Observer<R::State>,
) -> Result<(), Diag> {
    let Some(snapshot) = snapshot else { return Ok(()) };
    match run.restore(snapshot) {
        Ok(()) => observer.resumed(run.steps_done()),
        Err(why) => observer.refused(why)?,
    }
    Ok(())
}

/// Takes `run` to its end, with a snapshot after every `checkpoint_every` steps and after the last; 0: only when it is
/// interrupted.
///
/// # Errors
/// Those of the run and of the observer.
pub fn drive<R: Run>(run: &mut R, checkpoint_every: u64, observer: &dyn Observer<R::State>) -> Result<(), Diag> {
    while !run.ended() {
        if let Err(interrupted) = observer.check() {
            observer.save(run.snapshot())?;
            return Err(interrupted);
        }
        run.advance(observer)?;
        // The last one too: a run that is killed while its results are written need not train again.
        if due(run.steps_done(), checkpoint_every) || (run.ended() && checkpoint_every > 0) {
            observer.save(run.snapshot())?;
        }
    }
    Ok(())
}

/// Returns `true` after every `every` steps; 0: never.
pub fn due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}

/// Watches nothing and keeps nothing.
pub struct Unwatched;

impl<S> Observer<S> for Unwatched {
    fn save(&self, _snapshot: Snapshot<S>) -> Result<(), Diag> {
        Ok(())
    }
}
