//! JSON artifacts: pretty, keys sorted, one newline at the end.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::content::{Content, START};
use crate::base::diag::Diag;
use crate::base::digest::{Digest, FieldHasher};
use crate::base::fs::{self, on};

use super::loose;
use super::unfit::{CUT_SHORT, Unfit, malformed};
use super::write::{replace, unwritable};

/// Writes `value`, canonically: keys sorted, two spaces of indentation. JSON has no NaN: a float that is not finite is
/// written as `null`, so use `Option<f64>` where that can be.
///
/// # Errors
/// When the file cannot be written, or the value is no JSON (a map with keys that are not text).
pub fn write(path: &Path, value: &impl Serialize) -> Result<(), Diag> {
    let mut text = to_text(value).map_err(|e| unwritable(path, e))?;
    text.push('\n');
    replace(path, |file| Ok(file.write_all(text.as_bytes()).map_err(on("write", path))?))
}

/// The canonical text, without the newline at the end.
///
/// # Errors
/// When the value is no JSON.
pub fn to_text(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&Sorted(&serde_json::to_value(value)?))
}

/// Reads a value. It is read by way of what the [`logical_digest`] covers, so that two files with one digest give one
/// value: of equal keys the last counts, and a number is read as 64 bits hold it.
///
/// # Errors
/// When the file cannot be read, is not JSON, or lacks what `T` needs: names file, line and column.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Diag> {
    const WANTED: &str = "the JSON that is wanted here";
    let bytes = fs::read(path)?;
    let value = parse(&bytes).map_err(|unfit| Unfit { what: WANTED, ..unfit }.diag(path))?;
    serde_json::from_value(value).map_err(|error| {
        // Read again as text, it is also said where it is wrong.
        let error = serde_json::from_slice::<T>(&bytes).err().unwrap_or(error);
        malformed(path, WANTED, error)
    })
}

/// The digest of the value: independent of layout and key order.
///
/// # Errors
/// When the file cannot be read or is not JSON.
pub fn logical_digest(path: &Path) -> Result<Digest, Diag> {
    meaning(path)?.map_err(|unfit| unfit.diag(path))
}

/// As [`logical_digest`]; the outer error is the disk's.
///
/// # Errors
/// When the file cannot be read.
pub fn meaning(path: &Path) -> Result<Result<Digest, Unfit>, Diag> {
    Ok(parse(&fs::read(path)?).map(|value| {
        let mut h = FieldHasher::new("dpt.json.1");
        hash_value(&value, &mut h);
        h.finish()
    }))
}

/// The one value that is in `bytes`.
fn parse(bytes: &[u8]) -> Result<Value, Unfit> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Value::deserialize(&mut reader).and_then(|v| reader.end().map(|()| v));
    value.map_err(|error| unfit(bytes, &error))
}

/// The numbers of the JSON object in the file at `path`, by name, in whichever form a program writes them: also those
/// that are not finite, which JSON does not have. Values that are no numbers are left out.
///
/// # Errors
/// When the file cannot be read. The inner error says why it is no JSON object.
pub fn numbers(path: &Path) -> Result<Result<BTreeMap<String, f64>, Unfit>, Diag> {
    let bytes = fs::read(path)?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => loose::without_mark(text),
        Err(_) => return Ok(parse(&bytes).map(|_| BTreeMap::new())),
    };
    let places = loose::not_finite(text);
    // A number that is not finite becomes a text behind a mark that the file does not have.
    let mark = (0..).map(|n| format!("number {n} ")).find(|mark| !text.contains(mark)).expect("some number will do");
    let finite = loose::replaced(text, &places, |word| format!("\"{mark}{word}\""));
    let number = |value: &Value| match value {
        Value::String(text) => text.strip_prefix(&mark)?.parse().ok(),
        value => value.as_f64(),
    };
    Ok(match parse(finite.as_bytes()) {
        Ok(Value::Object(fields)) => {
            Ok(fields.iter().filter_map(|(name, value)| Some((name.clone(), number(value)?))).collect())
        }
        Ok(_) => Err(Unfit { what: OBJECT, why: "it holds another value".to_owned(), help: None }),
        Err(unfit) => Err(Unfit { what: OBJECT, ..unfit }),
    })
}

/// The name of this format in messages.
const OBJECT: &str = "a JSON object";

/// Why `bytes` are not JSON, after a parser has said `error`.
fn unfit(bytes: &[u8], error: &serde_json::Error) -> Unfit {
    let new = |why: String, help: Option<&str>| Unfit { what: "JSON", why, help: help.map(str::to_owned) };
    if let Some(content) = Content::instead_of_text(&bytes[..bytes.len().min(START)]) {
        return Unfit::by("JSON", content);
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => {
            let line = bytes[..e.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            return new(format!("line {line} is no text in UTF-8"), Some("write the file as UTF-8"));
        }
    };
    if text.starts_with('\u{feff}') {
        return new("it begins with a byte order mark".to_owned(), Some("write the file as UTF-8 without that mark"));
    }
    if text.trim().is_empty() {
        return Unfit::by("JSON", Content::Empty);
    }
    let said = error.to_string();
    let said = said.as_str();
    // Before the place of the error the text is right, so that the first such number is the cause if it is there.
    let here = |at: &Range<usize>| text[..at.start].matches('\n').count() + 1 == error.line();
    if (said.starts_with("expected") || said.starts_with("invalid number") || said.starts_with("number out of range"))
        && let Some(at) = loose::not_finite(text).into_iter().find(here)
    {
        let (line, word) = (error.line(), &text[at]);
        return match word.contains(|c: char| c.is_ascii_digit()) {
            true => new(format!("line {line} has `{word}`, a number that is too large for 64 bits"), None),
            false => {
                new(format!("line {line} has `{word}`, which JSON does not have"), Some("write `null` in its place"))
            }
        };
    }
    if said.starts_with("trailing characters") {
        let why = match error.line() {
            1 => format!("behind its value more follows, from column {} on", error.column()),
            line => format!("it holds one JSON value a line: call it `.jsonl` (the second begins on line {line})"),
        };
        return new(why, None);
    }
    if said.contains("surrogate") || said.starts_with("unexpected end of hex escape") {
        let why = format!("line {} has half of a pair of surrogates, which is no character ({said})", error.line());
        return new(why, None);
    }
    let help = error.is_eof().then_some(CUT_SHORT);
    new(said.to_owned(), help)
}

fn hash_value(value: &Value, h: &mut FieldHasher) {
    match value {
        Value::Null => {
            h.field(b"n");
        }
        Value::Bool(b) => {
            h.field(b"b").field(&[u8::from(*b)]);
        }
        Value::Number(n) => {
            match (n.as_i64(), n.as_u64(), n.as_f64()) {
                (Some(i), ..) => h.field(b"i").field(&i.to_le_bytes()),
                (None, Some(u), _) => h.field(b"u").field(&u.to_le_bytes()),
                (None, None, f) => h.field(b"f").field(&f.unwrap_or(f64::NAN).to_bits().to_le_bytes()),
            };
        }
        Value::String(s) => {
            h.field(b"s").field(s.as_bytes());
        }
        Value::Array(items) => {
            h.field(b"l").number(items.len() as u64);
            items.iter().for_each(|item| hash_value(item, h));
        }
        Value::Object(fields) => {
            h.field(b"t").number(fields.len() as u64);
            for (name, value) in sorted(fields) {
                h.field(name.as_bytes());
                hash_value(value, h);
            }
        }
    }
}

/// In key order, whatever order the map type in use keeps.
fn sorted(fields: &serde_json::Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    fields
}

/// Serialises objects in key order.
struct Sorted<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => s.collect_seq(items.iter().map(Sorted)),
            Value::Object(fields) => {
                let mut map = s.serialize_map(Some(fields.len()))?;
                for (name, value) in sorted(fields) {
                    map.serialize_entry(name, &Sorted(value))?;
                }
                map.end()
            }
            plain => plain.serialize(s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn round_trip_sorted_and_same_bytes_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let value = json!({"b": [1, 2.5, null], "a": {"z": true, "y": "é"}});
        write(&path, &value).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\n  \"a\": {\n    \"y\": \"é\",\n    \"z\": true\n  },\n  \"b\": [\n    1,\n    2.5,\n    null\n  ]\n}\n"
        );
        write(&path, &value).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(read::<Value>(&path).unwrap(), value);
    }

    #[test]
    fn layout_and_key_order_keep_the_digest_values_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let digest = |text: &str| {
            let path = dir.path().join("a.json");
            std::fs::write(&path, text).unwrap();
            logical_digest(&path).unwrap()
        };
        assert_eq!(digest(r#"{"a":1,"b":0.3}"#), digest("{ \"b\" : 3e-1,\n \"a\":1 }"));
        assert_ne!(digest("[1]"), digest("[1.0]"));
        assert_ne!(digest(r#"["1"]"#), digest("[1]"));
        assert_ne!(digest("[[1],[]]"), digest("[[],[1]]"));
    }

    #[test]
    fn damage_names_the_file_and_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cut.json");
        std::fs::write(&path, "{\"a\": [1,").unwrap();
        let error = logical_digest(&path).unwrap_err();
        assert!(error.message.contains("cut.json` is not JSON: EOF") && error.message.contains("line 1"), "{error}");
        std::fs::write(&path, "{} {}").unwrap();
        assert!(logical_digest(&path).is_err());
    }

    #[test]
    fn files_with_one_digest_are_read_as_one_value() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Wanted {
            a: f64,
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let both = |text: &str| {
            std::fs::write(&path, text).unwrap();
            (logical_digest(&path).unwrap(), read::<Wanted>(&path).unwrap())
        };
        for (one, other) in [
            (r#"{"a": 1, "a": 2}"#, r#"{"a": 2}"#),
            (r#"{"a": 123456789012345678901}"#, r#"{"a": 123456789012345678902}"#),
            (r#"{"a": 0.1}"#, r#"{"a": 0.10000000000000000001}"#),
        ] {
            assert_eq!(both(one), both(other));
        }
        std::fs::write(&path, "{\n\"a\": \"x\"}").unwrap();
        let error = read::<Wanted>(&path).unwrap_err();
        assert!(
            error.message.contains("the JSON that is wanted here: invalid type") && error.message.contains("line 2")
        );
        assert_eq!(error.help, None);
    }

    #[test]
    fn text_that_is_no_json_is_said_to_be_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let cases: [(&[u8], &str); 12] = [
            (b"[1, NaN]", "line 1 has `NaN`, which JSON does not have"),
            (b"[1,\n -Infinity]", "line 2 has `-Infinity`"),
            (b"[1e999]", "line 1 has `1e999`, a number that is too large for 64 bits"),
            (b"{}\n{}\n", "it holds one JSON value a line: call it `.jsonl`"),
            (b"{} {}", "behind its value more follows, from column 4 on"),
            (b"\xef\xbb\xbf{}", "it begins with a byte order mark"),
            (b" \n", "it is empty"),
            (b"", "it is empty"),
            (b"\xff\xfe{\0}\0", "it is text in UTF-16LE"),
            (b"[\"caf\xe9\"]", "line 1 is no text in UTF-8"),
            (b"[\"\\ud83d\"]", "half of a pair of surrogates"),
            (b"\x1f\x8b\x08\0", "it is compressed with gzip"),
        ];
        for (bytes, why) in cases {
            std::fs::write(&path, bytes).unwrap();
            let error = logical_digest(&path).unwrap_err();
            assert!(error.message.contains(why), "{error}");
            assert!(!error.to_string().contains("cut short"), "{error}");
            assert!(read::<Value>(&path).unwrap_err().message.contains(why));
        }
        std::fs::write(&path, "[1, 2").unwrap();
        assert_eq!(logical_digest(&path).unwrap_err().help.as_deref(), Some(CUT_SHORT));
    }

    #[test]
    fn numbers_of_an_object_are_found_in_whichever_form_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.json");
        let of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            numbers(&path).unwrap()
        };
        let found = of(
            "\u{feff}{\"a\": NaN, \"b\": -Infinity, \"c\": 3, \"d\": \"NaN\", \"e\": \"number 0 NaN\", \"f\": 1e999}",
        );
        let found = found.unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "b", "c", "f"]);
        assert!(found["a"].is_nan());
        assert_eq!((found["b"], found["c"], found["f"]), (f64::NEG_INFINITY, 3.0, f64::INFINITY));
        assert_eq!(of("[1]").unwrap_err().why, "it holds another value");
        assert_eq!((of("").unwrap_err().what, of("").unwrap_err().why.as_str()), (OBJECT, "it is empty"));
    }
}
