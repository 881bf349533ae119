//! Mean and spread of a few values.

use serde::{Deserialize, Serialize};

/// A few values in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// How many.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their sample standard deviation (divided by n − 1); `None` for a single value.
    pub sd: Option<f64>,
}

impl Sample {
    /// Returns the statistics of `values`, or `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Some(Self { n, mean, sd: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_worked() {
        let s = Sample::of(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!((s.n, s.mean, s.sd), (3, 2.0, Some(1.0)));
        assert_eq!(Sample::of(&[4.0]).unwrap().sd, None);
        assert_eq!(Sample::of(&[]), None);
    }
}
