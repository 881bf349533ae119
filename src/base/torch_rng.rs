//! [`TorchRng`]: the random numbers of libtorch's CPU generator without libtorch, where the reference code drew with
//! torch: the order of a split, and the first values of a prompt.

use rand_mt::Mt;

/// Draws as a CPU `torch.Generator` does after `manual_seed`: MT19937, one 32-bit word a draw.
pub struct TorchRng(Mt);

impl TorchRng {
    /// `torch.manual_seed(seed)`. Torch seeds its engine with the lower 32 bits only, and so does this.
    pub fn new(seed: u64) -> Self {
        Self(Mt::new(seed as u32))
    }

    /// `torch.randperm(n)`: a shuffle from the front, each draw reduced by a plain remainder.
    ///
    /// # Panics
    /// From 2^32 / 20 on torch draws 64-bit words; no data set here is near it.
    pub fn randperm(&mut self, n: usize) -> Vec<usize> {
        assert!(n < u32::MAX as usize / 20, "randperm of {n}: torch draws differently from 2^32 / 20 on");
        let mut order: Vec<usize> = (0..n).collect();
        for i in 0..n.saturating_sub(1) {
            let step = self.0.next_u32() as usize % (n - i);
            order.swap(i, i + step);
        }
        order
    }

    /// `torch.empty(n).uniform_(low, high)` in float32: the lower 24 bits of each word over 2^24, scaled in double
    /// precision, then rounded.
    pub fn uniform(&mut self, n: usize, low: f32, high: f32) -> Vec<f32> {
        const STEPS: f64 = (1u32 << 24) as f64;
        let range = f64::from(high - low);
        (0..n)
            .map(|_| {
                let x = f64::from(self.0.next_u32() & 0x00ff_ffff) / STEPS;
                (x * range + f64::from(low)) as f32
            })
            .collect()
    }
}

/// `torch.randperm(n)` from a fresh generator with `seed`.
pub fn randperm(n: usize, seed: u64) -> Vec<usize> {
    TorchRng::new(seed).randperm(n)
}

/// `torch.empty(n).uniform_(low, high)` (float32) from a fresh generator with `seed`. For several tensors drawn one
/// after the other keep one [`TorchRng`].
pub fn uniform(n: usize, low: f32, high: f32, seed: u64) -> Vec<f32> {
    TorchRng::new(seed).uniform(n, low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn randperm_as_torch_prints_it() {
        assert_eq!(randperm(0, 42), [0usize; 0]);
        assert_eq!(randperm(1, 42), [0]);
        assert_eq!(&randperm(32, 42)[..8], [6, 13, 18, 24, 22, 7, 28, 31]);
    }

    #[test]
    fn uniform_stays_within_its_bounds_and_repeats() {
        let a = uniform(1000, -0.5, 0.5, 7);
        assert!(a.iter().all(|x| (-0.5..0.5).contains(x)));
        assert_eq!(a, uniform(1000, -0.5, 0.5, 7));
        assert_ne!(a, uniform(1000, -0.5, 0.5, 8));
    }

    #[test]
    fn one_generator_goes_on_where_it_stopped() {
        let mut rng = TorchRng::new(3);
        let parts = [rng.uniform(5, 0.0, 1.0), rng.uniform(3, 0.0, 1.0)].concat();
        assert_eq!(parts, uniform(8, 0.0, 1.0, 3));
    }
}
