//! "did you mean": the nearest of some known names.

/// The one of `known` nearest to `typed`, when it is near enough to be a slip of the fingers (at most a third of the
/// length in edits, transpositions counted once).
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (typed.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(typed, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
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
    }
}
