//! Converts a value to the declared type of a parameter, or says what was expected.

use crate::base::value::Value;
use crate::stages::stage::Type;

use super::source::list;
use super::subst::{Resolved, plain_text};

/// Why a value does not fit.
#[derive(Debug, PartialEq)]
pub struct Misfit {
    /// `a number between 0.0 and 1.0`.
    pub expected: String,
    /// `this is a text`, `this is 1.5`.
    pub found: String,
    /// Words that it may have been meant as.
    pub choices: &'static [&'static str],
}

/// `resolved` as a value of type `ty`. A whole number is taken as a float where one is declared, a single text as a
/// list of one; what was substituted may become a text. For [`Type::Source`] the name is returned.
///
/// # Errors
/// It does not fit.
pub fn coerce(resolved: &Resolved, ty: &Type) -> Result<Value, Misfit> {
    let Resolved { value, substituted, .. } = resolved;
    let text = |value: &Value| match value {
        Value::Str(s) => Some(s.clone()),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) if *substituted => Some(plain_text(value)),
        _ => None,
    };
    let fit = match (ty, value) {
        (Type::Bool, Value::Bool(_)) | (Type::Table, Value::Table(_)) => Some(value.clone()),
        (Type::Int(least, most), Value::Int(i)) if (least..=most).contains(&i) => Some(value.clone()),
        (Type::Float(least, most), Value::Int(_) | Value::Float(_)) => {
            let x = match value {
                Value::Int(i) => *i as f64,
                Value::Float(x) => *x,
                _ => f64::NAN,
            };
            (*least..=*most).contains(&x).then_some(Value::Float(if x == 0.0 { 0.0 } else { x }))
        }
        (Type::Str | Type::Source, _) => text(value).map(Value::Str),
        (Type::Choice(words), _) => text(value).filter(|t| words.contains(&t.as_str())).map(Value::Str),
        (Type::Strs, Value::List(items)) => {
            items.iter().map(|i| text(i).map(Value::Str)).collect::<Option<Vec<_>>>().map(Value::List)
        }
        (Type::Strs, _) => text(value).map(|t| Value::List(vec![Value::Str(t)])),
        (Type::Argv(_), Value::Str(_)) => Some(value.clone()),
        (Type::Argv(_), Value::List(items)) => {
            let word = |item: &Value| match item {
                Value::List(_) | Value::Table(_) => None,
                scalar => Some(Value::Str(plain_text(scalar))),
            };
            items.iter().map(word).collect::<Option<Vec<_>>>().map(Value::List)
        }
        (Type::Ints, Value::List(items)) if items.iter().all(|i| matches!(i, Value::Int(_))) => Some(value.clone()),
        _ => None,
    };
    fit.ok_or_else(|| Misfit {
        expected: describe(ty),
        found: found(ty, value),
        choices: if let Type::Choice(words) = ty { words } else { &[] },
    })
}

/// Returns what a type takes, in words.
pub fn describe(ty: &Type) -> String {
    match ty {
        Type::Bool => "`true` or `false`".to_owned(),
        Type::Int(i64::MIN, i64::MAX) => "a whole number".to_owned(),
        Type::Int(least, i64::MAX) => format!("a whole number, at least {least}"),
        Type::Int(i64::MIN, most) => format!("a whole number, at most {most}"),
        Type::Int(least, most) => format!("a whole number between {least} and {most}"),
        Type::Float(least, most) => match (open(*least), open(*most)) {
            (true, true) => "a number".to_owned(),
            (false, true) => format!("a number, at least {least}"),
            (true, false) => format!("a number, at most {most}"),
            (false, false) => format!("a number between {least} and {most}"),
        },
        Type::Str => "a text".to_owned(),
        Type::Choice(words) => format!("one of {}", list(words)),
        Type::Strs => "a list of texts".to_owned(),
        Type::Ints => "a list of whole numbers".to_owned(),
        Type::Table => "a table".to_owned(),
        Type::Argv(_) => "a program and its arguments, as a list of texts".to_owned(),
        Type::Source => "the name of a source".to_owned(),
    }
}

/// Returns whether a bound is as good as none.
fn open(bound: f64) -> bool {
    bound.abs() >= f64::MAX
}

fn found(ty: &Type, value: &Value) -> String {
    match (ty, value) {
        (Type::Int(..) | Type::Float(..), Value::Int(_) | Value::Float(_)) | (Type::Choice(_), Value::Str(_)) => {
            format!("this is `{value}`")
        }
        (_, Value::Bool(_)) => "this is a boolean".to_owned(),
        (_, Value::Int(_)) => "this is a whole number".to_owned(),
        (_, Value::Float(_)) => "this is a number".to_owned(),
        (_, Value::Str(_)) => "this is a text".to_owned(),
        (Type::Strs | Type::Ints, Value::List(_)) => "something else is in this list".to_owned(),
        (_, Value::List(_)) => "this is a list".to_owned(),
        (_, Value::Table(_)) => "this is a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::source::Source;
    use super::*;

    fn typed(value: Value, substituted: bool, ty: &Type) -> Result<Value, Misfit> {
        let span = Source::new(Path::new("t"), String::new()).span(0..0);
        coerce(&Resolved { value, span, substituted }, ty)
    }

    #[test]
    fn numbers_take_their_declared_type() {
        let rate = Type::Float(0.0, 10.0);
        assert_eq!(typed(Value::Int(1), false, &rate), Ok(Value::Float(1.0)));
        assert_eq!(typed(Value::Float(-0.0), false, &rate), Ok(Value::Float(0.0)));
        assert!(typed(Value::Float(10.5), false, &rate).is_err());
        assert!(typed(Value::Float(f64::NAN), false, &Type::Float(f64::MIN, f64::MAX)).is_err());
        let misfit = typed(Value::Float(1.0), false, &Type::Int(1, i64::MAX)).unwrap_err();
        assert_eq!((misfit.expected.as_str(), misfit.found.as_str()), ("a whole number, at least 1", "this is `1.0`"));
    }

    #[test]
    fn single_text_becomes_a_list() {
        let text = |s: &str| Value::Str(s.to_owned());
        assert_eq!(typed(text("a"), false, &Type::Strs), Ok(Value::List(vec![text("a")])));
        assert!(typed(Value::List(vec![text("a"), Value::Int(1)]), false, &Type::Strs).is_err());
    }

    #[test]
    fn only_what_was_substituted_becomes_a_text() {
        assert_eq!(typed(Value::Int(7), true, &Type::Str), Ok(Value::Str("7".into())));
        assert!(typed(Value::Int(7), false, &Type::Str).is_err());
        assert!(typed(Value::Str("7".into()), true, &Type::Int(0, 9)).is_err());
    }
}
