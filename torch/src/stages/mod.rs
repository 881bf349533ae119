//! The work of the stages that need libtorch. Their declarations (parameters, inputs, outputs) are in [`dpt::stages`],
//! which the engine reads without libtorch.

mod backbone;
pub mod eval;
pub mod pretrain;
pub mod svd_init;
pub mod train;
mod training;

use dpt::worker::serve::StageFn;

/// The function that runs a stage kind in a worker; `None` if another program runs it.
pub fn runner(kind: &str) -> Option<StageFn> {
    RUNNERS.iter().find(|(name, _)| *name == kind).map(|(_, run)| *run)
}

/// The kinds that run in a worker, with one row for every `Runs::Worker` in [`dpt::stages::STAGES`].
const RUNNERS: &[(&str, StageFn)] =
    &[("pretrain", pretrain::run), ("svd-init", svd_init::run), ("train", train::run), ("eval", eval::run)];

#[cfg(test)]
mod tests {
    use super::*;
    use dpt::stages::{STAGES, stage::Runs};

    #[test]
    fn every_worker_stage_has_a_function_and_no_other() {
        let wanted: Vec<_> = STAGES.iter().filter(|k| matches!(k.runs, Runs::Worker)).map(|k| k.name).collect();
        for name in &wanted {
            assert!(runner(name).is_some(), "`{name}` has no row in RUNNERS");
        }
        for (name, _) in RUNNERS {
            assert!(wanted.contains(name), "`{name}` in RUNNERS is no worker stage");
        }
    }

    #[test]
    fn the_methods_of_train_are_those_of_the_registry() {
        let names: Vec<_> = crate::prompt::METHODS.iter().map(|m| m.method().name).collect();
        assert_eq!(dpt::adapter::methods::NAMES, names);
    }
}
