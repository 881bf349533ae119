//! [`Tolerance`]: how much a metric may differ from the recorded one when it was computed on other hardware, where
//! results are not equal to the last bit. `[tolerance]` of a pipeline, and `--tolerance` of the commands that compare.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::diag::{Class, Diag};
use crate::base::name::is_name;

use super::doc::{Entry, Node, Table};
use super::source::{Diags, suggest, wrong};

/// For a metric of which nothing is said: two points of a score, two per cent of a larger number.
pub const DEFAULT: Limit = Limit::Within(0.02);
/// The name under which a pipeline says another default.
const REST: &str = "default";

/// How far two values may be apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// At most this: of values up to 1 (scores, losses) the difference, of larger ones the part of the larger.
    Within(f64),
    /// Any distance: a step number, say, that jumps between values when a loss changes in its last bit.
    Any,
}

impl Limit {
    /// Returns whether it lets these pass as the same.
    pub fn allows(self, a: f64, b: f64) -> bool {
        match self {
            Limit::Within(limit) => (a - b).abs() <= limit * a.abs().max(b.abs()).max(1.0),
            Limit::Any => true,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "any" => Some(Limit::Any),
            number => Self::of(number.parse().ok()?),
        }
    }

    fn of(number: f64) -> Option<Self> {
        (number.is_finite() && number >= 0.0).then_some(Limit::Within(number))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Within(limit) => write!(f, "{limit}"),
            Limit::Any => f.write_str("any"),
        }
    }
}

/// Limits by metric. What is said of `eval.score` counts before what is said of `score`, and that before the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tolerance(BTreeMap<String, Limit>);

impl Tolerance {
    /// Returns the limit for a metric of a stage, and the name under which it was found.
    pub fn of(&self, stage: &str, metric: &str) -> Limit {
        let names = [&format!("{stage}.{metric}"), metric, REST];
        names.iter().find_map(|name| self.0.get(*name)).copied().unwrap_or(DEFAULT)
    }

    /// With what a command line says: `score=0.05`, `eval.score=0.05`, `best_step=any`; a number alone is the default.
    ///
    /// # Errors
    /// Fails if it is of another form.
    pub fn set(&mut self, text: &str) -> Result<(), Diag> {
        let (name, limit) = text.rsplit_once('=').unwrap_or((REST, text));
        let limit = Limit::parse(limit).filter(|_| !name.is_empty()).ok_or_else(|| {
            Diag::error(Class::Usage, format!("`--tolerance {text}` is not of the form `METRIC=NUMBER`"))
                .help("write, for instance, `--tolerance score=0.05`, `--tolerance best_step=any`, or `--tolerance 0.05` for all")
        })?;
        self.0.insert(name.to_owned(), limit);
        Ok(())
    }

    /// Names that say something of none of these metrics (of a stage each): misspelt, most likely.
    pub fn unused<'a>(&'a self, seen: &[(&str, &str)]) -> Vec<&'a str> {
        let names = |name: &&String| {
            *name != REST
                && !seen.iter().any(|(stage, metric)| *name == metric || **name == format!("{stage}.{metric}"))
        };
        self.0.keys().filter(names).map(String::as_str).collect()
    }

    /// `score 0.05, best_step any, others 0.02`.
    pub fn told(&self) -> String {
        let own = self.0.iter().filter(|(name, _)| *name != REST).map(|(name, limit)| format!("{name} {limit}"));
        let rest = self.0.get(REST).copied().unwrap_or(DEFAULT);
        let mut parts: Vec<_> = own.collect();
        parts.push(if parts.is_empty() { rest.to_string() } else { format!("others {rest}") });
        parts.join(", ")
    }
}

/// `[tolerance]`: `METRIC = NUMBER`, `"STAGE.METRIC" = NUMBER`, `… = "any"`. A stage that does not exist is a problem;
/// which metrics there are is known once something ran.
pub fn tolerance(table: &Table, stages: &[&str], diags: &mut Diags) -> Tolerance {
    let mut limits = BTreeMap::new();
    for entry in &table.entries {
        match of(entry) {
            Some(limit) => drop(limits.insert(entry.key.clone(), limit)),
            None => {
                let diag =
                    wrong(&entry.item.span, format!("the tolerance of `{}` must be a number from 0 on", entry.key));
                diags.push(
                    diag.label(format!("found `{}`", entry.item.to_value()))
                        .help("or `\"any\"`: it is shown, but not compared"),
                );
            }
        }
        if let Some((stage, _)) = entry.key.split_once('.')
            && is_name(stage)
            && !stages.contains(&stage)
        {
            let diag = wrong(&entry.key_span, format!("there is no stage `{stage}`"));
            diags.push(suggest(diag, stage, "the stages are", stages.iter().copied()));
        }
    }
    Tolerance(limits)
}

fn of(entry: &Entry) -> Option<Limit> {
    match &entry.item.node {
        Node::Int(n) => Limit::of(*n as f64),
        Node::Float(x) => Limit::of(*x),
        Node::Str(text) if text == "any" => Some(Limit::Any),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> Tolerance {
        let mut tolerance = Tolerance::default();
        texts.iter().for_each(|text| tolerance.set(text).unwrap());
        tolerance
    }

    #[test]
    fn the_most_exact_name_counts() {
        let t = set(&["score=0.1", "eval.score=0.2", "0.5", "mean dpt=0"]);
        let of = |stage, metric| t.of(stage, metric).to_string();
        assert_eq!([of("eval", "score"), of("train", "score"), of("train", "x")], ["0.2", "0.1", "0.5"]);
        assert_eq!(of("report", "mean dpt"), "0");
        assert_eq!(t.told(), "eval.score 0.2, mean dpt 0, score 0.1, others 0.5");
        assert_eq!(Tolerance::default().told(), "0.02");
        assert_eq!(t.unused(&[("eval", "score"), ("report", "mean dpt")]), [""; 0]);
        assert_eq!(t.unused(&[("train", "score")]), ["eval.score", "mean dpt"]);
    }

    #[test]
    fn small_values_are_compared_by_difference_and_large_ones_by_part() {
        let limit = Limit::Within(0.02);
        assert!(limit.allows(0.89, 0.905) && !limit.allows(0.89, 0.92) && limit.allows(0.001, 0.01));
        assert!(limit.allows(1000.0, 1019.0) && !limit.allows(1000.0, 1030.0));
        assert!(Limit::Any.allows(1.0, 1e9) && Limit::Within(0.0).allows(0.5, 0.5));
        assert!(!Limit::Within(0.0).allows(0.5, 0.5000001));
    }

    #[test]
    fn malformed_tolerance_is_refused() {
        for text in ["score", "score=", "=1", "score=-1", "score=nan", "score=inf", "a=b"] {
            let error = Tolerance::default().set(text).unwrap_err();
            assert!(error.message.contains(text), "{error}");
        }
    }
}
