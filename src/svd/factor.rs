//! From a decomposition to the two factors that are trained: the split of Σ between them, and what to do when the
//! matrix has fewer directions than are asked for.

use super::decompose::Svd;
use super::matrix::{Matrix, add_scaled, dot};
use crate::base::choice::choice;
use crate::base::draw::Draws;

choice! {
    /// Where the singular values go.
    pub enum Split {
        /// `A = U √Σ`, `B = √Σ V`: balanced, `AᵀA = BBᵀ`, the factorisation of least total norm.
        Sqrt = "sqrt",
        /// `A = U Σ`, `B = V`.
        Left = "left",
        /// `A = U`, `B = Σ V`.
        Right = "right",
    }
}

impl Split {
    /// How σ is divided between A and B.
    pub fn shares(self, sigma: f64) -> (f64, f64) {
        match self {
            Split::Sqrt => (sigma.sqrt(), sigma.sqrt()),
            Split::Left => (sigma, 1.0),
            Split::Right => (1.0, sigma),
        }
    }
}

choice! {
    /// The replacement of directions that the matrix does not have. With σ_k = 0 both the column of A and the row of B
    /// would be zero, their gradients too, and training could never use them.
    pub enum Fill {
        /// Random unit vectors orthogonal to the kept ones, with a small singular value: the product moves a little.
        Random = "random",
        /// A random row of B, a zero column of A (as LoRA begins): the product does not move, A's gradient is alive.
        Half = "half",
        /// Refuse.
        Error = "error",
    }
}

/// `A [n, b]`, `B [b, d]` and how they came about.
#[derive(Clone, Debug)]
pub struct Factors {
    /// `[n, b]`.
    pub a: Matrix,
    /// `[b, d]`.
    pub b: Matrix,
    /// The numerical rank of the matrix in f32.
    pub numerical_rank: usize,
    /// How many of the `b` directions were filled.
    pub filled: usize,
}

/// Why there are no factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactorError {
    /// More directions than rows or columns.
    #[error("rank {rank} exceeds the smaller side of a {rows} x {cols} matrix")]
    TooLarge {
        /// Asked for.
        rank: usize,
        /// Of the matrix.
        rows: usize,
        /// Of the matrix.
        cols: usize,
    },
    /// Fewer directions than asked for, and `Fill::Error`.
    #[error("rank {rank} is asked for, and the source matrix has numerical rank {found}")]
    Deficient {
        /// Asked for.
        rank: usize,
        /// Found.
        found: usize,
    },
    /// Nothing to decompose.
    #[error("the source matrix is zero")]
    Zero,
}

/// The factors of the leading `rank` triplets. `fill_scale` times the last kept σ is the σ of a filled direction
/// ([`Fill::Random`]); `draws` gives its vectors.
///
/// # Errors
/// When `rank` is larger than the matrix, the matrix is zero, or directions are missing and `fill` refuses.
pub fn factor(
    svd: &Svd,
    rank: usize,
    split: Split,
    fill: Fill,
    fill_scale: f64,
    draws: &mut Draws,
) -> Result<Factors, FactorError> {
    let (n, d) = (svd.u.rows, svd.v.cols);
    if rank > n.min(d) {
        return Err(FactorError::TooLarge { rank, rows: n, cols: d });
    }
    let found = svd.numerical_rank();
    if found == 0 {
        return Err(FactorError::Zero);
    }
    if found < rank && fill == Fill::Error {
        return Err(FactorError::Deficient { rank, found });
    }
    // One unit vector a row: left and right ones, kept first.
    let kept = found.min(rank);
    let lefts = svd.u.transposed();
    let mut left: Vec<Vec<f64>> = (0..kept).map(|k| lefts.row(k).to_vec()).collect();
    let mut right: Vec<Vec<f64>> = (0..kept).map(|k| svd.v.row(k).to_vec()).collect();
    let mut shares: Vec<(f64, f64)> = (0..kept).map(|k| split.shares(svd.sigma[k])).collect();
    let last = svd.sigma[kept - 1];
    for _ in kept..rank {
        left.push(orthogonal_to(&left, n, draws));
        right.push(orthogonal_to(&right, d, draws));
        shares.push(match fill {
            Fill::Half => (0.0, split.shares(last).1),
            _ => split.shares(fill_scale * last),
        });
    }
    let mut a = Matrix::zeros(n, rank);
    let mut b = Matrix::zeros(rank, d);
    for k in 0..rank {
        for (i, x) in left[k].iter().enumerate() {
            a.data[i * rank + k] = x * shares[k].0;
        }
        add_scaled(b.row_mut(k), shares[k].1, &right[k]);
    }
    Ok(Factors { a, b, numerical_rank: found, filled: rank - kept })
}

/// A random unit vector orthogonal to all of `others` (fewer than `size`, orthonormal).
fn orthogonal_to(others: &[Vec<f64>], size: usize, draws: &mut Draws) -> Vec<f64> {
    loop {
        let mut x: Vec<f64> = (0..size).map(|_| draws.gaussian()).collect();
        // Twice is enough for full accuracy.
        for other in others.iter().chain(others) {
            let along = dot(&x, other);
            add_scaled(&mut x, -along, other);
        }
        let norm = dot(&x, &x).sqrt();
        if norm > 1e-6 {
            return x.into_iter().map(|v| v / norm).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decompose::tests::gaussian;
    use super::*;

    fn draws() -> Draws {
        Draws::new("test.fill", 0)
    }

    #[test]
    fn every_split_gives_the_truncated_matrix() {
        let svd = Svd::of(&gaussian(6, 10, 1));
        for split in [Split::Sqrt, Split::Left, Split::Right] {
            let f = factor(&svd, 3, split, Fill::Error, 0.01, &mut draws()).unwrap();
            assert!(f.a.times(&f.b).minus(&svd.truncated(3)).energy() < 1e-24, "{split:?}");
            assert_eq!((f.filled, f.numerical_rank), (0, 6));
        }
        let f = factor(&svd, 3, Split::Sqrt, Fill::Error, 0.01, &mut draws()).unwrap();
        let balance = f.a.transposed().times(&f.a).minus(&f.b.times(&f.b.transposed()));
        assert!(balance.energy() < 1e-24, "the square-root split is balanced");
    }

    #[test]
    fn hand_worked_factors() {
        // diag(4, 1): A = diag(2, 1) = B.
        let svd = Svd::of(&Matrix::new(2, 2, vec![4.0, 0.0, 0.0, 1.0]));
        let f = factor(&svd, 2, Split::Sqrt, Fill::Error, 0.01, &mut draws()).unwrap();
        let expected = Matrix::new(2, 2, vec![2.0, 0.0, 0.0, 1.0]);
        assert!(f.a.minus(&expected).energy() < 1e-28 && f.b.minus(&expected).energy() < 1e-28);
    }

    #[test]
    fn a_missing_direction_is_filled_so_that_gradients_are_not_zero() {
        let m = gaussian(8, 2, 1).times(&gaussian(2, 12, 2));
        let svd = Svd::of(&m);
        let upstream = gaussian(8, 12, 9); // ∂loss/∂P
        for fill in [Fill::Random, Fill::Half] {
            let f = factor(&svd, 4, Split::Sqrt, fill, 0.01, &mut draws()).unwrap();
            assert_eq!((f.numerical_rank, f.filled), (2, 2));
            let (ga, gb) = (upstream.times(&f.b.transposed()), f.a.transposed().times(&upstream));
            for k in 2..4 {
                let column: f64 = (0..8).map(|i| ga.row(i)[k].abs()).sum();
                let row: f64 = gb.row(k).iter().map(|x| x.abs()).sum();
                assert!(column > 1e-3, "A's column {k} has a gradient with {fill:?}");
                assert!(fill == Fill::Half || row > 1e-3, "B's row {k} has a gradient with {fill:?}");
            }
            let moved = f.a.times(&f.b).minus(&m).energy().sqrt();
            let promised = if fill == Fill::Half { 1e-10 } else { 0.01 * svd.sigma[1] * 2f64.sqrt() * 1.0001 };
            assert!(moved <= promised, "{fill:?} moves the product by {moved}");
        }
    }

    #[test]
    fn refusals_name_both_numbers() {
        let svd = Svd::of(&gaussian(3, 1, 1).times(&gaussian(1, 5, 2)));
        let refuse = |rank, fill| factor(&svd, rank, Split::Sqrt, fill, 0.01, &mut draws()).unwrap_err().to_string();
        assert_eq!(refuse(4, Fill::Random), "rank 4 exceeds the smaller side of a 3 x 5 matrix");
        assert_eq!(refuse(2, Fill::Error), "rank 2 is asked for, and the source matrix has numerical rank 1");
        let zero = Svd::of(&Matrix::zeros(2, 2));
        assert_eq!(factor(&zero, 1, Split::Sqrt, Fill::Random, 0.01, &mut draws()).unwrap_err(), FactorError::Zero);
    }
}
