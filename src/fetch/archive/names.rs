//! The names of an archive's members: which are taken, and that no two programs can read two different files under one
//! of them. Reads no archive.

use std::collections::HashMap;

use crate::base::name::is_relative_file;

/// Why a member, and with it the archive, is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) why: String,
    pub(super) help: &'static str,
}

/// Advice for a harmful archive.
pub(super) const DISTRUST: &str = "nothing of it was used; get it from a place that you trust";
/// Advice for an archive with odd names.
const RENAME: &str = "nothing of it was used; unpack it, give its files plain names, and pack it again";

fn refusal<T>(why: String, help: &'static str) -> Result<T, Refusal> {
    Err(Refusal { why, help })
}

/// A member's name: relative, in plain form, without `.` parts and the `/` of folders.
pub(super) fn plain(raw: &[u8]) -> Result<String, Refusal> {
    let Ok(text) = std::str::from_utf8(raw) else {
        let shown = String::from_utf8_lossy(raw);
        return refusal(format!("the name of its member `{shown}` is not UTF-8"), RENAME);
    };
    let shown = text.escape_debug();
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    let parts: Vec<_> = trimmed.split('/').filter(|p| *p != ".").collect();
    let name = parts.join("/");
    // `./` is the folder itself.
    if name.is_empty() && !text.is_empty() && !text.starts_with('/') || is_relative_file(&name) {
        return Ok(name);
    }
    let mut letters = name.chars();
    let drive = letters.next().is_some_and(|c| c.is_ascii_alphabetic()) && letters.next() == Some(':');
    if name.contains('\\') && is_relative_file(name.replace('\\', "/").trim_end_matches('/')) {
        return refusal(
            format!("its names are divided by `\\`, as some Windows programs write them: `{text}`"),
            "nothing of it was used; unpack it and pack it again with a program that divides names by `/`",
        );
    }
    if name.is_empty() {
        return refusal("one of its members has no name".to_owned(), RENAME);
    }
    if name.split(['/', '\\']).any(|part| part == ".." || part.is_empty()) || drive {
        return refusal(format!("its member `{shown}` would lie outside its folder"), DISTRUST);
    }
    if name.chars().any(char::is_control) {
        return refusal(format!("the name of its member `{shown}` has a control character in it"), RENAME);
    }
    if name.len() > 255 {
        return refusal(
            format!("the name of its member `{shown}` has {} bytes, at most 255 are read", name.len()),
            RENAME,
        );
    }
    refusal(
        format!("the name of its member `{shown}` has a `:` or `\\` in it, which not every system can hold"),
        RENAME,
    )
}

/// The names of all members so far, by what file systems that know no upper and lower case make of them.
#[derive(Debug, Default)]
pub(super) struct Names {
    files: HashMap<String, String>,
    folders: HashMap<String, String>,
}

impl Names {
    /// Adds a member. A folder may come any number of times; whatever else there is, once.
    ///
    /// # Errors
    /// Another member has this name, or one that differs only in upper and lower case, or stands in its way as a
    /// folder.
    pub(super) fn add(&mut self, name: &str, is_folder: bool) -> Result<(), Refusal> {
        if name.is_empty() {
            return Ok(());
        }
        let key = fold(name);
        if !is_folder {
            if let Some(other) = self.files.get(&key) {
                return refusal(twice(other, name), "nothing of it was used; pack it again with each name once");
            }
            if self.folders.contains_key(&key) {
                return refusal(both(name), "nothing of it was used; pack it again with each name once");
            }
            self.files.insert(key, name.to_owned());
        } else {
            self.folder(name, key)?;
        }
        let mut above = name;
        while let Some((parent, _)) = above.rsplit_once('/') {
            let key = fold(parent);
            if self.folders.contains_key(&key) {
                break;
            }
            self.folder(parent, key)?;
            above = parent;
        }
        Ok(())
    }

    fn folder(&mut self, name: &str, key: String) -> Result<(), Refusal> {
        if self.files.contains_key(&key) {
            return refusal(both(name), "nothing of it was used; pack it again with each name once");
        }
        self.folders.insert(key, name.to_owned());
        Ok(())
    }
}

/// The same for all names that differ only in case.
fn fold(name: &str) -> String {
    name.to_uppercase().to_lowercase()
}

fn twice(one: &str, other: &str) -> String {
    if one == other {
        format!("`{one}` is in it twice")
    } else {
        format!("`{one}` and `{other}` differ in upper and lower case alone")
    }
}

fn both(name: &str) -> String {
    format!("`{name}` is in it as a file and as a folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(raw: &str) -> String {
        plain(raw.as_bytes()).unwrap_err().why
    }

    #[test]
    fn a_name_is_refused_for_what_it_is() {
        assert_eq!(plain(b"./a/./b/"), Ok("a/b".to_owned()));
        assert_eq!(plain(b"./"), Ok(String::new()));
        for outside in ["../a", "a/../../b", "/etc/x", "c:x", "a\\..\\b", "\\a", "C:\\a\\b"] {
            assert!(why(outside).ends_with("would lie outside its folder"), "{outside}: {}", why(outside));
        }
        assert_eq!(
            why("RTE\\train.jsonl"),
            "its names are divided by `\\`, as some Windows programs write them: `RTE\\train.jsonl`"
        );
        assert_eq!(why("RTE\\"), "its names are divided by `\\`, as some Windows programs write them: `RTE\\`");
        assert!(why("a\nb").contains("a control character"));
        assert!(why("12:30.txt").contains("has a `:`"));
        assert!(why(&"x".repeat(256)).contains("has 256 bytes"));
        assert_eq!(why(""), "one of its members has no name");
        assert!(plain(b"\xff").unwrap_err().why.ends_with("is not UTF-8"));
    }

    #[test]
    fn a_name_is_taken_once_and_folders_many_times() {
        let mut names = Names::default();
        for (name, is_folder) in [("d", true), ("d/a", false), ("d", true), ("d/e/f", false), ("d/e", true), ("", true)]
        {
            names.add(name, is_folder).unwrap();
        }
        let mut why = |name, is_folder| names.add(name, is_folder).unwrap_err().why;
        assert_eq!(why("d/a", false), "`d/a` is in it twice");
        assert_eq!(why("D/A", false), "`d/a` and `D/A` differ in upper and lower case alone");
        assert_eq!(why("d/e", false), "`d/e` is in it as a file and as a folder");
        assert_eq!(why("d/a", true), "`d/a` is in it as a file and as a folder");
        assert_eq!(why("d/a/b", false), "`d/a` is in it as a file and as a folder");
        names.add("straße", false).unwrap();
        assert!(names.add("STRASSE", false).is_err());
    }
}
