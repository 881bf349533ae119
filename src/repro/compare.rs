//! [`compare`]: one result against what was recorded of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::digest::Digest;
use crate::cache::{MadeResult, Stored};
use crate::pipeline::tolerance::{Limit, Tolerance};
use crate::stages::stage::LOG;

/// What is compared of a result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Logical digests of its files by name; an executable file has another than the same file that is not.
    pub files: BTreeMap<String, Digest>,
    /// Its figures.
    pub metrics: BTreeMap<String, f64>,
    /// What shaped its floating-point results unasked.
    pub numerics: BTreeMap<String, String>,
}

impl Facts {
    /// Of a making. What a program printed is no part of it: two runs of one program seldom print the same.
    pub fn of(made: &MadeResult) -> Self {
        let results = made.files.iter().filter(|(name, _)| *name != LOG);
        let files = results.map(|(name, file)| (name.clone(), file.for_comparison())).collect();
        Self { files, metrics: made.metrics.clone(), numerics: made.numerics.clone() }
    }
}

/// The making that a stored result is, of those under its key.
pub fn making<'a>(made: &'a [MadeResult], stored: &Stored) -> Option<&'a MadeResult> {
    made.iter().find(|made| made.files.iter().eq(stored.files.iter()) && made.numerics == stored.numerics)
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// A file's digest; `None` where it is not there.
    File {
        /// Its name.
        name: String,
        /// As recorded.
        recorded: Option<Digest>,
        /// As found.
        found: Option<Digest>,
    },
    /// A metric's value; `None` where it is not there.
    Metric {
        /// Its name.
        name: String,
        /// As recorded.
        recorded: Option<f64>,
        /// As found.
        found: Option<f64>,
        /// What would be let pass; `None`: nothing, the numerics being equal.
        limit: Option<Limit>,
    },
}

/// How a result stands to what was recorded.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// All digests and all metrics are equal.
    Identical,
    /// Made under other numerics, and every metric is within its limit. What differs all the same.
    Close(Vec<Difference>),
    /// Not what was recorded. What breaks the rule.
    Differs(Vec<Difference>),
}

/// Compares. `strict`: the numerics are equal and so are the inputs, so that every bit counts.
pub fn compare(recorded: &Facts, found: &Facts, strict: bool, stage: &str, tolerance: &Tolerance) -> Verdict {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for name in names(&recorded.files, &found.files) {
        let (was, is) = (recorded.files.get(name).copied(), found.files.get(name).copied());
        if was != is {
            let difference = Difference::File { name: name.clone(), recorded: was, found: is };
            if strict || was.is_none() || is.is_none() {
                wrong.push(difference.clone());
            }
            all.push(difference);
        }
    }
    for name in names(&recorded.metrics, &found.metrics) {
        let (was, is) = (recorded.metrics.get(name).copied(), found.metrics.get(name).copied());
        if was != is {
            let limit = (!strict).then(|| tolerance.of(stage, name));
            let near = matches!((was, is, limit), (Some(a), Some(b), Some(limit)) if limit.allows(a, b));
            let difference = Difference::Metric { name: name.clone(), recorded: was, found: is, limit };
            if !near {
                wrong.push(difference.clone());
            }
            all.push(difference);
        }
    }
    match (all.is_empty(), wrong.is_empty()) {
        (true, _) => Verdict::Identical,
        (false, true) => Verdict::Close(all),
        (false, false) => Verdict::Differs(wrong),
    }
}

fn names<'a, T>(a: &'a BTreeMap<String, T>, b: &'a BTreeMap<String, T>) -> BTreeSet<&'a String> {
    a.keys().chain(b.keys()).collect()
}

/// `cpu GenuineIntel-6-143 avx512, device cpu, libtorch 2.11.0, threads 1`; `nothing that rounds` where it is empty.
pub fn told(numerics: &BTreeMap<String, String>) -> String {
    let parts: Vec<_> = numerics.iter().map(|(name, value)| format!("{name} {value}")).collect();
    if parts.is_empty() { "nothing that depends on the machine".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(file: &str, score: f64, cpu: &str) -> Facts {
        Facts {
            files: [("a.json".to_owned(), Digest::of(file.as_bytes()))].into(),
            metrics: [("score".to_owned(), score)].into(),
            numerics: [("cpu".to_owned(), cpu.to_owned())].into(),
        }
    }

    fn verdict(a: &Facts, b: &Facts, strict: bool) -> Verdict {
        compare(a, b, strict, "eval", &Tolerance::default())
    }

    #[test]
    fn every_bit_counts_under_equal_numerics_and_the_tolerance_elsewhere() {
        let one = facts("x", 0.9, "a");
        assert_eq!(verdict(&one, &one, true), Verdict::Identical);
        assert!(matches!(verdict(&one, &facts("y", 0.9, "a"), true), Verdict::Differs(d) if d.len() == 1));
        assert!(matches!(verdict(&one, &facts("x", 0.9 + 1e-12, "a"), true), Verdict::Differs(_)));
        assert!(matches!(verdict(&one, &facts("y", 0.91, "b"), false), Verdict::Close(d) if d.len() == 2));
        let Verdict::Differs(wrong) = verdict(&one, &facts("y", 0.8, "b"), false) else { panic!() };
        assert!(matches!(&wrong[..], [Difference::Metric { limit: Some(_), .. }]), "{wrong:?}");
    }

    #[test]
    fn what_is_missing_or_new_differs_whatever_the_numerics() {
        let one = facts("x", 0.9, "a");
        let none = Facts::default();
        assert!(matches!(verdict(&one, &none, false), Verdict::Differs(d) if d.len() == 2));
        assert!(matches!(verdict(&none, &one, false), Verdict::Differs(d) if d.len() == 2));
    }
}
