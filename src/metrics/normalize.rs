//! How free-text answers are compared: SQuAD's normalisation (also ReCoRD's) and TriviaQA's. Characters are classed as
//! in the Python programs that defined the metrics.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// SQuAD's: lower case, ASCII punctuation deleted (joining what it parted), the words a, an, the out, white space
/// collapsed.
pub fn squad(text: &str) -> String {
    let kept: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    collapse(&without_articles(&kept))
}

/// TriviaQA's: the same, but punctuation (also `‘ ’ ´`) becomes a blank.
pub fn trivia_qa(text: &str) -> String {
    let mark = |c: char| c.is_ascii_punctuation() || matches!(c, '‘' | '’' | '´');
    let kept: String = text.to_lowercase().chars().map(|c| if mark(c) { ' ' } else { c }).collect();
    collapse(&without_articles(&kept))
}

/// Python's white space: Unicode's, and the four information separators.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The words as Python's `str.split()` gives them.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// `\b(a|an|the)\b` → a blank. A run of word characters is an article or it is not; combining marks are word
/// characters, as in Unicode's UTS 18 (and in Python's `regex` module, which the reference uses; `re` differs).
fn without_articles(text: &str) -> String {
    static RUN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\w+").expect("a valid pattern"));
    let replaced = RUN.replace_all(text, |run: &Captures| match &run[0] {
        "a" | "an" | "the" => " ".to_owned(),
        other => other.to_owned(),
    });
    replaced.into_owned()
}

fn collapse(text: &str) -> String {
    words(text).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(squad("The U.S. and an  apple!"), "us and apple");
        assert_eq!(trivia_qa("The U.S. and an  apple!"), "u s and apple");
        assert_eq!(squad("theatre another"), "theatre another");
        assert_eq!(squad("a\u{301} a"), "a\u{301}", "a letter with a combining mark is another word");
        assert_eq!(squad("x\u{1c}y"), "x y");
        assert_eq!(squad("The, a!"), "");
    }
}
