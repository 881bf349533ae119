//! Text inside of the page.

use minijinja::HtmlEscape;

/// Returns the text with the characters escaped that have a meaning in HTML.
pub(super) fn escaped(text: &str) -> HtmlEscape<'_> {
    HtmlEscape(text)
}
