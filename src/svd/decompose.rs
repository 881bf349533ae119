//! [`Svd`]: the thin decomposition `M = U diag(σ) V`, by Householder QR and one-sided Jacobi rotations. Slower than
//! LAPACK for large matrices, accurate for small singular values, and free of any library's choices.

use super::matrix::{Matrix, add_scaled, dot};

/// `M [n, d] = U [n, k] · diag(sigma) · V [k, d]`, `k = min(n, d)`, σ in decreasing order.
///
/// Signs: in each row of `v` the entry of largest magnitude (the first of them, on exact ties) is positive. Rows of `v`
/// and columns of `u` that belong to σ = 0 are zero where the decomposition leaves them free.
#[derive(Clone, Debug)]
pub struct Svd {
    /// Left singular vectors, one a column.
    pub u: Matrix,
    /// Singular values, largest first.
    pub sigma: Vec<f64>,
    /// Right singular vectors, one a row.
    pub v: Matrix,
}

/// Two rows count as orthogonal below this cosine.
const ORTHOGONAL: f64 = 1e-15;
/// Jacobi converges quadratically; a dozen sweeps is much.
const MAX_SWEEPS: usize = 60;

impl Svd {
    /// Decomposes `m`, whose numbers must be finite.
    pub fn of(m: &Matrix) -> Self {
        if m.rows <= m.cols {
            return Self::wide(m);
        }
        let Svd { u, sigma, v } = Self::wide(&m.transposed());
        let mut svd = Svd { u: v.transposed(), sigma, v: u.transposed() };
        svd.fix_signs();
        svd
    }

    /// `m.rows <= m.cols`.
    fn wide(m: &Matrix) -> Self {
        let n = m.rows;
        let (lower, reflectors) = lq(m);
        let (rotated, rotations) = orthogonal_rows(lower);

        let mut order: Vec<(f64, usize)> = (0..n).map(|k| (dot(rotated.row(k), rotated.row(k)).sqrt(), k)).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));

        let mut u = Matrix::zeros(n, n);
        let mut v = Matrix::zeros(n, m.cols);
        for (place, &(sigma, k)) in order.iter().enumerate() {
            for i in 0..n {
                u.data[i * n + place] = rotations.row(k)[i];
            }
            if sigma > 0.0 {
                let row = v.row_mut(place);
                for (to, x) in row.iter_mut().zip(rotated.row(k)) {
                    *to = x / sigma;
                }
                for (j, reflector) in reflectors.iter().enumerate().rev() {
                    reflect(&mut row[j..], reflector);
                }
            }
        }
        let mut svd = Svd { u, sigma: order.into_iter().map(|(s, _)| s).collect(), v };
        svd.fix_signs();
        svd
    }

    /// The sign rule of the type's documentation.
    fn fix_signs(&mut self) {
        let columns = self.u.cols;
        for k in 0..self.v.rows {
            let row = self.v.row_mut(k);
            let mut largest = 0;
            for (j, x) in row.iter().enumerate() {
                if x.abs() > row[largest].abs() {
                    largest = j;
                }
            }
            if row.get(largest).is_some_and(|x| *x < 0.0) {
                row.iter_mut().for_each(|x| *x = -*x);
                for i in 0..self.u.rows {
                    let x = &mut self.u.data[i * columns + k];
                    *x = -*x;
                }
            }
        }
    }

    /// The best approximation of rank `b` in Frobenius and spectral norm (Eckart–Young–Mirsky): `U_b Σ_b V_b`.
    pub fn truncated(&self, b: usize) -> Matrix {
        let mut out = Matrix::zeros(self.u.rows, self.v.cols);
        for i in 0..out.rows {
            for k in 0..b.min(self.sigma.len()) {
                let weight = self.u.row(i)[k] * self.sigma[k];
                add_scaled(out.row_mut(i), weight, self.v.row(k));
            }
        }
        out
    }

    /// How many singular values exceed `max(n, d) · eps(f32) · σ_1`: those that differ from zero in an f32 matrix.
    pub fn numerical_rank(&self) -> usize {
        let first = self.sigma.first().copied().unwrap_or(0.0);
        let limit = self.u.rows.max(self.v.cols) as f64 * f64::from(f32::EPSILON) * first;
        self.sigma.iter().filter(|s| **s > limit).count()
    }
}

/// `m = L Qᵀ`: the lower triangle `L [n, n]`, and the unit vectors of the reflections whose product is `Q`; the j-th
/// acts on columns `j..`. An empty vector means no reflection.
fn lq(m: &Matrix) -> (Matrix, Vec<Vec<f64>>) {
    let n = m.rows;
    let mut t = m.clone();
    let mut reflectors = Vec::with_capacity(n);
    for j in 0..n {
        let mut reflector = t.row(j)[j..].to_vec();
        let norm = dot(&reflector, &reflector).sqrt();
        if norm == 0.0 {
            reflectors.push(Vec::new());
            continue;
        }
        reflector[0] += norm.copysign(reflector[0]);
        let length = dot(&reflector, &reflector).sqrt();
        reflector.iter_mut().for_each(|x| *x /= length);
        for i in j..n {
            reflect(&mut t.row_mut(i)[j..], &reflector);
        }
        reflectors.push(reflector);
    }
    let mut lower = Matrix::zeros(n, n);
    for i in 0..n {
        lower.row_mut(i)[..=i].copy_from_slice(&t.row(i)[..=i]);
    }
    (lower, reflectors)
}

/// `x -= 2 w (w·x)`.
fn reflect(x: &mut [f64], w: &[f64]) {
    if !w.is_empty() {
        let twice = 2.0 * dot(x, w);
        add_scaled(x, -twice, w);
    }
}

/// Rotates pairs of rows until all are orthogonal. Returns the rotated rows and `J` with `J · m = rotated`.
fn orthogonal_rows(mut m: Matrix) -> (Matrix, Matrix) {
    let n = m.rows;
    let mut j = Matrix::zeros(n, n);
    for i in 0..n {
        j.data[i * n + i] = 1.0;
    }
    for _ in 0..MAX_SWEEPS {
        let mut quiet = true;
        for p in 0..n {
            for q in p + 1..n {
                let (a, b) = (m.row(p), m.row(q));
                let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
                if ab == 0.0 || ab.abs() <= ORTHOGONAL * (aa.sqrt() * bb.sqrt()) {
                    continue;
                }
                quiet = false;
                let zeta = (bb - aa) / (2.0 * ab);
                let t = 1f64.copysign(zeta) / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let c = 1.0 / (1.0 + t * t).sqrt();
                rotate(&mut m, p, q, c, c * t);
                rotate(&mut j, p, q, c, c * t);
            }
        }
        if quiet {
            break;
        }
    }
    (m, j)
}

/// Rows p, q become `c·p − s·q`, `s·p + c·q`.
fn rotate(m: &mut Matrix, p: usize, q: usize, c: f64, s: f64) {
    let (a, b) = m.two_rows_mut(p, q);
    for (x, y) in a.iter_mut().zip(b) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::draw::Draws;

    pub fn gaussian(rows: usize, cols: usize, seed: i64) -> Matrix {
        let mut d = Draws::new("test.matrix", seed);
        Matrix::new(rows, cols, (0..rows * cols).map(|_| d.gaussian()).collect())
    }

    fn close(a: &Matrix, b: &Matrix, limit: f64) {
        let off = a.minus(b).energy().sqrt();
        assert!(off <= limit, "differ by {off:e}");
    }

    #[test]
    fn hand_worked_diagonal() {
        let svd = Svd::of(&Matrix::new(2, 3, vec![0.0, 0.0, -3.0, 4.0, 0.0, 0.0]));
        assert!((svd.sigma[0] - 4.0).abs() < 1e-14 && (svd.sigma[1] - 3.0).abs() < 1e-14);
        close(&svd.v, &Matrix::new(2, 3, vec![1.0, 0.0, 0.0, 0.0, 0.0, 1.0]), 1e-15);
        close(&svd.u, &Matrix::new(2, 2, vec![0.0, -1.0, 1.0, 0.0]), 1e-15);
    }

    #[test]
    fn hand_worked_two_by_two() {
        // [[3,0],[4,5]]: MᵀM has eigenvalues 45 and 5, right vectors (1,1)/√2 and (1,−1)/√2.
        let svd = Svd::of(&Matrix::new(2, 2, vec![3.0, 0.0, 4.0, 5.0]));
        assert!((svd.sigma[0] - 45f64.sqrt()).abs() < 1e-14 && (svd.sigma[1] - 5f64.sqrt()).abs() < 1e-14);
        let h = 0.5f64.sqrt();
        close(&Matrix::new(1, 2, svd.v.row(0).to_vec()), &Matrix::new(1, 2, vec![h, h]), 1e-14);
        assert!((svd.v.row(1)[0] * svd.v.row(1)[1] + 0.5).abs() < 1e-14);
    }

    #[test]
    fn reassembles_wide_and_tall_with_orthonormal_vectors() {
        for (n, d) in [(1, 1), (3, 7), (7, 3), (12, 12), (20, 40)] {
            let m = gaussian(n, d, (n * 100 + d) as i64);
            let svd = Svd::of(&m);
            let k = n.min(d);
            close(&svd.truncated(k), &m, 1e-12);
            let mut eye = Matrix::zeros(k, k);
            (0..k).for_each(|i| eye.data[i * k + i] = 1.0);
            close(&svd.v.times(&svd.v.transposed()), &eye, 1e-12);
            close(&svd.u.transposed().times(&svd.u), &eye, 1e-12);
            assert!(svd.sigma.windows(2).all(|w| w[0] >= w[1]));
        }
    }

    #[test]
    fn the_largest_entry_of_each_right_vector_is_positive_whatever_the_sign_of_the_matrix() {
        let m = gaussian(6, 9, 3);
        let (one, other) = (Svd::of(&m), Svd::of(&m.scaled(-1.0)));
        close(&one.v, &other.v, 1e-12);
        for k in 0..6 {
            let row = one.v.row(k);
            let largest = row.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap();
            assert!(largest > 0.0);
        }
        let tie = Svd::of(&Matrix::new(1, 3, vec![-2.0, 2.0, 1.0]));
        assert!(tie.v.row(0)[0] > 0.0, "the first of two equal magnitudes decides");
    }

    #[test]
    fn eckart_young_no_other_matrix_of_that_rank_is_nearer() {
        let m = gaussian(8, 12, 5);
        let svd = Svd::of(&m);
        for b in 1..8 {
            let error = m.minus(&svd.truncated(b)).energy();
            let rest: f64 = svd.sigma[b..].iter().map(|s| s * s).sum();
            assert!((error - rest).abs() < 1e-10, "error² = sum of the squares left out");
            for seed in 0..20 {
                let other = gaussian(8, b, seed).times(&gaussian(b, 12, seed + 50));
                let best = other.scaled(dot(&m.data, &other.data) / other.energy());
                let nudged = svd
                    .truncated(b)
                    .minus(&gaussian(8, b, seed).times(&svd.v.pick(&(0..b).collect::<Vec<_>>())).scaled(0.01));
                assert!(m.minus(&best).energy() >= error && m.minus(&nudged).energy() >= error);
            }
        }
    }

    #[test]
    fn rank_is_seen_and_zero_rows_do_no_harm() {
        let m = gaussian(10, 3, 1).times(&gaussian(3, 20, 2));
        assert_eq!(Svd::of(&m).numerical_rank(), 3);
        let zero = Svd::of(&Matrix::zeros(3, 5));
        assert_eq!((zero.numerical_rank(), zero.sigma), (0, vec![0.0; 3]));
        let repeated = m.pick(&[0, 0, 0, 1]);
        let svd = Svd::of(&repeated);
        assert_eq!(svd.numerical_rank(), 2);
        close(&svd.truncated(2), &repeated, 1e-12);
    }
}
