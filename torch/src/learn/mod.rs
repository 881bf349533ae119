//! Training: batches ([`batch`]), one adapter in training ([`trainer`]), and the loop that drives it to its end
//! ([`fit`](mod@fit)), with scoring while it runs ([`evaluate`]); pretraining of a small backbone ([`pretrain`]). Both are
//! made of a step counter with optimizer ([`optim`]) and rates ([`schedule`]) ([`descent`]), and of one outer loop ([`run`]).
//! Knows no path, no stage and no terminal.

pub mod batch;
pub mod descent;
pub mod evaluate;
pub mod fit;
pub mod optim;
pub mod options;
pub mod pretrain;
pub mod run;
pub mod schedule;
pub mod selection;
pub mod snapshot;
pub mod trainer;
