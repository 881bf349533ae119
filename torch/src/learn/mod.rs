//! Training: batches ([`batch`]), the optimizer ([`optim`]) and its rate ([`schedule`]), scoring while it runs
//! ([`evaluate`]) and the loop itself ([`fit`](mod@fit)); pretraining of a small backbone ([`pretrain`]). Knows no path, no stage and no terminal.

pub mod batch;
pub mod evaluate;
pub mod fit;
pub mod optim;
pub mod pretrain;
pub mod schedule;
