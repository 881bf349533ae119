//! Training. One adapter in training ([`trainer`]) is driven to its end by [`fit`](mod@fit), on batches ([`batch`]), and
//! scored while it runs ([`evaluate`], [`selection`]). A small backbone is pretrained by [`pretrain`]. Both make their
//! steps by [`descent`], with an optimizer ([`optim`]) and rates ([`schedule`]), and share the outer loop ([`run`]).
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
