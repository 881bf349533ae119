//! Batches: their examples, their order and their tensors.
//!
//! A batch is padded to its longest source, rounded up to a multiple of [`MULTIPLE`], and to its longest target; never
//! to the longest allowed. The order `dpt` batches examples of similar length, so that little is padded.

use std::cell::RefCell;

use tch::{Device, Tensor};

use crate::base::diag::{Class, Diag};
use crate::base::draw::Draws;
use crate::base::torch_rng::{TorchRng, randperm};
use crate::data::encoded::Encoded;
use crate::model::t5::IGNORED;

pub use dpt::learn::Order;

/// Source lengths are padded up to a multiple of this: few different shapes, and widths that suit kernels.
pub const MULTIPLE: usize = 8;

/// Examples are shuffled, then sorted by length within pools of at most so many batches, and of at most an eighth of
/// the epoch: else a small split would be cut into the same batches in every epoch.
const POOL: usize = 16;

/// Examples as tensors, all int64.
#[derive(Debug)]
pub struct Batch {
    /// `[B, S]`, padded with the pad token.
    pub input_ids: Tensor,
    /// `[B, S]`: 1 where there is a token.
    pub mask: Tensor,
    /// `[B, T]`, padded with [`IGNORED`].
    pub labels: Tensor,
}

impl Batch {
    /// The number of examples.
    pub fn rows(&self) -> i64 {
        self.input_ids.size()[0]
    }

    /// The same on `device`.
    pub fn to_device(&self, device: Device) -> Batch {
        let to = |t: &Tensor| t.to_device(device);
        Batch { input_ids: to(&self.input_ids), mask: to(&self.mask), labels: to(&self.labels) }
    }
}

/// The source of a training run's batches.
pub trait BatchSource {
    /// The batch of `step`, counted from 0. It depends on the step only, so that a run can resume anywhere.
    ///
    /// # Errors
    /// There is no such batch.
    fn batch(&self, step: u64) -> Result<Batch, Diag>;

    /// The noise that a method uses at `step` in place of what it would draw; `None`: it draws. For comparisons with
    /// other programs.
    ///
    /// # Errors
    /// When there is none for that step.
    fn noise(&self, step: u64) -> Result<Option<Tensor>, Diag> {
        let _ = step;
        Ok(None)
    }
}

/// Stacks lists of ids, `[rows, width]` int64: shorter ones are padded with `fill` on the right, to the longest one
/// rounded up to a multiple of `multiple`.
pub fn pad<'a>(rows: impl IntoIterator<Item = &'a [i32]>, fill: i64, multiple: usize) -> Tensor {
    let rows: Vec<_> = rows.into_iter().collect();
    let width = rows.iter().map(|ids| ids.len()).max().unwrap_or(0).max(1).next_multiple_of(multiple);
    let mut flat = Vec::with_capacity(rows.len() * width);
    for ids in &rows {
        flat.extend(ids.iter().map(|&id| i64::from(id)));
        flat.resize(flat.len() + width - ids.len(), fill);
    }
    Tensor::from_slice(&flat).view([rows.len() as i64, width as i64])
}

/// `examples` as one batch, in their order.
pub fn collate(examples: &[&Encoded], pad_id: i32) -> Batch {
    let sources = || examples.iter().map(|e| e.input_ids.as_slice());
    let ones: Vec<_> = sources().map(|ids| vec![1; ids.len()]).collect();
    Batch {
        input_ids: pad(sources(), i64::from(pad_id), MULTIPLE),
        mask: pad(ones.iter().map(Vec::as_slice), 0, MULTIPLE),
        labels: pad(examples.iter().map(|e| e.target_ids.as_slice()), IGNORED, 1),
    }
}

/// Batches of examples of similar length, for evaluation, as indices: the shortest first.
pub fn by_length(examples: &[Encoded], batch_size: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|&i| examples[i].input_ids.len());
    order.chunks(batch_size.max(1)).map(<[usize]>::to_vec).collect()
}

/// An endless sequence of batches: every epoch has every example once. The last, smaller batch of an epoch is kept.
pub struct Epochs<'a> {
    examples: Vec<&'a Encoded>,
    batch_size: usize,
    order: Order,
    seed: i64,
    pad_id: i32,
    /// The current epoch: its number and batches.
    epoch: RefCell<Option<(u64, Vec<Vec<usize>>)>>,
}

impl<'a> Epochs<'a> {
    /// `examples` in batches of `batch_size`. They may be a part of a split, such as that of one client.
    ///
    /// # Errors
    /// No examples; one without a target.
    pub fn new(
        examples: impl IntoIterator<Item = &'a Encoded>,
        batch_size: usize,
        order: Order,
        seed: i64,
        pad_id: i32,
    ) -> Result<Self, Diag> {
        let examples: Vec<_> = examples.into_iter().collect();
        if examples.is_empty() {
            return Err(Diag::error(Class::Stage, "there is nothing to train on: the split `train` is empty"));
        }
        if let Some(example) = examples.iter().find(|e| e.target_ids.is_empty()) {
            let message = format!("example `{}` of split `train` has no target to learn", example.example_id);
            return Err(Diag::error(Class::Stage, message));
        }
        Ok(Self { examples, batch_size: batch_size.max(1), order, seed, pad_id, epoch: RefCell::new(None) })
    }

    /// The number of batches in an epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        self.examples.len().div_ceil(self.batch_size) as u64
    }

    /// The batches of an epoch, as indices.
    fn plan(&self, epoch: u64) -> Vec<Vec<usize>> {
        let n = self.examples.len();
        match self.order {
            Order::Dpt => {
                let mut draws = Draws::new(&format!("train.order.{epoch}"), self.seed);
                let mut order = draws.sample(n, n);
                let pool = (self.batches_per_epoch() as usize / 8).clamp(1, POOL);
                for pool in order.chunks_mut(pool * self.batch_size) {
                    pool.sort_by_key(|&i| self.examples[i].input_ids.len());
                }
                let mut batches: Vec<_> = order.chunks(self.batch_size).map(<[usize]>::to_vec).collect();
                // A smaller batch stays last; the others come in any order.
                let whole = n / self.batch_size;
                let shuffled = draws.sample(whole, whole);
                let mut plan: Vec<_> = shuffled.into_iter().map(|i| std::mem::take(&mut batches[i])).collect();
                plan.extend(batches.split_off(whole));
                plan
            }
            Order::DptPaper => {
                let layout = randperm(n, 42);
                let mut rng = TorchRng::new(self.seed as u64);
                for _ in 0..epoch {
                    loader_epoch(&mut rng, n);
                }
                let order: Vec<_> = loader_epoch(&mut rng, n).into_iter().map(|i| layout[i]).collect();
                order.chunks(self.batch_size).map(<[usize]>::to_vec).collect()
            }
            Order::File => (0..n).collect::<Vec<_>>().chunks(self.batch_size).map(<[usize]>::to_vec).collect(),
        }
    }
}

/// The order of one pass over a shuffling `DataLoader` with its own generator. It draws a 64-bit seed for its workers,
/// the order, and, because of how `RandomSampler` is written, one more order that it does not use.
fn loader_epoch(rng: &mut TorchRng, n: usize) -> Vec<usize> {
    rng.uniform(2, 0.0, 1.0);
    let order = rng.randperm(n);
    rng.randperm(n);
    order
}

impl BatchSource for Epochs<'_> {
    fn batch(&self, step: u64) -> Result<Batch, Diag> {
        let (epoch, index) = (step / self.batches_per_epoch(), step % self.batches_per_epoch());
        let mut at_hand = self.epoch.borrow_mut();
        if at_hand.as_ref().is_none_or(|(e, _)| *e != epoch) {
            *at_hand = Some((epoch, self.plan(epoch)));
        }
        let (_, batches) = at_hand.as_ref().expect("just made");
        let examples: Vec<_> = batches[index as usize].iter().map(|&i| self.examples[i]).collect();
        Ok(collate(&examples, self.pad_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(n: usize) -> Vec<Encoded> {
        (0..n)
            .map(|i| Encoded {
                example_id: i.to_string(),
                input_ids: vec![i as i32 + 10; 1 + (i * 7) % 30],
                target_ids: vec![i as i32 + 10, 1],
                ..Encoded::default()
            })
            .collect()
    }

    fn seen(batch: &Batch) -> Vec<i64> {
        Vec::try_from(batch.labels.select(1, 0)).unwrap()
    }

    #[test]
    fn padded_to_a_multiple_of_eight_and_to_the_longest_target() {
        let mut two = examples(3);
        two[1].target_ids = vec![11, 12, 1];
        let batch = collate(&[&two[0], &two[1]], 0);
        assert_eq!((batch.input_ids.size(), batch.labels.size()), (vec![2, 8], vec![2, 3]));
        assert_eq!(Vec::<Vec<i64>>::try_from(&batch.labels).unwrap(), [[10, 1, IGNORED], [11, 12, 1]]);
        assert_eq!(Vec::<i64>::try_from(batch.mask.sum_dim_intlist(1, false, tch::Kind::Int64)).unwrap(), [1, 8]);
        let nine = collate(&[&Encoded { input_ids: vec![5; 9], ..two[0].clone() }], 0);
        assert_eq!(nine.input_ids.size(), [1, 16]);
    }

    #[test]
    fn every_epoch_has_every_example_once_in_another_order() {
        let examples = examples(37);
        for order in [Order::Dpt, Order::DptPaper] {
            let source = Epochs::new(&examples, 5, order, 42, 0).unwrap();
            assert_eq!(source.batches_per_epoch(), 8);
            let epoch = |e: u64| -> Vec<i64> {
                (e * 8..e * 8 + 8).flat_map(|step| seen(&source.batch(step).unwrap())).collect()
            };
            let (first, second) = (epoch(0), epoch(1));
            assert_ne!(first, second);
            for mut all in [first.clone(), second] {
                all.sort_unstable();
                assert_eq!(all, (10..47).collect::<Vec<_>>());
            }
            assert_eq!(source.batch(7).unwrap().rows(), 2);
            assert_eq!(epoch(0), first, "a step can be asked for again");
            let other = Epochs::new(&examples, 5, order, 43, 0).unwrap();
            assert_ne!(seen(&other.batch(0).unwrap()), seen(&source.batch(0).unwrap()));
        }
    }

    #[test]
    fn the_order_of_the_file_is_kept() {
        let examples = examples(5);
        let source = Epochs::new(&examples, 2, Order::File, 42, 0).unwrap();
        let batches: Vec<_> = (0..6).map(|step| seen(&source.batch(step).unwrap())).collect();
        assert_eq!(batches[..3], [vec![10, 11], vec![12, 13], vec![14]]);
        assert_eq!(batches[..3], batches[3..]);
    }

    /// `DataLoader(range(10), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(42))`, two epochs of
    /// torch 2.11.
    #[test]
    fn the_loader_of_the_reference() {
        let mut rng = TorchRng::new(42);
        assert_eq!(loader_epoch(&mut rng, 10), LOADER[0]);
        assert_eq!(loader_epoch(&mut rng, 10), LOADER[1]);
    }
    const LOADER: [[usize; 10]; 2] = [[6, 5, 4, 0, 8, 9, 2, 1, 3, 7], [3, 6, 5, 8, 9, 4, 2, 0, 7, 1]];

    #[test]
    fn batches_of_like_length_waste_little() {
        let examples = examples(320);
        let source = Epochs::new(&examples, 8, Order::Dpt, 1, 0).unwrap();
        let cells: i64 = (0..40).map(|s| source.batch(s).unwrap().input_ids.numel() as i64).sum();
        let tokens: i64 = examples.iter().map(|e| e.input_ids.len() as i64).sum();
        assert!(cells < tokens * 14 / 10, "{cells} cells for {tokens} tokens");
    }
}
