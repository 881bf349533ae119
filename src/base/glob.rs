//! File name patterns of ports and outputs: `*` stands for any run of characters, all else for itself.

/// Whether `name` fits `pattern`.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(head) else { return false };
    if rest.is_empty() {
        return true;
    }
    // The shortest run first; patterns have one or two stars.
    (0..=name.len()).filter(|i| name.is_char_boundary(*i)).any(|i| matches(rest, &name[i..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_run() {
        assert!(matches("a.json", "a.json") && !matches("a.json", "a.jsonl"));
        assert!(matches("*", "") && matches("*.parquet", "x/y.parquet") && !matches("*.parquet", "parquet"));
        assert!(matches("model*.safetensors", "model-1-of-2.safetensors") && matches("*é*", "xéy"));
        assert!(!matches("a*b", "ba") && !matches("ab*", "a"));
    }
}
