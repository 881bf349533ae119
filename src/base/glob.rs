//! File name patterns of ports and outputs: `*` matches any run of characters, and every other character matches
//! itself.

/// Returns `true` if `name` fits `pattern`.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(head) else { return false };
    if rest.is_empty() {
        return true;
    }
    // The shortest run first; patterns have one or two stars.
    (0..=name.len()).filter(|i| name.is_char_boundary(*i)).any(|i| matches(rest, &name[i..]))
}

/// Returns `true` if there can be a name that matches both patterns.
pub fn meet(a: &str, b: &str) -> bool {
    let only_stars = |pattern: &str| pattern.bytes().all(|byte| byte == b'*');
    let (Some(first), Some(second)) = (a.chars().next(), b.chars().next()) else {
        return only_stars(a) && only_stars(b);
    };
    let (rest, other) = (&a[first.len_utf8()..], &b[second.len_utf8()..]);
    match (first, second) {
        ('*', _) => meet(rest, b) || meet(a, other),
        (_, '*') => meet(a, other) || meet(rest, b),
        _ => first == second && meet(rest, other),
    }
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

    #[test]
    fn two_patterns_meet_where_a_name_fits_both() {
        for (a, b) in [("a", "a"), ("*", ""), ("files/*", "*.txt"), ("*b", "a*"), ("a*", "*a"), ("p*s/x", "plots/*")] {
            assert!(meet(a, b) && meet(b, a), "{a} {b}");
        }
        for (a, b) in [("a", "b"), ("files/*", "a.txt"), ("*.json", "*.txt"), ("a*", "b*"), ("", "a")] {
            assert!(!meet(a, b) && !meet(b, a), "{a} {b}");
        }
    }
}
