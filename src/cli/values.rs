//! Values of parameters, compared and shown.

use crate::base::value::Value;

/// Longer values are cut.
const WIDEST: usize = 72;

/// What differs between two values, table by table.
pub fn leaves(
    path: &str,
    old: Option<&Value>,
    new: Option<&Value>,
    found: &mut Vec<(String, Option<Value>, Option<Value>)>,
) {
    match (old, new) {
        (Some(Value::Table(a)), Some(Value::Table(b))) => {
            let mut keys: Vec<_> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                leaves(&format!("{path}.{key}"), a.get(key), b.get(key), found);
            }
        }
        (old, new) if old == new => {}
        (old, new) => found.push((path.to_owned(), old.cloned(), new.cloned())),
    }
}

/// A long value in a few words.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(WIDEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_compared_part_by_part() {
        let table = |pairs: &[(&str, i64)]| {
            Value::Table(pairs.iter().map(|(k, v)| ((*k).to_owned(), Value::Int(*v))).collect())
        };
        let mut found = Vec::new();
        leaves("s", Some(&table(&[("a", 1), ("b", 2)])), Some(&table(&[("a", 1), ("b", 3), ("c", 4)])), &mut found);
        let (two, three, four) = (Value::Int(2), Value::Int(3), Value::Int(4));
        assert_eq!(found, [("s.b".into(), Some(two), Some(three)), ("s.c".into(), None, Some(four))]);
    }

    #[test]
    fn long_values_are_cut_between_letters() {
        assert_eq!(cut("ä"), "ä");
        assert!(cut(&"ä".repeat(100)).ends_with("ä…"));
    }
}
