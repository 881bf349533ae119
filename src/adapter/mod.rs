//! L2: adapters, the trained tensors of one run: what a folder of ours says of them ([`AdapterInfo`]), the soft prompt that
//! comes of them ([`prompt`]), and the same as Hugging Face PEFT has it ([`peft`]). Knows no training and no libtorch.

pub mod peft;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::artifact::json;
use crate::artifact::tensors::{Dtype, Tensor, Tensors, f32_bytes, write};
use crate::base::diag::{Class, Diag};
use crate::svd::matrix::Matrix;

/// The file that says what an adapter is.
pub const INFO: &str = "adapter.json";
/// The file with its tensors.
pub const TENSORS: &str = "adapter.safetensors";
/// The file with the same tensors before training, where they are known.
pub const INITIAL: &str = "initial.safetensors";

/// What `adapter.json` says beside the tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterInfo {
    /// The prompt method.
    pub method: String,
    /// Rows of the soft prompt.
    pub virtual_tokens: i64,
    /// Inner size of the product, for methods that have one.
    pub rank: Option<i64>,
    /// Width of the backbone.
    pub d_model: i64,
    /// How many numbers were trained.
    pub trainable_parameters: i64,
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

/// How the prompt comes of a method's tensors.
enum Parts {
    /// The product of two of them.
    Product(&'static str, &'static str),
    /// One of them.
    Whole(&'static str),
}

/// The methods whose result is a soft prompt in front of the encoder's input, and nothing else.
const PROMPTS: &[(&str, Parts)] =
    &[("dpt", Parts::Product("factor_a", "factor_b")), ("prompt-tuning", Parts::Whole("prompt"))];

/// The method whose only tensor is the prompt: what an imported prompt becomes.
const WHOLE: (&str, &str) = ("prompt-tuning", "prompt");

impl AdapterInfo {
    /// An imported prompt of this shape.
    pub fn imported(virtual_tokens: usize, d_model: usize) -> Self {
        Self {
            method: WHOLE.0.into(),
            virtual_tokens: virtual_tokens as i64,
            rank: None,
            d_model: d_model as i64,
            trainable_parameters: (virtual_tokens * d_model) as i64,
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

    /// One line on what it is.
    pub fn describe(&self) -> String {
        let rank = self.rank.map_or_else(String::new, |rank| format!(", rank {rank}"));
        format!("{}, {} virtual tokens of width {}{rank}", self.method, self.virtual_tokens, self.d_model)
    }
}

/// The soft prompt `[virtual_tokens, d_model]` of an adapter.
///
/// # Errors
/// A method that does more than put a prompt in front of the input; tensors that are not those of the method, or of other
/// sizes than `info` says.
pub fn prompt(info: &AdapterInfo, file: &Tensors) -> Result<Matrix, Diag> {
    let Some((_, parts)) = PROMPTS.iter().find(|(method, _)| *method == info.method) else {
        let known: Vec<_> = PROMPTS.iter().map(|(method, _)| format!("`{method}`")).collect();
        return Err(Diag::error(Class::Usage, format!("method `{}` is more than a soft prompt", info.method))
            .note(format!("a prompt alone is the result of {}", known.join(" and "))));
    };
    let matrix = |name: &str| {
        let tensor = file.require(name)?;
        match tensor.shape {
            [rows, cols] => Ok(Matrix::from_f32(*rows, *cols, &tensor.f32s()?)),
            other => Err(Diag::error(Class::Stage, format!("`{name}` has the shape {other:?}, wanted a matrix"))),
        }
    };
    let (prompt, shapes) = match parts {
        Parts::Product(a, b) => {
            let (a, b) = (matrix(a)?, matrix(b)?);
            let shapes = format!("factors of {} x {} and {} x {}", a.rows, a.cols, b.rows, b.cols);
            ((a.cols == b.rows).then(|| a.times(&b)), shapes)
        }
        Parts::Whole(name) => {
            let prompt = matrix(name)?;
            let shapes = format!("a prompt of {} x {}", prompt.rows, prompt.cols);
            (Some(prompt), shapes)
        }
    };
    let fits = |p: &Matrix| (p.rows as i64, p.cols as i64) == (info.virtual_tokens, info.d_model);
    prompt.filter(fits).ok_or_else(|| {
        let message = format!("`{TENSORS}` holds {shapes}");
        Diag::error(Class::Stage, message)
            .note(format!("`{INFO}` says {} virtual tokens of width {}", info.virtual_tokens, info.d_model))
            .help("the two files are not of the same adapter")
    })
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
    write(&folder.join(TENSORS), &[Tensor { name: WHOLE.1, dtype: Dtype::F32, shape: &shape, bytes: &bytes }])?;
    json::write(&folder.join(INFO), info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_of_each_method() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TENSORS);
        let put = |name: &'static str, shape: &[usize], values: &[f32]| (name, shape.to_vec(), f32_bytes(values));
        let save = |tensors: &[(&str, Vec<usize>, Vec<u8>)]| {
            let tensors: Vec<_> =
                tensors.iter().map(|(name, shape, bytes)| Tensor { name, dtype: Dtype::F32, shape, bytes }).collect();
            write(&path, &tensors).unwrap();
            Tensors::open(&path).unwrap()
        };
        let factors = save(&[put("factor_a", &[2, 1], &[1.0, -2.0]), put("factor_b", &[1, 3], &[1.0, 0.5, 4.0])]);
        let mut info = AdapterInfo { method: "dpt".into(), rank: Some(1), ..AdapterInfo::imported(2, 3) };
        assert_eq!(prompt(&info, &factors).unwrap().data, [1.0, 0.5, 4.0, -2.0, -1.0, -8.0]);
        info.virtual_tokens = 3;
        let error = prompt(&info, &factors).unwrap_err();
        assert_eq!(error.message, "`adapter.safetensors` holds factors of 2 x 1 and 1 x 3");
        info.method = "dept".into();
        assert_eq!(prompt(&info, &factors).unwrap_err().message, "method `dept` is more than a soft prompt");

        let values = [0.1f32, 0.2, 0.3, 0.4];
        write_whole(dir.path(), &AdapterInfo::imported(2, 2), &values).unwrap();
        let info = read_info(&dir.path().join(INFO)).unwrap();
        assert_eq!(prompt(&info, &Tensors::open(&path).unwrap()).unwrap().to_f32(), values);
        assert_eq!(info.describe(), "prompt-tuning, 2 virtual tokens of width 2");
    }
}
