//! How wide a text is in a font that is not known: widths of a broad sans-serif, so that no text leaves its box.

use unicode_width::UnicodeWidthChar;

/// The width of `text` at a font size, in the same unit.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(advance).sum::<f64>() * size
}

/// A character's width as a part of the font size (DejaVu Sans and Verdana are among the broadest in use).
fn advance(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | 'I' | '|' | '\'' => 0.3,
        ' ' | '.' | ',' | ':' | ';' | '!' | '·' => 0.34,
        'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '-' | '/' | '"' => 0.42,
        's' | 'c' | 'z' | 'J' | '*' | '?' => 0.56,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '×' | '=' | '…' => 0.98,
        'a'..='z' | '0'..='9' | '_' => 0.64,
        'A'..='Z' => 0.76,
        c => c.width().unwrap_or(1).max(1) as f64 * if c.is_ascii() { 0.84 } else { 0.75 },
    }
}

/// `text`, its end cut off where it is wider than `most`.
pub(super) fn cut(text: &str, size: f64, most: f64) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = advance('…') * size;
    for c in text.chars() {
        used += advance(c) * size;
        if used > most {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_to_fit() {
        assert_eq!(cut("boolq", 10.0, 100.0), "boolq");
        let long = "a".repeat(100);
        let short = cut(&long, 10.0, 60.0);
        assert!(short.ends_with('…') && width(&short, 10.0) <= 60.0, "{short}");
        assert_eq!(cut("日本語", 10.0, 1.0), "…");
    }
}
