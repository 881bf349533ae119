//! Matches entries by the first digits of their key, or by the node that they were made for.

use crate::base::glob;
use crate::cache::Entry;

/// Returns `true` if `text` matches the entry.
pub fn means(text: &str, entry: &Entry) -> bool {
    is_key(text, entry) || entry.made.iter().any(|made| is_node(text, &made.node))
}

/// Returns `true` if the entry's key begins with `text`: at least four digits, with or without `b3:`.
pub fn is_key(text: &str, entry: &Entry) -> bool {
    let hex = text.strip_prefix("b3:").unwrap_or(text);
    hex.len() >= 4 && entry.key.hex().starts_with(hex)
}

/// Returns `true` if a pattern such as `train`, `train[rte,dpt,42]`, `train[task=rte]` or `train[*,dpt,*]` matches the
/// node called `name`.
fn is_node(text: &str, name: &str) -> bool {
    let split = |text: &str| -> Option<(String, Vec<String>)> {
        let Some((stage, axes)) = text.split_once('[') else { return Some((text.to_owned(), vec![])) };
        Some((stage.to_owned(), axes.strip_suffix(']')?.split(',').map(str::to_owned).collect()))
    };
    let (Some((stage, wanted)), Some((own, axes))) = (split(text), split(name)) else { return false };
    let all_by_place = wanted.iter().all(|value| !value.contains('='));
    let value = |axis: &String| axis.split_once('=').map_or(axis.clone(), |(_, value)| value.to_owned());
    glob::matches(&stage, &own)
        && match (wanted.is_empty(), all_by_place) {
            (true, _) => true,
            // One value for each axis, or a single value of any axis.
            (_, true) if wanted.len() == axes.len() => {
                wanted.iter().zip(&axes).all(|(wanted, axis)| glob::matches(wanted, &value(axis)))
            }
            (_, true) => wanted.len() == 1 && axes.iter().any(|axis| glob::matches(&wanted[0], &value(axis))),
            _ => wanted.iter().all(|wanted| axes.iter().any(|axis| glob::matches(wanted, axis))),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_match_by_stage_position_and_axis() {
        let name = "train[task=rte,method=dpt,seed=42]";
        for text in
            ["train", "tr*", name, "train[rte,dpt,42]", "train[*,dpt,*]", "train[seed=42,task=rte]", "train[rte]"]
        {
            assert!(is_node(text, name), "{text}");
        }
        for text in ["eval", "trai", "train[cb]", "train[rte,42]", "train[task=cb]", "train[rte,dpt,43]", "train[rte"] {
            assert!(!is_node(text, name), "{text}");
        }
        assert!(is_node("report", "report") && !is_node("report[x]", "report"));
    }
}
