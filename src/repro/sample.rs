//! [`Sample`]: draws some of many nodes, the same ones each time. The draw ranks nodes by a digest of seed and name, so
//! adding a node changes at most one of the drawn nodes.

use std::fmt;
use std::str::FromStr;

use crate::base::digest::FieldHasher;

/// The size of a sample: `5%` or `3`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// A share of all nodes, in percent; at least one node.
    Percent(f64),
    /// A number of nodes.
    Count(usize),
}

impl FromStr for Sample {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let sample = match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().filter(|p| *p > 0.0 && *p <= 100.0).map(Sample::Percent),
            None => text.parse().ok().filter(|n| *n > 0).map(Sample::Count),
        };
        sample.ok_or_else(|| "expected a number of nodes or a percentage, such as `3` or `5%`".to_owned())
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sample::Percent(percent) => write!(f, "{percent}%"),
            Sample::Count(n) => write!(f, "{n}"),
        }
    }
}

impl Sample {
    /// Returns the drawn items, in their original order.
    pub fn draw<T>(self, all: Vec<T>, seed: u64, name: impl Fn(&T) -> String) -> Vec<T> {
        let wanted = match self {
            Sample::Percent(percent) => ((all.len() as f64 * percent / 100.0).ceil() as usize).max(1),
            Sample::Count(n) => n,
        };
        let rank = |item: &T| FieldHasher::new("dpt.sample.1").number(seed).field(name(item).as_bytes()).finish();
        let mut ranked: Vec<_> = all.into_iter().enumerate().map(|(at, item)| (rank(&item), at, item)).collect();
        ranked.sort_by_key(|(rank, at, _)| (*rank, *at));
        ranked.truncate(wanted);
        ranked.sort_by_key(|(_, at, _)| *at);
        ranked.into_iter().map(|(_, _, item)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(sample: &str, n: usize, seed: u64) -> Vec<String> {
        let all = (0..n).map(|i| format!("train[seed={i}]")).collect();
        sample.parse::<Sample>().unwrap().draw(all, seed, String::clone)
    }

    #[test]
    fn draw_depends_on_the_seed_only() {
        assert_eq!(draw("3", 100, 1), draw("3", 100, 1));
        assert_ne!(draw("3", 100, 1), draw("3", 100, 2));
        assert_eq!([draw("5%", 100, 1).len(), draw("5%", 3, 1).len(), draw("9", 3, 1).len()], [5, 1, 3]);
        assert_eq!(draw("100%", 3, 7), ["train[seed=0]", "train[seed=1]", "train[seed=2]"]);
    }

    #[test]
    fn new_node_replaces_at_most_one_drawn_node() {
        for n in 3..60 {
            let (before, after) = (draw("3", n, 1), draw("3", n + 1, 1));
            assert!(before.iter().filter(|name| after.contains(name)).count() >= 2);
        }
    }

    #[test]
    fn invalid_sample_sizes_are_refused() {
        for text in ["0", "0%", "101%", "-1", "x", "", "%", "nan%"] {
            assert!(text.parse::<Sample>().is_err(), "{text}");
        }
    }
}
