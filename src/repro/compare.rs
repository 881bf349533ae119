//! [`compare`]: compares a result with the recorded one.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::digest::Digest;
use crate::cache::{MadeResult, Stored};
use crate::pipeline::tolerance::{Limit, Tolerance};
use crate::stages::stage::LOG;

/// The parts of a result that are compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultFacts {
    /// Logical digests of its files by name. The executable bit is part of the digest.
    pub files: BTreeMap<String, Digest>,
    /// Its metrics.
    pub metrics: BTreeMap<String, f64>,
    /// The conditions that affect its floating-point results: device, kind of CPU, libtorch, threads.
    pub numerics: BTreeMap<String, String>,
}

impl ResultFacts {
    /// Returns the facts of a recorded result. Leaves out what a program printed, which seldom repeats exactly.
    pub fn of(made: &MadeResult) -> Self {
        let results = made.files.iter().filter(|(name, _)| *name != LOG);
        let files = results.map(|(name, file)| (name.clone(), file.for_comparison())).collect();
        Self { files, metrics: made.metrics.clone(), numerics: made.numerics.clone() }
    }
}

/// Returns the record in `made` that belongs to `stored`. A key has one record for each set of numerics.
pub fn making<'a>(made: &'a [MadeResult], stored: &Stored) -> Option<&'a MadeResult> {
    made.iter().find(|made| made.files.iter().eq(stored.files.iter()) && made.numerics == stored.numerics)
}

/// One difference between two results.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    /// A file's digest; `None` if the file is missing.
    File {
        /// Its name.
        name: String,
        /// The recorded value.
        recorded: Option<Digest>,
        /// The new value.
        found: Option<Digest>,
    },
    /// A metric's value; `None` if the metric is missing.
    Metric {
        /// Its name.
        name: String,
        /// The recorded value.
        recorded: Option<f64>,
        /// The new value.
        found: Option<f64>,
        /// The tolerance; `None` under equal numerics, where any difference counts.
        limit: Option<Limit>,
    },
}

/// The outcome of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// All digests and metrics are equal.
    Identical,
    /// MadeResult under other numerics, with every metric within its tolerance. Lists all differences.
    Close(Vec<Difference>),
    /// Not what was recorded. Lists only the differences that are not allowed.
    Differs(Vec<Difference>),
}

/// Compares two results. `strict`: numerics and inputs are equal, so every bit must be equal.
pub fn compare(
    recorded: &ResultFacts,
    found: &ResultFacts,
    strict: bool,
    stage: &str,
    tolerance: &Tolerance,
) -> Verdict {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(file: &str, score: f64, cpu: &str) -> ResultFacts {
        ResultFacts {
            files: [("a.json".to_owned(), Digest::of(file.as_bytes()))].into(),
            metrics: [("score".to_owned(), score)].into(),
            numerics: [("cpu".to_owned(), cpu.to_owned())].into(),
        }
    }

    fn verdict(a: &ResultFacts, b: &ResultFacts, strict: bool) -> Verdict {
        compare(a, b, strict, "eval", &Tolerance::default())
    }

    #[test]
    fn equal_numerics_need_equal_bits_and_others_the_tolerance() {
        let one = facts("x", 0.9, "a");
        assert_eq!(verdict(&one, &one, true), Verdict::Identical);
        assert!(matches!(verdict(&one, &facts("y", 0.9, "a"), true), Verdict::Differs(d) if d.len() == 1));
        assert!(matches!(verdict(&one, &facts("x", 0.9 + 1e-12, "a"), true), Verdict::Differs(_)));
        assert!(matches!(verdict(&one, &facts("y", 0.91, "b"), false), Verdict::Close(d) if d.len() == 2));
        let Verdict::Differs(wrong) = verdict(&one, &facts("y", 0.8, "b"), false) else { panic!() };
        assert!(matches!(&wrong[..], [Difference::Metric { limit: Some(_), .. }]), "{wrong:?}");
    }

    #[test]
    fn missing_and_new_files_always_differ() {
        let one = facts("x", 0.9, "a");
        let none = ResultFacts::default();
        assert!(matches!(verdict(&one, &none, false), Verdict::Differs(d) if d.len() == 2));
        assert!(matches!(verdict(&none, &one, false), Verdict::Differs(d) if d.len() == 2));
    }
}
