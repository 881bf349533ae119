//! "did you mean": the nearest of some known names.

/// The one of `known` nearest to `typed`, when it is near enough to be a slip of the fingers (at most a third of the
/// length in edits, transpositions counted once).
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// A longer text is no name, and to compare two of them takes the product of their lengths.
    const LONGEST: usize = 300;
    let length = typed.chars().count();
    let limit = (length / 3).max(1);
    known
        .into_iter()
        // Each edit changes the length by one at most.
        .filter(|name| length <= LONGEST && name.chars().count().abs_diff(length) <= limit)
        .map(|name| (strsim::damerau_levenshtein(typed, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// As [`nearest`], of files with their folders: one that is called alike in another folder counts as near.
pub fn nearest_file<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let last = |path: &'a str| path.rsplit('/').next().unwrap_or(path);
    let known: Vec<&str> = known.into_iter().collect();
    let own = typed.rsplit('/').next().unwrap_or(typed);
    let same = known.iter().copied().find(|path| last(path) == own);
    same.or_else(|| nearest(typed, known.iter().copied())).or_else(|| {
        let near = nearest(own, known.iter().copied().map(last))?;
        known.iter().copied().find(|path| last(path) == near)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = ["virtual_tokens", "rank", "learning_rate"];
        assert_eq!(nearest("virtaul_tokens", known), Some("virtual_tokens"));
        assert_eq!(nearest("ranks", known), Some("rank"));
        assert_eq!(nearest("banana", known), None);
        let (long, other) = ("x".repeat(1_000_000), "y".repeat(1_000_000));
        assert_eq!(nearest(&long, [other.as_str(), long.as_str()]), None);
    }

    #[test]
    fn a_file_in_another_folder_is_near() {
        let known = ["one.txt", "sub/two.txt", "files/data.json"];
        assert_eq!(nearest_file("data.json", known), Some("files/data.json"));
        assert_eq!(nearest_file("tow.txt", known), Some("sub/two.txt"));
        assert_eq!(nearest_file("sub/tow.txt", known), Some("sub/two.txt"));
        assert_eq!(nearest_file("strange.png", known), None);
    }
}
