//! [`Recipe`]: the ordered, named, typed fields that determine a result. The key, the text and the reasons of a recipe
//! all walk the same fields, so what is shown is what is hashed. [`hash`] says how fields become a key.

pub mod hash;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::base::value::Value;

/// The version of the rule by which recipes are made and hashed. Another version makes everything stale.
pub const SCHEMA: u64 = 1;

/// What a field stands for. `S` is `String` in a recipe, and `&str` while its fields are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FieldName<S = String> {
    /// [`SCHEMA`].
    Schema,
    /// The stage kind's name.
    Stage,
    /// The stage kind's version.
    Version,
    /// A parameter.
    Param(S),
    /// A file of the working tree, or a folder.
    File(S),
    /// The stage of a producer in a gather: a stage that reads many producers shows their names.
    Named {
        /// The port's role.
        role: S,
        /// The producer's coordinates, `method=dpt,seed=42`.
        at: S,
    },
    /// How many files of a producer the stage reads. Distinguishes an absent producer from one that has none of the
    /// files.
    Producer {
        /// The port's role.
        role: S,
        /// The producer's coordinates in a gather, `method=dpt,seed=42`; empty elsewhere.
        at: S,
    },
    /// A file of a producer.
    Input {
        /// The port's role.
        role: S,
        /// The producer's coordinates in a gather; empty elsewhere.
        at: S,
        /// The file's name.
        file: S,
    },
}

/// `param.learning_rate`, `input.runs[seed=42]/eval.json`.
impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldName::Schema => f.write_str("schema"),
            FieldName::Stage => f.write_str("stage"),
            FieldName::Version => f.write_str("version"),
            FieldName::Param(name) => write!(f, "param.{name}"),
            FieldName::File(name) => write!(f, "file.{name}"),
            FieldName::Named { role, at } => write!(f, "stage.{role}[{at}]"),
            FieldName::Producer { role, at } if at.is_empty() => write!(f, "input.{role}"),
            FieldName::Producer { role, at } => write!(f, "input.{role}[{at}]"),
            FieldName::Input { role, at, file } if at.is_empty() => write!(f, "input.{role}/{file}"),
            FieldName::Input { role, at, file } => write!(f, "input.{role}[{at}]/{file}"),
        }
    }
}

/// What a field holds. `S` and `V` are owned in a recipe, and borrowed while its fields are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FieldContent<S = String, V = Value> {
    /// A version or a count.
    Number(u64),
    /// A name.
    Text(S),
    /// A parameter's value.
    Value(V),
    /// The content of a file.
    Digest(Digest),
}

impl fmt::Display for FieldContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldContent::Number(n) => write!(f, "{n}"),
            FieldContent::Text(t) => f.write_str(t),
            FieldContent::Value(v) => write!(f, "{v}"),
            FieldContent::Digest(d) => write!(f, "{d}"),
        }
    }
}

/// One field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// What it stands for; unique in its recipe.
    pub name: FieldName,
    /// What it holds.
    pub content: FieldContent,
}

/// Everything that determines a result, in field order.
///
/// ```
/// use dpt::base::value::Value;
/// use dpt::cache::recipe::{FieldContent, FieldName, Recipe};
///
/// let recipe = |rate: f64| {
///     Recipe::new("train", 3).with(FieldName::Param("learning_rate".into()), FieldContent::Value(Value::Float(rate)))
/// };
/// assert_eq!(recipe(0.3).key(), recipe(3e-1).key());
/// assert_ne!(recipe(0.3).key(), recipe(0.5).key());
/// assert_eq!(recipe(0.3).to_string(), "schema = 1\nstage = train\nversion = 3\nparam.learning_rate = 0.3\n");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recipe {
    fields: Vec<Field>,
}

impl Recipe {
    /// The recipe of a stage kind at a version, without parameters or inputs.
    pub fn new(stage: &str, version: u32) -> Self {
        Self { fields: Vec::with_capacity(16) }
            .with(FieldName::Schema, FieldContent::Number(SCHEMA))
            .with(FieldName::Stage, FieldContent::Text(stage.to_owned()))
            .with(FieldName::Version, FieldContent::Number(u64::from(version)))
    }

    /// Adds a field and returns the recipe.
    pub fn with(mut self, name: FieldName, content: FieldContent) -> Self {
        self.push(name, content);
        self
    }

    /// Adds a field.
    pub fn push(&mut self, name: FieldName, content: FieldContent) {
        debug_assert!(self.get(&name).is_none(), "field `{name}` comes twice");
        self.fields.push(Field { name, content });
    }

    /// All fields, in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// What field `name` holds.
    pub fn get(&self, name: &FieldName) -> Option<&FieldContent> {
        self.fields.iter().find(|f| f.name == *name).map(|f| &f.content)
    }
}

/// A recipe of fields whose names differ.
impl FromIterator<Field> for Recipe {
    fn from_iter<T: IntoIterator<Item = Field>>(fields: T) -> Self {
        Self { fields: fields.into_iter().collect() }
    }
}

/// One field for each line: `param.learning_rate = 0.3`.
impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields.iter().try_for_each(|field| writeln!(f, "{} = {}", field.name, field.content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(name: &str, value: Value) -> Recipe {
        Recipe::new("train", 1).with(FieldName::Param(name.into()), FieldContent::Value(value))
    }

    #[test]
    fn key_of_a_recipe_is_pinned() {
        let recipe = param("rate", Value::Float(0.3)).with(
            FieldName::Input { role: "data".into(), at: "seed=1".into(), file: "a.json".into() },
            FieldContent::Digest(Digest::of(b"x")),
        );
        assert_eq!(recipe.key().hex(), "d3f31a843f1efbc597d754036e091063d758da7f6e8d025b2e2a96c8e1890fd7");
    }

    #[test]
    fn recipes_that_differ_in_any_part_have_different_keys() {
        let text = |s: &str| Value::Str(s.into());
        let recipes = [
            Recipe::new("train", 1),
            Recipe::new("train", 2),
            Recipe::new("eval", 1),
            param("a", text("bc")),
            param("ab", text("c")),
            param("a", Value::Int(1)),
            param("a", Value::Float(1.0)),
            Recipe::new("train", 1).with(FieldName::File("a".into()), FieldContent::Value(text("bc"))),
            Recipe::new("train", 1).with(FieldName::Param("a".into()), FieldContent::Text("bc".into())),
        ];
        let mut keys: Vec<_> = recipes.iter().map(Recipe::key).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), recipes.len());
    }

    #[test]
    fn recipe_keeps_its_key_through_json() {
        let recipe =
            param("a", Value::List(vec![Value::Int(1), Value::Float(1.0), Value::Float(0.1), Value::Bool(true)]))
                .with(FieldName::File("src".into()), FieldContent::Digest(Digest::of(b"x")));
        let text = serde_json::to_string(&recipe).unwrap();
        let back: Recipe = serde_json::from_str(&text).unwrap();
        assert_eq!(back, recipe);
        assert_eq!(back.key(), recipe.key());
    }
}
