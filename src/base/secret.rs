//! Recognises names and addresses that look like secrets, so that they are refused or not shown.

use std::borrow::Cow;

/// Parts of names, between `_` and `-`, that say that a value is secret.
const WORDS: &[&str] = &[
    "TOKEN",
    "SECRET",
    "SECRETS",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "CREDENTIALS",
    "APIKEY",
    "KEY",
    "AUTH",
    "PAT",
    "SIG",
    "SIGNATURE",
];

/// Returns `true` if a value with this name is likely to be secret: `HF_TOKEN`, `X-Amz-Signature`, `api_key`.
pub fn is_secret_name(name: &str) -> bool {
    name.split(['_', '-', '.']).any(|part| WORDS.contains(&part.to_uppercase().as_str()))
}

/// `text` with what addresses in it hold of secrets (`https://user:password@host`, `?token=…`, `Bearer …`) replaced by
/// as many `*`.
pub fn masked(text: &str) -> Cow<'_, str> {
    if !text.contains("://") && !text.contains("Bearer ") {
        return Cow::Borrowed(text);
    }
    let mut hidden = vec![false; text.len()];
    for (at, _) in text.match_indices("://") {
        let url = word(text, at + 3);
        let authority = url.find(['/', '?', '#']).unwrap_or(url.len());
        if let Some(end) = url[..authority].rfind('@') {
            hidden[at + 3..at + 3 + end].fill(true);
        }
        let Some(query) = url.find('?') else { continue };
        let mut start = at + 3 + query + 1;
        for pair in url[query + 1..].split('&') {
            if let Some((name, value)) = pair.split_once('=')
                && is_secret_name(name)
            {
                let from = start + name.len() + 1;
                hidden[from..from + value.len()].fill(true);
            }
            start += pair.len() + 1;
        }
    }
    for (at, found) in text.match_indices("Bearer ") {
        let from = at + found.len();
        hidden[from..from + word(text, from).len()].fill(true);
    }
    if !hidden.contains(&true) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.char_indices().map(|(i, c)| if hidden[i] { '*' } else { c }).collect())
}

/// The text from `from` to the next blank, quote or bracket.
fn word(text: &str, from: usize) -> &str {
    let rest = &text[from..];
    let end = rest.find(|c: char| c.is_whitespace() || c.is_control() || "\"'`<>()[]{}|\\".contains(c));
    &rest[..end.unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_addresses_are_masked_and_widths_kept() {
        let cases = [
            ("nothing here: a@b.c", "nothing here: a@b.c"),
            ("url = \"https://me:s3cret@h/x\"", "url = \"https://*********@h/x\""),
            ("https://tökén@h?a=1", "https://*****@h?a=1"),
            ("at https://h/x@y/z", "at https://h/x@y/z"),
            ("https://h/x?a=1&token=abc&b=2 and", "https://h/x?a=1&token=***&b=2 and"),
            ("`https://h?X-Amz-Signature=ab`", "`https://h?X-Amz-Signature=**`"),
            ("Authorization: Bearer hf_abc, x", "Authorization: Bearer ******* x"),
            ("http://a@b http://c:d@e/?key=f", "http://*@b http://***@e/?key=*"),
            ("://", "://"),
        ];
        for (text, expected) in cases {
            assert_eq!(masked(text), expected);
            assert_eq!(masked(text).chars().count(), text.chars().count());
        }
    }

    #[test]
    fn names_of_secrets() {
        for name in ["HF_TOKEN", "hf_token", "AWS_SECRET_ACCESS_KEY", "X-Amz-Signature", "password", "sig"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["LANG", "PATH", "KEYBOARD", "TOKENIZERS_PARALLELISM", "download"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
