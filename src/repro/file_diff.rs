//! [`file_diff`]: describes in a phrase how two files differ: the largest difference of tensors, the first values that
//! differ in JSON, or the number of rows that differ in a table.

use std::path::Path;

use safetensors::Dtype;
use serde_json::Value;

use crate::artifact::{json, kind_of, table, tensors::Tensors};
use crate::base::diag::Diag;

/// Describes how `found` differs from `recorded`. Both are versions of the file `name`, whose ending decides how they
/// are compared. If one of them cannot be read, the description is the error message.
pub fn file_diff(name: &str, recorded: &Path, found: &Path) -> FileDiff {
    let diff = match kind_of(name).name {
        "tensors" => tensors(recorded, found),
        "json" => values(recorded, found),
        "table" => rows(recorded, found),
        _ => Ok(FileDiff::of_words(sizes(recorded, found))),
    };
    diff.unwrap_or_else(|error| FileDiff::of_words(error.message))
}

/// The difference between two files.
#[derive(Clone, Debug, PartialEq)]
pub struct FileDiff {
    /// A phrase for people.
    pub words: String,
    /// For tensors of equal shape: the largest absolute difference between two elements.
    pub max_abs: Option<f64>,
}

impl FileDiff {
    fn of_words(words: String) -> Self {
        Self { words, max_abs: None }
    }
}

fn sizes(a: &Path, b: &Path) -> String {
    let size = |path: &Path| std::fs::metadata(path).map_or("?".to_owned(), |meta| meta.len().to_string());
    format!("{} and {} bytes", size(a), size(b))
}

fn tensors(recorded: &Path, found: &Path) -> Result<FileDiff, Diag> {
    let (a, b) = (Tensors::open(recorded)?, Tensors::open(found)?);
    if a.names() != b.names() {
        return Ok(FileDiff::of_words("different tensor names".to_owned()));
    }
    let mut worst: Option<(f64, String)> = None;
    for name in a.names() {
        let (x, y) = (a.require(&name)?, b.require(&name)?);
        if (x.dtype, &x.shape) != (y.dtype, &y.shape) {
            return Ok(FileDiff::of_words(format!("`{name}` has a different dtype or shape")));
        }
        if x.bytes == y.bytes {
            continue;
        }
        let Some((p, q)) = floats(x.dtype, &x.bytes).zip(floats(y.dtype, &y.bytes)) else {
            return Ok(FileDiff::of_words(format!("`{name}` has different values")));
        };
        // A NaN on only one side counts as an infinite difference.
        let far = |(p, q): (f64, f64)| if (p - q).is_nan() { f64::INFINITY } else { (p - q).abs() };
        let most = p.into_iter().zip(q).filter(|(p, q)| p.to_bits() != q.to_bits()).map(far).fold(0.0, f64::max);
        if worst.as_ref().is_none_or(|(so_far, _)| most > *so_far) {
            worst = Some((most, name));
        }
    }
    Ok(match worst {
        Some((most, name)) => FileDiff { words: format!("max |Δ| {most:.1e} in `{name}`"), max_abs: Some(most) },
        None => FileDiff::of_words("equal tensors, stored differently".to_owned()),
    })
}

/// Returns the elements as `f64`, or `None` if the dtype is not f64, f32 or bf16.
fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    let wide = |bits: u32| f64::from(f32::from_bits(bits));
    Some(match dtype {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|b| wide(u32::from(u16::from_le_bytes(*b)) << 16)).collect(),
        _ => return None,
    })
}

fn values(recorded: &Path, found: &Path) -> Result<FileDiff, Diag> {
    let (a, b): (Value, Value) = (json::read(recorded)?, json::read(found)?);
    let mut found = Vec::new();
    walk(&a, &b, String::new(), &mut found);
    let more = found.len().saturating_sub(3);
    let tail = if more > 0 { format!(", and {more} more") } else { String::new() };
    found.truncate(3);
    Ok(FileDiff::of_words(format!("{}{tail}", found.join(", "))))
}

fn walk(a: &Value, b: &Value, at: String, found: &mut Vec<String>) {
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match (a, b) {
        _ if a == b => {}
        (Value::Object(x), Value::Object(y)) => {
            let keys: std::collections::BTreeSet<_> = x.keys().chain(y.keys()).collect();
            for key in keys {
                walk(x.get(key).unwrap_or(&Value::Null), y.get(key).unwrap_or(&Value::Null), below(key), found);
            }
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            x.iter().zip(y).enumerate().for_each(|(i, (x, y))| walk(x, y, below(&i.to_string()), found));
        }
        _ => found.push(format!("{at} {} -> {}", short(a), short(b))),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 24 { text } else { text.chars().take(23).chain(['…']).collect() }
}

fn rows(recorded: &Path, found: &Path) -> Result<FileDiff, Diag> {
    let (a, b) = (table::read(recorded)?, table::read(found)?);
    if a.schema() != b.schema() {
        return Ok(FileDiff::of_words("different columns".to_owned()));
    }
    if a.num_rows() != b.num_rows() {
        return Ok(FileDiff::of_words(format!("{} and {} rows", a.num_rows(), b.num_rows())));
    }
    let differs = |row: &usize| a.slice(*row, 1) != b.slice(*row, 1);
    let differing = (0..a.num_rows()).filter(differs).count();
    Ok(FileDiff::of_words(format!("{differing} of {} rows differ", a.num_rows())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::tensors::{Tensor, f32_bytes, write};

    #[test]
    fn tensors_differ_by_their_largest_element_difference() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, values: &[f32]| {
            let path = dir.path().join(name);
            let bytes = f32_bytes(values);
            write(&path, &[Tensor { name: "p", dtype: Dtype::F32, shape: &[values.len()], bytes: &bytes }]).unwrap();
            path
        };
        let (a, b) = (file("a", &[1.0, 2.0]), file("b", &[1.0, 2.5]));
        let diff = |a: &Path, b: &Path| super::file_diff("adapter.safetensors", a, b);
        assert_eq!(diff(&a, &b), FileDiff { words: "max |Δ| 5.0e-1 in `p`".into(), max_abs: Some(0.5) });
        assert_eq!(diff(&a, &file("c", &[1.0])).words, "`p` has a different dtype or shape");
        assert_eq!(diff(&a, &file("d", &[1.0, f32::NAN])).max_abs, Some(f64::INFINITY));
        std::fs::write(dir.path().join("e"), "x").unwrap();
        assert!(diff(&a, &dir.path().join("e")).words.contains("is not a safetensors file"));
    }

    #[test]
    fn json_diff_lists_the_first_differing_values() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            dir.path().join(name)
        };
        let a = file("a", r#"{"score":0.5,"rows":[1,2],"same":1}"#);
        let b = file("b", r#"{"score":0.25,"rows":[1,3],"same":1}"#);
        assert_eq!(file_diff("x.json", &a, &b).words, "rows.1 2 -> 3, score 0.5 -> 0.25");
        assert_eq!(file_diff("x.txt", &a, &b).words, "35 and 36 bytes");
    }
}
