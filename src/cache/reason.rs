//! [`StaleReason`]: why a node is stale, with the old value and the new one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::recipe::{Field, FieldContent, FieldName, Recipe};

/// One reason. A stale node has at least one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum StaleReason {
    /// This store never had a result of this node.
    NeverMade,
    /// The entry of its last result is no longer in the store.
    Removed,
    /// The user forced it to run.
    Forced,
    /// A field holds something else.
    Changed {
        /// The field.
        field: FieldName,
        /// What it held when the node was last made.
        old: FieldContent,
        /// What it holds now.
        new: FieldContent,
    },
    /// A field that the recipe did not have.
    Added {
        /// The field.
        field: FieldName,
        /// What it holds.
        new: FieldContent,
    },
    /// A field that the recipe no longer has.
    Dropped {
        /// The field.
        field: FieldName,
        /// What it held.
        old: FieldContent,
    },
    /// The result was made under numerics that do not count here.
    Numerics {
        /// Which of them: `device`, `libtorch`, `threads`, …
        name: String,
        /// What it was.
        old: String,
        /// What it is now.
        new: String,
    },
    /// A part of the result is not what was stored.
    Damaged {
        /// Which part, and in what way.
        what: String,
    },
}

/// One line without colour: `learning_rate 0.3 -> 0.5`.
impl fmt::Display for StaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StaleReason::NeverMade => f.write_str("never made before"),
            StaleReason::Removed => f.write_str("its entry is no longer in the store"),
            StaleReason::Forced => f.write_str("forced"),
            StaleReason::Changed { field, old, new } => write!(f, "{} {old} -> {new}", Words(field)),
            StaleReason::Added { field, new } => write!(f, "{} is new: {new}", Words(field)),
            StaleReason::Dropped { field, old } => write!(f, "{} is gone: was {old}", Words(field)),
            StaleReason::Numerics { name, old, new } => write!(f, "made with {name} {old}, now {new}"),
            StaleReason::Damaged { what } => write!(f, "damaged: {what}"),
        }
    }
}

/// A field's name in words.
struct Words<'a>(&'a FieldName);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FieldName::Param(name) => f.write_str(name),
            FieldName::Producer { .. } => write!(f, "number of files in {}", self.0),
            FieldName::Named { .. } => write!(f, "{}", self.0),
            FieldName::Stage => f.write_str("stage kind"),
            FieldName::Version => f.write_str("stage version"),
            FieldName::Schema => f.write_str("key schema"),
            FieldName::File(name) => write!(f, "file {name}"),
            FieldName::Input { .. } => write!(f, "{}", self.0),
        }
    }
}

/// The differences between two recipes, in the order of the fields. A producer that appears or goes is one reason, not
/// one for each of its files.
pub fn between(old: &Recipe, new: &Recipe) -> Vec<StaleReason> {
    let mut reasons: Vec<StaleReason> = Vec::new();
    for Field { name, content } in new.fields() {
        match old.get(name) {
            Some(before) if before == content => {}
            Some(before) => {
                reasons.push(StaleReason::Changed { field: name.clone(), old: before.clone(), new: content.clone() });
            }
            None if covered(name, |p| old.get(p).is_none()) => {}
            None => reasons.push(StaleReason::Added { field: name.clone(), new: content.clone() }),
        }
    }
    for Field { name, content } in old.fields() {
        if new.get(name).is_none() && !covered(name, |p| new.get(p).is_none()) {
            reasons.push(StaleReason::Dropped { field: name.clone(), old: content.clone() });
        }
    }
    reasons
}

/// Returns `true` if the field belongs to a producer that appeared or went.
fn covered(name: &FieldName, gone: impl Fn(&FieldName) -> bool) -> bool {
    match name {
        FieldName::Input { role, at, .. } | FieldName::Named { role, at } => {
            gone(&FieldName::Producer { role: role.clone(), at: at.clone() })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use crate::base::value::Value;

    fn recipe(version: u32, params: &[(&str, f64)]) -> Recipe {
        params.iter().fold(Recipe::new("train", version), |r, (name, v)| {
            r.with(FieldName::Param((*name).into()), FieldContent::Value(Value::Float(*v)))
        })
    }

    fn lines(old: &Recipe, new: &Recipe) -> Vec<String> {
        between(old, new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn reasons_have_old_and_new_values() {
        let old = recipe(1, &[("learning_rate", 0.3), ("rank", 4.0)]);
        let new = recipe(2, &[("learning_rate", 0.5), ("steps", 10.0)]);
        assert_eq!(
            lines(&old, &new),
            ["stage version 1 -> 2", "learning_rate 0.3 -> 0.5", "steps is new: 10.0", "rank is gone: was 4.0"]
        );
        assert_eq!(lines(&old, &old), [""; 0]);
    }

    #[test]
    fn new_producer_is_one_reason() {
        let at = |r: Recipe, seed: &str| {
            let (role, at) = ("runs".to_owned(), format!("seed={seed}"));
            r.with(FieldName::Producer { role: role.clone(), at: at.clone() }, FieldContent::Number(1)).with(
                FieldName::Input { role, at, file: "eval.json".into() },
                FieldContent::Digest(Digest::of(seed.as_bytes())),
            )
        };
        let one = at(Recipe::new("report", 1), "1");
        let two = at(one.clone(), "2");
        assert_eq!(lines(&one, &two), ["number of files in input.runs[seed=2] is new: 1"]);
        assert_eq!(lines(&two, &one), ["number of files in input.runs[seed=2] is gone: was 1"]);
    }
}
