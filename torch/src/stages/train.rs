//! What `train` does: reads its inputs, runs the loop of [`crate::learn`], keeps checkpoints in its scratch folder, and
//! writes the adapter with its curves.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Float32Array, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use serde::Deserialize;
use serde_json::json;
use tch::Tensor;

use crate::adapter;
use crate::adapter::method::FromMatrix;
use crate::artifact::tensors::Tensors;
use crate::artifact::{json as json_file, table};
use crate::base::diag::{Class, Diag};
use crate::base::value::{Params, Value};
use crate::data::encoded::{self, Encoded, Tokens};
use crate::learn::batch::{BatchSource, Epochs, Order};
use crate::learn::evaluate::SplitEvaluator;
use crate::learn::fit::{CurveRow, Evaluator, FitOptions, Fitted, Observer, Score, Snapshot, fit};
use crate::learn::optim::OptimizerKind;
use crate::learn::schedule::{ScheduleKind, warmup_steps};
use crate::model::{Dtype, cache, device, t5::T5, tensors};
use crate::prompt::{self, Adapter, AdapterInfo, Forward, Init, InitKind, Method, Shape, methods};
use crate::stages::backbone;
use crate::stages::checkpoint::Checkpoint;
use crate::stages::ctx::{Ctx, Input, Outcome, Unit, Update};
use crate::stages::stage::StageResult;
use dpt::stages::train::{FrozenDropout, SelectOn};

/// The parameters, as declared in [`dpt::stages::train::KIND`], without those of the method.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainParams {
    task: Option<String>,
    method: String,
    seed: i64,
    virtual_tokens: i64,
    steps: Option<u64>,
    epochs: Option<u64>,
    batch_size: usize,
    learning_rate: f64,
    optimizer: OptimizerKind,
    epsilon: Option<f64>,
    schedule: ScheduleKind,
    weight_decay: f64,
    warmup: f64,
    max_grad_norm: f64,
    eval_every: Option<u64>,
    eval_limit: usize,
    eval_batch_size: usize,
    patience: u64,
    select_on: Option<SelectOn>,
    init: Option<InitKind>,
    init_scale: Option<f64>,
    order: Order,
    dtype: Dtype,
    frozen_dropout: FrozenDropout,
    checkpoint_every: u64,
    log_every: u64,
}

/// Standard deviation that gives `dpt` at any rank a product as large as the reference's uniform draw: 1 / sqrt(12).
const GAUSSIAN_STD: f64 = 0.288_675_134_594_812_9;

/// How often a run is scored when `eval_every` is left out.
const SCORINGS: u64 = 20;

/// Runs the stage.
///
/// # Errors
/// Inputs that do not fit each other or the parameters, a run that diverges, and an interruption.
pub fn run(ctx: &Ctx) -> StageResult {
    let (own, params) = methods::split(&ctx.job.params);
    let params: TrainParams = ctx.params_of(&params)?;
    let at = device::parse(&ctx.job.device)?;
    device::set_threads(ctx.job.threads);
    device::deterministic();
    let numerics = device::numerics(at);

    let data = ctx.input("data")?;
    let tokens: Tokens = json_file::read(data.file("tokens.json")?)?;
    if let Some(task) = params.task.as_ref().filter(|task| **task != tokens.task) {
        let message = format!("`task` is `{task}`, and the data is of task `{}`", tokens.task);
        return Err(Diag::error(Class::Stage, message).note(format!("the data comes from `{}`", data.node)));
    }
    let train = read_split(data, "train")?;
    let source = Epochs::new(&train, params.batch_size, params.order, params.seed, tokens.pad_id)?;
    let select_on = select_on(&params, data)?;
    let evaluator = match &select_on {
        Some(split) => {
            let examples = read_split(data, split)?;
            Some(SplitEvaluator::new(split, examples, &tokens, params.eval_limit, params.eval_batch_size)?)
        }
        None => None,
    };

    let model = ctx.input("model")?;
    let t5 = cache::backbone(&model.files, &model.digests, at, device::kind(params.dtype))?;
    check_vocabulary(&tokens, data, &t5, model)?;
    let forward = prompt::find(&params.method)?;
    let method = forward.method();
    let shape = method.shape(params.virtual_tokens, t5.config().d_model, &own)?;
    let longest = train.iter().map(|example| example.input_ids.len()).max().unwrap_or(0);
    let longest = longest.max(evaluator.as_ref().map_or(0, SplitEvaluator::longest));
    prompt::check(method, &shape, &t5, longest)
        .map_err(|diag| diag.note(format!("the data comes from `{}`", data.node)))?;
    let (mut adapter, init) = start(ctx, &params, forward, shape, &t5)?;
    if init != InitKind::Adapter {
        let first = source.batch(0)?;
        adapter.prepare(&t5, &first.input_ids, &first.mask, &first.labels)?;
    }
    let shape = adapter.shape().clone();
    adapter.save(&ctx.out("initial.safetensors"))?;

    let steps = params.steps.unwrap_or_else(|| params.epochs.unwrap_or(1) * source.batches_per_epoch());
    let options = FitOptions {
        steps,
        learning_rate: params.learning_rate,
        own_rates: own_rates(method, &own),
        optimizer: params.optimizer,
        epsilon: params.epsilon,
        schedule: params.schedule,
        weight_decay: params.weight_decay,
        warmup_steps: warmup_steps(params.warmup, steps),
        max_grad_norm: params.max_grad_norm,
        eval_every: params.eval_every.unwrap_or(steps.div_ceil(SCORINGS)),
        patience: params.patience,
        checkpoint_every: params.checkpoint_every,
        dropout: match params.frozen_dropout {
            FrozenDropout::Off => 0.0,
            FrozenDropout::Config => t5.config().dropout_rate,
        },
        seed: params.seed,
    };
    let checkpoint = Checkpoint::new(ctx, "checkpoint.safetensors", &numerics);
    let resume = checkpoint.read(ctx)?.map(|(state, tensors)| Snapshot { tensors, state });
    let watch = Watch::new(ctx, &checkpoint, steps, params.log_every);
    let scored_on = evaluator.as_ref().map(SplitEvaluator::examples);
    let evaluator = evaluator.as_ref().map(|e| e as &dyn Evaluator);
    let begun = adapter.copy();
    let fitted = fit(&t5, adapter, &options, &source, evaluator, &watch, resume)?;

    let info = AdapterInfo {
        method: params.method.clone(),
        virtual_tokens: shape.virtual_tokens,
        d_model: shape.d_model,
        trainable_parameters: method.parameters(&shape),
        stored_parameters: Some(method.stored(&shape)).filter(|stored| *stored != method.parameters(&shape)),
        params: method.recorded(&shape),
        init: init.name().to_owned(),
        backbone_digest: Some(cache::digest(&model.digests).hex()),
        backbone_name: backbone_name(model)?,
        task: Some(tokens.task.clone()),
        seed: Some(params.seed),
        best_step: Some(fitted.best_step as i64),
        select_on: select_on.clone(),
        select_metric: fitted.best_score.as_ref().map(|(metric, _)| metric.clone()),
    };
    fitted.adapter.save(&ctx.out("adapter.safetensors"))?;
    json_file::write(&ctx.out("adapter.json"), &info)?;
    table::write(&ctx.out("curves.parquet"), &curves(&fitted.curves))?;
    table::write(&ctx.out("evals.parquet"), &evals(&fitted))?;
    if !fitted.figures.is_empty() {
        let rates: Vec<_> = fitted.curves.iter().map(|row| row.learning_rate).collect();
        let all: Vec<_> = fitted.figures.iter().cloned().chain(begun.controls(&rates, params.seed)).collect();
        table::write(&ctx.out("figures.parquet"), &figures(&all))?;
    }
    let last_loss = fitted.curves.last().map(|row| f64::from(row.loss));
    let summary = json!({
        "task": tokens.task,
        "method": params.method,
        "seed": params.seed,
        "init": init,
        "dtype": params.dtype,
        "frozen_dropout": params.frozen_dropout,
        "order": params.order,
        "trainable_parameters": info.trainable_parameters,
        "train_examples": train.len(),
        "batches_per_epoch": source.batches_per_epoch(),
        "steps_planned": steps,
        "steps": fitted.curves.len(),
        "warmup_steps": options.warmup_steps,
        "eval_every": options.eval_every,
        "stopped_early": fitted.stopped_early,
        "best_step": fitted.best_step,
        "best_score": fitted.best_score.as_ref().map(|(_, value)| value),
        "select_on": select_on,
        "select_metric": info.select_metric,
        "select_examples": scored_on,
        "first_loss": fitted.curves.first().map(|row| f64::from(row.loss)),
        "last_loss": last_loss,
    });
    json_file::write(&ctx.out("train.json"), &summary)?;

    let mut outcome = Outcome { numerics, ..Outcome::default() };
    outcome.metrics.insert("loss".into(), last_loss.unwrap_or(f64::NAN));
    outcome.metrics.insert("steps".into(), fitted.curves.len() as f64);
    outcome.metrics.insert("best_step".into(), fitted.best_step as f64);
    if let Some((metric, value)) = &fitted.best_score {
        outcome.metrics.insert(metric.clone(), *value);
    }
    if fitted.stopped_early {
        let steps = fitted.curves.len();
        outcome
            .notes
            .push(format!("stopped after {steps} of {} steps: no gain in {} scorings", options.steps, params.patience));
    }
    Ok(outcome)
}

/// The rates of groups of tensors that have one of their own.
fn own_rates(method: &Method, own: &Params) -> BTreeMap<String, f64> {
    let rate = |name: &str| match own.get(name) {
        Some(Value::Float(rate)) => Some((name.to_owned(), *rate)),
        _ => None,
    };
    method.training.iter().filter_map(|param| rate(param.name)).collect()
}

/// The examples of a split.
fn read_split(data: &Input, split: &str) -> Result<Vec<Encoded>, Diag> {
    let name = format!("{split}.parquet");
    encoded::from_batch(&table::read(data.file(&name)?)?, &name)
}

/// The split that picks the best step; `None`: the last step is kept.
fn select_on(params: &TrainParams, data: &Input) -> Result<Option<String>, Diag> {
    let has = |split: &str| data.files.contains_key(&format!("{split}.parquet"));
    match params.select_on {
        Some(SelectOn::None) => Ok(None),
        Some(split) if has(split.name()) => Ok(Some(split.name().to_owned())),
        Some(split) => Err(no_split(data, &format!("`select_on = \"{split}\"` names a split that the data has not"))),
        None => match ["dev", "validation"].into_iter().find(|split| has(split)) {
            Some(split) => Ok(Some(split.to_owned())),
            None => Err(no_split(data, "the data has no split to pick the best step on")),
        },
    }
}

fn no_split(data: &Input, message: &str) -> Diag {
    let has: Vec<_> =
        data.files.keys().filter_map(|f| f.strip_suffix(".parquet")).map(|split| format!("`{split}`")).collect();
    Diag::error(Class::Stage, message)
        .note(format!("`{}` has {}", data.node, has.join(", ")))
        .help("set `select_on` to one of these, or to `none` to keep the last step")
}

/// Token ids must be rows of the backbone's table, and pad and end the same tokens on both sides.
fn check_vocabulary(tokens: &Tokens, data: &Input, t5: &T5, model: &Input) -> Result<(), Diag> {
    let config = t5.config();
    let note = |diag: Diag| {
        diag.note(format!("the data comes from `{}`, the model from `{}`", data.node, model.node))
            .help("tokenise with the tokenizer of the same model")
    };
    if tokens.vocab_size as i64 > config.vocab_size {
        return Err(note(Diag::error(
            Class::Stage,
            format!("the tokenizer has {} tokens, the model {}", tokens.vocab_size, config.vocab_size),
        )));
    }
    for (what, theirs, ours) in
        [("pad", tokens.pad_id, config.pad_token_id), ("end", tokens.eos_id, config.eos_token_id)]
    {
        if i64::from(theirs) != ours {
            return Err(note(Diag::error(
                Class::Stage,
                format!("the tokenizer's {what} token is {theirs}, the model's {ours}"),
            )));
        }
    }
    Ok(())
}

/// The adapter before training, and how it started.
fn start(
    ctx: &Ctx,
    params: &TrainParams,
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
    let kind = params.init.unwrap_or(default);
    let scale = |default: f64| params.init_scale.unwrap_or(default);
    let table = t5.embedding_table();
    let make = |init: &Init| Adapter::init(forward, shape.clone(), init, params.seed as u64, t5.device());
    let adapter = match (kind, from) {
        (InitKind::Svd, Some(factors)) => {
            make(&Init::Given(&tensors::read(&Tensors::open(factors.file("factors.safetensors")?)?)?))?
        }
        (InitKind::Adapter, Some(from)) => make(&Init::Given(&of_adapter(ctx, from, forward.method())?))?,
        (InitKind::Svd | InitKind::Adapter, None) => {
            let stage = if kind == InitKind::Svd { "svd_init" } else { "train" };
            return Err(Diag::error(Class::Stage, format!("`init = \"{kind}\"` needs an `init` input"))
                .help(format!("add `init = \"{stage}\"` to the stage's `needs`")));
        }
        (InitKind::Reference | InitKind::Gaussian | InitKind::Vocab, Some(from)) => {
            return Err(Diag::error(Class::Stage, format!("`init = \"{kind}\"` leaves the `init` input unused"))
                .note(format!("the input is `{}`", from.node))
                .help("leave `init` out, or leave the input out of `needs`"));
        }
        (InitKind::Gaussian, None) => make(&Init::Gaussian { std: scale(GAUSSIAN_STD) })?,
        (InitKind::Vocab, None) => make(&Init::Vocabulary { table, scale: scale(1.0) })?,
        (InitKind::Reference, None) => make(&Init::Reference { scale: params.init_scale, table: Some(table) })?,
    };
    Ok((adapter, kind))
}

/// The tensors of an adapter that was trained before, for the same model: as they are, or its prompt where `method` can hold
/// any.
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

fn backbone_name(model: &Input) -> Result<Option<String>, Diag> {
    #[derive(Deserialize)]
    struct Backbone {
        name: Option<String>,
    }
    match model.files.get("backbone.json") {
        Some(path) => Ok(json_file::read::<Backbone>(path)?.name),
        None => Ok(None),
    }
}

fn curves(rows: &[CurveRow]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("step", DataType::Int32, false),
        Field::new("loss", DataType::Float32, false),
        Field::new("learning_rate", DataType::Float64, false),
        Field::new("grad_norm", DataType::Float32, false),
    ]);
    let rates: Float64Array = rows.iter().map(|row| Some(row.learning_rate)).collect();
    let floats = |value: fn(&CurveRow) -> f32| Arc::new(rows.iter().map(value).map(Some).collect::<Float32Array>());
    let steps: Int32Array = rows.iter().map(|row| Some(row.step as i32)).collect();
    RecordBatch::try_new(
        Arc::new(schema),
        vec![Arc::new(steps), floats(|r| r.loss), Arc::new(rates), floats(|r| r.grad_norm)],
    )
    .expect("four columns of one length")
}

/// One row a figure and step.
fn figures(all: &[(&str, Vec<f64>)]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("step", DataType::Int32, false),
        Field::new("figure", DataType::Utf8, false),
        Field::new("value", DataType::Float64, false),
    ]);
    let rows =
        || all.iter().flat_map(|(name, values)| (0..).zip(values).map(move |(step, value)| (step, *name, *value)));
    let steps: Int32Array = rows().map(|(step, ..)| Some(step)).collect();
    let names: StringArray = rows().map(|(_, name, _)| Some(name)).collect();
    let values: Float64Array = rows().map(|(.., value)| Some(value)).collect();
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(steps), Arc::new(names), Arc::new(values)])
        .expect("three columns of one length")
}

fn evals(fitted: &Fitted) -> RecordBatch {
    let rows = &fitted.evals;
    let schema = Schema::new(vec![
        Field::new("step", DataType::Int32, false),
        Field::new("split", DataType::Utf8, false),
        Field::new("metric", DataType::Utf8, false),
        Field::new("value", DataType::Float64, false),
    ]);
    let steps: Int32Array = rows.iter().map(|row| Some(row.step as i32)).collect();
    let splits: StringArray = rows.iter().map(|row| Some(row.split.as_str())).collect();
    let metrics: StringArray = rows.iter().map(|row| Some(row.metric.as_str())).collect();
    let values: Float64Array = rows.iter().map(|row| Some(row.value)).collect();
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(steps), Arc::new(splits), Arc::new(metrics), Arc::new(values)])
        .expect("four columns of one length")
}

/// Tells how a run goes, and keeps its snapshots.
struct Watch<'a> {
    ctx: &'a Ctx<'a>,
    checkpoint: &'a Checkpoint<'a>,
    total: u64,
    log_every: u64,
    begun: Instant,
    examples: Cell<i64>,
    best: RefCell<String>,
}

impl<'a> Watch<'a> {
    fn new(ctx: &'a Ctx<'a>, checkpoint: &'a Checkpoint<'a>, total: u64, log_every: u64) -> Self {
        let watch = Self {
            ctx,
            checkpoint,
            total,
            log_every,
            begun: Instant::now(),
            examples: Cell::new(0),
            best: RefCell::default(),
        };
        watch.update(0, String::new());
        watch
    }

    fn update(&self, done: u64, detail: String) {
        let update = Update { what: "training".into(), done, total: Some(self.total), unit: Unit::Steps, detail };
        self.ctx.progress.update(update);
    }
}

impl Observer for Watch<'_> {
    fn check(&self) -> Result<(), Diag> {
        self.ctx.check_cancel()
    }

    fn resumed(&self, step: u64) {
        self.ctx.progress.note(&format!("goes on after step {step} from its checkpoint"));
        self.update(step, String::new());
    }

    fn refused(&self, why: Diag) -> Result<(), Diag> {
        self.checkpoint.set_aside(self.ctx, &why.message)
    }

    fn step(&self, row: &CurveRow, examples: i64) {
        self.examples.set(self.examples.get() + examples);
        let rate = self.examples.get() as f64 / self.begun.elapsed().as_secs_f64().max(1e-9);
        let detail = format!("loss {:.4}, {rate:.1} examples/s{}", row.loss, self.best.borrow());
        if self.log_every > 0 && row.step.is_multiple_of(self.log_every) {
            self.ctx.progress.note(&format!("step {}: {detail}", row.step));
        }
        self.update(row.step, detail);
    }

    fn scored(&self, step: u64, scores: &[Score], best: bool) {
        if let (true, Some((metric, value))) = (best, scores.first()) {
            self.best.replace(format!(", best {metric} {value:.3} (step {step})"));
        }
    }

    fn save(&self, snapshot: Snapshot) -> Result<(), Diag> {
        self.checkpoint.write(&snapshot.state, snapshot.tensors)
    }
}
