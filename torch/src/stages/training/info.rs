//! [`AdapterInfo`] of an adapter in training, and the rates of its tensors.

use std::collections::BTreeMap;

use crate::base::diag::Diag;
use crate::base::value::{Params, Value};
use crate::data::encoded::Tokens;
use crate::model::cache;
use crate::prompt::{Adapter, AdapterInfo, InitKind, Method};
use crate::stages::backbone;
use dpt::stages::ctx::Input;

/// The description of `adapter`, which starts by `init` on `model` and is trained on the data of `tokens`. No step of
/// it is best yet.
///
/// # Errors
/// The model's `backbone.json` cannot be read.
pub(crate) fn info(
    adapter: &Adapter,
    init: InitKind,
    model: &Input,
    tokens: &Tokens,
    seed: i64,
) -> Result<AdapterInfo, Diag> {
    let (method, shape) = (adapter.method(), adapter.shape());
    Ok(AdapterInfo {
        method: method.name.to_owned(),
        virtual_tokens: shape.virtual_tokens,
        d_model: shape.d_model,
        trainable_parameters: method.parameters(shape),
        stored_parameters: Some(method.stored(shape)).filter(|stored| *stored != method.parameters(shape)),
        params: method.recorded(shape),
        init: init.name().to_owned(),
        backbone_digest: Some(cache::digest(&model.digests).hex()),
        backbone_name: backbone::name(model)?,
        task: Some(tokens.task.clone()),
        seed: Some(seed),
        best_step: None,
        select_on: None,
        select_metric: None,
    })
}

/// The rates and the weight decay of tensors that have their own, by the name of the parameter that sets them. `own`
/// are the method's parameters.
pub(crate) fn own_rates(method: &Method, own: &Params) -> BTreeMap<String, f64> {
    let rate = |name: &str| match own.get(name) {
        Some(Value::Float(rate)) => Some((name.to_owned(), *rate)),
        _ => None,
    };
    method.training.iter().filter_map(|param| rate(param.name)).collect()
}
