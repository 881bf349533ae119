//! Small helpers over lists.

use std::collections::BTreeMap;

/// Returns `a, b and c`.
pub fn in_a_row(items: &[impl AsRef<str>]) -> String {
    match items {
        [] => "nothing".into(),
        [one] => one.as_ref().into(),
        [head @ .., last] => {
            let head: Vec<_> = head.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", head.join(", "), last.as_ref())
        }
    }
}

/// Returns each value once, in order of appearance.
pub fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut out = Vec::new();
    for item in items {
        if !out.contains(&item) {
            out.push(item);
        }
    }
    out
}

/// Returns each value with the number of times that it occurs, sorted.
pub fn counted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<(T, usize)> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_insert(0) += 1;
    }
    counts.into_iter().collect()
}
