//! Compares values of parameters and shortens them for output.

use crate::base::value::Value;

/// Longer values are shortened.
const WIDEST: usize = 72;

/// Appends the differences between two values to `found`, as path, old and new value. Descends into tables.
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

/// Shortens a long text.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(WIDEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Shortens two long texts to the part where they differ, with a few characters around it.
pub fn apart(old: &str, new: &str) -> (String, String) {
    /// Characters kept on each side of the difference.
    const AROUND: usize = 16;
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    let (shorter, longer) = (old.len().min(new.len()), old.len().max(new.len()));
    if longer <= WIDEST {
        return (old.into_iter().collect(), new.into_iter().collect());
    }
    let alike = |pair: &(&char, &char)| pair.0 == pair.1;
    let before = old.iter().zip(&new).take_while(alike).count();
    let behind = old.iter().rev().zip(new.iter().rev()).take(shorter - before).take_while(alike).count();
    let part = |text: &[char]| {
        let from = before.saturating_sub(AROUND);
        let to = text.len() - behind.saturating_sub(AROUND);
        let lead = if from > 0 { "…" } else { "" };
        let shown = cut(&text[from..to].iter().collect::<String>());
        let tail = if to < text.len() && !shown.ends_with('…') { "…" } else { "" };
        format!("{lead}{shown}{tail}")
    };
    (part(&old), part(&new))
}

/// Returns the differences between two values of a parameter, each as name, old and new text.
pub fn changes(name: &str, old: &Value, new: &Value) -> Vec<(String, String, String)> {
    let mut parts = Vec::new();
    leaves(name, Some(old), Some(new), &mut parts);
    let text = |value: Option<Value>| value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
    let part = |(name, old, new)| {
        let (old, new) = apart(&text(old), &text(new));
        (name, old, new)
    };
    parts.into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_shortened_to_their_difference() {
        let long = |middle: &str| format!("{}{middle}{}", "ä".repeat(100), "z".repeat(200));
        let (old, new) = apart(&long("one"), &long("two"));
        let around = |middle: &str| format!("…{}{middle}{}…", "ä".repeat(16), "z".repeat(16));
        assert_eq!((old, new), (around("one"), around("two")));
        assert_eq!(apart("a", "b"), ("a".to_owned(), "b".to_owned()));
        assert_eq!(apart("a", &"b".repeat(80)).0, "a");
        // One is the other's beginning; all of it differs.
        assert_eq!(
            apart(&"a".repeat(90), &"a".repeat(91)),
            (format!("…{}", "a".repeat(16)), format!("…{}", "a".repeat(17)))
        );
        let (old, new) = apart(&"a".repeat(90), &"b".repeat(90));
        assert_eq!((old, new), (cut(&"a".repeat(90)), cut(&"b".repeat(90))));
    }

    #[test]
    fn tables_are_compared_key_by_key() {
        let table = |pairs: &[(&str, i64)]| {
            Value::Table(pairs.iter().map(|(k, v)| ((*k).to_owned(), Value::Int(*v))).collect())
        };
        let mut found = Vec::new();
        leaves("s", Some(&table(&[("a", 1), ("b", 2)])), Some(&table(&[("a", 1), ("b", 3), ("c", 4)])), &mut found);
        let (two, three, four) = (Value::Int(2), Value::Int(3), Value::Int(4));
        assert_eq!(found, [("s.b".into(), Some(two), Some(three)), ("s.c".into(), None, Some(four))]);
    }

    #[test]
    fn cut_respects_character_boundaries() {
        assert_eq!(cut("ä"), "ä");
        assert!(cut(&"ä".repeat(100)).ends_with("ä…"));
    }
}
