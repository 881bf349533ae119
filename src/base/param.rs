//! [`Param`]: the declaration of a parameter, of a stage or of a prompt method: its name, type and default.

use super::value::Value;

/// One parameter of a stage. A parameter that the pipeline does not set takes the value of the axis of the same name
/// where the stage has that axis, else its default.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// snake_case.
    pub name: &'static str,
    /// The values that it takes.
    pub ty: Type,
    /// What holds for a node whose pipeline does not set it.
    pub default: ParamDefault,
    /// `true` if it can change the result. `false`: not in the key (checkpoint cadence, log interval).
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
        Self { name, ty, default: ParamDefault::Required, in_key: true, since: 1, doc }
    }

    /// A parameter with a default.
    ///
    /// # Panics
    /// Fails to compile if the default of a constant is of another type, or out of bounds.
    pub const fn with_default(name: &'static str, ty: Type, default: Literal, doc: &'static str) -> Self {
        assert!(ty.admits_literal(default), "the default of a parameter must be a value of its type");
        Self { name, ty, default: ParamDefault::Value(default), in_key: true, since: 1, doc }
    }

    /// A parameter that may be absent.
    pub const fn optional(name: &'static str, ty: Type, doc: &'static str) -> Self {
        Self { name, ty, default: ParamDefault::Absent, in_key: true, since: 1, doc }
    }

    /// The same, but newer than version 1 of the stage: see [`since`](Param::since).
    pub const fn since(mut self, version: u32) -> Self {
        self.since = version;
        self
    }

    /// The same, but left out of the key: it cannot change the result.
    pub const fn not_in_key(mut self) -> Self {
        self.in_key = false;
        self
    }
}

/// What holds for a parameter that the pipeline does not set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ParamDefault {
    /// The pipeline must set it.
    Required,
    /// The node lacks the parameter.
    Absent,
    /// The node has this value.
    Value(Literal),
}

impl ParamDefault {
    /// Returns the value, if there is one.
    pub fn value(&self) -> Option<Value> {
        match self {
            ParamDefault::Value(literal) => Some(literal.to_value()),
            ParamDefault::Required | ParamDefault::Absent => None,
        }
    }
}

/// A [`Value`] that a constant can hold: the default in a declaration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Literal {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// A text.
    Str(&'static str),
    /// A list of texts.
    Strs(&'static [&'static str]),
    /// A list of whole numbers.
    Ints(&'static [i64]),
    /// A table.
    Table(&'static [(&'static str, Literal)]),
}

impl Literal {
    /// Returns the same value in the form that nodes have.
    pub fn to_value(&self) -> Value {
        match self {
            Literal::Bool(b) => Value::Bool(*b),
            Literal::Int(i) => Value::Int(*i),
            Literal::Float(x) => Value::Float(*x),
            Literal::Str(text) => Value::Str((*text).to_owned()),
            Literal::Strs(texts) => Value::List(texts.iter().map(|text| Value::Str((*text).to_owned())).collect()),
            Literal::Ints(numbers) => Value::List(numbers.iter().map(|i| Value::Int(*i)).collect()),
            Literal::Table(rows) => {
                Value::Table(rows.iter().map(|(name, value)| ((*name).to_owned(), value.to_value())).collect())
            }
        }
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
    /// (`{in.data}`), which stay as they are; axes and parameters are filled into a list, and never into a shell's
    /// text. Of its references the words are given: a whole one (`params`), or with a `.` what several begin with
    /// (`in.`).
    Argv(&'static [&'static str]),
    /// The name of a `[source.NAME]` table. Resolved to `Value::Table { name, url, files, … }`, see `pipeline::spec`.
    Source,
}

impl Type {
    /// Returns `true` if `value` is a value of this type, within its bounds.
    pub fn admits(&self, value: &Value) -> bool {
        match (self, value) {
            (Type::Bool, Value::Bool(_))
            | (Type::Str | Type::Argv(_), Value::Str(_))
            | (Type::Table | Type::Source, Value::Table(_)) => true,
            (Type::Int(least, most), Value::Int(i)) => (least..=most).contains(&i),
            (Type::Float(least, most), Value::Float(x)) => (*least..=*most).contains(x),
            (Type::Choice(words), Value::Str(word)) => words.contains(&word.as_str()),
            (Type::Strs | Type::Argv(_), Value::List(items)) => items.iter().all(|i| matches!(i, Value::Str(_))),
            (Type::Ints, Value::List(items)) => items.iter().all(|i| matches!(i, Value::Int(_))),
            _ => false,
        }
    }

    /// The same for a default, at compile time. Of a [`Type::Choice`] it does not compare the words.
    const fn admits_literal(&self, value: Literal) -> bool {
        match (self, value) {
            (Type::Bool, Literal::Bool(_))
            | (Type::Str | Type::Choice(_) | Type::Argv(_), Literal::Str(_))
            | (Type::Strs | Type::Argv(_), Literal::Strs(_))
            | (Type::Ints, Literal::Ints(_))
            | (Type::Table, Literal::Table(_)) => true,
            (Type::Int(least, most), Literal::Int(i)) => *least <= i && i <= *most,
            (Type::Float(least, most), Literal::Float(x)) => *least <= x && x <= *most,
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

    #[test]
    fn default_out_of_bounds_or_of_another_type_is_refused() {
        let refused = |ty, default| std::panic::catch_unwind(|| Param::with_default("p", ty, default, "")).is_err();
        assert!(refused(Type::Int(1, 4), Literal::Int(5)));
        assert!(refused(Type::Float(0.0, 1.0), Literal::Int(1)));
        assert!(!refused(Type::Int(1, 4), Literal::Int(4)));
    }
}
