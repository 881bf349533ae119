//! Notes on a checkpoint's weights: whether they fit its config, as far as headers show, and which tensors are not
//! used. They never fail a download: the stage that reads the model decides.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::artifact::weights::{Weight, Weights};
use crate::base::diag::Diag;
use crate::base::fs;
use crate::model::config::T5Config;
use crate::model::fit::{self, Held};

/// Returns notes for the user on the weights among `files`.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn notes(files: &BTreeMap<String, PathBuf>) -> Result<Vec<String>, Diag> {
    let config = T5Config::parse(&fs::read_to_string(&files["config.json"])?, "config.json")?;
    let mut held = BTreeMap::new();
    let mut at: BTreeMap<String, (Weights, String)> = BTreeMap::new();
    let mut origin = "";
    let is_weights = |name: &str| name.ends_with(".safetensors") || name.ends_with(".bin");
    for (name, path) in files.iter().filter(|(name, _)| is_weights(name)) {
        let file = Weights::open(name, path)?;
        origin = name;
        for tensor in file.names() {
            let (dtype, shape) = file.describe(&tensor).expect("the name comes from the file");
            let shape = shape.iter().map(|&n| n as i64).collect();
            held.insert(tensor.clone(), Held { shape, dtype: format!("{dtype:?}") });
            at.insert(tensor.clone(), (file.clone(), tensor));
        }
    }
    let prefix = fit::prefix(held.keys().map(String::as_str)).to_owned();
    let count = held.len();
    let held: BTreeMap<_, _> =
        held.into_iter().map(|(name, of)| (fit::without(&prefix, &name).to_owned(), of)).collect();
    let at: BTreeMap<_, _> = at.into_iter().map(|(name, of)| (fit::without(&prefix, &name).to_owned(), of)).collect();

    let mut notes = Vec::new();
    if !prefix.is_empty() {
        notes.push(format!("the tensors of `{origin}` have `{prefix}` before their names, which is removed"));
    }
    if held.len() < count {
        notes.push(format!(
            "without `{prefix}`, some tensors of `{origin}` have the same name: no stage can load this model"
        ));
    }
    if let Err(diag) = fit::check(&config, &held, origin) {
        let rows = diag.notes.first().map(|table| table.lines().skip(1).map(squeezed).collect::<Vec<_>>().join("; "));
        notes.push(format!("{} ({}): no stage can load this model", diag.message, rows.unwrap_or_default()));
        return Ok(notes);
    }
    let (table, _) = fit::find(&at, fit::TABLE).expect("it fits");
    for (name, why) in fit::passed_over(&config, &held) {
        let weight = |name: &str| at.get(name).map(|(file, own)| file.require(own)).transpose();
        if let (Some(one), Some(other)) = (weight(table)?, weight(name)?)
            && !is_same(&one, &other)
        {
            notes.push(format!("`{name}` differs from `{table}`, and {why}: `{name}` is not used"));
        }
    }
    Ok(notes)
}

/// Returns a row of a table without the blanks that align it.
fn squeezed(row: &str) -> String {
    row.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns whether both have the same numbers, of whatever type.
fn is_same(one: &Weight, other: &Weight) -> bool {
    let bytes = || one.dtype == other.dtype && one.bytes == other.bytes;
    one.shape == other.shape && (bytes() || one.f32s().is_some_and(|numbers| Some(numbers) == other.f32s()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::tensors::{self, Dtype, Tensor, f32_bytes};
    use crate::model::config::TensorSpec;

    fn config() -> T5Config {
        T5Config { d_model: 8, d_kv: 4, d_ff: 12, num_layers: 1, num_heads: 2, vocab_size: 20, ..T5Config::default() }
    }

    /// Returns the notes on a checkpoint of ones with `config`, whose tensors are what `change` makes of them:
    /// by name, with shape and value.
    fn told(config: &T5Config, change: impl FnOnce(&mut BTreeMap<String, (Vec<usize>, f32)>)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let shape = |spec: &TensorSpec| spec.shape.iter().map(|n| *n as usize).collect::<Vec<_>>();
        let mut all = config.tensors().iter().map(|spec| (spec.name.clone(), (shape(spec), 1.0))).collect();
        change(&mut all);
        let bytes: Vec<_> =
            all.values().map(|(shape, value)| f32_bytes(&vec![*value; shape.iter().product()])).collect();
        let parts: Vec<_> = all
            .iter()
            .zip(&bytes)
            .map(|((name, (shape, _)), bytes)| Tensor { name, dtype: Dtype::F32, shape, bytes })
            .collect();
        let path = |name: &str| dir.path().join(name);
        tensors::write(&path("model.safetensors"), &parts).unwrap();
        fs::write_atomic(&path("config.json"), config.to_json().as_bytes()).unwrap();
        let files = ["config.json", "model.safetensors"].map(|name| (name.to_owned(), path(name)));
        notes(&files.into()).unwrap()
    }

    #[test]
    fn fitting_weights_give_no_note() {
        assert_eq!(told(&config(), |_| ()), [""; 0]);
        let table = (vec![20, 8], 1.0);
        let copies = ["lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];
        let equal = told(&config(), |all| all.extend(copies.map(|name| (name.to_owned(), table.clone()))));
        assert_eq!(equal, [""; 0]);
    }

    #[test]
    fn prefix_of_tensor_names_is_noted() {
        for prefix in ["module.", "_orig_mod.module.", "transformer."] {
            let notes = told(&config(), |all| {
                *all = std::mem::take(all).into_iter().map(|(name, of)| (format!("{prefix}{name}"), of)).collect();
            });
            let wanted =
                format!("the tensors of `model.safetensors` have `{prefix}` before their names, which is removed");
            assert_eq!(notes, [wanted]);
        }
    }

    #[test]
    fn unused_tensor_that_differs_is_noted() {
        let table = (vec![20, 8], 2.0);
        let notes = told(&config(), |all| {
            all.insert("lm_head.weight".into(), table.clone());
            all.insert("decoder.embed_tokens.weight".into(), table);
        });
        assert_eq!(
            notes,
            [
                "`decoder.embed_tokens.weight` differs from `shared.weight`, and a T5 has one table for both: \
                 `decoder.embed_tokens.weight` is not used",
                "`lm_head.weight` differs from `shared.weight`, and the config ties them: `lm_head.weight` is not used",
            ]
        );
    }

    #[test]
    fn misfit_note_lists_some_tensors_of_each_kind() {
        let notes = told(&config(), |all| {
            all.remove("encoder.final_layer_norm.weight");
            all.insert("other.weight".into(), (vec![3], 1.0));
        });
        assert_eq!(
            notes,
            ["checkpoint `model.safetensors` does not fit its `config.json`: of 26 tensors 1 missing, 1 unknown \
              (encoder.final_layer_norm.weight [8] missing; other.weight no such tensor [3]): no stage can load this \
              model"]
        );
    }
}
