//! The stage `eval`: scores a prompt on a split, by candidates' log-likelihoods or by greedy decoding.

mod score;

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Builder, Int32Array, ListBuilder, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use serde::Deserialize;

use crate::artifact::tensors::Tensors;
use crate::artifact::{json as json_file, table};
use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::data::encoded::{Encoded, Tokens};
use crate::data::task::{self, Prediction};
use crate::data::tokenizer::{Tokenizer, beside};
use crate::learn::batch::{by_length, collate};
use crate::learn::evaluate::{best, log_likelihoods};
use crate::model::{Dtype, cache, device, t5::T5};
use crate::prompt::{self, Adapter, AdapterInfo};
use crate::report::records::{Backbone, Baselines, EvalRecord, Scored, ScoredBy, Scores};
use crate::stages::backbone;
use crate::stages::training::inputs;
use dpt::stages::ctx::{Ctx, Input, Outcome, Unit, Update};
use dpt::stages::stage::StageResult;
use score::{Scorer, modal};

/// The parameters, as declared in [`dpt::stages::eval::KIND`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EvalParams {
    task: Option<String>,
    split: String,
    score_by: ScoredBy,
    greedy: bool,
    max_new_tokens: Option<usize>,
    baseline_untrained: bool,
    batch_size: usize,
    dtype: Dtype,
}

/// By default, generated answers are at most so many tokens longer than the longest right answer: enough to see that
/// they differ.
const SLACK: usize = 8;

/// The answers of one prompt, one a row.
#[derive(Default)]
struct Answers {
    /// Log-likelihood (nats) of each candidate; empty for free text.
    likelihoods: Vec<Vec<f64>>,
    /// Generated texts; empty if greedy decoding is off.
    generated: Vec<String>,
}

/// The kinds of answers to compute.
#[derive(Clone, Copy)]
struct AnswerKinds {
    likelihoods: bool,
    greedy: bool,
}

/// Runs the stage.
///
/// # Errors
/// Inputs that do not belong together; a split that is not there or is empty; answers that the task does not have.
pub fn run(ctx: &Ctx) -> StageResult {
    let params: EvalParams = ctx.params()?;
    let at = device::parse(&ctx.job.device)?;
    device::set_threads(ctx.job.threads);
    device::deterministic();

    let (data, model, from) = (ctx.input("data")?, ctx.input("model")?, ctx.input("adapter")?);
    let tokens = inputs::tokens(data, params.task.as_deref())?;
    let info: AdapterInfo = json_file::read(from.file("adapter.json")?)?;
    check_inputs(ctx, &tokens, &info)?;
    let unchecked = backbone::check(&info, from, model)?;
    let examples = read_split(data, &params.split)?;
    let scorer = Scorer::new(&examples, &tokens)?;
    if params.score_by == ScoredBy::Verbalizer && !scorer.has_candidates() {
        return Err(Diag::error(
            Class::Stage,
            format!("`score_by = \"verbalizer\"`, and task `{}` has no candidate answers", tokens.task),
        )
        .note(format!("with template `{}` its targets are free text", tokens.template))
        .help("set `score_by = \"greedy\"` for this task"));
    }
    let greedy = params.greedy || params.score_by == ScoredBy::Greedy;
    let tokenizer = if greedy { Some(tokenizer(ctx, &tokens)?) } else { None };

    let t5 = cache::backbone(&model.files, &model.digests, at, device::kind(params.dtype))?;
    inputs::check_vocabulary_size(&tokens, data, &t5, model)?;
    let (method, shape) = info.method()?;
    let longest = examples.iter().map(|example| example.input_ids.len()).max().unwrap_or(0);
    prompt::check(method, &shape, &t5, longest)
        .map_err(|diag| diag.note(format!("the prompt comes from `{}`, the data from `{}`", from.node, data.node)))?;
    let work = Work { ctx, params: &params, scorer: &scorer, tokens: &tokens, tokenizer: tokenizer.as_ref(), t5: &t5 };
    let load = |file: &str| Adapter::load(&info, &Tensors::open(from.file(file)?)?, t5.device());
    let wanted = AnswerKinds { likelihoods: scorer.has_candidates(), greedy };
    let answers = work.answer(&load("adapter.safetensors")?, wanted, "scoring")?;

    let labelled = scorer.labelled();
    let metrics = if labelled { work.scores(&answers)? } else { Scores::default() };
    let mut baselines = Baselines::default();
    if labelled {
        baselines.majority = scorer.constant()?;
        if params.baseline_untrained && from.files.contains_key("initial.safetensors") {
            let counts = AnswerKinds {
                likelihoods: wanted.likelihoods && params.score_by == ScoredBy::Verbalizer,
                greedy: params.score_by == ScoredBy::Greedy,
            };
            let answers = work.answer(&load("initial.safetensors")?, counts, "scoring the untrained prompt")?;
            baselines.untrained = work.counting(work.scores(&answers)?);
        }
    }

    let texts = work.texts(&answers, params.score_by);
    let record = EvalRecord {
        task: tokens.task.clone(),
        method: info.method.clone(),
        seed: info.seed,
        split: params.split.clone(),
        score: work.counting(metrics.clone()).map(|s| s.score),
        scored_by: params.score_by,
        counts: scorer.counts(),
        metric_mode: tokens.metric_mode.clone(),
        template: tokens.template.clone(),
        metrics,
        baselines,
        examples: examples.len() as u64,
        truncated: examples.iter().filter(|e| e.truncated).count() as u64,
        invalid: work.invalid(&answers),
        modal: modal(&texts),
        trainable_parameters: info.trainable_parameters as u64,
        virtual_tokens: info.virtual_tokens as u64,
        rank: info.rank().map(|rank| rank as u64),
        params: info.other_params(),
        d_model: info.d_model as u64,
        backbone: backbone(model)?,
        best_step: info.best_step,
        select_on: info.select_on.clone(),
    };
    json_file::write(&ctx.out("eval.json"), &record)?;
    table::write(&ctx.out("predictions.parquet"), &predictions(&work, &answers))?;

    let mut outcome = Outcome { numerics: device::numerics(at), ..Outcome::default() };
    outcome.notes.extend(unchecked);
    match submission(&work, &answers) {
        Ok(text) => fs::write_atomic(&ctx.out("submission.jsonl"), text.as_bytes())?,
        Err(why) => outcome.notes.push(format!("no `submission.jsonl`: {}", why.message)),
    }
    let figures = [
        ("score", record.score),
        ("verbalizer", record.metrics.verbalizer.as_ref().map(|s| s.score)),
        ("greedy", record.metrics.greedy.as_ref().map(|s| s.score)),
        ("majority", record.baselines.majority.as_ref().map(|s| s.score)),
        ("untrained", record.baselines.untrained.as_ref().map(|s| s.score)),
    ];
    outcome.metrics.extend(figures.into_iter().filter_map(|(name, score)| Some((name.to_owned(), score?))));
    if !labelled {
        outcome.notes.push(format!("split `{}` has no labels: nothing was scored", params.split));
    }
    Ok(outcome)
}

/// Fails if adapter and data are of different tasks.
fn check_inputs(ctx: &Ctx, tokens: &Tokens, info: &AdapterInfo) -> Result<(), Diag> {
    let (data, from) = (ctx.input("data")?, ctx.input("adapter")?);
    if let Some(task) = info.task.as_ref().filter(|task| **task != tokens.task) {
        let message = format!("the prompt was trained for task `{task}`, and the data is of task `{}`", tokens.task);
        return Err(Diag::error(Class::Stage, message)
            .note(format!("the prompt comes from `{}`, the data from `{}`", from.node, data.node)));
    }
    Ok(())
}

fn read_split(data: &Input, split: &str) -> Result<Vec<Encoded>, Diag> {
    let examples = inputs::split(data, split, Some("split"))?;
    if examples.is_empty() {
        return Err(Diag::error(Class::Stage, format!("there is nothing to score: the split `{split}` is empty"))
            .note(format!("the data comes from `{}`", data.node)));
    }
    Ok(examples)
}

/// The tokenizer that made the data: the file with that digest, in the input `tokenizer` or in the model, which may
/// have two equal ones.
fn tokenizer(ctx: &Ctx, tokens: &Tokens) -> Result<Tokenizer, Diag> {
    let mut seen = Vec::new();
    for from in ctx.optional("tokenizer").into_iter().chain([ctx.input("model")?]) {
        for name in ["spiece.model", "tokenizer.json"] {
            if !from.files.contains_key(name) {
                continue;
            }
            let others = |file: &String| file == name || beside::FILES.contains(&file.as_str());
            let files = from.files.iter().filter(|(file, _)| others(file)).map(|(file, at)| (file.clone(), at.clone()));
            match Tokenizer::load(&files.collect()) {
                Ok(tokenizer) if tokenizer.digest().hex() == tokens.tokenizer_digest => return Ok(tokenizer),
                Ok(tokenizer) => seen.push(format!("`{name}` of `{}` is {}", from.node, tokenizer.digest())),
                Err(diag) => seen.push(format!("`{name}` of `{}`: {}", from.node, diag.message)),
            }
        }
    }
    let mut diag = Diag::error(Class::Stage, "the tokenizer that the data was made with is not at hand")
        .note(format!("wanted b3:{:.12}", tokens.tokenizer_digest));
    diag.notes.extend(seen);
    Err(diag.help("give the stage the data's tokenizer as its input `tokenizer`"))
}

fn backbone(model: &Input) -> Result<Backbone, Diag> {
    match model.files.get("backbone.json") {
        Some(path) => json_file::read(path),
        None => Ok(Backbone { name: model.node.clone(), origin: "unknown".into() }),
    }
}

/// Everything that scoring a prompt needs.
struct Work<'a> {
    ctx: &'a Ctx<'a>,
    params: &'a EvalParams,
    scorer: &'a Scorer<'a>,
    tokens: &'a Tokens,
    tokenizer: Option<&'a Tokenizer>,
    t5: &'a T5,
}

impl Work<'_> {
    /// The answers of `adapter`, one a row.
    fn answer(&self, adapter: &Adapter, wanted: AnswerKinds, what: &str) -> Result<Answers, Diag> {
        let _guard = tch::no_grad_guard();
        let examples = self.scorer.examples;
        let mut answers = Answers {
            likelihoods: vec![Vec::new(); examples.len()],
            generated: if wanted.greedy { vec![String::new(); examples.len()] } else { Vec::new() },
        };
        let folded = adapter.fold();
        let max_new = self.max_new();
        let mut done = 0;
        for indices in by_length(examples, self.params.batch_size) {
            self.ctx.check_cancel()?;
            self.ctx.progress.update(Update {
                what: what.into(),
                done,
                total: Some(examples.len() as u64),
                unit: Unit::Examples,
                detail: String::new(),
            });
            let rows: Vec<_> = indices.iter().map(|&i| &examples[i]).collect();
            let batch = collate(&rows, self.tokens.pad_id).to_device(self.t5.device());
            let (states, mask) = folded.encode(self.t5, &batch.input_ids, &batch.mask);
            let memory = self.t5.memory(&states, &mask);
            if wanted.likelihoods {
                let candidates: Vec<_> = indices.iter().map(|&i| self.scorer.candidates(i)).collect();
                for (&i, scores) in indices.iter().zip(log_likelihoods(self.t5, &memory, &candidates)) {
                    if scores.iter().any(|s| !s.is_finite()) {
                        return Err(diverged(&examples[i], what));
                    }
                    answers.likelihoods[i] = scores;
                }
            }
            if let (true, Some(tokenizer)) = (wanted.greedy, self.tokenizer) {
                for (&i, ids) in indices.iter().zip(self.t5.greedy_from(&memory, max_new)) {
                    let ids: Vec<i32> = ids.into_iter().map(|id| id as i32).collect();
                    answers.generated[i] = tokenizer.decode_clean(&ids);
                }
            }
            done += indices.len() as u64;
        }
        Ok(answers)
    }

    fn max_new(&self) -> usize {
        self.params.max_new_tokens.unwrap_or_else(|| {
            let examples = self.scorer.examples;
            let longest = (0..examples.len()).map(|i| {
                let candidates = self.scorer.candidates(i).iter().map(Vec::len).max().unwrap_or(0);
                candidates.max(examples[i].target_ids.len())
            });
            longest.max().unwrap_or(0) + SLACK
        })
    }

    /// The class or candidate that `answers` give row `i`, by one kind of answer.
    fn chosen(&self, answers: &Answers, by: ScoredBy, i: usize) -> Option<usize> {
        match by {
            ScoredBy::Verbalizer => best(&answers.likelihoods[i]),
            ScoredBy::Greedy => {
                let (text, tokenizer) = (answers.generated.get(i)?, self.tokenizer?);
                self.scorer.named(i, text, |ids| tokenizer.decode_clean(ids))
            }
        }
    }

    /// One text a row, as metrics compare them.
    fn texts<'t>(&'t self, answers: &'t Answers, by: ScoredBy) -> Vec<&'t str> {
        (0..self.scorer.examples.len())
            .map(|i| match (self.chosen(answers, by, i), by) {
                (Some(index), _) => self.scorer.text(i, index),
                (None, ScoredBy::Greedy) => answers.generated.get(i).map_or("", String::as_str),
                (None, ScoredBy::Verbalizer) => "",
            })
            .collect()
    }

    /// The scores of each kind of answer that was computed.
    fn scores(&self, answers: &Answers) -> Result<Scores, Diag> {
        let score = |there: bool, by| -> Result<Option<Scored>, Diag> {
            if there { self.scorer.score(&self.texts(answers, by)).map(Some) } else { Ok(None) }
        };
        Ok(Scores {
            verbalizer: score(answers.likelihoods.iter().any(|l| !l.is_empty()), ScoredBy::Verbalizer)?,
            greedy: score(!answers.generated.is_empty(), ScoredBy::Greedy)?,
        })
    }

    /// The score of the kind that counts, by `score_by`.
    fn counting(&self, scores: Scores) -> Option<Scored> {
        match self.params.score_by {
            ScoredBy::Verbalizer => scores.verbalizer,
            ScoredBy::Greedy => scores.greedy,
        }
    }

    /// The number of generated answers that are no candidate of their row.
    fn invalid(&self, answers: &Answers) -> u64 {
        if answers.generated.is_empty() {
            return 0;
        }
        let outside =
            |i: &usize| !self.scorer.candidates(*i).is_empty() && self.chosen(answers, ScoredBy::Greedy, *i).is_none();
        (0..self.scorer.examples.len()).filter(outside).count() as u64
    }
}

fn diverged(example: &Encoded, what: &str) -> Diag {
    Diag::error(
        Class::Stage,
        format!("{what}: example `{}` has a log-likelihood that is not finite", example.example_id),
    )
    .note("the prompt or the backbone holds values too large for its type")
    .help("train with a lower `learning_rate`, or set `dtype = \"float32\"`")
}

/// The table `predictions.parquet`: every example with its answers.
fn predictions(work: &Work, answers: &Answers) -> RecordBatch {
    let examples = work.scorer.examples;
    let rows = 0..examples.len();
    let ids: StringArray = examples.iter().map(|e| Some(e.example_id.as_str())).collect();
    let labels: Int32Array = examples.iter().map(|e| e.label).collect();
    let targets: StringArray = examples.iter().map(|e| Some(e.target.as_str())).collect();
    let generated: StringArray = rows.clone().map(|i| answers.generated.get(i).map(String::as_str)).collect();
    let chosen: Int32Array =
        rows.clone().map(|i| work.chosen(answers, ScoredBy::Verbalizer, i).map(|c| c as i32)).collect();
    let mut likelihoods = ListBuilder::new(Float32Builder::new());
    for list in &answers.likelihoods {
        for x in list {
            likelihoods.values().append_value(*x as f32);
        }
        likelihoods.append(!list.is_empty());
    }
    let schema = Schema::new(vec![
        Field::new("example_id", DataType::Utf8, false),
        Field::new("label", DataType::Int32, true),
        Field::new("target", DataType::Utf8, false),
        Field::new("greedy", DataType::Utf8, true),
        Field::new("verbalizer_label", DataType::Int32, true),
        Field::new("log_likelihoods", DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true))), true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids),
        Arc::new(labels),
        Arc::new(targets),
        Arc::new(generated),
        Arc::new(chosen),
        Arc::new(likelihoods.finish()),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).expect("six columns of one length")
}

/// The answers that count, in SuperGLUE's form. If generated text names no class, the class of highest log-likelihood
/// is used: a submission must have one.
fn submission(work: &Work, answers: &Answers) -> Result<String, Diag> {
    let by = work.params.score_by;
    let texts = work.texts(answers, by);
    let rows: Vec<Prediction> = work
        .scorer
        .examples
        .iter()
        .enumerate()
        .map(|(i, example)| Prediction {
            example_id: &example.example_id,
            label: work.chosen(answers, by, i).or_else(|| best(&answers.likelihoods[i])),
            text: texts[i],
        })
        .collect();
    task::find(&work.tokens.task)?.submission(&rows)
}
