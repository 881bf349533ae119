//! [`Piece`]: a part of a text. Also which references stay as they are written.

use crate::base::name::is_name;
use crate::base::value::Value;

/// A part of a text.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Reference(String),
}

/// Which texts are meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Texts {
    /// Those of most parameters.
    Plain,
    /// The arguments of a program, or a text for a shell; with its own references, see
    /// [`Type::Argv`](crate::stages::stage::Type).
    Arguments(&'static [&'static str]),
}

/// Returns whether a reference is one of `own`.
pub(super) fn is_own(own: &[&str], name: &str) -> bool {
    own.iter().any(|head| name == *head || head.ends_with('.') && name.starts_with(head))
}

impl Texts {
    /// Returns whether a reference stays as it is written.
    pub(super) fn keeps(self, name: &str) -> bool {
        matches!(self, Texts::Arguments(own) if is_own(own, name))
    }
}

/// Returns whether a text may have references. (Two searches for one byte each are faster than one for either.)
pub(super) fn has_braces(text: &str) -> bool {
    text.contains('{') || text.contains('}')
}

/// Returns a scalar as it is written inside a text.
pub fn plain_text(value: &Value) -> String {
    match value {
        Value::Str(s) => s.clone(),
        other => other.to_string(),
    }
}

/// Returns the parts of a text.
///
/// # Errors
/// What is wrong, and what to do.
pub(super) fn pieces(text: &str, texts: Texts) -> Result<Vec<Piece>, (String, String)> {
    let escape = "a brace that is meant as one is written twice: `{{`, `}}`".to_owned();
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(i) = rest.find(['{', '}']) {
        plain.push_str(&rest[..i]);
        let brace = &rest[i..=i];
        let after = &rest[i + 1..];
        if let Some(after) = after.strip_prefix(brace) {
            plain.push_str(brace);
            rest = after;
            continue;
        }
        if brace == "}" {
            return Err(("a `}` without its `{`".to_owned(), escape));
        }
        let Some(end) = after.find('}') else {
            return Err(("a `{` without its `}`".to_owned(), escape));
        };
        let name = &after[..end];
        if !texts.keeps(name) && name.split('.').any(|part| !is_name(part)) {
            let help = format!("write `{{axis}}` or `{{params.name}}`; {escape}");
            return Err((format!("`{{{name}}}` is not a reference"), help));
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Reference(name.to_owned()));
        rest = &after[end + 1..];
    }
    plain.push_str(rest);
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_its_references() {
        let text = |s: &str| Piece::Text(s.to_owned());
        let reference = |s: &str| Piece::Reference(s.to_owned());
        assert_eq!(pieces("", Texts::Plain).unwrap(), [text("")]);
        assert_eq!(pieces("{task}", Texts::Plain).unwrap(), [reference("task")]);
        assert_eq!(
            pieces("a{task}{params.x.y}b", Texts::Plain).unwrap(),
            [text("a"), reference("task"), reference("params.x.y"), text("b")]
        );
        assert_eq!(pieces("{{task}}", Texts::Plain).unwrap(), [text("{task}")]);
        assert_eq!(pieces("{{{task}}}", Texts::Plain).unwrap(), [text("{"), reference("task"), text("}")]);
        let own = pieces("{in.a/b*.json}-{task}", Texts::Arguments(&["in."])).unwrap();
        assert_eq!(own, [reference("in.a/b*.json"), text("-"), reference("task")]);
        for bad in ["{", "}", "{task", "task}", "{}", "{a b}", "{a.}", "{a+1}"] {
            assert!(pieces(bad, Texts::Plain).is_err(), "{bad}");
        }
    }
}
