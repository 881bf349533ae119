//! L3: the stages. To add one: its file, its `mod` line, its row in [`STAGES`] (and, if it runs in a worker, its
//! function in `dpt_torch::stages`).

pub mod command;
pub mod ctx;
pub mod download;
pub mod eval;
pub mod generate;
pub mod named;
pub mod pretrain;
pub mod random_model;
pub mod report;
pub mod stage;
pub mod svd_init;
pub mod tokenize;
pub mod train;

use stage::StageKind;

/// Every stage kind, in the order in which help texts list them.
pub const STAGES: &[&StageKind] = &[
    &download::KIND,
    &generate::KIND,
    &pretrain::KIND,
    &random_model::KIND,
    &tokenize::KIND,
    &svd_init::KIND,
    &train::KIND,
    &eval::KIND,
    &report::KIND,
    &command::KIND,
];

/// Returns the stage kind called `name`.
pub fn find(name: &str) -> Option<&'static StageKind> {
    STAGES.iter().find(|kind| kind.name == name).copied()
}
