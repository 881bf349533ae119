//! JSON artifacts: pretty, keys sorted, one newline at the end.

use std::io::Write;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::diag::Diag;
use crate::base::digest::{Digest, FieldHasher};
use crate::base::fs::{self, on};

use super::{malformed, replace, unwritable};

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

/// Reads a value.
///
/// # Errors
/// When the file cannot be read, is not JSON, or lacks what `T` needs: names file, line and column.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Diag> {
    let bytes = fs::read(path)?;
    serde_json::from_slice(&bytes).map_err(|e| malformed(path, "the JSON that is wanted here", e))
}

/// The digest of the value: independent of layout and key order.
///
/// # Errors
/// When the file cannot be read or is not JSON.
pub fn logical_digest(path: &Path) -> Result<Digest, Diag> {
    let bytes = fs::read(path)?;
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let value = Value::deserialize(&mut reader).and_then(|v| reader.end().map(|()| v));
    let value = value.map_err(|e| malformed(path, "JSON", e))?;
    let mut h = FieldHasher::new("dpt.json.1");
    hash_value(&value, &mut h);
    Ok(h.finish())
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
}
