//! L2: adapters, the trained tensors of one run: the prompt methods that they are of ([`method`], [`methods`]), what a
//! folder of ours says of them ([`AdapterInfo`]), the soft prompt that comes of them ([`prompt`]), and the same as
//! Hugging Face PEFT has it ([`peft`]). Knows no training and no libtorch.

pub mod method;
pub mod methods;
pub mod peft;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::artifact::json;
use crate::artifact::tensors::{Dtype, Tensor, Tensors, f32_bytes, write};
use crate::base::choice::choice;
use crate::base::diag::{Class, Diag};
use crate::base::value::{Params, Value};
use crate::svd::matrix::Matrix;

use method::{Method, Peft, Shape};

/// The file that says what an adapter is.
pub const INFO: &str = "adapter.json";
/// The file with its tensors.
pub const TENSORS: &str = "adapter.safetensors";
/// The file with the same tensors before training, where they are known.
pub const INITIAL: &str = "initial.safetensors";

choice! {
    /// How the trained tensors start, as a pipeline names it. Tensors that a method always starts alike are not
    /// affected.
    pub enum InitKind {
        /// As the method's reference code starts them.
        Reference = "reference",
        /// Normal.
        Gaussian = "gaussian",
        /// The prompt's rows are rows of the token table.
        Vocab = "vocab",
        /// The tensors of an `svd-init` stage.
        Svd = "svd",
        /// The tensors of an adapter that was trained before.
        Adapter = "adapter",
    }
}

/// The content of `adapter.json`, which describes the tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct AdapterInfo {
    /// The prompt method.
    pub method: String,
    /// Rows of the soft prompt.
    pub virtual_tokens: i64,
    /// The method's own parameters.
    pub params: Params,
    /// Width of the backbone.
    pub d_model: i64,
    /// How many numbers were trained.
    pub trainable_parameters: i64,
    /// How many numbers the file with the tensors holds, where those are more.
    pub stored_parameters: Option<i64>,
    /// Where it started: `reference`, `gaussian`, `vocab`, `svd` or `adapter`; `imported` where that is not known.
    pub init: String,
    /// The backbone that it was trained on, by the digest of its config and weights; absent where it was imported.
    pub backbone_digest: Option<String>,
    /// The backbone's name.
    pub backbone_name: Option<String>,
    /// The task that it was trained for; absent where it was imported and nobody said it.
    pub task: Option<String>,
    /// The run's seed; absent where it was imported.
    pub seed: Option<i64>,
    /// How many optimizer steps these tensors have seen; absent where it was imported.
    pub best_step: Option<i64>,
    /// The split on which they were chosen; absent: the last step's.
    pub select_on: Option<String>,
    /// The metric by which they were chosen.
    pub select_metric: Option<String>,
}

/// `adapter.json`. The parameter `rank` has had a field of its own since there were two methods, `null` where the
/// method has none: it stays there, so that the same adapter has the same digest.
#[derive(Serialize, Deserialize)]
struct Stored {
    method: String,
    virtual_tokens: i64,
    rank: Option<i64>,
    #[serde(default, skip_serializing_if = "Params::is_empty")]
    params: Params,
    d_model: i64,
    trainable_parameters: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stored_parameters: Option<i64>,
    init: String,
    backbone_digest: Option<String>,
    backbone_name: Option<String>,
    task: Option<String>,
    seed: Option<i64>,
    best_step: Option<i64>,
    select_on: Option<String>,
    select_metric: Option<String>,
}

/// The parameter that has a field of its own in `adapter.json`.
const RANK: &str = "rank";

impl From<Stored> for AdapterInfo {
    fn from(stored: Stored) -> Self {
        let mut params = stored.params;
        if let Some(rank) = stored.rank {
            params.insert(RANK.into(), Value::Int(rank));
        }
        Self {
            method: stored.method,
            virtual_tokens: stored.virtual_tokens,
            params,
            d_model: stored.d_model,
            trainable_parameters: stored.trainable_parameters,
            stored_parameters: stored.stored_parameters,
            init: stored.init,
            backbone_digest: stored.backbone_digest,
            backbone_name: stored.backbone_name,
            task: stored.task,
            seed: stored.seed,
            best_step: stored.best_step,
            select_on: stored.select_on,
            select_metric: stored.select_metric,
        }
    }
}

impl From<AdapterInfo> for Stored {
    fn from(info: AdapterInfo) -> Self {
        let (rank, params) = (info.rank(), info.other_params());
        Self {
            method: info.method,
            virtual_tokens: info.virtual_tokens,
            rank,
            params,
            d_model: info.d_model,
            trainable_parameters: info.trainable_parameters,
            stored_parameters: info.stored_parameters,
            init: info.init,
            backbone_digest: info.backbone_digest,
            backbone_name: info.backbone_name,
            task: info.task,
            seed: info.seed,
            best_step: info.best_step,
            select_on: info.select_on,
            select_metric: info.select_metric,
        }
    }
}

impl AdapterInfo {
    /// An imported prompt of this shape.
    pub fn imported(virtual_tokens: usize, d_model: usize) -> Self {
        Self {
            method: methods::plain_prompt().0.name.into(),
            virtual_tokens: virtual_tokens as i64,
            params: Params::new(),
            d_model: d_model as i64,
            trainable_parameters: (virtual_tokens * d_model) as i64,
            stored_parameters: None,
            init: "imported".into(),
            backbone_digest: None,
            backbone_name: None,
            task: None,
            seed: None,
            best_step: None,
            select_on: None,
            select_metric: None,
        }
    }

    /// The parameter that has a field of its own in files, where the method has it.
    pub fn rank(&self) -> Option<i64> {
        match self.params.get(RANK) {
            Some(Value::Int(rank)) => Some(*rank),
            _ => None,
        }
    }

    /// The method's other parameters.
    pub fn other_params(&self) -> Params {
        let mut params = self.params.clone();
        if self.rank().is_some() {
            params.remove(RANK);
        }
        params
    }

    /// One line on what it is.
    pub fn describe(&self) -> String {
        let own: String = self.params.iter().map(|(name, value)| format!(", {name} {value}")).collect();
        format!("{}, {} virtual tokens of width {}{own}", self.method, self.virtual_tokens, self.d_model)
    }

    /// Its method, and the shape of its tensors.
    ///
    /// # Errors
    /// Fails if the method is unknown, or one of its parameters is missing or has another type.
    pub fn method(&self) -> Result<(&'static Method, Shape), Diag> {
        let method = methods::find(&self.method)?;
        let shape = method.shape(self.virtual_tokens, self.d_model, &self.params);
        Ok((method, shape.map_err(|diag| diag.note(format!("read in `{INFO}`")))?))
    }
}

/// The soft prompt `[virtual_tokens, d_model]` of an adapter: what report, export and `svd-init` call the prompt of a
/// run. `None` when the method's result cannot be said by one prompt.
///
/// # Errors
/// An unknown method; tensors that are not those that `info` says.
pub fn folded(info: &AdapterInfo, file: &Tensors) -> Result<Option<Matrix>, Diag> {
    let (method, shape) = info.method()?;
    let values = method.values(&shape, file, &format!("`{TENSORS}`")).map_err(|diag| diag.note(said(info)))?;
    Ok(method.prompt.map(|prompt| prompt(&shape, &values)))
}

/// The same, for a place that needs one prompt, and nothing beside it, in front of the encoder's input.
///
/// # Errors
/// As [`folded`], and a method that does more.
pub fn prompt(info: &AdapterInfo, file: &Tensors) -> Result<Matrix, Diag> {
    let refuse = |method: &Method, why: &str| {
        Diag::error(Class::Usage, format!("method `{}` is more than a soft prompt", method.name)).note(why.to_owned())
    };
    let (method, _) = info.method()?;
    if let Peft::Refuses(why) = method.peft {
        return Err(refuse(method, why));
    }
    folded(info, file)?.ok_or_else(|| refuse(method, "its result is not one prompt"))
}

fn said(info: &AdapterInfo) -> String {
    format!("`{INFO}` says {}", info.describe())
}

/// Reads `adapter.json` at `path`.
///
/// # Errors
/// When it cannot be read, or is another file of that name.
pub fn read_info(path: &Path) -> Result<AdapterInfo, Diag> {
    json::read(path)
}

/// Writes a whole prompt as an adapter of ours into `folder`: [`INFO`] and [`TENSORS`].
///
/// # Errors
/// When a file cannot be written.
pub fn write_whole(folder: &Path, info: &AdapterInfo, prompt: &[f32]) -> Result<(), Diag> {
    let shape = [info.virtual_tokens as usize, info.d_model as usize];
    let bytes = f32_bytes(prompt);
    write(
        &folder.join(TENSORS),
        &[Tensor { name: methods::plain_prompt().1, dtype: Dtype::F32, shape: &shape, bytes: &bytes }],
    )?;
    json::write(&folder.join(INFO), info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_comes_of_the_tensors_of_each_method() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TENSORS);
        let put = |name: &'static str, shape: &[usize], values: &[f32]| (name, shape.to_vec(), f32_bytes(values));
        let save = |tensors: &[(&str, Vec<usize>, Vec<u8>)]| {
            let tensors: Vec<_> =
                tensors.iter().map(|(name, shape, bytes)| Tensor { name, dtype: Dtype::F32, shape, bytes }).collect();
            write(&path, &tensors).unwrap();
            Tensors::open(&path).unwrap()
        };
        let params = |name: &str, value| Params::from([(name.to_owned(), Value::Int(value))]);
        let factors = save(&[put("factor_a", &[2, 1], &[1.0, -2.0]), put("factor_b", &[1, 3], &[1.0, 0.5, 4.0])]);
        let mut info = AdapterInfo { method: "dpt".into(), params: params("rank", 1), ..AdapterInfo::imported(2, 3) };
        assert_eq!(prompt(&info, &factors).unwrap().data, [1.0, 0.5, 4.0, -2.0, -1.0, -8.0]);
        info.virtual_tokens = 3;
        let error = prompt(&info, &factors).unwrap_err();
        assert_eq!(error.message, "`adapter.safetensors` is not an adapter of method `dpt`");
        let notes =
            ["`factor_a`: wanted [3, 1], found [2, 1]", "`adapter.json` says dpt, 3 virtual tokens of width 3, rank 1"];
        assert_eq!(error.notes, notes);
        info.method = "nothing".into();
        assert_eq!(prompt(&info, &factors).unwrap_err().message, "there is no prompt method `nothing`");

        // One row [1, 2], hidden 1: relu(1·1 + 2·1 − 1) = 2, up gives [2 + 1, 2 − 1], which the norm makes [1, −1]
        // nearly.
        let residual = save(&[
            put("prompt", &[1, 2], &[1.0, 2.0]),
            put("down.weight", &[1, 2], &[1.0, 1.0]),
            put("down.bias", &[1], &[-1.0]),
            put("up.weight", &[2, 1], &[1.0, 1.0]),
            put("up.bias", &[2], &[1.0, -1.0]),
            put("norm.weight", &[2], &[1.0, 2.0]),
            put("norm.bias", &[2], &[0.5, 0.0]),
        ]);
        let info =
            AdapterInfo { method: "residual".into(), params: params("hidden", 1), ..AdapterInfo::imported(1, 2) };
        let one = 1.0 / (1.0f64 + 1e-5).sqrt();
        let found = prompt(&info, &residual).unwrap().data;
        for (found, expected) in found.iter().zip([1.0 + one + 0.5, 2.0 - 2.0 * one]) {
            assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
        }

        let values = [0.1f32, 0.2, 0.3, 0.4];
        write_whole(dir.path(), &AdapterInfo::imported(2, 2), &values).unwrap();
        let info = read_info(&dir.path().join(INFO)).unwrap();
        assert_eq!(prompt(&info, &Tensors::open(&path).unwrap()).unwrap().to_f32(), values);
        assert_eq!(info.describe(), "prompt-tuning, 2 virtual tokens of width 2");
    }

    /// Files that were written when `rank` was the only parameter of a method are read, and written again as they were.
    #[test]
    fn adapter_json_keeps_its_form_for_rank() {
        let old = |rank: &str| {
            format!(
                "{{\"backbone_digest\":null,\"backbone_name\":\"t\",\"best_step\":10,\"d_model\":64,\"init\":\"svd\",\
                 \"method\":\"dpt\",\"rank\":{rank},\"seed\":42,\"select_metric\":null,\"select_on\":null,\
                 \"task\":\"rte\",\"trainable_parameters\":288,\"virtual_tokens\":8}}"
            )
        };
        for (rank, params) in [("4", vec![("rank".to_owned(), Value::Int(4))]), ("null", vec![])] {
            let info: AdapterInfo = serde_json::from_str(&old(rank)).unwrap();
            assert_eq!(info.params, params.into_iter().collect::<Params>());
            let parsed: serde_json::Value = serde_json::from_str(&old(rank)).unwrap();
            assert_eq!(serde_json::to_value(&info).unwrap(), parsed);
        }
        let hidden = AdapterInfo {
            params: Params::from([("hidden".to_owned(), Value::Int(20))]),
            ..AdapterInfo::imported(2, 2)
        };
        let json = serde_json::to_value(&hidden).unwrap();
        assert_eq!((&json["rank"], &json["params"]["hidden"]), (&serde_json::Value::Null, &serde_json::json!(20)));
        assert_eq!(serde_json::from_value::<AdapterInfo>(json).unwrap(), hidden);
    }
}
