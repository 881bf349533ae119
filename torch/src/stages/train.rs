//! The stage `train`: reads its inputs, trains an adapter by [`fit`], keeps checkpoints in its scratch folder, and
//! writes the adapter with its curves.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use crate::artifact::{json as json_file, table};
use crate::learn::batch::{BatchSource, Epochs, Order};
use crate::learn::evaluate::SplitEvaluator;
use crate::learn::fit::{Evaluator, FitOptions, Fitted, fit};
use crate::learn::optim::OptimizerKind;
use crate::learn::schedule::{ScheduleKind, warmup_steps};
use crate::model::{Dtype, cache, device, t5::T5};
use crate::prompt::{self, InitKind, methods};
use crate::stages::training::checkpoint::Checkpoint;
use crate::stages::training::curves::{RateType, curves, evals, figures};
use crate::stages::training::info::{info, own_rates};
use crate::stages::training::start::{StartOptions, start};
use crate::stages::training::{inputs, watch::Watch};
use dpt::stages::ctx::{Ctx, Outcome};
use dpt::stages::stage::StageResult;
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

/// The number of scorings of a run without `eval_every`.
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
    let tokens = inputs::tokens(data, params.task.as_deref())?;
    let train = inputs::split(data, "train", None)?;
    let source = Epochs::new(&train, params.batch_size, params.order, params.seed, tokens.pad_id)?;
    let select_on = inputs::select_on(params.select_on, data)?;
    let (limit, batch_size) = (params.eval_limit, params.eval_batch_size);
    let evaluator = inputs::evaluator(data, select_on.as_deref(), &tokens, limit, batch_size)?;

    let model = ctx.input("model")?;
    let t5 = cache::backbone(&model.files, &model.digests, at, device::kind(params.dtype))?;
    inputs::check_vocabulary(&tokens, data, &t5, model)?;
    let forward = prompt::find(&params.method)?;
    let method = forward.method();
    let shape = method.shape(params.virtual_tokens, t5.config().d_model, &own)?;
    let longest = train.iter().map(|example| example.input_ids.len()).max().unwrap_or(0);
    let longest = longest.max(evaluator.as_ref().map_or(0, SplitEvaluator::longest));
    prompt::check(method, &shape, &t5, longest)
        .map_err(|diag| diag.note(format!("the data comes from `{}`", data.node)))?;
    let from = StartOptions { init: params.init, scale: params.init_scale, seed: params.seed };
    let (mut adapter, init) = start(ctx, from, forward, shape, &t5)?;
    if init != InitKind::Adapter {
        let first = source.batch(0)?;
        adapter.prepare(&t5, &first.input_ids, &first.mask, &first.labels)?;
    }
    let mut info = info(&adapter, init, model, &tokens, params.seed)?;
    adapter.save(&ctx.out("initial.safetensors"))?;

    let steps = params.steps.unwrap_or_else(|| params.epochs.unwrap_or(1) * source.batches_per_epoch());
    let options = params.options(steps, own_rates(method, &own), &t5);
    let checkpoint = Checkpoint::new(ctx, "checkpoint.safetensors", &numerics);
    let snapshot = checkpoint.snapshot(ctx)?;
    let watch = Watch::new(ctx, &checkpoint, "training", steps, params.log_every);
    let scored_on = evaluator.as_ref().map(SplitEvaluator::examples);
    let evaluator = evaluator.as_ref().map(|e| e as &dyn Evaluator);
    let begun = adapter.copy();
    let fitted = fit(&t5, adapter, &options, &source, evaluator, &watch, snapshot)?;

    info.best_step = Some(fitted.best_step as i64);
    info.select_on = select_on.clone();
    info.select_metric = fitted.best_score.as_ref().map(|(metric, _)| metric.clone());
    fitted.adapter.save(&ctx.out("adapter.safetensors"))?;
    json_file::write(&ctx.out("adapter.json"), &info)?;
    table::write(&ctx.out("curves.parquet"), &curves(&fitted.curves, RateType::Float64))?;
    table::write(&ctx.out("evals.parquet"), &evals(&fitted.evals))?;
    if !fitted.figures.is_empty() {
        let rates: Vec<_> = fitted.curves.iter().map(|row| row.learning_rate).collect();
        let all: Vec<_> = fitted.figures.iter().cloned().chain(begun.controls(&rates, params.seed)).collect();
        table::write(&ctx.out("figures.parquet"), &figures(&all))?;
    }
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
        "last_loss": fitted.curves.last().map(|row| f64::from(row.loss)),
    });
    json_file::write(&ctx.out("train.json"), &summary)?;

    Ok(outcome(&fitted, &options, numerics))
}

impl TrainParams {
    fn options(&self, steps: u64, own_rates: BTreeMap<String, f64>, t5: &T5) -> FitOptions {
        FitOptions {
            steps,
            learning_rate: self.learning_rate,
            own_rates,
            optimizer: self.optimizer,
            epsilon: self.epsilon,
            schedule: self.schedule,
            weight_decay: self.weight_decay,
            warmup_steps: warmup_steps(self.warmup, steps),
            max_grad_norm: self.max_grad_norm,
            eval_every: self.eval_every.unwrap_or(steps.div_ceil(SCORINGS)),
            patience: self.patience,
            checkpoint_every: self.checkpoint_every,
            dropout: match self.frozen_dropout {
                FrozenDropout::Off => 0.0,
                FrozenDropout::Config => t5.config().dropout_rate,
            },
            seed: self.seed,
        }
    }
}

fn outcome(fitted: &Fitted, options: &FitOptions, numerics: BTreeMap<String, String>) -> Outcome {
    let mut outcome = Outcome { numerics, ..Outcome::default() };
    let steps = fitted.curves.len();
    let last_loss = fitted.curves.last().map_or(f64::NAN, |row| f64::from(row.loss));
    outcome.metrics.insert("loss".into(), last_loss);
    outcome.metrics.insert("steps".into(), steps as f64);
    outcome.metrics.insert("best_step".into(), fitted.best_step as f64);
    if let Some((metric, value)) = &fitted.best_score {
        outcome.metrics.insert(metric.clone(), *value);
    }
    if fitted.stopped_early {
        let FitOptions { steps: planned, patience, .. } = options;
        outcome.notes.push(format!("stopped after {steps} of {planned} steps: no gain in {patience} scorings"));
    }
    outcome
}
