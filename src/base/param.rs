//! [`Param`]: the declaration of a parameter, of a stage or of a prompt method: its name, type and default.

use super::value::Value;

/// One parameter of a stage. A parameter that the pipeline does not set takes the value of the axis of the same name
/// where the stage has that axis, else its default.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// snake_case.
    pub name: &'static str,
    /// What values it takes.
    pub ty: Type,
    /// TOML text of the default (`"0.3"`, `"\"sqrt\""`); `None`: must be set; `Some("")`: may be absent.
    pub default: Option<&'static str>,
    /// Whether it can change the result. `false`: not in the key (checkpoint cadence, log interval).
    pub in_key: bool,
    /// The stage version since which it exists. When it is newer than 1 and at its default, it is left out of the
    /// recipe, so that entries made before it existed stay valid.
    pub since: u32,
    /// One line for help texts.
    pub doc: &'static str,
}

impl Param {
    /// A parameter that must be set.
    pub const fn required(name: &'static str, ty: Type, doc: &'static str) -> Self {
        Self { name, ty, default: None, in_key: true, since: 1, doc }
    }

    /// A parameter with a default, given as TOML text.
    pub const fn with_default(name: &'static str, ty: Type, default: &'static str, doc: &'static str) -> Self {
        Self { name, ty, default: Some(default), in_key: true, since: 1, doc }
    }

    /// A parameter that may be absent.
    pub const fn optional(name: &'static str, ty: Type, doc: &'static str) -> Self {
        Self { name, ty, default: Some(""), in_key: true, since: 1, doc }
    }

    /// The same, but newer than version 1 of the stage: see [`since`](Param::since).
    pub const fn since(mut self, version: u32) -> Self {
        self.since = version;
        self
    }

    /// Its default as a value; `None` where it has none.
    pub fn default_value(&self) -> Option<Value> {
        let text = self.default.filter(|text| !text.is_empty())?;
        let table: toml::Table = toml::from_str(&format!("x = {text}")).ok()?;
        let value: Value = table.get("x")?.clone().try_into().ok()?;
        Some(match (self.ty, value) {
            (Type::Float(..), Value::Int(i)) => Value::Float(i as f64),
            (Type::Strs, Value::Str(s)) => Value::List(vec![Value::Str(s)]),
            (_, value) => value,
        })
    }

    /// The same, but left out of the key: it cannot change the result.
    pub const fn not_in_key(mut self) -> Self {
        self.in_key = false;
        self
    }
}

/// The type of a parameter.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds, both included.
    Int(i64, i64),
    /// A finite number within bounds, both included; a whole number written in TOML is taken as a float.
    Float(f64, f64),
    /// Any text.
    Str,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts; a single text is taken as a list of one.
    Strs,
    /// A list of whole numbers.
    Ints,
    /// A table (its keys are checked by the stage's `check`).
    Table,
    /// A program with its arguments, a list of texts; or one text for a shell. The stage has references of its own
    /// (`{in.data}`), which stay as they are; axes and parameters are filled into a list, and never into a shell's text.
    Argv,
    /// The name of a `[source.NAME]` table. Resolved to `Value::Table { name, url, files, … }`, see `pipeline::spec`.
    Source,
}

impl Type {
    /// Whether `value` is a value of this type, within its bounds.
    pub fn admits(&self, value: &Value) -> bool {
        match (self, value) {
            (Type::Bool, Value::Bool(_))
            | (Type::Str | Type::Argv, Value::Str(_))
            | (Type::Table | Type::Source, Value::Table(_)) => true,
            (Type::Int(least, most), Value::Int(i)) => (least..=most).contains(&i),
            (Type::Float(least, most), Value::Float(x)) => (*least..=*most).contains(x),
            (Type::Choice(words), Value::Str(word)) => words.contains(&word.as_str()),
            (Type::Strs | Type::Argv, Value::List(items)) => items.iter().all(|i| matches!(i, Value::Str(_))),
            (Type::Ints, Value::List(items)) => items.iter().all(|i| matches!(i, Value::Int(_))),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_admits_its_own_values_within_bounds_only() {
        assert!(Type::Int(1, 4).admits(&Value::Int(4)) && !Type::Int(1, 4).admits(&Value::Int(5)));
        assert!(!Type::Int(1, 4).admits(&Value::Float(2.0)));
        assert!(Type::Float(0.0, 1.0).admits(&Value::Float(0.5)) && !Type::Float(0.0, 1.0).admits(&Value::Float(1.5)));
        assert!(
            Type::Choice(&["a"]).admits(&Value::Str("a".into()))
                && !Type::Choice(&["a"]).admits(&Value::Str("b".into()))
        );
        assert!(!Type::Ints.admits(&Value::List(vec![Value::Str("1".into())])));
    }
}
