//! Names that a person writes in a pipeline: short, printable, and safe as part of a path.

/// Returns `true` if `name` may name a stage, an axis, a source or a role: ASCII letters, digits, `_` and `-`,
/// beginning with a letter, at most 64 bytes.
pub fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Returns `true` if `path` is a plain relative file name with `/` between its parts: no `..`, no empty or absolute
/// part, no backslash, no control character. Names of artifacts and members of archives must be of this kind.
pub fn is_relative_file(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 255
        && !path.contains(['\\', ':'])
        && !path.chars().any(char::is_control)
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_name() {
        assert!(is_name("svd_init") && is_name("prompt-tuning") && is_name("t5"));
        assert!(!is_name("") && !is_name("5t") && !is_name("a b") && !is_name("a/b") && !is_name("é"));
    }

    #[test]
    fn what_is_a_relative_file() {
        assert!(is_relative_file("a.json") && is_relative_file("a/b.json"));
        for bad in ["", "/a", "a//b", "../a", "a/..", "a\\b", "c:a", "a\nb", "./a"] {
            assert!(!is_relative_file(bad), "{bad}");
        }
    }
}
