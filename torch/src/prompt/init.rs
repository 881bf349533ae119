//! [`Init`]: where an adapter starts.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::base::diag::{Class, Diag};
use crate::base::draw::Draws;
use crate::base::torch_rng::TorchRng;

use super::{Dims, Method};

/// Token ids that [`Init::Vocabulary`] samples from: the first 5 000 without pad, `</s>` and `<unk>`.
const COMMON: std::ops::Range<i64> = 3..5000;

/// Where an adapter starts.
pub enum Init<'a> {
    /// Every entry of every tensor uniform in ±`scale`, drawn as the reference does after `torch.manual_seed(seed)`: its
    /// `scale` is 0.5.
    Uniform {
        /// Half of the width.
        scale: f64,
    },
    /// Every entry normal with mean 0 and this standard deviation. For `dpt` 0.2887 makes the product as large as the
    /// reference's.
    Gaussian {
        /// The standard deviation.
        std: f64,
    },
    /// The prompt's rows are sampled rows of the token table, times `scale`; no row twice. For methods that can hold any
    /// prompt.
    Vocabulary {
        /// `[vocab, d_model]`.
        table: &'a Tensor,
        /// What the rows are multiplied with; 1 keeps them.
        scale: f64,
    },
    /// These tensors, by name: from `svd-init`, or trained before.
    Given(&'a BTreeMap<String, Tensor>),
}

impl Init<'_> {
    /// The initial values of `method`'s tensors, float32 on the CPU.
    pub(super) fn values(&self, method: &dyn Method, dims: Dims, seed: u64) -> Result<Vec<Tensor>, Diag> {
        let tensors = method.tensors(dims);
        Ok(match self {
            Init::Uniform { scale } => {
                let mut rng = TorchRng::new(seed);
                let bound = *scale as f32;
                tensors
                    .iter()
                    .map(|(_, shape)| {
                        let values = rng.uniform((shape[0] * shape[1]) as usize, -bound, bound);
                        Tensor::from_slice(&values).view(*shape)
                    })
                    .collect()
            }
            Init::Gaussian { std } => tensors
                .iter()
                .map(|(name, shape)| {
                    let mut draws = Draws::new(&format!("prompt.gaussian.{name}"), seed as i64);
                    let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| (draws.gaussian() * std) as f32).collect();
                    Tensor::from_slice(&values).view(*shape)
                })
                .collect(),
            Init::Vocabulary { table, scale } => {
                let rows = sample_rows(table, dims.virtual_tokens, seed)? * *scale;
                method.hold(&rows).ok_or_else(|| {
                    Diag::error(
                        Class::Usage,
                        format!(
                            "method `{}` cannot start from vocabulary rows: its prompt is a product",
                            method.name()
                        ),
                    )
                    .help("set `init = \"svd\"` and give it an `svd-init` stage with `source = \"vocab\"`")
                })?
            }
            Init::Given(given) => take(given, &tensors, method.name())?,
        })
    }
}

/// `count` different rows of `table` `[vocab, d_model]`, from the common tokens; float32 on the CPU.
fn sample_rows(table: &Tensor, count: i64, seed: u64) -> Result<Tensor, Diag> {
    let end = COMMON.end.min(table.size()[0]);
    let there = (end - COMMON.start).max(0);
    if count > there {
        return Err(Diag::error(
            Class::Stage,
            format!("the vocabulary has {there} common tokens, too few for {count} different rows"),
        ));
    }
    let ids: Vec<i64> = Draws::new("prompt.vocabulary", seed as i64)
        .sample(there as usize, count as usize)
        .into_iter()
        .map(|i| i as i64 + COMMON.start)
        .collect();
    let ids = Tensor::from_slice(&ids).to_device(table.device());
    Ok(table.detach().index_select(0, &ids).to_device(tch::Device::Cpu).to_kind(Kind::Float))
}

/// The tensors wanted, out of those given: names and shapes compared, all differences told at once.
pub(super) fn take(
    given: &BTreeMap<String, Tensor>,
    wanted: &[(&'static str, [i64; 2])],
    method: &str,
) -> Result<Vec<Tensor>, Diag> {
    let mut notes = Vec::new();
    for (name, shape) in wanted {
        match given.get(*name) {
            None => notes.push(format!("`{name}`, wanted {shape:?}, is missing")),
            Some(tensor) if tensor.size() != shape => {
                notes.push(format!("`{name}`: wanted {shape:?}, found {:?}", tensor.size()));
            }
            Some(tensor) if !tensor.is_floating_point() => {
                notes.push(format!("`{name}`: wanted floating point, found {:?}", tensor.kind()));
            }
            Some(_) => {}
        }
    }
    for name in given.keys().filter(|name| !wanted.iter().any(|(known, _)| known == name)) {
        notes.push(format!("`{name}` is not a tensor of it"));
    }
    if !notes.is_empty() {
        let mut diag = Diag::error(Class::Stage, format!("the given tensors are not an adapter of method `{method}`"));
        diag.notes = notes;
        return Err(diag.help("compare `method`, `virtual_tokens`, `rank` and the model of both stages"));
    }
    Ok(wanted
        .iter()
        .map(|(name, _)| given[*name].detach().to_device(tch::Device::Cpu).to_kind(Kind::Float).copy())
        .collect())
}
