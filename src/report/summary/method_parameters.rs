//! The parameters of a prompt method, as far as runs differ in them: a list of names and values, so that a method with
//! parameters of its own needs no field anywhere in the report.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::collect::distinct;
use crate::base::value::Value;

/// The values of one parameter over the runs of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParameterValues {
    /// Whole numbers: least and most.
    Range(u64, u64),
    /// Anything else, each value once.
    Words(Vec<String>),
}

/// The parameters of the method of a column, in the order in which its runs name them. `None`: some run has no such
/// parameter. In JSON each is a field of the column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MethodParameters(pub Vec<(String, Option<ParameterValues>)>);

impl MethodParameters {
    /// Gathers the parameters of several runs.
    pub fn of(runs: &[Vec<(String, Option<Value>)>]) -> Self {
        let names = distinct(runs.iter().flatten().map(|(name, _)| name.clone()));
        let values_of = |name: &str| {
            let value = |run: &Vec<(String, Option<Value>)>| {
                run.iter().find(|(n, _)| n == name).and_then(|(_, value)| value.clone())
            };
            runs.iter().map(value).collect::<Option<Vec<Value>>>().map(ParameterValues::of)
        };
        let with_values = |name: String| {
            let values = values_of(&name);
            (name, values)
        };
        Self(names.into_iter().map(with_values).collect())
    }

    /// Returns the values of the parameter `name`.
    pub fn get(&self, name: &str) -> Option<&ParameterValues> {
        self.0.iter().find(|(n, _)| n == name).and_then(|(_, values)| values.as_ref())
    }
}

impl ParameterValues {
    fn of(values: Vec<Value>) -> Self {
        let whole = |value: &Value| match value {
            Value::Int(i) => u64::try_from(*i).ok(),
            _ => None,
        };
        let numbers: Option<Vec<u64>> = values.iter().map(whole).collect();
        match numbers.as_deref().and_then(|n| Some((*n.iter().min()?, *n.iter().max()?))) {
            Some((least, most)) => Self::Range(least, most),
            None => Self::Words(distinct(values.iter().map(|value| match value {
                Value::Str(text) => text.clone(),
                other => other.to_string(),
            }))),
        }
    }
}

impl Serialize for MethodParameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, values) in &self.0 {
            map.serialize_entry(name, values)?;
        }
        map.end()
    }
}

/// A file has its fields in the order of their names, and so have parameters that were read from one.
impl<'de> Deserialize<'de> for MethodParameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(BTreeMap::deserialize(deserializer)?.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_ranges_words_or_missing() {
        let run = |rank: Option<i64>, gate: &str| {
            vec![("rank".to_owned(), rank.map(Value::Int)), ("gate".to_owned(), Some(Value::Str(gate.into())))]
        };
        let both = MethodParameters::of(&[run(Some(4), "relu"), run(Some(2), "gelu"), run(Some(3), "relu")]);
        assert_eq!(both.get("rank"), Some(&ParameterValues::Range(2, 4)));
        assert_eq!(both.get("gate"), Some(&ParameterValues::Words(vec!["relu".into(), "gelu".into()])));
        let partly = MethodParameters::of(&[run(Some(4), "relu"), run(None, "relu")]);
        assert_eq!(partly.0[0], ("rank".into(), None));
        let other = MethodParameters::of(&[run(Some(4), "relu"), vec![("width".to_owned(), Some(Value::Int(8)))]]);
        assert_eq!(other.0.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["rank", "gate", "width"]);
        assert_eq!(other.get("width"), None, "the first run has no width");
    }

    #[test]
    fn parameters_are_fields_in_json_and_read_back() {
        let run = vec![("rank".to_owned(), Some(Value::Int(4))), ("gate".to_owned(), None)];
        let parameters = MethodParameters::of(&[run]);
        let text = serde_json::to_string(&parameters).unwrap();
        assert_eq!(text, r#"{"rank":[4,4],"gate":null}"#);
        let back: MethodParameters = serde_json::from_str(&text).unwrap();
        assert_eq!((back.get("rank"), back.get("gate")), (parameters.get("rank"), None));
    }
}
