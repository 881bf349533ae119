//! Figures of a prompt matrix and its truncation. "Energy" is the share of squared singular values:
//! it is the explained variance only where the rows were centred, which is given beside it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::decompose::Svd;
use super::factor::Factors;
use super::matrix::{Matrix, dot};
use crate::base::draw::Draws;

/// Ranks at which the energy is always reported, up to the rank of the matrix.
const RANKS: [usize; 6] = [1, 2, 5, 10, 20, 50];
/// Shares of the energy for which the smallest sufficient rank is reported.
const SHARES: [f64; 3] = [0.90, 0.95, 0.99];
/// Below this relative gap the leading subspace counts as not unique.
pub const SMALL_GAP: f64 = 1e-6;

/// The shape of a spectrum: figures that depend on the singular values only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spectrum {
    /// Share of Σσ² in the first `rank` values.
    pub energy: f64,
    /// The same at other ranks, by rank.
    pub energy_at: BTreeMap<usize, f64>,
    /// The smallest rank that holds 90, 95 and 99 % of Σσ², by percentage.
    pub rank_for: BTreeMap<u32, usize>,
    /// `exp(−Σ p ln p)` with `p_k = σ_k / Σσ` (Roy and Vetterli).
    pub effective_rank: f64,
    /// `‖M‖_F² / σ_1²`.
    pub stable_rank: f64,
    /// `(Σσ²)² / Σσ⁴`.
    pub participation_ratio: f64,
}

impl Spectrum {
    /// Of singular values in decreasing order, cut at `rank`.
    pub fn of(sigma: &[f64], rank: usize) -> Self {
        let squares: Vec<f64> = sigma.iter().map(|s| s * s).collect();
        let total: f64 = squares.iter().sum();
        let sum: f64 = sigma.iter().sum();
        let cumulative = energies(sigma);
        let at = |k: usize| cumulative.get(k.wrapping_sub(1)).copied().unwrap_or(1.0);
        let entropy: f64 = sigma.iter().map(|s| s / sum).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
        Self {
            energy: at(rank),
            energy_at: RANKS.iter().filter(|k| **k <= sigma.len()).map(|&k| (k, at(k))).collect(),
            rank_for: SHARES
                .iter()
                .map(|share| {
                    let enough = cumulative.iter().position(|e| *e >= *share).map_or(sigma.len(), |i| i + 1);
                    ((share * 100.0).round() as u32, enough)
                })
                .collect(),
            effective_rank: if sum > 0.0 { entropy.exp() } else { 0.0 },
            stable_rank: if total > 0.0 { total / squares[0] } else { 0.0 },
            participation_ratio: if total > 0.0 {
                total * total / squares.iter().map(|s| s * s).sum::<f64>()
            } else {
                0.0
            },
        }
    }
}

/// Share of Σσ² in the first k values, for k = 1, 2, …; all 0 for a zero matrix.
pub fn energies(sigma: &[f64]) -> Vec<f64> {
    let total: f64 = sigma.iter().map(|s| s * s).sum();
    let mut so_far = 0.0;
    sigma
        .iter()
        .map(|s| {
            so_far += s * s;
            if total > 0.0 { (so_far / total).min(1.0) } else { 0.0 }
        })
        .collect()
}

/// All figures of a source matrix `M`, its rank-b truncation `M_b` and the factors made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Rows of `M`: virtual tokens.
    pub rows: usize,
    /// Columns of `M`: d_model.
    pub cols: usize,
    /// The rank asked for.
    pub rank: usize,
    /// The numerical rank of `M` in f32.
    pub numerical_rank: usize,
    /// Directions that were filled in because `M` has too few.
    pub filled: usize,
    /// The spectrum of `M`.
    pub spectrum: Spectrum,
    /// The spectrum of `M` less its mean row: a large shared mean looks like low rank.
    pub centred: Spectrum,
    /// The spectrum of a seeded Gaussian matrix of the same shape: what chance would show.
    pub gaussian: Spectrum,
    /// `‖M − M_b‖_F / ‖M‖_F`.
    pub relative_error: f64,
    /// `max_i ‖M_i − M_b,i‖ / ‖M_i‖`.
    pub worst_row_error: f64,
    /// Mean over rows of `cos(M_i, M_b,i)`.
    pub mean_row_cosine: f64,
    /// The least of them.
    pub min_row_cosine: f64,
    /// `(σ_b − σ_{b+1}) / σ_1`; 1 when nothing lies beyond b.
    pub gap: f64,
    /// `σ_1 / σ_b`; absent when σ_b is 0.
    pub condition: Option<f64>,
    /// `L ‖mean row‖² / ‖M‖_F²`.
    pub mean_row_share: f64,
    /// `‖AᵀA − BBᵀ‖_F / (‖AᵀA‖_F + ‖BBᵀ‖_F)`; 0 when balanced.
    pub balance: f64,
    /// Root mean square of `M`.
    pub rms_source: f64,
    /// Root mean square of `M_b`.
    pub rms_truncated: f64,
    /// Root mean square of A, after scaling.
    pub rms_factor_a: f64,
    /// Root mean square of B, after scaling.
    pub rms_factor_b: f64,
    /// Root mean square of the product AB, after scaling and filling: the prompt that training starts from.
    pub rms_product: f64,
}

impl Figures {
    /// Describes `m`, its decomposition `svd` and the `factors` made of it.
    pub fn of(m: &Matrix, svd: &Svd, factors: &Factors) -> Self {
        let rank = factors.a.cols;
        let truncated = svd.truncated(rank);
        let difference = m.minus(&truncated);
        let rows: Vec<(f64, f64)> = (0..m.rows)
            .filter_map(|i| {
                let norm = dot(m.row(i), m.row(i)).sqrt();
                let near = dot(truncated.row(i), truncated.row(i)).sqrt();
                let error = dot(difference.row(i), difference.row(i)).sqrt() / norm;
                let cosine = if near > 0.0 { dot(m.row(i), truncated.row(i)) / (norm * near) } else { 0.0 };
                (norm > 0.0).then_some((error, cosine))
            })
            .collect();
        let first = svd.sigma[0];
        let next = svd.sigma.get(rank).copied().unwrap_or(0.0);
        let (aa, bb) = (factors.a.transposed().times(&factors.a), factors.b.times(&factors.b.transposed()));
        let mean = m.mean_row();
        Self {
            rows: m.rows,
            cols: m.cols,
            rank,
            numerical_rank: factors.numerical_rank,
            filled: factors.filled,
            spectrum: Spectrum::of(&svd.sigma, rank),
            centred: Spectrum::of(&Svd::of(&m.centred()).sigma, rank),
            gaussian: Spectrum::of(&gaussian_sigma(m.rows, m.cols), rank),
            relative_error: (difference.energy() / m.energy()).sqrt(),
            worst_row_error: rows.iter().map(|r| r.0).fold(0.0, f64::max),
            mean_row_cosine: rows.iter().map(|r| r.1).sum::<f64>() / rows.len().max(1) as f64,
            min_row_cosine: rows.iter().map(|r| r.1).fold(1.0, f64::min),
            gap: if rank < svd.sigma.len() { (svd.sigma[rank - 1] - next) / first } else { 1.0 },
            condition: (svd.sigma[rank - 1] > 0.0).then(|| first / svd.sigma[rank - 1]),
            mean_row_share: m.rows as f64 * dot(&mean, &mean) / m.energy(),
            balance: aa.minus(&bb).energy().sqrt() / (aa.energy().sqrt() + bb.energy().sqrt()),
            rms_source: m.rms(),
            rms_truncated: truncated.rms(),
            rms_factor_a: factors.a.rms(),
            rms_factor_b: factors.b.rms(),
            rms_product: factors.a.times(&factors.b).rms(),
        }
    }
}

/// Singular values of one fixed draw of a standard Gaussian matrix of this shape.
pub fn gaussian_sigma(rows: usize, cols: usize) -> Vec<f64> {
    let mut draws = Draws::new("svd.gaussian-reference", 0);
    Svd::of(&Matrix::new(rows, cols, (0..rows * cols).map(|_| draws.gaussian()).collect())).sigma
}

/// A trained prompt compared with the one that it started from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// `‖P − P_0‖_F / ‖P_0‖_F`.
    pub relative_change: f64,
    /// Cosine of P and P_0 as vectors.
    pub cosine: f64,
    /// Cosines of the principal angles between the row spaces, largest first.
    pub angle_cosines: Vec<f64>,
    /// The spectrum of the trained prompt, its energy at the rank of the start.
    pub spectrum: Spectrum,
    /// Its root mean square.
    pub rms: f64,
}

impl Drift {
    /// Compares `end` with `start`, of equal shape.
    pub fn of(start: &Matrix, end: &Matrix) -> Self {
        let (before, after) = (Svd::of(start), Svd::of(end));
        let rank = before.numerical_rank();
        let leading = |svd: &Svd| svd.v.pick(&(0..svd.numerical_rank()).collect::<Vec<_>>());
        let overlap = leading(&before).times(&leading(&after).transposed());
        Self {
            relative_change: (end.minus(start).energy() / start.energy()).sqrt(),
            cosine: dot(&start.data, &end.data) / (start.energy() * end.energy()).sqrt(),
            angle_cosines: Svd::of(&overlap).sigma.into_iter().map(|c| c.min(1.0)).collect(),
            spectrum: Spectrum::of(&after.sigma, rank),
            rms: end.rms(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decompose::tests::gaussian;
    use super::super::factor::{Fill, Split, factor};
    use super::*;

    #[test]
    fn hand_worked_spectrum() {
        // σ = 3, 1: Σσ² = 10, p = 3/4, 1/4.
        let s = Spectrum::of(&[3.0, 1.0], 1);
        assert!((s.energy - 0.9).abs() < 1e-15);
        assert_eq!(s.rank_for, BTreeMap::from([(90, 1), (95, 2), (99, 2)]));
        assert!((s.stable_rank - 10.0 / 9.0).abs() < 1e-15);
        assert!((s.participation_ratio - 100.0 / 82.0).abs() < 1e-15);
        let entropy = -(0.75f64 * 0.75f64.ln() + 0.25 * 0.25f64.ln());
        assert!((s.effective_rank - entropy.exp()).abs() < 1e-15);
        assert_eq!(s.energy_at.keys().copied().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn figures_of_a_diagonal_matrix() {
        let m = Matrix::new(2, 2, vec![3.0, 0.0, 0.0, 1.0]);
        let svd = Svd::of(&m);
        let factors = factor(&svd, 1, Split::Sqrt, Fill::Error, 0.01, &mut Draws::new("t", 0)).unwrap();
        let f = Figures::of(&m, &svd, &factors);
        assert!((f.relative_error - 0.1f64.sqrt()).abs() < 1e-15, "sqrt(1 - energy)");
        assert_eq!((f.worst_row_error, f.min_row_cosine, f.mean_row_cosine), (1.0, 0.0, 0.5));
        assert!((f.gap - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!(f.condition, Some(1.0));
        assert!((f.mean_row_share - 2.0 * (1.5 * 1.5 + 0.25) / 10.0).abs() < 1e-15);
        assert!(f.balance < 1e-15);
    }

    #[test]
    fn a_shared_mean_fakes_low_rank_and_the_centred_energy_shows_it() {
        let mut m = gaussian(20, 30, 4);
        m.data.iter_mut().for_each(|x| *x += 10.0);
        let svd = Svd::of(&m);
        let factors = factor(&svd, 1, Split::Sqrt, Fill::Error, 0.01, &mut Draws::new("t", 0)).unwrap();
        let f = Figures::of(&m, &svd, &factors);
        assert!(f.spectrum.energy > 0.95 && f.mean_row_share > 0.95);
        assert!(f.centred.energy < 0.3 && (f.centred.energy - f.gaussian.energy).abs() < 0.1);
    }

    /// The Gaussian reference that methods are compared with: 16.7 % of the energy in ten of a hundred directions.
    #[test]
    fn energy_of_the_gaussian_reference() {
        let s = Spectrum::of(&gaussian_sigma(100, 768), 10);
        assert!((s.energy - 0.167).abs() < 0.003, "{}", s.energy);
        assert!((s.effective_rank - 98.2).abs() < 0.2 && (s.stable_rank - 55.6).abs() < 2.5, "{s:?}");
        assert!((81..=83).contains(&s.rank_for[&90]));
    }

    #[test]
    fn drift_of_nothing_and_of_a_turned_prompt() {
        let p = gaussian(6, 2, 1).times(&gaussian(2, 9, 2));
        let same = Drift::of(&p, &p);
        assert!(same.relative_change < 1e-15 && (same.cosine - 1.0).abs() < 1e-12);
        assert!(same.angle_cosines.iter().all(|c| (c - 1.0).abs() < 1e-12) && same.angle_cosines.len() == 2);
        let turned = Drift::of(&Matrix::new(1, 2, vec![1.0, 0.0]), &Matrix::new(1, 2, vec![0.0, 2.0]));
        assert!((turned.relative_change - 5f64.sqrt()).abs() < 1e-15);
        assert!(turned.cosine.abs() < 1e-15 && turned.angle_cosines[0].abs() < 1e-15);
    }
}
