//! [`Recipe`]: the ordered, named, typed fields that determine a result. What is hashed is what is shown: key, text and
//! reasons all walk the same fields.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::digest::{Beginning, Digest, FieldHasher};
use crate::base::value::Value;

use super::key::CacheKey;

/// The version of the rule by which recipes are made and hashed. A bump stales everything.
///
/// 1: the first.
pub const SCHEMA: u64 = 1;

/// What a field stands for. `S`: owned as it is kept, borrowed as it is walked over.
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
    /// The stage of a producer in a gather: what reads many tells which is which by names that it shows.
    Named {
        /// The port's role.
        role: S,
        /// The producer's coordinates, `method=dpt,seed=42`.
        at: S,
    },
    /// How many files of a producer the stage reads: tells an absent producer from one with none of the files.
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

impl FieldName {
    /// Borrowed.
    fn parts(&self) -> FieldName<&str> {
        match self {
            FieldName::Schema => FieldName::Schema,
            FieldName::Stage => FieldName::Stage,
            FieldName::Version => FieldName::Version,
            FieldName::Param(name) => FieldName::Param(name),
            FieldName::File(name) => FieldName::File(name),
            FieldName::Named { role, at } => FieldName::Named { role, at },
            FieldName::Producer { role, at } => FieldName::Producer { role, at },
            FieldName::Input { role, at, file } => FieldName::Input { role, at, file },
        }
    }
}

impl FieldName<&str> {
    /// To keep.
    fn owned(self) -> FieldName {
        let own = str::to_owned;
        match self {
            FieldName::Schema => FieldName::Schema,
            FieldName::Stage => FieldName::Stage,
            FieldName::Version => FieldName::Version,
            FieldName::Param(name) => FieldName::Param(own(name)),
            FieldName::File(name) => FieldName::File(own(name)),
            FieldName::Named { role, at } => FieldName::Named { role: own(role), at: own(at) },
            FieldName::Producer { role, at } => FieldName::Producer { role: own(role), at: own(at) },
            FieldName::Input { role, at, file } => FieldName::Input { role: own(role), at: own(at), file: own(file) },
        }
    }
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

/// What a field holds. `S`, `V`: owned as it is kept, borrowed as it is walked over.
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

impl FieldContent {
    /// Borrowed.
    fn parts(&self) -> FieldContent<&str, &Value> {
        match self {
            FieldContent::Number(n) => FieldContent::Number(*n),
            FieldContent::Text(t) => FieldContent::Text(t),
            FieldContent::Value(v) => FieldContent::Value(v),
            FieldContent::Digest(d) => FieldContent::Digest(*d),
        }
    }
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

/// All that determines a result, in field order.
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

    /// With one more field.
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

    /// The key: every part of every field with its length and the number of its variant.
    pub fn key(&self) -> CacheKey {
        let mut hasher = KeyHasher::part();
        for field in &self.fields {
            hasher.field(field.name.parts(), field.content.parts());
        }
        hasher.key()
    }
}

/// Who takes the fields of a recipe, in order: to keep them, or to hash them alone.
pub trait FieldSink {
    /// The next field.
    fn field(&mut self, name: FieldName<&str>, content: FieldContent<&str, &Value>);
}

impl FieldSink for Recipe {
    fn field(&mut self, name: FieldName<&str>, content: FieldContent<&str, &Value>) {
        let content = match content {
            FieldContent::Number(n) => FieldContent::Number(n),
            FieldContent::Text(t) => FieldContent::Text(t.to_owned()),
            FieldContent::Value(v) => FieldContent::Value(v.clone()),
            FieldContent::Digest(d) => FieldContent::Digest(d),
        };
        self.push(name.owned(), content);
    }
}

/// The key of a recipe without the recipe: most keys are of results that are there.
pub struct KeyHasher {
    /// All fields, or those of a part.
    hasher: FieldHasher,
    fields: u64,
}

impl KeyHasher {
    /// As [`Recipe::new`].
    pub fn new(stage: &str, version: u32) -> Self {
        let mut it = Self::part();
        it.field(FieldName::Schema, FieldContent::Number(SCHEMA));
        it.field(FieldName::Stage, FieldContent::Text(stage));
        it.field(FieldName::Version, FieldContent::Number(u64::from(version)));
        it
    }

    /// The fields of a recipe from some place on.
    pub fn part() -> Self {
        Self { hasher: FieldHasher::part(), fields: 0 }
    }

    /// Takes all fields out, and keeps the room.
    pub fn clear(&mut self) {
        self.hasher.clear();
        self.fields = 0;
    }

    /// The key of all fields so far.
    pub fn key(&self) -> CacheKey {
        let mut bytes = head(self.fields).gathered().to_vec();
        bytes.extend_from_slice(self.hasher.gathered());
        CacheKey(Digest::of(&bytes))
    }
}

/// Before all fields stand their domain and how many they are.
fn head(fields: u64) -> FieldHasher {
    let mut head = FieldHasher::part();
    head.field(b"dpt.recipe.1").number(fields);
    head
}

/// What many recipes begin with: hashed once for all that have as many fields.
pub struct SharedFields {
    fields: KeyHasher,
    /// How many fields the last recipe had; from the second of as many on also what these begin with.
    begun: Option<(u64, Option<Beginning>)>,
}

impl SharedFields {
    /// These.
    pub fn new(fields: KeyHasher) -> Self {
        Self { fields, begun: None }
    }

    /// The key of the recipe that goes on with `rest`.
    pub fn key(&mut self, rest: &KeyHasher) -> CacheKey {
        let fields = self.fields.fields + rest.fields;
        match &mut self.begun {
            Some((as_many, begun)) if *as_many == fields => {
                let begin = || Beginning::new(&head(fields), self.fields.hasher.gathered());
                CacheKey(begun.get_or_insert_with(begin).and(&rest.hasher))
            }
            _ => {
                self.begun = Some((fields, None));
                let head = head(fields);
                let parts = [head.gathered(), self.fields.hasher.gathered(), rest.hasher.gathered()];
                CacheKey(Digest::of(&parts.concat()))
            }
        }
    }
}

impl FieldSink for KeyHasher {
    fn field(&mut self, name: FieldName<&str>, content: FieldContent<&str, &Value>) {
        self.fields += 1;
        let h = &mut self.hasher;
        match name {
            FieldName::Schema => h.field(b"schema"),
            FieldName::Stage => h.field(b"stage"),
            FieldName::Version => h.field(b"version"),
            FieldName::Param(name) => h.field(b"param").field(name.as_bytes()),
            FieldName::File(name) => h.field(b"file").field(name.as_bytes()),
            FieldName::Named { role, at } => h.field(b"named").field(role.as_bytes()).field(at.as_bytes()),
            FieldName::Producer { role, at } => h.field(b"producer").field(role.as_bytes()).field(at.as_bytes()),
            FieldName::Input { role, at, file } => {
                h.field(b"input").field(role.as_bytes()).field(at.as_bytes()).field(file.as_bytes())
            }
        };
        match content {
            FieldContent::Number(n) => h.field(b"n").number(n),
            FieldContent::Text(t) => h.field(b"t").field(t.as_bytes()),
            FieldContent::Value(v) => {
                v.hash_into(h.field(b"v"));
                h
            }
            FieldContent::Digest(d) => h.field(b"d").field(&d.0),
        };
    }
}

/// Of fields whose names differ.
impl FromIterator<Field> for Recipe {
    fn from_iter<T: IntoIterator<Item = Field>>(fields: T) -> Self {
        Self { fields: fields.into_iter().collect() }
    }
}

/// One field a line: `param.learning_rate = 0.3`.
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
    fn keys_do_not_change_between_releases() {
        let recipe = param("rate", Value::Float(0.3)).with(
            FieldName::Input { role: "data".into(), at: "seed=1".into(), file: "a.json".into() },
            FieldContent::Digest(Digest::of(b"x")),
        );
        assert_eq!(recipe.key().hex(), "d3f31a843f1efbc597d754036e091063d758da7f6e8d025b2e2a96c8e1890fd7");
    }

    #[test]
    fn what_recipes_share_may_be_hashed_once() {
        let long = Value::Str("x".repeat(3000));
        for shared in [param("rate", Value::Float(0.3)), param("text", long)] {
            let hashed = |fields: &[Field]| {
                let mut hasher = KeyHasher::part();
                fields.iter().for_each(|field| hasher.field(field.name.parts(), field.content.parts()));
                hasher
            };
            let mut begun = SharedFields::new(hashed(shared.fields()));
            for files in [0, 2, 2, 1, 0] {
                let file =
                    |n: u64| Field { name: FieldName::File(format!("{n}")), content: FieldContent::Number(files + n) };
                let rest: Vec<_> = (0..files).map(file).collect();
                let whole: Recipe = shared.fields().iter().cloned().chain(rest.iter().cloned()).collect();
                assert_eq!(begun.key(&hashed(&rest)), whole.key());
                assert_eq!(hashed(whole.fields()).key(), whole.key());
            }
        }
    }

    #[test]
    fn every_part_counts() {
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
    fn read_back_it_has_the_same_key() {
        let recipe =
            param("a", Value::List(vec![Value::Int(1), Value::Float(1.0), Value::Float(0.1), Value::Bool(true)]))
                .with(FieldName::File("src".into()), FieldContent::Digest(Digest::of(b"x")));
        let text = serde_json::to_string(&recipe).unwrap();
        let back: Recipe = serde_json::from_str(&text).unwrap();
        assert_eq!(back, recipe);
        assert_eq!(back.key(), recipe.key());
    }
}
