//! Prompt-tuning adapters of Hugging Face PEFT: a folder with `adapter_config.json` and `adapter_model.safetensors` (or
//! `adapter_model.bin`), whose only tensor is `prompt_embeddings`.
//!
//! PEFT's default for encoder-decoders is two submodules: the tensor then has `2 · num_virtual_tokens` rows, of which
//! the model uses only the first half, in front of the encoder's input. The other half is neither read nor written
//! here.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::artifact::json;
use crate::artifact::tensors::{Dtype, Tensor, f32_bytes, write as write_tensors};
use crate::artifact::weights::Weights;
use crate::base::diag::{Class, Diag};
use crate::base::look;
use crate::svd::matrix::Matrix;

/// The file that says what an adapter is.
pub const CONFIG: &str = "adapter_config.json";
/// Files with its tensor, the better first.
pub const WEIGHTS: &[&str] = &["adapter_model.safetensors", "adapter_model.bin"];

const TENSOR: &str = "prompt_embeddings";
const TYPE: &str = "PROMPT_TUNING";
const TASK: &str = "SEQ_2_SEQ_LM";
/// The version whose fields are written.
const VERSION: &str = "0.21.2";
/// The most virtual tokens that a pipeline can ask for.
const MOST_TOKENS: usize = 4096;

/// `adapter_config.json`, in the order in which PEFT writes it. Fields that are not here are not read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    auto_mapping: Option<Json>,
    base_model_name_or_path: Option<String>,
    inference_mode: bool,
    modules_to_save: Option<Json>,
    num_attention_heads: Option<i64>,
    num_layers: Option<i64>,
    num_transformer_submodules: Option<usize>,
    num_virtual_tokens: Option<usize>,
    peft_type: Option<String>,
    peft_version: Option<String>,
    prompt_tuning_init: Option<Json>,
    prompt_tuning_init_text: Option<String>,
    revision: Option<String>,
    task_type: Option<String>,
    token_dim: Option<usize>,
    tokenizer_kwargs: Option<Json>,
    tokenizer_name_or_path: Option<String>,
}

/// A prompt as PEFT has it.
#[derive(Clone, Debug, PartialEq)]
pub struct PeftPrompt {
    /// Rows.
    pub virtual_tokens: usize,
    /// Columns.
    pub d_model: usize,
    /// Its numbers, row by row.
    pub values: Vec<f32>,
    /// The base model's name, or its path from the adapter's folder.
    pub base_model: Option<String>,
}

/// The base model that an adapter is for, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseModel {
    /// Its name at the hub, or its path from the adapter's folder.
    pub name: Option<String>,
    /// Its revision at the hub.
    pub revision: Option<String>,
    /// Encoder blocks.
    pub layers: Option<i64>,
    /// Heads of an attention.
    pub heads: Option<i64>,
}

/// Reads the adapter in `folder`.
///
/// # Errors
/// No adapter there; one of another kind (the message says which); files that disagree.
pub fn read(folder: &Path) -> Result<PeftPrompt, Diag> {
    let config = folder.join(CONFIG);
    if !look::is_file(&config)? {
        let diag = Diag::error(Class::Usage, format!("`{}` is no PEFT adapter", folder.display()));
        return Err(if folder.join(super::INFO).is_file() {
            diag.note(format!("it has `{}`: it is an adapter of dpt already", super::INFO))
        } else if folder.is_dir() {
            diag.note(format!("it has no `{CONFIG}`"))
        } else {
            diag.note("there is no such folder")
        });
    }
    for name in WEIGHTS {
        let weights = folder.join(name);
        if look::is_file(&weights)? {
            return read_files(&config, name, &weights);
        }
    }
    let names: Vec<_> = WEIGHTS.iter().map(|n| format!("`{n}`")).collect();
    Err(Diag::error(Class::Usage, format!("`{}` has no {}", folder.display(), names.join(" and no "))))
}

/// Reads an adapter by its two files; the second is called `name`.
///
/// # Errors
/// As [`read`].
pub fn read_files(config: &Path, name: &str, weights: &Path) -> Result<PeftPrompt, Diag> {
    let config: Config = json::read(config)?;
    let refuse = |message: String| Diag::error(Class::Usage, message);
    match config.peft_type.as_deref() {
        Some(TYPE) => {}
        Some(other) => {
            return Err(refuse(format!("the adapter is of PEFT's type `{other}`"))
                .note(format!("a soft prompt in front of the encoder's input is `{TYPE}`; no other type is read")));
        }
        None => return Err(refuse(format!("`{CONFIG}` has no `peft_type`")).note(format!("expected `{TYPE}`"))),
    }
    if config.task_type.as_deref() != Some(TASK) {
        let found = config.task_type.as_deref().map_or("none".to_owned(), |task| format!("`{task}`"));
        return Err(refuse(format!("the adapter's `task_type` is {found}"))
            .note(format!("T5 is an encoder-decoder: expected `{TASK}`")));
    }
    if config.modules_to_save.as_ref().is_some_and(|m| !m.is_null() && *m != Json::Array(vec![])) {
        return Err(refuse("the adapter changes modules of the model too (`modules_to_save`)".into())
            .note("an adapter here is a prompt, and the model stays as it is"));
    }
    let tokens = config.num_virtual_tokens.filter(|n| (1..=MOST_TOKENS).contains(n)).ok_or_else(|| {
        let found = config.num_virtual_tokens.map_or("no".to_owned(), |n| n.to_string());
        refuse(format!("`{CONFIG}` has {found} `num_virtual_tokens`")).note(format!("expected 1 to {MOST_TOKENS}"))
    })?;
    // The value that PEFT assumes for an encoder-decoder when the field is empty.
    let submodules = config.num_transformer_submodules.unwrap_or(2);
    if ![1, 2].contains(&submodules) {
        return Err(refuse(format!("the adapter has `num_transformer_submodules` = {submodules}"))
            .note("expected 1, or 2, of which the first is used"));
    }
    let (d_model, mut values) = embeddings(name, weights, tokens * submodules)?;
    if let Some(dim) = config.token_dim.filter(|dim| *dim != d_model) {
        return Err(refuse(format!("`{TENSOR}` has {d_model} columns, and `token_dim` is {dim}"))
            .help("the two files are not of the same adapter"));
    }
    values.truncate(tokens * d_model);
    if let Some(at) = values.iter().position(|x| !x.is_finite()) {
        let (row, column) = (at / d_model, at % d_model);
        return Err(refuse(format!("`{TENSOR}` has {} at row {row}, column {column}", values[at])));
    }
    Ok(PeftPrompt { virtual_tokens: tokens, d_model, values, base_model: config.base_model_name_or_path })
}

/// The columns and all numbers of the one tensor.
fn embeddings(name: &str, path: &Path, rows: usize) -> Result<(usize, Vec<f32>), Diag> {
    let refuse = |message: String| Diag::error(Class::Usage, message);
    let file = Weights::open(name, path)?;
    let names = file.names();
    if names != [TENSOR] {
        let has: Vec<_> = names.iter().take(8).map(|n| format!("`{n}`")).collect();
        return Err(refuse(format!("`{name}` holds other tensors than `{TENSOR}` alone")).note(format!(
            "it has {} tensors: {}",
            names.len(),
            has.join(", ")
        )));
    }
    let tensor = file.require(TENSOR)?;
    let [has, d_model] = tensor.shape[..] else {
        return Err(refuse(format!("`{TENSOR}` has the shape {:?}, wanted a matrix", tensor.shape)));
    };
    if has != rows || d_model == 0 {
        return Err(refuse(format!("`{TENSOR}` has the shape {:?}, and `{CONFIG}` says {rows} rows", tensor.shape))
            .note("rows are `num_virtual_tokens` times `num_transformer_submodules`"));
    }
    let values = tensor
        .f32s()
        .ok_or_else(|| refuse(format!("`{TENSOR}` has type {:?}", tensor.dtype)).note("expected F32, F16 or BF16"))?;
    Ok((d_model, values))
}

/// Writes `prompt` into `folder`: the tensor first, the config last.
///
/// # Errors
/// When a file cannot be written.
pub fn write(folder: &Path, prompt: &Matrix, base: &BaseModel) -> Result<(), Diag> {
    let (shape, bytes) = ([prompt.rows, prompt.cols], f32_bytes(&prompt.to_f32()));
    let tensor = Tensor { name: TENSOR, dtype: Dtype::F32, shape: &shape, bytes: &bytes };
    write_tensors(&folder.join(WEIGHTS[0]), &[tensor])?;
    let config = Config {
        base_model_name_or_path: base.name.clone(),
        revision: base.revision.clone(),
        inference_mode: true,
        num_attention_heads: base.heads,
        num_layers: base.layers,
        num_transformer_submodules: Some(1),
        num_virtual_tokens: Some(prompt.rows),
        peft_type: Some(TYPE.into()),
        peft_version: Some(VERSION.into()),
        prompt_tuning_init: Some("RANDOM".into()),
        task_type: Some(TASK.into()),
        token_dim: Some(prompt.cols),
        ..Config::default()
    };
    json::write(&folder.join(CONFIG), &config)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A folder with an adapter of 2 virtual tokens of width 3, `change`d.
    fn folder(change: impl FnOnce(&mut Json)) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let prompt = Matrix::from_f32(2, 3, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let base = BaseModel { name: Some("t5-base".into()), heads: Some(12), layers: Some(12), revision: None };
        write(dir.path(), &prompt, &base).unwrap();
        let mut config: Json = json::read(&dir.path().join(CONFIG)).unwrap();
        change(&mut config);
        json::write(&dir.path().join(CONFIG), &config).unwrap();
        dir
    }

    fn refused(change: impl FnOnce(&mut Json)) -> String {
        read(folder(change).path()).unwrap_err().message
    }

    #[test]
    fn written_and_read_back() {
        let read = read(folder(|_| ()).path()).unwrap();
        assert_eq!((read.virtual_tokens, read.d_model, read.base_model.as_deref()), (2, 3, Some("t5-base")));
        assert_eq!(read.values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn of_two_submodules_the_first_counts() {
        let two = folder(|c| {
            c["num_virtual_tokens"] = json!(1);
            c["num_transformer_submodules"] = Json::Null;
        });
        assert_eq!(read(two.path()).unwrap().values, [0.0, 1.0, 2.0]);
    }

    #[test]
    fn other_adapters_are_refused_with_the_reason() {
        assert_eq!(refused(|c| c["peft_type"] = json!("LORA")), "the adapter is of PEFT's type `LORA`");
        assert_eq!(refused(|c| c["peft_type"] = Json::Null), "`adapter_config.json` has no `peft_type`");
        assert_eq!(refused(|c| c["task_type"] = json!("CAUSAL_LM")), "the adapter's `task_type` is `CAUSAL_LM`");
        assert!(refused(|c| c["modules_to_save"] = json!(["lm_head"])).contains("`modules_to_save`"));
        assert_eq!(refused(|c| c["token_dim"] = json!(4)), "`prompt_embeddings` has 3 columns, and `token_dim` is 4");
        assert_eq!(
            refused(|c| c["num_virtual_tokens"] = json!(3)),
            "`prompt_embeddings` has the shape [2, 3], and `adapter_config.json` says 3 rows"
        );
        assert_eq!(refused(|c| c["num_virtual_tokens"] = json!(0)), "`adapter_config.json` has 0 `num_virtual_tokens`");
        assert!(refused(|c| c["num_transformer_submodules"] = json!(3)).ends_with("= 3"));
    }

    #[test]
    fn folders_without_an_adapter() {
        let dir = folder(|_| ());
        std::fs::remove_file(dir.path().join(WEIGHTS[0])).unwrap();
        assert!(read(dir.path()).unwrap_err().message.contains("has no `adapter_model.safetensors`"));
        std::fs::remove_file(dir.path().join(CONFIG)).unwrap();
        assert_eq!(read(dir.path()).unwrap_err().notes, ["it has no `adapter_config.json`"]);
        assert_eq!(read(&dir.path().join("no")).unwrap_err().notes, ["there is no such folder"]);
    }

    #[test]
    fn other_tensors_and_numbers_that_are_none() {
        let dir = folder(|_| ());
        let bytes = f32_bytes(&[0.0, 1.0, f32::NAN, 3.0, 4.0, 5.0]);
        let tensor = |name| Tensor { name, dtype: Dtype::F32, shape: &[2, 3], bytes: &bytes };
        write_tensors(&dir.path().join(WEIGHTS[0]), &[tensor(TENSOR)]).unwrap();
        assert_eq!(read(dir.path()).unwrap_err().message, "`prompt_embeddings` has NaN at row 0, column 2");
        write_tensors(&dir.path().join(WEIGHTS[0]), &[tensor(TENSOR), tensor("lm_head")]).unwrap();
        assert!(read(dir.path()).unwrap_err().message.contains("other tensors"));
    }
}
