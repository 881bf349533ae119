//! [`Params`]: resolved parameters by name. Every node of a graph has some, so they are small: a sorted list, where a
//! tree would take two thirds of a kilobyte for the first.

use std::collections::BTreeMap;
use std::ops::Index;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::value::Value;

/// Resolved parameters by name, in name order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(Vec<(String, Value)>);

impl Params {
    /// None yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns `true` if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn at(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(n, _)| n.as_str().cmp(name))
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.at(name).ok().map(|at| &self.0[at].1)
    }

    /// The value of `name`, to change.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.at(name).ok().map(|at| &mut self.0[at].1)
    }

    /// Returns `true` if `name` has a value.
    pub fn contains_key(&self, name: &str) -> bool {
        self.at(name).is_ok()
    }

    /// Gives `name` a value, and returns the one that it had.
    pub fn insert(&mut self, name: String, value: Value) -> Option<Value> {
        match self.at(&name) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (name, value));
                None
            }
        }
    }

    /// Takes `name` out, and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.at(name).ok().map(|at| self.0.remove(at).1)
    }

    /// Keeps those that `keep` is true of.
    pub fn retain(&mut self, mut keep: impl FnMut(&String, &mut Value) -> bool) {
        self.0.retain_mut(|(name, value)| keep(name, value));
    }

    /// All, in name order.
    pub fn iter(&self) -> Iter<'_> {
        self.0.iter().map(pair)
    }

    /// All names, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    /// All values, in the order of their names.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.0.iter().map(|(_, value)| value)
    }

    /// Gives back what room is left over.
    pub fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }
}

/// Names and values.
pub type Iter<'a> = std::iter::Map<std::slice::Iter<'a, (String, Value)>, fn(&(String, Value)) -> (&String, &Value)>;

fn pair((name, value): &(String, Value)) -> (&String, &Value) {
    (name, value)
}

impl<'a> IntoIterator for &'a Params {
    type Item = (&'a String, &'a Value);
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl IntoIterator for Params {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Extend<(String, Value)> for Params {
    fn extend<I: IntoIterator<Item = (String, Value)>>(&mut self, items: I) {
        for (name, value) in items {
            self.insert(name, value);
        }
    }
}

/// Of one name the last counts.
impl FromIterator<(String, Value)> for Params {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(items: I) -> Self {
        let mut params = Self::new();
        params.extend(items);
        params
    }
}

impl<const N: usize> From<[(String, Value); N]> for Params {
    fn from(items: [(String, Value); N]) -> Self {
        items.into_iter().collect()
    }
}

impl From<BTreeMap<String, Value>> for Params {
    fn from(items: BTreeMap<String, Value>) -> Self {
        Self(items.into_iter().collect())
    }
}

impl Index<&str> for Params {
    type Output = Value;
    fn index(&self, name: &str) -> &Value {
        self.get(name).expect("a parameter of that name")
    }
}

impl Serialize for Params {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self)
    }
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(d).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_however_they_come_and_read_back_as_written() {
        let of =
            |items: &[(&str, i64)]| items.iter().map(|(n, i)| ((*n).to_owned(), Value::Int(*i))).collect::<Params>();
        let mut params = of(&[("b", 1), ("a", 2), ("c", 4), ("b", 3)]);
        assert_eq!(params, of(&[("a", 2), ("b", 3), ("c", 4)]));
        assert_eq!(params.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((params.get("b"), params.get("x"), params.len()), (Some(&Value::Int(3)), None, 3));
        let text = serde_json::to_string(&params).unwrap();
        assert_eq!(text, r#"{"a":2,"b":3,"c":4}"#);
        assert_eq!(serde_json::from_str::<Params>(&text).unwrap(), params);
        assert_eq!(params.remove("a"), Some(Value::Int(2)));
        params.retain(|name, _| name != "c");
        assert_eq!(params, of(&[("b", 3)]));
    }
}
