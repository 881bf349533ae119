//! Prompt methods other than the paper's against reference runs of their own authors' code: through the stages `train` and
//! `eval`, from initial values that are given. What the runs hold and how near one must come says the README beside them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::array::{Float32Array, Float64Array};
use dpt::adapter::{self, AdapterInfo};
use dpt::artifact::{json as json_file, tensors::Tensors};
use dpt::base::value::{Params, Value as Setting};
use dpt_torch::model::t5::T5;
use dpt_torch::prompt::{self, Adapter, Init};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::bench::Bench;
use crate::golden::{self, difference, largest};
use crate::golden_train::{Keeper, Run, column, eval_loss};
use crate::parity::Parity;

const AUTHORS: &str = "its authors' code";

/// A method of the reference, and ours.
struct Known {
    /// Its folder.
    theirs: &'static str,
    /// Our name.
    ours: &'static str,
    /// Our parameters, each with the field of `run.json` that has its value.
    params: &'static [(&'static str, &'static str)],
}

const RESIDUAL: Known = Known { theirs: "respt", ours: "residual", params: &[("hidden", "hidden")] };

#[test]
fn golden_methods_residual_trains_as_its_authors_code() {
    check_all(&RESIDUAL, "residual");
}

fn check_all(known: &Known, test: &'static str) {
    let Some(folder) = golden::methods() else { return };
    let mut parity = Parity::new("Methods", test);
    for folder in golden::folders(&folder.join(known.theirs)) {
        check(&mut parity, known, &Reference { run: Run::open(folder) });
    }
}

struct Reference {
    run: Run,
}

impl Reference {
    /// Whether rates are small enough that last-bit differences do not grow.
    fn low_rate(&self) -> bool {
        self.run.name().ends_with("-lowlr")
    }

    /// How far the reference itself moved at `figure`, a JSON pointer below `measured_sensitivity`.
    fn sensitivity(&self, figure: &str) -> f64 {
        self.run.json["measured_sensitivity"].pointer(figure).and_then(Value::as_f64).unwrap_or(0.0)
    }

    /// The larger of `stated` and twice the sensitivity.
    fn allowed(&self, stated: f64, figure: &str) -> f64 {
        stated.max(2.0 * self.sensitivity(figure))
    }

    fn steps(&self) -> usize {
        self.run.json["loss_per_step"].as_array().unwrap().len()
    }

    /// The tensors called `prefix` and the name of a trained tensor: the name, the whole name, and the tensor.
    fn part(&self, prefix: &str) -> Vec<(&str, &str, &Tensor)> {
        let trained = self.run.json["trainable"].as_object().unwrap();
        let named = trained.keys().map(|name| {
            let (whole, tensor) = self.run.tensors.get_key_value(&format!("{prefix}{name}")).unwrap();
            (name.as_str(), whole.as_str(), tensor)
        });
        named.collect()
    }

    /// The method's parameters.
    fn params(&self, known: &Known) -> Params {
        let value = |field: &str| Setting::Int(self.run.json[field].as_i64().unwrap());
        known.params.iter().map(|(ours, field)| ((*ours).to_owned(), value(field))).collect()
    }

    /// The folder `init` of the bench: the initial values as an adapter that was trained before.
    fn lay_out_init(&self, bench: &Bench, known: &Known) {
        let d_model = self.run.config.d_model;
        let virtual_tokens = self.run.json["prompt_length"].as_i64().unwrap();
        let params = self.params(known);
        let forward = prompt::find(known.ours).unwrap();
        let shape = forward.method().shape(virtual_tokens, d_model, &params).unwrap();
        let given: BTreeMap<String, Tensor> =
            self.part("init.").into_iter().map(|(name, _, t)| (name.to_owned(), t.shallow_clone())).collect();
        let start = Adapter::init(forward, shape, &Init::Given(&given), 0, Device::Cpu).unwrap();
        std::fs::create_dir_all(bench.path("init")).unwrap();
        start.save(&bench.path("init").join(adapter::TENSORS)).unwrap();
        let plain = AdapterInfo::imported(virtual_tokens as usize, d_model as usize);
        let info = AdapterInfo { method: known.ours.into(), params, ..plain };
        json_file::write(&bench.path("init").join(adapter::INFO), &info).unwrap();
    }

    /// The parameters of `train`, as TOML.
    fn settings(&self, known: &Known) -> String {
        let run = &self.run.json;
        let optimizer = &run["optimizer"];
        assert_eq!(optimizer["betas"], serde_json::json!([0.9, 0.999]));
        assert_eq!(optimizer["eps"], serde_json::json!(1e-8));
        let [group] = &optimizer["groups"].as_array().unwrap()[..] else { panic!("more groups than one") };
        let style = match optimizer["style"].as_str() {
            Some("hf") => "adamw-hf",
            Some("torch") => "adamw",
            other => panic!("an optimizer of style {other:?}"),
        };
        let total = self.steps();
        let (schedule, warmup) = match run["schedule"]["name"].as_str() {
            Some("constant") => ("constant", 0.0),
            Some("linear") => {
                ("linear", (run["schedule"]["warmup_steps"].as_u64().unwrap() as f64 + 0.5) / total as f64)
            }
            other => panic!("a schedule {other:?}"),
        };
        let own: String =
            known.params.iter().map(|(ours, field)| format!("{ours} = {}\n", run[field].as_i64().unwrap())).collect();
        format!(
            "method = \"{}\"\nseed = 1\nvirtual_tokens = {}\n{own}batch_size = {}\nsteps = {total}\norder = \"file\"\n\
             learning_rate = {:?}\nweight_decay = {:?}\noptimizer = \"{style}\"\nschedule = \"{schedule}\"\n\
             warmup = {warmup:?}\nmax_grad_norm = {:?}\nselect_on = \"none\"\nfrozen_dropout = \"config\"\n\
             checkpoint_every = 1\n",
            known.ours,
            run["prompt_length"],
            run["batch_size"],
            group["lr"].as_f64().unwrap(),
            group["weight_decay"].as_f64().unwrap(),
            run["max_grad_norm"].as_f64().unwrap_or(0.0),
        )
    }
}

/// A row's name: which rates it is about.
fn of(reference: &Reference, ours: &str, what: &str) -> String {
    let rates = if reference.low_rate() { "low rates" } else { "published rates" };
    format!("`{ours}`: {what}, {rates}")
}

fn check(parity: &mut Parity, known: &Known, reference: &Reference) {
    let (run, json) = (&reference.run, &reference.run.json);
    let low = reference.low_rate();
    let at = |what: &str| format!("{} {what}", run.name());
    let named = |what: &str| format!("`{}`: {what}", known.ours);
    let rated = |what: &str| of(reference, known.ours, what);

    let bench = Bench::empty();
    run.lay_out(&bench);
    reference.lay_out_init(&bench, known);
    let keep = bench.path("keep");
    std::fs::create_dir_all(&keep).unwrap();
    let checkpoint: PathBuf = bench.path("train.scratch/checkpoint.safetensors");
    let wanted = run.kept().into_iter().chain([0]).map(|step| step + 1).collect();
    let keeper = Watched(Keeper { checkpoint: checkpoint.clone(), into: keep.clone(), wanted });
    let from = [("data", "data"), ("model", "model"), ("init", "init")];
    let from = from.into_iter().map(|(role, node)| (role, bench.input(node, &[]))).collect();
    bench.run_watched("train", "train", &reference.settings(known), from, &keeper).unwrap();
    let from = [("adapter", "train"), ("data", "data"), ("model", "model")];
    bench.run("eval", "eval", "greedy = false\nbaseline_untrained = false\n", &from).unwrap();

    let info: AdapterInfo = json_file::read(&bench.path("train/adapter.json")).unwrap();
    assert_eq!((info.params.clone(), info.init.as_str()), (reference.params(known), "adapter"));
    let counted = json["trainable_parameters"].as_i64().unwrap();
    parity.same(&named("trained parameters"), AUTHORS, &info.trainable_parameters, &counted, at(""));
    let load = |file: &str| {
        let file = Tensors::open(&bench.path("train").join(file)).unwrap();
        (Adapter::load(&info, &file, Device::Cpu).unwrap(), adapter::prompt(&info, &file).unwrap())
    };
    let ((start, _), (last, folded)) = (load(adapter::INITIAL), load(adapter::TENSORS));

    // Step 0.
    let t5 = T5::load(&golden::checkpoint(&bench.path("model")), Device::Cpu, Kind::Float).unwrap();
    {
        let _guard = tch::no_grad_guard();
        let get = |name: &str| run.batches[name].get(0);
        let (ids, mask) = (get("input_ids"), get("attention_mask"));
        let prompt = difference(&start.prompt(), &run.tensors["step0.prompt"]);
        parity.within(&named("step 0: prompt and inputs"), AUTHORS, 1e-6, prompt, at("prompt"));
        let entered = t5.text(&ids, &mask).with_prefix(&start.prompt());
        let entered = difference(&entered.states, &run.tensors["step0.inputs_embeds"]);
        parity.within(&named("step 0: prompt and inputs"), AUTHORS, 1e-6, entered, at("inputs"));
        let (states, mask) = start.fold().encode(&t5, &ids, &mask);
        let logits = t5.decode(&states, &mask, &t5.shift_right(&get("labels")));
        let states = difference(&states, &run.tensors["step0.encoder_last_hidden_state"]);
        let what = named("step 0: encoder states and logits");
        parity.within(&what, AUTHORS, 1e-4, states, at("states"));
        parity.within(&what, AUTHORS, 1e-4, difference(&logits, &run.tensors["step0.logits"]), at("logits"));
    }
    let first = golden::tensors(&keep.join("1"));
    let limit = json["max_grad_norm"].as_f64();
    let norms = run.numbers("grad_norm_before_clip_per_step");
    let scale = limit.map_or(1.0, |limit| (limit / (norms[0] + 1e-6)).min(1.0));
    for (name, _, theirs) in reference.part("step0.grad.") {
        // At step 0 the mean of gradients is a tenth of the gradient that was used.
        let ours = &first[&format!("exp_avg.{name}")] / (0.1 * scale);
        parity.within(&named("step 0: gradients"), AUTHORS, 1e-4, difference(&ours, theirs), at(name));
    }

    // Curves.
    let curves = bench.path("train/curves.parquet");
    let losses: Float32Array = column(&curves, "loss");
    let rates: Float64Array = column(&curves, "learning_rate");
    let their_losses = run.numbers("loss_per_step");
    let their_rates: Vec<f64> = json["lr_per_step"]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect();
    assert_eq!([losses.len(), rates.len()], [their_losses.len(), their_rates.len()]);
    for step in 0..losses.len() {
        let at = at(&format!("step {step}"));
        parity.within(&named("rate of a step"), AUTHORS, 1e-9, (rates.value(step) - their_rates[step]).abs(), &at);
        let loss = (f64::from(losses.value(step)) - their_losses[step]).abs();
        let (what, allowed) = match step {
            0 => (named("step 0: loss"), 1e-5),
            _ if low => (rated("loss of all steps"), 1e-3),
            1..5 => (rated("loss of the first five steps"), 5e-4),
            _ => (rated("loss of later steps"), reference.allowed(3e-2, &format!("/loss_per_step/{step}"))),
        };
        parity.within(&what, AUTHORS, allowed, loss, &at);
    }

    // The trained tensors on the way and at the end.
    let stated = if low { 3e-4 } else { 0.1 };
    for step in run.kept() {
        let ours = golden::tensors(&keep.join((step + 1).to_string()));
        for (name, whole, theirs) in reference.part(&format!("after_step{step}.")) {
            let difference = difference(&ours[&format!("adapter.{name}")], theirs);
            let allowed = reference.allowed(stated, &format!("/tensors/{whole}"));
            parity.within(&rated("tensors on the way"), AUTHORS, allowed, difference, at(whole));
        }
    }
    for (name, whole, theirs) in reference.part("final.") {
        let ours = last.named().find(|(ours, _)| *ours == name).unwrap().1;
        let allowed = reference.allowed(stated, &format!("/tensors/{whole}"));
        parity.within(&rated("tensors at the end"), AUTHORS, allowed, difference(ours, theirs), at(name));
    }
    let end = golden::tensors(&checkpoint);
    for moment in ["exp_avg", "exp_avg_sq"] {
        for (name, whole, theirs) in reference.part(&format!("final.{moment}.")) {
            let ours = &end[&format!("{moment}.{name}")];
            let largest = largest(theirs);
            let allowed = (if low { 1e-3f64 } else { 0.2 })
                .max(2.0 * reference.sensitivity(&format!("/tensors/{whole}")) / largest);
            let what = rated(&format!("`{moment}` at the end, part of the largest"));
            parity.within(&what, AUTHORS, allowed, difference(ours, theirs) / largest, at(name));
        }
    }

    // The folded form: what is exported, and what inference needs.
    let folded = Tensor::from_slice(&folded.to_f32()).view([folded.rows as i64, folded.cols as i64]);
    let theirs = &run.tensors["folded.prompt"];
    let allowed = reference.allowed(5.0 * stated, "/tensors/folded.prompt");
    parity.within(&rated("folded prompt"), AUTHORS, allowed, difference(&folded, theirs), at(""));
    parity.within(
        &named("folded with and without libtorch"),
        "itself",
        1e-5,
        difference(&folded, &last.prompt()),
        at(""),
    );

    // What came of it.
    let _guard = tch::no_grad_guard();
    let loss = (eval_loss(&bench, &run.rows("eval.")) - json["eval_loss"].as_f64().unwrap()).abs();
    let allowed = reference.allowed(if low { 1e-3 } else { 3e-2 }, "/eval_loss");
    parity.within(&rated("loss of the evaluation"), AUTHORS, allowed, loss, at(""));
    let get = |name: &str| &run.batches[&format!("eval.{name}")];
    let longest = json["generate_max_length"].as_u64().unwrap() as usize - 1;
    for (adapter, greedy) in [(&start, "greedy_before_training"), (&last, "greedy_after_training")] {
        let (states, mask) = adapter.fold().encode(&t5, get("input_ids"), get("attention_mask"));
        if greedy == "greedy_after_training" {
            let logits = t5.decode(&states, &mask, &t5.shift_right(get("labels")));
            let allowed = reference.allowed(if low { 5e-3 } else { 0.2 }, "/tensors/eval.logits");
            let difference = difference(&logits, &run.tensors["eval.logits"]);
            parity.within(&rated("logits of the evaluation"), AUTHORS, allowed, difference, at(""));
        }
        for (row, theirs) in t5.greedy(&states, &mask, longest).iter().zip(json[greedy].as_array().unwrap()) {
            let theirs: Vec<i64> = theirs.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
            let theirs = golden::generated(&theirs, run.config.eos_token_id);
            let what = named(&greedy.replace('_', " ").replace("greedy", "greedy ids"));
            parity.same(&what, AUTHORS, row.as_slice(), theirs, at(""));
        }
    }
}

/// Keeps checkpoints, and lets notes pass: an adapter that is given says that its backbone was not checked.
struct Watched(Keeper);

impl dpt::stages::ctx::Progress for Watched {
    fn update(&self, update: dpt::stages::ctx::Update) {
        self.0.update(update);
    }
    fn note(&self, _: &str) {}
}
