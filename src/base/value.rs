//! [`Value`]: a resolved parameter, as it is hashed, stored and handed to a stage.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::digest::FieldHasher;

pub use super::params::Params;

/// One resolved value. Whole numbers and floats are different types: `1` and `1.0` do not hash alike, so a parameter is
/// first brought to the type that its stage declares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite float; `-0.0` is stored as `0.0`, NaN and infinities are refused where values are made.
    Float(f64),
    /// Text.
    Str(String),
    /// A list, in the order written.
    List(Vec<Value>),
    /// A table, in name order.
    Table(Params),
}

impl Value {
    /// The text of a `Str`.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// Adds this value to a hash: a tag byte for its type, then its contents, every part with its length.
    pub fn hash_into(&self, h: &mut FieldHasher) {
        match self {
            Value::Bool(b) => h.field(b"b").field(&[u8::from(*b)]),
            Value::Int(i) => h.field(b"i").field(&i.to_le_bytes()),
            Value::Float(f) => {
                let f = if *f == 0.0 { 0.0 } else { *f };
                h.field(b"f").field(&f.to_bits().to_le_bytes())
            }
            Value::Str(s) => h.field(b"s").field(s.as_bytes()),
            Value::List(items) => {
                h.field(b"l").number(items.len() as u64);
                for item in items {
                    item.hash_into(h);
                }
                h
            }
            Value::Table(fields) => {
                h.field(b"t").number(fields.len() as u64);
                for (name, value) in fields {
                    h.field(name.as_bytes());
                    value.hash_into(h);
                }
                h
            }
        };
    }
}

/// As one would write it in TOML.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(b) => write!(f, "{b}"),
            Value::Int(i) => write!(f, "{i}"),
            Value::Float(x) => write!(f, "{x:?}"),
            Value::Str(s) => write!(f, "{s:?}"),
            Value::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Value::Table(fields) => {
                f.write_str("{ ")?;
                for (i, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{}{name} = {value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(" }")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(v: &Value) -> crate::base::digest::Digest {
        let mut h = FieldHasher::new("test");
        v.hash_into(&mut h);
        h.finish()
    }

    #[test]
    fn types_and_nesting_count_negative_zero_does_not() {
        assert_ne!(digest(&Value::Int(1)), digest(&Value::Float(1.0)));
        assert_ne!(digest(&Value::Str("1".into())), digest(&Value::Int(1)));
        assert_eq!(digest(&Value::Float(-0.0)), digest(&Value::Float(0.0)));
        let a = Value::List(vec![Value::List(vec![Value::Int(1)]), Value::List(vec![])]);
        let b = Value::List(vec![Value::List(vec![]), Value::List(vec![Value::Int(1)])]);
        assert_ne!(digest(&a), digest(&b));
    }
}
