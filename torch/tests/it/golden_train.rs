//! The stages `train` and `eval` against the reference's own runs: their batches as a tokenised split in the order of the
//! file, their weights as a backbone in a folder, their seed. All that the reference kept is looked for in what the stages
//! write: curves, checkpoints, the adapter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, Float32Array, Float64Array};
use arrow::datatypes::Float32Type;
use dpt::artifact::{json as json_file, table, tensors::Tensors};
use dpt::data::encoded::{Encoded, Tokens, to_batch};
use dpt::stages::ctx::{Progress, Update};
use dpt_torch::learn::schedule::{Linear, warmup_steps};
use dpt_torch::model::config::T5Config;
use dpt_torch::model::t5::{IGNORED, T5};
use dpt_torch::prompt::{Adapter, AdapterInfo};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::bench::Bench;
use crate::golden::{self, difference, largest};
use crate::parity::Parity;

const PAPER: &str = "the paper's code";

/// Our name of a tensor of the reference.
fn ours(name: &str) -> &'static str {
    match name {
        "prefix_first" => "factor_a",
        "prefix_second" => "factor_b",
        "prefix_full" => "prompt",
        other => panic!("{other}"),
    }
}

/// What the reference kept of one run.
pub struct Run {
    pub folder: PathBuf,
    pub json: Value,
    pub batches: BTreeMap<String, Tensor>,
    pub tensors: BTreeMap<String, Tensor>,
    pub config: T5Config,
}

impl Run {
    fn all() -> Option<Vec<Run>> {
        let folders = golden::folders(&golden::dir("dpt_train")?);
        Some(folders.into_iter().map(Run::open).collect())
    }

    /// The run in `folder`.
    pub fn open(folder: PathBuf) -> Run {
        Run {
            json: golden::json(&folder.join("run.json")),
            batches: golden::tensors(&folder.join("batches.safetensors")),
            tensors: golden::tensors(&folder.join("tensors.safetensors")),
            config: T5Config::parse(&std::fs::read_to_string(folder.join("config.json")).unwrap(), "config.json")
                .unwrap(),
            folder,
        }
    }

    pub fn name(&self) -> &str {
        golden::name(&self.folder)
    }

    pub fn numbers(&self, name: &str) -> Vec<f64> {
        self.json[name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    fn steps(&self) -> u64 {
        self.json["schedule"]["total_steps"].as_u64().unwrap()
    }

    /// Whether AdamW's rate is small enough that last-bit differences do not grow.
    fn low_rate(&self) -> bool {
        self.json["optimizer"]["lr"].as_f64().unwrap() < 0.1
    }

    /// How far a figure of this run may be: as `stated` for all runs; at rates of 0.1 and more, where last-bit differences grow, as
    /// far as the reference itself moved when its initial values did in the sixth decimal, if that is more.
    fn allowed(&self, stated: f64, figure: &str) -> f64 {
        let moved = self.json["measured_sensitivity"].pointer(figure).and_then(Value::as_f64);
        if self.low_rate() { stated } else { moved.map_or(stated, |moved| moved.max(stated)) }
    }

    /// The tensors called `prefix` and the reference's name of a trained tensor: our name, theirs in whole, and the tensor.
    fn part(&self, prefix: &str) -> Vec<(&'static str, &str, &Tensor)> {
        let named =
            self.tensors.iter().filter_map(|(whole, tensor)| Some((whole.strip_prefix(prefix)?, whole, tensor)));
        let trained = named.filter(|(name, ..)| name.starts_with("prefix_"));
        trained.map(|(name, whole, tensor)| (ours(name), whole.as_str(), tensor)).collect()
    }

    /// After which steps, counted from 0, the reference kept its matrices.
    pub fn kept(&self) -> BTreeSet<u64> {
        let number = |name: &String| name.strip_prefix("after_step")?.split('.').next()?.parse().ok();
        self.tensors.keys().filter_map(number).collect()
    }

    /// Its batches, laid out as rows of a split.
    pub fn rows(&self, prefix: &str) -> Vec<Encoded> {
        let width = |name: &str| *self.batches[name].size().last().unwrap();
        let rows = |name: &str| -> Vec<Vec<i64>> {
            let name = format!("{prefix}{name}");
            Vec::try_from(self.batches[&name].reshape([-1, width(&name)])).unwrap()
        };
        let own = |row: &[i64], keep: &dyn Fn(usize) -> bool| -> Vec<i32> {
            let length = (0..row.len()).take_while(|&i| keep(i)).count();
            assert!(!(length..row.len()).any(keep), "{}: a batch that is not padded on its right", self.name());
            row[..length].iter().map(|&id| id as i32).collect()
        };
        let sources = rows("input_ids").into_iter().zip(rows("attention_mask"));
        let all = sources.zip(rows("labels")).enumerate().map(|(i, ((ids, mask), labels))| {
            let input_ids = own(&ids, &|i| mask[i] == 1);
            let target_ids = own(&labels, &|i| labels[i] != IGNORED);
            Encoded {
                example_id: i.to_string(),
                input_length: input_ids.len() as i32,
                input_ids,
                // One candidate a row: its log-likelihood is what the evaluation's loss is made of.
                choices: Some(vec![target_ids.clone()]),
                choice_texts: Some(vec!["target".to_owned()]),
                target_ids,
                target: "target".to_owned(),
                label: Some(0),
                ..Encoded::default()
            }
        });
        all.collect()
    }

    /// Backbone and data in folders, as other stages would leave them.
    pub fn lay_out(&self, bench: &Bench) {
        let (model, data) = (bench.path("model"), bench.path("data"));
        std::fs::create_dir_all(&model).unwrap();
        std::fs::create_dir_all(&data).unwrap();
        std::fs::copy(self.folder.join("config.json"), model.join("config.json")).unwrap();
        let weights = self.folder.join(self.json["base_weights"].as_str().unwrap());
        std::fs::copy(&weights, model.join(golden::name(&weights))).unwrap();
        table::write(&data.join("train.parquet"), &to_batch(&self.rows(""))).unwrap();
        table::write(&data.join("validation.parquet"), &to_batch(&self.rows("eval."))).unwrap();
        let tokens = Tokens {
            task: "copa".into(),
            template: "plain".into(),
            verbalizer: vec![],
            metrics: vec!["accuracy".into()],
            metric_mode: "official".into(),
            vocab_size: self.config.vocab_size as usize,
            pad_id: self.config.pad_token_id as i32,
            eos_id: self.config.eos_token_id as i32,
            max_source_length: 65_536,
            max_target_length: 4096,
            splits: BTreeMap::new(),
            tokenizer_digest: String::new(),
        };
        json_file::write(&data.join("tokens.json"), &tokens).unwrap();
    }

    /// The stage's parameters, as TOML.
    fn settings(&self, dtype: &str, checkpoint_every: u64) -> String {
        let (run, total) = (&self.json, self.steps());
        let optimizer = &run["optimizer"];
        assert_eq!((&optimizer["betas"], &optimizer["eps"]), (&json!([0.9, 0.999]), &json!(1e-8)), "{}", self.name());
        let warmup = run["schedule"]["warmup_steps"].as_u64().unwrap();
        let fraction = if warmup_steps(0.1, total) == warmup { 0.1 } else { (warmup as f64 + 0.5) / total as f64 };
        let mut text = format!(
            "method = \"{}\"\nseed = {}\nvirtual_tokens = {}\nbatch_size = {}\nsteps = {total}\norder = \"file\"\n\
             learning_rate = {:?}\nweight_decay = {:?}\nwarmup = {fraction:?}\nmax_grad_norm = {:?}\n\
             select_on = \"none\"\nfrozen_dropout = \"config\"\ndtype = \"{dtype}\"\ncheckpoint_every = {checkpoint_every}\n",
            match run["kind"].as_str() {
                Some("dpt") => "dpt",
                Some("pt") => "prompt-tuning",
                other => panic!("{}: of kind {other:?}", self.name()),
            },
            run["init_seed"],
            run["prompt_length"],
            self.batches["input_ids"].size()[1],
            optimizer["lr"].as_f64().unwrap(),
            optimizer["weight_decay"].as_f64().unwrap(),
            run["max_grad_norm"].as_f64().unwrap(),
        );
        if let Some(rank) = run["bottleneck"].as_i64() {
            text += &format!("rank = {rank}\n");
        }
        text
    }

    /// Runs `train` and `eval`.
    fn train(&self, bench: &Bench, dtype: &str, checkpoint_every: u64, progress: &dyn Progress) {
        self.lay_out(bench);
        let inputs = |names: &[(&'static str, &str)]| -> Vec<_> {
            names.iter().map(|(role, from)| (*role, bench.input(from, &[]))).collect()
        };
        let from = inputs(&[("data", "data"), ("model", "model")]);
        bench.run_watched("train", "train", &self.settings(dtype, checkpoint_every), from, progress).unwrap();
        let from = inputs(&[("adapter", "train"), ("data", "data"), ("model", "model")]);
        let set = format!("greedy = false\nbaseline_untrained = false\ndtype = \"{dtype}\"\n");
        bench.run_on("eval", "eval", &set, from).unwrap();
    }
}

/// Keeps copies of some of the checkpoints that a training writes, by the number of steps done.
pub struct Keeper {
    pub checkpoint: PathBuf,
    pub into: PathBuf,
    pub wanted: BTreeSet<u64>,
}

impl Progress for Keeper {
    fn update(&self, update: Update) {
        // Told after each step, before its checkpoint is written: what lies there is that of the step before.
        if update.done > 0 && self.wanted.contains(&(update.done - 1)) {
            std::fs::copy(&self.checkpoint, self.into.join((update.done - 1).to_string())).unwrap();
        }
    }
    fn note(&self, text: &str) {
        panic!("a training from the start has nothing to tell: {text}");
    }
}

pub fn column<T: Array + Clone + 'static>(path: &Path, name: &str) -> T {
    let batch = table::read(path).unwrap();
    batch.column_by_name(name).unwrap().as_any().downcast_ref::<T>().unwrap().clone()
}

/// The loss per label token, out of the log-likelihoods that `eval` gives whole targets.
pub fn eval_loss(bench: &Bench, rows: &[Encoded]) -> f64 {
    let lists: arrow::array::ListArray = column(&bench.path("eval/predictions.parquet"), "log_likelihoods");
    let sum: f64 = (0..lists.len()).map(|i| f64::from(lists.value(i).as_primitive::<Float32Type>().value(0))).sum();
    assert_eq!(lists.len(), rows.len());
    -sum / rows.iter().map(|row| row.target_ids.len()).sum::<usize>() as f64
}

/// A row's name: which rates it is about.
fn of(run: &Run, what: &str) -> String {
    format!("{what}, rates {}", if run.low_rate() { "below 0.1" } else { "of 0.1 and more" })
}

/// The reference's own tolerances for a run's losses up to a step.
fn loss_rows(run: &Run, step: usize) -> (&'static str, f64) {
    match step {
        _ if run.low_rate() => ("loss, all steps", 1e-3),
        0..5 => ("loss, first five steps", 5e-4),
        5..10 => ("loss, the next five", 5e-3),
        _ => ("loss, all later steps", 3e-2),
    }
}

/// And for its matrices after a step.
fn after(run: &Run, step: u64) -> f64 {
    match step {
        0..=2 => 1e-4,
        _ if run.low_rate() => 3e-4,
        3..=9 => 1e-2,
        _ => 0.1,
    }
}

#[test]
fn the_stage_trains_as_the_reference() {
    let Some(runs) = Run::all() else { return };
    let mut parity = Parity::new("Training", "train_stage");
    for run in &runs {
        check(&mut parity, run);
    }
}

fn check(parity: &mut Parity, run: &Run) {
    let bench = Bench::empty();
    let keep = bench.path("keep");
    std::fs::create_dir_all(&keep).unwrap();
    let wanted = run.kept().into_iter().chain([0]).map(|step| step + 1).collect();
    let checkpoint = bench.path("train.scratch/checkpoint.safetensors");
    let keeper = Keeper { checkpoint: checkpoint.clone(), into: keep.clone(), wanted };
    run.train(&bench, "float32", 1, &keeper);
    let at = |what: &str| format!("{} {what}", run.name());
    let info: AdapterInfo = json_file::read(&bench.path("train/adapter.json")).unwrap();
    assert_eq!(info.trainable_parameters, run.json["trainable_parameters"].as_i64().unwrap());

    // Where it starts.
    let initial = golden::tensors(&bench.path("train/initial.safetensors"));
    for (name, _, theirs) in run.part("init.") {
        parity.same("initial values", PAPER, &initial[name], theirs, at(name));
    }
    let adapter =
        |file: &str| Adapter::load(&info, &Tensors::open(&bench.path("train").join(file)).unwrap(), Device::Cpu);
    let start = adapter("initial.safetensors").unwrap();
    let theirs = &run.tensors["step0.prompt"];
    parity.within("step 0: prompt", PAPER, 1e-6, difference(&start.prompt(), theirs), at(""));
    let t5 = T5::load(&golden::checkpoint(&bench.path("model")), Device::Cpu, Kind::Float).unwrap();
    let (ids, mask, labels) = {
        let get = |name: &str| run.batches[name].get(0);
        (get("input_ids"), get("attention_mask"), get("labels"))
    };
    {
        let _guard = tch::no_grad_guard();
        let (states, mask) = start.fold().encode(&t5, &ids, &mask);
        let logits = t5.decode(&states, &mask, &t5.shift_right(&labels));
        let theirs = &run.tensors["step0.encoder_last_hidden_state"];
        parity.within("step 0: encoder states", PAPER, 1e-4, difference(&states, theirs), at(""));
        parity.within("step 0: logits", PAPER, 1e-4, difference(&logits, &run.tensors["step0.logits"]), at(""));
    }

    // Its curves.
    let curves = bench.path("train/curves.parquet");
    let (losses, norms): (Float32Array, Float32Array) = (column(&curves, "loss"), column(&curves, "grad_norm"));
    let rates: Float64Array = column(&curves, "learning_rate");
    let [their_losses, their_norms, their_rates] =
        ["loss_per_step", "grad_norm_before_clip_per_step", "lr_per_step"].map(|name| run.numbers(name));
    let lengths = [&their_losses, &their_norms, &their_rates].map(Vec::len);
    assert!(lengths == [losses.len(); 3] && losses.len() as u64 == run.steps());
    for step in 0..losses.len() {
        let at = at(&format!("step {step}"));
        parity.within("rate, every step", PAPER, 1e-9, (rates.value(step) - their_rates[step]).abs(), &at);
        let loss = (f64::from(losses.value(step)) - their_losses[step]).abs();
        let norm = (f64::from(norms.value(step)) / their_norms[step] - 1.0).abs();
        if step == 0 {
            parity.within("step 0: loss", PAPER, 1e-5, loss, &at);
            parity.within("step 0: norm of the gradients, relative", PAPER, 1e-4, norm, &at);
        }
        let (what, mut allowed) = loss_rows(run, step);
        if step >= 5 {
            allowed = run.allowed(allowed, &format!("/loss_per_step/{step}"));
        }
        parity.within(&of(run, what), PAPER, allowed, loss, &at);
        let (what, allowed) = if run.low_rate() {
            ("norm of the gradients, all steps, relative", 1e-3)
        } else if step < 5 {
            ("norm of the gradients, first five steps, relative", 1e-3)
        } else {
            ("norm of the gradients, all later steps, relative", 0.3)
        };
        parity.within(&of(run, what), PAPER, allowed, norm, &at);
    }

    // Gradients: at step 0 the mean of gradients is a tenth of the clipped one.
    let first = golden::tensors(&keep.join("1"));
    let scale = (run.json["max_grad_norm"].as_f64().unwrap() / (their_norms[0] + 1e-6)).min(1.0);
    for (name, _, theirs) in run.part("step0.grad_clipped.") {
        let clipped = &first[&format!("exp_avg.{name}")] / 0.1;
        parity.within("step 0: gradients, clipped", PAPER, 3e-5, difference(&clipped, theirs), at(name));
    }
    for (name, _, theirs) in run.part("step0.grad.") {
        let whole = &first[&format!("exp_avg.{name}")] / (0.1 * scale);
        parity.within("step 0: gradients", PAPER, 3e-5, difference(&whole, theirs), at(name));
    }

    // What is trained, on the way and at the end.
    for step in run.kept() {
        let ours = golden::tensors(&keep.join((step + 1).to_string()));
        for (name, whole, theirs) in run.part(&format!("after_step{step}.")) {
            let difference = difference(&ours[&format!("adapter.{name}")], theirs);
            let what = of(run, &format!("matrices after step {step}"));
            let allowed =
                if step > 2 { run.allowed(after(run, step), &format!("/tensors/{whole}")) } else { after(run, step) };
            parity.within(&what, PAPER, allowed, difference, at(name));
        }
    }
    let last = adapter("adapter.safetensors").unwrap();
    for (name, whole, theirs) in run.part("final.") {
        let ours = last.named().find(|(ours, _)| *ours == name).unwrap().1;
        let difference = difference(ours, theirs);
        let allowed = run.allowed(after(run, run.steps()), &format!("/tensors/{whole}"));
        parity.within(&of(run, "matrices at the end"), PAPER, allowed, difference, at(name));
    }
    let theirs = &run.tensors["final.prompt"];
    let allowed = run.allowed(5.0 * after(run, run.steps()), "/tensors/final.prompt");
    parity.within(&of(run, "prompt at the end"), PAPER, allowed, difference(&last.prompt(), theirs), at(""));
    let end = golden::tensors(&checkpoint);
    for moment in ["exp_avg", "exp_avg_sq"] {
        for (name, _, theirs) in run.part(&format!("final.{moment}.")) {
            let difference = difference(&end[&format!("{moment}.{name}")], theirs) / largest(theirs);
            let what = of(run, &format!("AdamW's `{moment}` at the end, part of the largest"));
            parity.within(&what, PAPER, if run.low_rate() { 1e-3 } else { 0.2 }, difference, at(name));
        }
    }

    // What came of it.
    let loss = (eval_loss(&bench, &run.rows("eval.")) - run.json["eval_loss"].as_f64().unwrap()).abs();
    parity.within(&of(run, "loss of the evaluation"), PAPER, if run.low_rate() { 1e-3 } else { 1e-2 }, loss, at(""));
    let get = |name: &str| &run.batches[&format!("eval.{name}")];
    let _guard = tch::no_grad_guard();
    for (adapter, greedy, logits) in
        [(&start, "greedy_before_training", None), (&last, "greedy_after_training", Some(()))]
    {
        let (states, mask) = adapter.fold().encode(&t5, get("input_ids"), get("attention_mask"));
        if logits.is_some() {
            let logits = t5.decode(&states, &mask, &t5.shift_right(get("labels")));
            let allowed = run.allowed(if run.low_rate() { 5e-3 } else { 0.2 }, "/tensors/eval.logits");
            let difference = difference(&logits, &run.tensors["eval.logits"]);
            parity.within(&of(run, "logits of the evaluation"), PAPER, allowed, difference, at(""));
        }
        let longest = run.json["generate_max_length"].as_u64().unwrap() as usize - 1;
        let theirs = run.json[greedy].as_array().unwrap();
        for (row, theirs) in t5.greedy(&states, &mask, longest).iter().zip(theirs) {
            let theirs: Vec<i64> = theirs.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
            let theirs = golden::generated(&theirs, run.config.eos_token_id);
            let what = format!("{}, rows", greedy.replace('_', " ").replace("greedy", "greedy ids"));
            parity.same(&what, PAPER, row.as_slice(), theirs, at(""));
        }
    }
}

/// For a type and whether rates are low: how far losses may be off at step 0, at any step, in the mean over all steps, and in the
/// evaluation after training. Measured, with a margin of two to three. Most of it is no error of arithmetic: float32 on weights
/// that were merely rounded to bfloat16 goes as far (these small models are random, and steep).
const HALF: &[(&str, bool, [f64; 4])] = &[
    ("bfloat16", true, [0.03, 0.5, 0.15, 0.3]),
    ("bfloat16", false, [0.03, 2.0, 0.9, 1.0]),
    ("float16", true, [5e-3, 0.1, 0.03, 0.06]),
    ("float16", false, [5e-3, 1.5, 0.4, 0.3]),
];

/// With the backbone in a half type, prompt and optimizer stay in float32, and the losses stay near.
#[test]
fn half_types_train_nearly_the_same() {
    let Some(runs) = Run::all() else { return };
    let mut parity = Parity::new("Half types", "train_half");
    for run in &runs {
        for dtype in ["bfloat16", "float16"] {
            let bench = Bench::empty();
            run.train(&bench, dtype, run.steps(), &dpt::testing::Recorder::default());
            for file in ["train/adapter.safetensors", "train.scratch/checkpoint.safetensors"] {
                for (name, tensor) in golden::tensors(&bench.path(file)) {
                    let trained = !name.starts_with("curves.") && name != "head";
                    assert!(!trained || tensor.kind() == Kind::Float, "{file}: {name} in {:?}", tensor.kind());
                }
            }
            let losses: Float32Array = column(&bench.path("train/curves.parquet"), "loss");
            let expected = run.numbers("loss_per_step");
            let differences: Vec<f64> =
                (0..expected.len()).map(|step| (f64::from(losses.value(step)) - expected[step]).abs()).collect();
            let mean = differences.iter().sum::<f64>() / differences.len() as f64;
            let end = (eval_loss(&bench, &run.rows("eval.")) - run.json["eval_loss"].as_f64().unwrap()).abs();
            let mut within = |what: &str, allowed: f64, difference: f64, at: &str| {
                parity.within(&format!("{dtype}: {what}"), PAPER, allowed, difference, format!("{} {at}", run.name()));
            };
            let allowed = HALF.iter().find(|row| (row.0, row.1) == (dtype, run.low_rate())).unwrap().2;
            within("loss at step 0", allowed[0], differences[0], "");
            for (step, difference) in differences.iter().enumerate() {
                within(&of(run, "loss of any step"), allowed[1], *difference, &format!("step {step}"));
            }
            within(&of(run, "loss, mean over a run"), allowed[2], mean, "");
            within(&of(run, "loss of the evaluation"), allowed[3], end, "");
        }
    }
}

#[test]
fn rates() {
    let Some(dir) = golden::dir("dpt_train") else { return };
    let mut parity = Parity::new("Training", "rates");
    for path in golden::list(&dir).into_iter().filter(|path| path.is_file()) {
        let all = golden::json(&path);
        assert_eq!(all["schedule"], "linear", "{}", path.display());
        for case in all["cases"].as_array().unwrap() {
            let total = case["total_steps"].as_u64().unwrap();
            let warmup = warmup_steps(case["num_warmup_steps_option"].as_f64().unwrap(), total);
            parity.same("steps of warm-up", PAPER, &warmup, &case["warmup_steps"].as_u64().unwrap(), case);
            let schedule = Linear { rate: case["lr"].as_f64().unwrap(), warmup, total };
            for (step, expected) in case["lr_used_at_step"].as_array().unwrap().iter().enumerate() {
                let difference = (schedule.at(step as u64) - expected.as_f64().unwrap()).abs();
                parity.within("rate of a step", PAPER, 1e-9, difference, format!("step {step} of {case}"));
            }
        }
    }
}
