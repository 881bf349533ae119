//! JSON as programs write it that do not hold to JSON: numbers that are not finite, and a byte order mark. Python's
//! `json` and pandas write `NaN` and `Infinity`. What such a text means is for the caller to say; here is found where
//! it has them.

use std::ops::Range;

/// The text without byte order marks at its beginning: files that were put together have several.
pub fn without_mark(text: &str) -> &str {
    text.trim_start_matches('\u{feff}')
}

/// The places of numbers that are not finite, or that no float of 64 bits can hold: `NaN`, `-Infinity`, `1e999`.
pub fn not_finite(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        if byte == b'"' {
            while let Some((_, byte)) = bytes.next() {
                match byte {
                    b'\\' => drop(bytes.next()),
                    b'"' => break,
                    _ => {}
                }
            }
        } else if of_word(byte) {
            let mut end = at + 1;
            while let Some((next, _)) = bytes.next_if(|(_, byte)| of_word(*byte)) {
                end = next + 1;
            }
            if is_not_finite(&text[at..end]) {
                found.push(at..end);
            }
        }
    }
    found
}

fn of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)
}

fn is_not_finite(word: &str) -> bool {
    let plain = word.strip_prefix('-').unwrap_or(word);
    let too_large = || {
        let number = plain.starts_with(|c: char| c.is_ascii_digit()).then(|| plain.parse::<f64>().ok());
        number.flatten().is_some_and(f64::is_infinite)
    };
    ["NaN", "Infinity"].contains(&plain) || too_large()
}

/// The text with other words in these places.
pub fn replaced(text: &str, places: &[Range<usize>], with: impl Fn(&str) -> String) -> String {
    let mut new = String::with_capacity(text.len());
    let mut done = 0;
    for place in places {
        new.push_str(&text[done..place.start]);
        new.push_str(&with(&text[place.clone()]));
        done = place.end;
    }
    new.push_str(&text[done..]);
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_finite_are_found_outside_of_texts_only() {
        let words = |text: &str| not_finite(text).into_iter().map(|at| text[at].to_owned()).collect::<Vec<_>>();
        assert_eq!(words(r#"{"a": NaN, "b": [-Infinity,1e999], "c": 1e9}"#), ["NaN", "-Infinity", "1e999"]);
        assert_eq!(words(r#"{"NaN": "Infinity \" NaN", "n": null, "t": true, "é": -1.5E+3}"#), [""; 0]);
        assert_eq!(words("NaN"), ["NaN"]);
        assert_eq!(words("\"open NaN"), [""; 0]);
        let text = "[NaN, 1, Infinity]";
        assert_eq!(replaced(text, &not_finite(text), |word| format!("<{word}>")), "[<NaN>, 1, <Infinity>]");
    }
}
