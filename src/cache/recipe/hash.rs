//! How the fields of a recipe become its key. A run makes the keys of all nodes, and needs the recipes of few, so
//! fields can be hashed as they are found ([`KeyHasher`]), and what many nodes share is hashed once ([`SharedFields`]).
//!
//! Every part of a field is hashed behind its length, and every kind of field and content behind its name. So no two
//! recipes give the same bytes.

use crate::base::digest::{Beginning, Digest, FieldHasher};
use crate::base::value::Value;
use crate::cache::key::CacheKey;

use super::{Field, FieldContent, FieldName, Recipe, SCHEMA};

impl Recipe {
    /// The key: the digest of every part of every field, each with its length and its variant.
    pub fn key(&self) -> CacheKey {
        KeyHasher::of(self.fields()).key()
    }
}

/// Takes the fields of a recipe in order: a [`Recipe`] keeps them, a [`KeyHasher`] hashes them.
pub trait FieldSink {
    /// Takes the next field.
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

/// Makes the key of a recipe without the recipe. Most nodes need no more, because their results are there.
pub struct KeyHasher {
    /// The fields so far, as bytes.
    hasher: FieldHasher,
    fields: u64,
}

impl KeyHasher {
    /// Begins as [`Recipe::new`] does.
    pub fn new(stage: &str, version: u32) -> Self {
        let mut it = Self::part();
        it.field(FieldName::Schema, FieldContent::Number(SCHEMA));
        it.field(FieldName::Stage, FieldContent::Text(stage));
        it.field(FieldName::Version, FieldContent::Number(u64::from(version)));
        it
    }

    /// Begins without any field: hashes a part of a recipe.
    pub fn part() -> Self {
        Self { hasher: FieldHasher::part(), fields: 0 }
    }

    /// Hashes these fields.
    pub fn of(fields: &[Field]) -> Self {
        let mut hasher = Self::part();
        fields.iter().for_each(|field| hasher.field(field.name.parts(), field.content.parts()));
        hasher
    }

    /// Removes all fields and keeps the allocated memory.
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

/// What comes before all fields: the domain, and the number of fields.
fn head(fields: u64) -> FieldHasher {
    let mut head = FieldHasher::part();
    head.field(b"dpt.recipe.1").number(fields);
    head
}

/// The fields with which many recipes begin. Recipes of the same number of fields share the hash of their beginning.
pub struct SharedFields {
    fields: KeyHasher,
    /// The number of fields of the last recipe; from the second such recipe on also the hash of the beginning.
    begun: Option<(u64, Option<Beginning>)>,
}

impl SharedFields {
    /// Recipes that begin with these fields.
    pub fn new(fields: KeyHasher) -> Self {
        Self { fields, begun: None }
    }

    /// The key of the recipe that continues with `rest`.
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

impl FieldName {
    /// Borrows the name.
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
    /// Copies the name.
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

impl FieldContent {
    /// Borrows the content.
    fn parts(&self) -> FieldContent<&str, &Value> {
        match self {
            FieldContent::Number(n) => FieldContent::Number(*n),
            FieldContent::Text(t) => FieldContent::Text(t),
            FieldContent::Value(v) => FieldContent::Value(v),
            FieldContent::Digest(d) => FieldContent::Digest(*d),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(name: &str, value: Value) -> Recipe {
        Recipe::new("train", 1).with(FieldName::Param(name.into()), FieldContent::Value(value))
    }

    #[test]
    fn shared_fields_give_the_keys_of_whole_recipes() {
        let long = Value::Str("x".repeat(3000));
        for shared in [param("rate", Value::Float(0.3)), param("text", long)] {
            let mut begun = SharedFields::new(KeyHasher::of(shared.fields()));
            for files in [0, 2, 2, 1, 0] {
                let file =
                    |n: u64| Field { name: FieldName::File(format!("{n}")), content: FieldContent::Number(files + n) };
                let rest: Vec<_> = (0..files).map(file).collect();
                let whole: Recipe = shared.fields().iter().cloned().chain(rest.iter().cloned()).collect();
                assert_eq!(begun.key(&KeyHasher::of(&rest)), whole.key());
                assert_eq!(KeyHasher::of(whole.fields()).key(), whole.key());
            }
        }
    }
}
