//! [`Draws`]: seeded random numbers of our own. One pinned generator (ChaCha20) keyed by a domain and a seed, so that a
//! seed means the same numbers on every machine and in every release, and two uses of one seed share no numbers.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::digest::FieldHasher;

/// A stream of random numbers.
pub struct Draws {
    rng: ChaCha20Rng,
    spare: Option<f64>,
}

impl Draws {
    /// The stream of `seed` in `domain` (what it is drawn for: `svd-init.vocab`, a tensor's name).
    pub fn new(domain: &str, seed: i64) -> Self {
        let key = FieldHasher::new("dpt.draws.1").field(domain.as_bytes()).field(&seed.to_le_bytes()).finish();
        Self { rng: ChaCha20Rng::from_seed(key.0), spare: None }
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..n`, without bias. `n` must not be 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "a draw from nothing");
        let zone = u64::MAX - u64::MAX % n;
        loop {
            let x = self.rng.next_u64();
            if x < zone {
                return x % n;
            }
        }
    }

    /// From the standard normal distribution (Marsaglia's polar method).
    pub fn gaussian(&mut self) -> f64 {
        if let Some(g) = self.spare.take() {
            return g;
        }
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let s = x * x + y * y;
            if s > 0.0 && s < 1.0 {
                let f = (-2.0 * s.ln() / s).sqrt();
                self.spare = Some(y * f);
                return x * f;
            }
        }
    }

    /// `k` different numbers of `0..n`, in the order drawn (a partial Fisher–Yates shuffle). `k` must not exceed `n`.
    pub fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        assert!(k <= n, "{k} different numbers of {n}");
        let mut all: Vec<usize> = (0..n).collect();
        for i in 0..k {
            let j = i + self.below((n - i) as u64) as usize;
            all.swap(i, j);
        }
        all.truncate(k);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_numbers_forever() {
        let mut d = Draws::new("test", 42);
        let first: Vec<u64> = (0..4).map(|_| d.below(1000)).collect();
        assert_eq!(first, FIRST);
        assert_ne!(Draws::new("test", 43).below(1 << 40), Draws::new("test", 42).below(1 << 40));
        assert_ne!(Draws::new("tesu", 42).below(1 << 40), Draws::new("test", 42).below(1 << 40));
    }
    const FIRST: [u64; 4] = [830, 453, 437, 598];

    #[test]
    fn gaussian_has_mean_zero_and_variance_one() {
        let mut d = Draws::new("test", 1);
        let xs: Vec<f64> = (0..20_000).map(|_| d.gaussian()).collect();
        let mean = xs.iter().sum::<f64>() / xs.len() as f64;
        let var = xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / xs.len() as f64;
        assert!(mean.abs() < 0.03 && (var - 1.0).abs() < 0.05, "{mean} {var}");
    }

    #[test]
    fn a_sample_has_no_repeats() {
        let mut s = Draws::new("test", 7).sample(50, 50);
        s.sort_unstable();
        assert_eq!(s, (0..50).collect::<Vec<_>>());
        assert_eq!(Draws::new("test", 7).sample(50, 3), Draws::new("test", 7).sample(50, 3));
    }
}
