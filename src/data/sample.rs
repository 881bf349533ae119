//! Which rows of a split are taken, and in which order: few-shot draws, and the order of the paper's code.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::torch_rng;
use crate::base::digest::FieldHasher;

/// The order in which the DPT paper's code lays out every split of `n` rows: torch's permutation with seed 42, whatever
/// the run's own seed is.
pub fn paper_order(n: usize) -> Vec<usize> {
    torch_rng::randperm(n, 42)
}

/// A few-shot draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The rows drawn, in file order.
    pub train: Vec<usize>,
    /// As many others, in file order: to select on.
    pub dev: Vec<usize>,
}

/// A class has too few rows.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("class {class} has {has} rows, a draw of {wanted} was asked for")]
pub struct TooFew {
    /// The class number; 0 where there are no classes.
    pub class: usize,
    /// How many rows it has.
    pub has: usize,
    /// How many are needed.
    pub wanted: usize,
}

/// Draws `shots` rows a class, and `dev_shots` others a class, from rows whose classes are `classes` (`None`: not to be
/// drawn; else below `count`). Where there are no classes give every row class 0 and a count of 1: then it is `shots`
/// in total. The same seed gives the same rows; each class is drawn by a generator of its own, so the rows of one do
/// not depend on those of another.
///
/// # Errors
/// A class that has fewer rows than are drawn.
pub fn few_shot(
    classes: &[Option<usize>],
    count: usize,
    shots: usize,
    dev_shots: usize,
    seed: u64,
) -> Result<Draw, TooFew> {
    let mut draw = Draw { train: Vec::new(), dev: Vec::new() };
    for class in 0..count {
        let mut rows: Vec<usize> = (0..classes.len()).filter(|i| classes[*i] == Some(class)).collect();
        let wanted = shots + dev_shots;
        if rows.len() < wanted {
            return Err(TooFew { class, has: rows.len(), wanted });
        }
        let key = FieldHasher::new("dpt.few-shot.1").number(seed).number(class as u64).finish();
        let mut rng = ChaCha8Rng::from_seed(key.0);
        for i in 0..wanted {
            let step = below(&mut rng, (rows.len() - i) as u64) as usize;
            rows.swap(i, i + step);
        }
        draw.train.extend(&rows[..shots]);
        draw.dev.extend(&rows[shots..wanted]);
    }
    draw.train.sort_unstable();
    draw.dev.sort_unstable();
    Ok(draw)
}

/// A number below `n`, all equally likely: draws beyond the last whole multiple of `n` are thrown away.
fn below(rng: &mut ChaCha8Rng, n: u64) -> u64 {
    let limit = u64::MAX - u64::MAX % n;
    loop {
        let x = rng.next_u64();
        if x < limit {
            return x % n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Vec<Option<usize>> {
        (0..60).map(|i| if i % 7 == 0 { None } else { Some(i % 3) }).collect()
    }

    #[test]
    fn so_many_a_class_none_twice_and_never_an_excluded_row() {
        let classes = classes();
        let draw = few_shot(&classes, 3, 4, 3, 42).unwrap();
        for class in 0..3 {
            let of = |rows: &[usize]| rows.iter().filter(|i| classes[**i] == Some(class)).count();
            assert_eq!((of(&draw.train), of(&draw.dev)), (4, 3));
        }
        assert!(draw.train.is_sorted() && draw.dev.is_sorted());
        assert!(draw.train.iter().all(|i| !draw.dev.contains(i) && classes[*i].is_some()));
        assert_eq!(draw, few_shot(&classes, 3, 4, 3, 42).unwrap());
        assert_ne!(draw, few_shot(&classes, 3, 4, 3, 43).unwrap());
    }

    #[test]
    fn a_draw_is_the_same_on_every_machine() {
        assert_eq!(few_shot(&[Some(0); 20], 1, 5, 0, 1).unwrap().train, [0, 2, 4, 8, 11]);
    }

    #[test]
    fn too_few_rows_are_an_error() {
        let e = few_shot(&[Some(0), Some(1), Some(0)], 2, 1, 1, 0).unwrap_err();
        assert_eq!(e, TooFew { class: 1, has: 1, wanted: 2 });
        assert!(few_shot(&[], 1, 1, 0, 0).is_err());
    }

    #[test]
    fn paper_order_begins_as_torch_does() {
        assert_eq!(&paper_order(32)[..3], [6, 13, 18]);
    }
}
