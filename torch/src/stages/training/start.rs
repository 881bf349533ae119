//! The adapter before training: as its method starts it, from `svd-init`, or from another adapter.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::adapter;
use crate::adapter::method::FromMatrix;
use crate::artifact::json as json_file;
use crate::artifact::tensors::Tensors;
use crate::base::diag::{Class, Diag};
use crate::model::t5::T5;
use crate::model::tensors;
use crate::prompt::{Adapter, AdapterInfo, Forward, Init, InitKind, Method, Shape};
use crate::stages::backbone;
use dpt::stages::ctx::{Ctx, Input};

/// Standard deviation that gives a product of two factors the size, at any rank, of the reference's uniform draw: 1 /
/// sqrt(12).
const GAUSSIAN_STD: f64 = 0.288_675_134_594_812_9;

/// The parameters of the initial values.
#[derive(Clone, Copy)]
pub(crate) struct StartOptions {
    /// `None`: `svd` or `adapter` with an input `init`, else the method's own.
    pub init: Option<InitKind>,
    /// `None`: the default of the kind.
    pub scale: Option<f64>,
    /// Seeds the draws.
    pub seed: i64,
}

/// The adapter before training, on the device of `t5`, and how it started.
///
/// # Errors
/// Parameters and input that do not fit each other or the method.
pub(crate) fn start(
    ctx: &Ctx,
    options: StartOptions,
    forward: &'static dyn Forward,
    shape: Shape,
    t5: &T5,
) -> Result<(Adapter, InitKind), Diag> {
    let from = ctx.optional("init");
    let default = match from {
        None => InitKind::Reference,
        Some(from) if from.files.contains_key(adapter::INFO) => InitKind::Adapter,
        Some(_) => InitKind::Svd,
    };
    let kind = options.init.unwrap_or(default);
    let scale = |default: f64| options.scale.unwrap_or(default);
    let table = t5.embedding_table();
    let make = |init: &Init| Adapter::init(forward, shape.clone(), init, options.seed as u64, t5.device());
    let adapter = match (kind, from) {
        (InitKind::Svd, Some(factors)) => {
            make(&Init::Given(&tensors::read(&Tensors::open(factors.file("factors.safetensors")?)?)?))?
        }
        (InitKind::Adapter, Some(from)) => make(&Init::Given(&of_adapter(ctx, from, forward.method())?))?,
        (InitKind::Svd | InitKind::Adapter, None) => {
            let needs = match kind {
                InitKind::Svd => "add `init = \"svd_init\"` to the stage's `needs`",
                _ => "add `init = \"train\"` to the stage's `needs`",
            };
            return Err(Diag::error(Class::Stage, format!("`init = \"{kind}\"` needs an `init` input")).help(needs));
        }
        (InitKind::Reference | InitKind::Gaussian | InitKind::Vocab, Some(from)) => {
            return Err(Diag::error(Class::Stage, format!("`init = \"{kind}\"` leaves the `init` input unused"))
                .note(format!("the input is `{}`", from.node))
                .help("leave `init` out, or leave the input out of `needs`"));
        }
        (InitKind::Gaussian, None) => make(&Init::Gaussian { std: scale(GAUSSIAN_STD) })?,
        (InitKind::Vocab, None) => make(&Init::Vocabulary { table, scale: scale(1.0) })?,
        (InitKind::Reference, None) => make(&Init::Reference { scale: options.scale, table: Some(table) })?,
    };
    Ok((adapter, kind))
}

/// The tensors of an adapter that was trained before on the same model; if it is of another method, its prompt, if
/// `method` can hold any prompt.
fn of_adapter(ctx: &Ctx, from: &Input, method: &Method) -> Result<BTreeMap<String, Tensor>, Diag> {
    let info: AdapterInfo = json_file::read(from.file(adapter::INFO)?)?;
    if let Some(note) = backbone::check(&info, from, ctx.input("model")?)? {
        ctx.progress.note(&note);
    }
    let file = Tensors::open(from.file(adapter::TENSORS)?)?;
    if info.method == method.name {
        return tensors::read(&file);
    }
    let refuse = || {
        Diag::error(
            Class::Stage,
            format!(
                "`{}` cannot start from the prompt of `{}`, which is of method `{}`",
                method.name, from.node, info.method
            ),
        )
        .help("put an `svd-init` stage with `source = \"prompt\"` between the two")
    };
    match (method.from_matrix, adapter::folded(&info, &file)?) {
        (FromMatrix::Whole { tensor, exact: true }, Some(prompt)) => {
            let shape = [prompt.rows as i64, prompt.cols as i64];
            Ok(BTreeMap::from([(tensor.to_owned(), Tensor::from_slice(&prompt.to_f32()).view(shape))]))
        }
        _ => Err(refuse()),
    }
}
