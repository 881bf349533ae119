//! Prompt methods other than the paper's against reference runs of their own authors' code: through the stages `train`
//! and `eval`, from initial values that are given. What the runs hold and how near one must come says the README beside
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use arrow::array::{Array, Float32Array, Float64Array, StringArray};
use dpt::adapter::method::{Decay, Peft, Rate};
use dpt::adapter::{self, AdapterInfo, methods};
use dpt::artifact::{json as json_file, tensors::Tensors};
use dpt::base::diag::Diag;
use dpt::base::param::Type;
use dpt::base::value::{Params, Value as Setting};
use dpt_torch::learn::batch::{Batch, BatchSource};
use dpt_torch::learn::fit::{FitOptions, fit};
use dpt_torch::learn::optim::OptimizerKind;
use dpt_torch::learn::run::Observer;
use dpt_torch::learn::schedule::{Schedule, ScheduleKind};
use dpt_torch::learn::snapshot::Snapshot;
use dpt_torch::learn::trainer::TrainerState;
use dpt_torch::model::t5::T5;
use dpt_torch::prompt::{self, Adapter, Init, Step};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::bench::Bench;
use crate::golden::{self, difference, largest};
use crate::golden_train::{Keeper, Run, column, eval_loss};
use crate::parity::Parity;

/// A method of the reference, and ours.
struct Known {
    /// Its folder.
    theirs: &'static str,
    /// Our name.
    ours: &'static str,
    /// Our parameters, each with the field of `run.json` that has its value. Others are at their default.
    params: &'static [(&'static str, &'static str)],
    /// How many times as far as the reference moved by its perturbed start tensors may be. Where training comes by a
    /// kink of relu, last-bit differences of the sums before it decide the side, in every program otherwise.
    slack: f64,
}

const POSITIONS: (&str, &str) = ("positions", "source_length");
const RANK: (&str, &str) = ("rank", "rank");

/// Of methods that came after the first.
const SLACK: f64 = 5.0;

/// Every method whose runs are compared here.
const KNOWN: &[Known] = &[
    Known { theirs: "respt", ours: "residual", params: &[("hidden", "hidden")], slack: 2.0 },
    Known { theirs: "dept", ours: "dept", params: &[POSITIONS, RANK], slack: SLACK },
    Known { theirs: "adept", ours: "adept", params: &[RANK, ("offset_dropout", "dropout_rate")], slack: SLACK },
    Known { theirs: "ulpt", ours: "ulpt", params: &[RANK], slack: SLACK },
    Known { theirs: "ptuning", ours: "p-tuning", params: &[("hidden", "hidden")], slack: SLACK },
    Known { theirs: "mpt", ours: "mpt", params: &[RANK], slack: SLACK },
    Known { theirs: "smop", ours: "smop", params: &[("prompts", "num_prompts"), ("top_k", "topk")], slack: SLACK },
    Known {
        theirs: "ept",
        ours: "ept",
        params: &[POSITIONS, RANK, ("fusion", "fusion_dim"), ("spaces", "spaces"), ("space_rank", "space_rank")],
        slack: SLACK,
    },
    Known {
        theirs: "lipt",
        ours: "lipt",
        params: &[("branches", "branches"), ("prompt_layer", "prompt_layer")],
        slack: SLACK,
    },
    Known { theirs: "pilot", ours: "pilot", params: &[], slack: SLACK },
];

/// Folders of the reference that other tests read: runs of several clients.
const ELSEWHERE: &[&str] = &["fedavg"];

#[test]
fn golden_methods_are_all_known() {
    let Some(folder) = golden::methods() else { return };
    for folder in golden::folders(&folder) {
        let name = golden::name(&folder);
        assert!(KNOWN.iter().any(|k| k.theirs == name) || ELSEWHERE.contains(&name), "no test reads `{name}`");
    }
}

#[test]
fn golden_methods_residual_trains_as_its_authors_code() {
    check_all("respt", "residual");
}

#[test]
fn golden_methods_dept_trains_as_its_authors_code() {
    check_all("dept", "dept");
}

#[test]
fn golden_methods_adept_trains_as_its_authors_code() {
    check_all("adept", "adept");
}

#[test]
fn golden_methods_ulpt_trains_as_its_authors_code() {
    check_all("ulpt", "ulpt");
}

#[test]
fn golden_methods_smop_trains_as_its_authors_code() {
    check_all("smop", "smop");
}

#[test]
fn golden_methods_p_tuning_trains_as_peft() {
    check_all("ptuning", "p_tuning");
}

#[test]
fn golden_methods_mpt_trains_as_peft() {
    check_all("mpt", "mpt");
}

#[test]
fn golden_methods_pilot_trains_as_its_formula() {
    check_all("pilot", "pilot");
}

#[test]
fn golden_methods_ept_trains_as_its_formula() {
    check_all("ept", "ept");
}

#[test]
fn golden_methods_lipt_trains_as_its_formula() {
    check_all("lipt", "lipt");
}

/// All runs of one method, whatever their names are.
fn check_all(theirs: &str, test: &'static str) {
    let Some(folder) = golden::methods() else { return };
    let known = KNOWN.iter().find(|known| known.theirs == theirs).unwrap();
    if !folder.join(theirs).is_dir() {
        println!("skipped: `{}` has no runs of `{theirs}`", folder.display());
        return;
    }
    let mut parity = Parity::new("Methods", test);
    for folder in golden::folders(&folder.join(theirs)) {
        check(&mut parity, known, &Reference { run: Run::open(folder), slack: known.slack });
    }
}

struct Reference {
    run: Run,
    slack: f64,
}

impl Reference {
    /// What made the run.
    fn against(&self) -> &'static str {
        match self.run.json["reference"]["kind"].as_str() {
            Some("authors' code") => "its authors' code",
            Some(kind) if kind.contains("PEFT") => "Hugging Face PEFT",
            _ => "its formula in torch",
        }
    }

    /// Returns `true` if rates are small enough that last-bit differences do not grow.
    fn low_rate(&self) -> bool {
        self.run.name().ends_with("-lowlr")
    }

    /// How far the reference itself moved at `figure`, a JSON pointer below `measured_sensitivity`.
    fn sensitivity(&self, figure: &str) -> f64 {
        self.run.json["measured_sensitivity"].pointer(figure).and_then(Value::as_f64).unwrap_or(0.0)
    }

    /// The larger of `stated` and the slack times the sensitivity.
    fn allowed(&self, stated: f64, figure: &str) -> f64 {
        stated.max(self.slack * self.sensitivity(figure))
    }

    fn steps(&self) -> usize {
        self.run.json["loss_per_step"].as_array().unwrap().len()
    }

    /// The tensors called `prefix` and the name of a trained tensor: the name, the whole name, and the tensor.
    fn part(&self, prefix: &str) -> Vec<(&str, &str, &Tensor)> {
        let trained = self.run.json["trainable"].as_object().unwrap();
        let named = trained.keys().filter_map(|name| {
            let (whole, tensor) = self.run.tensors.get_key_value(&format!("{prefix}{name}"))?;
            Some((name.as_str(), whole.as_str(), tensor))
        });
        named.collect()
    }

    /// The same where every trained tensor must be there.
    fn whole_part(&self, prefix: &str) -> Vec<(&str, &str, &Tensor)> {
        let found = self.part(prefix);
        assert_eq!(found.len(), self.run.json["trainable"].as_object().unwrap().len(), "{prefix}");
        found
    }

    /// The noise of every step, where the run has any.
    fn noise(&self) -> Option<&Tensor> {
        self.run.batches.get("noise")
    }

    /// The method's parameters.
    fn params(&self, known: &Known) -> Params {
        let method = methods::find(known.ours).unwrap();
        let of_field = |ty: &Type, value: &Value| match ty {
            Type::Float(..) => Setting::Float(value.as_f64().unwrap()),
            Type::Ints => {
                Setting::List(value.as_array().unwrap().iter().map(|v| Setting::Int(v.as_i64().unwrap())).collect())
            }
            _ => Setting::Int(value.as_i64().unwrap()),
        };
        let mut params = Params::new();
        for param in method.params {
            let field = known.params.iter().find(|(ours, _)| *ours == param.name).map(|(_, field)| *field);
            let value = match field {
                Some(field) => Some(of_field(&param.ty, &self.run.json[field])),
                None if param.name.ends_with("_noise") && self.noise().is_none() => Some(Setting::Float(0.0)),
                None => param.default.value(),
            };
            if let Some(value) = value {
                params.insert(param.name.to_owned(), value);
            }
        }
        params
    }

    /// The tensors that training starts from: the trained ones, and those that are given and stay.
    fn init(&self) -> BTreeMap<String, Tensor> {
        let own = self.whole_part("init.").into_iter().map(|(name, _, t)| (name.to_owned(), t.shallow_clone()));
        let given = self.run.tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix("given.")?, t)));
        own.chain(given.map(|(name, t)| (name.to_owned(), t.shallow_clone()))).collect()
    }

    fn info(&self, known: &Known) -> AdapterInfo {
        let virtual_tokens = self.run.json["prompt_length"].as_i64().unwrap();
        let plain = AdapterInfo::imported(virtual_tokens as usize, self.run.config.d_model as usize);
        AdapterInfo { method: known.ours.into(), params: self.params(known), ..plain }
    }

    /// The adapter before training.
    fn start(&self, known: &Known) -> Adapter {
        let (method, shape) = self.info(known).method().unwrap();
        Adapter::init(prompt::find(method.name).unwrap(), shape, &Init::Given(&self.init()), 0, Device::Cpu).unwrap()
    }

    /// An adapter in the folder `node` of the bench.
    fn lay_out(&self, bench: &Bench, known: &Known, node: &str, files: &[(&str, &Adapter)]) {
        std::fs::create_dir_all(bench.path(node)).unwrap();
        for (file, adapter) in files {
            adapter.save(&bench.path(node).join(file)).unwrap();
        }
        json_file::write(&bench.path(node).join(adapter::INFO), &self.info(known)).unwrap();
    }

    /// The rate and the decay of the group of the trained tensor `name`.
    fn group(&self, name: &str) -> (f64, f64) {
        let groups = self.run.json["optimizer"]["groups"].as_array().unwrap();
        let has = |group: &&Value| group["names"].as_array().unwrap().iter().any(|own| own == name);
        let group = groups.iter().find(has).unwrap_or_else(|| panic!("no group has `{name}`"));
        (group["lr"].as_f64().unwrap(), group["weight_decay"].as_f64().unwrap())
    }

    /// How it is trained.
    fn options(&self, start: &Adapter) -> FitOptions {
        let run = &self.run.json;
        let optimizer = &run["optimizer"];
        let kind = match optimizer["style"].as_str() {
            Some("hf") => OptimizerKind::AdamWHf,
            Some("torch") => OptimizerKind::AdamW,
            Some("adafactor") => OptimizerKind::Adafactor,
            other => panic!("an optimizer of style {other:?}"),
        };
        let epsilon = match kind {
            OptimizerKind::Adafactor => {
                assert_eq!((&optimizer["clip_threshold"], &optimizer["decay_rate"]), (&json!(1.0), &json!(-0.8)));
                let off = [&optimizer["scale_parameter"], &optimizer["relative_step"]];
                assert!(off.iter().all(|off| **off == json!(false)) && optimizer["beta1"].is_null());
                &optimizer["eps"][0]
            }
            _ => {
                assert_eq!(optimizer["betas"], json!([0.9, 0.999]));
                &optimizer["eps"]
            }
        };
        let mut main = None;
        let mut own_rates = BTreeMap::new();
        for spec in start.specs() {
            let (rate, decay) = self.group(spec.name);
            match spec.rate {
                Rate::Main => assert_eq!(*main.get_or_insert((rate, decay)), (rate, decay), "{}", spec.name),
                Rate::Own(param) => drop(own_rates.insert(param.to_owned(), rate)),
            }
            if let Decay::Own(param) = spec.decay {
                own_rates.insert(param.to_owned(), decay);
            }
        }
        let (learning_rate, weight_decay) = main.unwrap();
        let warmup = |name| match name {
            "constant" => 0,
            _ => run["schedule"]["warmup_steps"].as_u64().unwrap(),
        };
        let name = run["schedule"]["name"].as_str().unwrap();
        FitOptions {
            steps: self.steps() as u64,
            learning_rate,
            own_rates,
            optimizer: kind,
            epsilon: Some(epsilon.as_f64().unwrap()),
            schedule: if name == "constant" { ScheduleKind::Constant } else { ScheduleKind::Linear },
            weight_decay,
            warmup_steps: warmup(name),
            max_grad_norm: run["max_grad_norm"].as_f64().unwrap_or(0.0),
            eval_every: 0,
            patience: 0,
            checkpoint_every: 1,
            dropout: 0.0,
            seed: 1,
        }
    }

    /// The same as parameters of `train`, as TOML.
    fn settings(&self, known: &Known, options: &FitOptions) -> String {
        let own: String =
            self.params(known).iter().map(|(name, value)| format!("{name} = {}\n", toml(value))).collect();
        let rates: String = options.own_rates.iter().map(|(name, value)| format!("{name} = {value:?}\n")).collect();
        let warmup =
            if options.warmup_steps == 0 { 0.0 } else { (options.warmup_steps as f64 + 0.5) / options.steps as f64 };
        format!(
            "method = \"{}\"\nseed = 1\nvirtual_tokens = {}\n{own}{rates}batch_size = {}\nsteps = {}\norder = \"file\"\n\
             learning_rate = {:?}\nweight_decay = {:?}\noptimizer = \"{}\"\nepsilon = {:?}\nschedule = \"{}\"\n\
             warmup = {warmup:?}\nmax_grad_norm = {:?}\nselect_on = \"none\"\nfrozen_dropout = \"config\"\n\
             checkpoint_every = 1\n",
            known.ours,
            self.run.json["prompt_length"],
            self.run.json["batch_size"],
            options.steps,
            options.learning_rate,
            options.weight_decay,
            options.optimizer,
            options.epsilon.unwrap(),
            options.schedule,
            options.max_grad_norm,
        )
    }

    /// Trains through the stage `train`, which leaves its files in the bench.
    fn train(&self, bench: &Bench, known: &Known) -> Ours {
        let start = self.start(known);
        let options = self.options(&start);
        self.lay_out(bench, known, "init", &[(adapter::TENSORS, &start)]);
        let keep = bench.path("keep");
        std::fs::create_dir_all(&keep).unwrap();
        let checkpoint: PathBuf = bench.path("train.scratch/checkpoint.safetensors");
        let wanted = self.wanted();
        let keeper = Watched(Keeper { checkpoint: checkpoint.clone(), into: keep.clone(), wanted: wanted.clone() });
        let from = [("data", "data"), ("model", "model"), ("init", "init")];
        let from = from.into_iter().map(|(role, node)| (role, bench.input(node, &[]))).collect();
        bench.run_watched("train", "train", &self.settings(known, &options), from, &keeper).unwrap();

        let info: AdapterInfo = json_file::read(&bench.path("train/adapter.json")).unwrap();
        assert_eq!((info.params.clone(), info.init.as_str()), (self.params(known), "adapter"));
        let load = |file: &str| {
            let file = Tensors::open(&bench.path("train").join(file)).unwrap();
            Adapter::load(&info, &file, Device::Cpu).unwrap()
        };
        let curves = bench.path("train/curves.parquet");
        let (losses, rates): (Float32Array, Float64Array) = (column(&curves, "loss"), column(&curves, "learning_rate"));
        Ours {
            start: load(adapter::INITIAL),
            last: load(adapter::TENSORS),
            losses: losses.values().iter().map(|loss| f64::from(*loss)).collect(),
            rates: rates.values().to_vec(),
            kept: wanted.iter().map(|step| (*step, golden::tensors(&keep.join(step.to_string())))).collect(),
            end: golden::tensors(&checkpoint),
            figures: figures(&bench.path("train/figures.parquet")),
        }
    }

    /// Trains by the loop itself, whose batches come with their noise, and leaves the adapter where the stage would.
    fn train_with_noise(&self, bench: &Bench, known: &Known, t5: &T5, noise: &Tensor) -> Ours {
        let start = self.start(known);
        let options = self.options(&start);
        let watch = Keeps { wanted: self.wanted(), kept: Default::default(), end: Default::default() };
        let source = Given { run: &self.run, noise };
        let fitted = fit(t5, start.copy(), &options, &source, None, &watch, None).unwrap();
        self.lay_out(bench, known, "train", &[(adapter::INITIAL, &start), (adapter::TENSORS, &fitted.adapter)]);
        Ours {
            losses: fitted.curves.iter().map(|row| f64::from(row.loss)).collect(),
            rates: fitted.curves.iter().map(|row| row.learning_rate).collect(),
            start,
            last: fitted.adapter,
            kept: watch.kept.into_inner(),
            end: watch.end.into_inner(),
            figures: BTreeMap::new(),
        }
    }

    /// The steps, counted from 1, whose snapshots are compared.
    fn wanted(&self) -> BTreeSet<u64> {
        self.run.kept().into_iter().chain([0]).map(|step| step + 1).collect()
    }
}

fn toml(value: &Setting) -> String {
    match value {
        Setting::Str(text) => format!("{text:?}"),
        Setting::Float(x) => format!("{x:?}"),
        other => other.to_string(),
    }
}

/// What a training of ours gave.
struct Ours {
    start: Adapter,
    last: Adapter,
    losses: Vec<f64>,
    rates: Vec<f64>,
    /// Tensors of snapshots, by the number of steps done.
    kept: BTreeMap<u64, BTreeMap<String, Tensor>>,
    end: BTreeMap<String, Tensor>,
    figures: BTreeMap<String, Vec<f64>>,
}

/// The columns of `figures.parquet`, where there is one.
fn figures(path: &std::path::Path) -> BTreeMap<String, Vec<f64>> {
    let mut out: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    if path.exists() {
        let (names, values): (StringArray, Float64Array) = (column(path, "figure"), column(path, "value"));
        for i in 0..names.len() {
            out.entry(names.value(i).to_owned()).or_default().push(values.value(i));
        }
    }
    out
}

/// Batches and noise of a run.
struct Given<'a> {
    run: &'a Run,
    noise: &'a Tensor,
}

impl BatchSource for Given<'_> {
    fn batch(&self, step: u64) -> Result<Batch, Diag> {
        let get = |name: &str| self.run.batches[name].get(step as i64);
        Ok(Batch { input_ids: get("input_ids"), mask: get("attention_mask"), labels: get("labels") })
    }

    fn noise(&self, step: u64) -> Result<Option<Tensor>, Diag> {
        Ok(Some(self.noise.get(step as i64)))
    }
}

type Snapshots = std::cell::RefCell<BTreeMap<u64, BTreeMap<String, Tensor>>>;

/// Keeps the tensors of some snapshots, and of the last.
struct Keeps {
    wanted: BTreeSet<u64>,
    kept: Snapshots,
    end: std::cell::RefCell<BTreeMap<String, Tensor>>,
}

impl Observer<TrainerState> for Keeps {
    fn save(&self, snapshot: Snapshot<TrainerState>) -> Result<(), Diag> {
        let copy = || snapshot.tensors.iter().map(|(name, t)| (name.clone(), t.copy())).collect();
        if self.wanted.contains(&snapshot.state.descent.step) {
            self.kept.borrow_mut().insert(snapshot.state.descent.step, copy());
        }
        self.end.replace(copy());
        Ok(())
    }
}

/// Logits, loss and gradients of a step for `adapter`, with `step`'s noise.
fn derived(adapter: &Adapter, t5: &T5, batch: &Batch, step: Step) -> (Tensor, Tensor, BTreeMap<String, Tensor>) {
    let (states, mask) = t5.encode(adapter.fold().enter(t5, &batch.input_ids, &batch.mask, step));
    let logits = t5.decode(&states, &mask, &t5.shift_right(&batch.labels));
    let loss = t5.loss(&states, &mask, &batch.labels);
    let gradients = Tensor::run_backward(&[&loss], adapter.tensors(), false, false);
    let names = adapter.named().map(|(name, _)| name.to_owned());
    (logits.detach(), loss.detach(), names.zip(gradients).collect())
}

/// A row's name: which rates it is about.
fn of(reference: &Reference, ours: &str, what: &str) -> String {
    let rates = if reference.low_rate() { "low rates" } else { "published rates" };
    format!("`{ours}`: {what}, {rates}")
}

fn check(parity: &mut Parity, known: &Known, reference: &Reference) {
    let (run, json) = (&reference.run, &reference.run.json);
    let (low, against) = (reference.low_rate(), reference.against());
    let at = |what: &str| format!("{} {what}", run.name());
    let named = |what: &str| format!("`{}`: {what}", known.ours);
    let rated = |what: &str| of(reference, known.ours, what);

    let bench = Bench::empty();
    run.lay_out(&bench);
    let t5 = T5::load(&golden::checkpoint(&bench.path("model")), Device::Cpu, Kind::Float).unwrap();
    let held = prompt::find(known.ours).unwrap().draws().then(crate::bench::generator);
    let ours = match reference.noise() {
        Some(noise) => reference.train_with_noise(&bench, known, &t5, noise),
        None => reference.train(&bench, known),
    };
    drop(held);
    let (start, last) = (&ours.start, &ours.last);
    let from = [("adapter", "train"), ("data", "data"), ("model", "model")];
    bench.run("eval", "eval", "greedy = false\nbaseline_untrained = false\n", &from).unwrap();
    let counted = json["trainable_parameters"].as_i64().unwrap();
    parity.same(&named("trained parameters"), against, &last.parameters(), &counted, at(""));

    // Step 0.
    let get = |name: &str| run.batches[name].get(0);
    let batch = Batch { input_ids: get("input_ids"), mask: get("attention_mask"), labels: get("labels") };
    let step = || reference.noise().map_or(Step::Training, |noise| Step::Given(noise.get(0)));
    {
        let _guard = tch::no_grad_guard();
        let entered = start.fold().enter(&t5, &batch.input_ids, &batch.mask, step());
        let theirs = &run.tensors["step0.prompt"];
        let length = json["prompt_length"].as_i64().unwrap();
        let prompt = entered.states.narrow(1, 0, length);
        let inputs = difference(&entered.states, &run.tensors["step0.inputs_embeds"]);
        parity.within(&named("step 0: prompt and inputs"), against, 1e-6, inputs, at("inputs"));
        let prompt = if theirs.dim() == 2 { prompt.get(0) } else { prompt };
        parity.within(&named("step 0: prompt and inputs"), against, 1e-6, difference(&prompt, theirs), at("prompt"));
        let states = difference(&t5.encode(entered).0, &run.tensors["step0.encoder_last_hidden_state"]);
        parity.within(&named("step 0: encoder states and logits"), against, 1e-4, states, at("states"));
    }
    let (logits, loss, gradients) = derived(start, &t5, &batch, step());
    let logits = difference(&logits, &run.tensors["step0.logits"]);
    parity.within(&named("step 0: encoder states and logits"), against, 1e-4, logits, at("logits"));
    let loss = difference(&loss.view([1]), &run.tensors["step0.loss"]);
    parity.within(&named("step 0: loss"), against, 1e-5, loss, at("loss"));
    let first = &ours.kept[&1];
    let norms = run.numbers("grad_norm_before_clip_per_step");
    let scale = json["max_grad_norm"].as_f64().map_or(1.0, |limit| (limit / (norms[0] + 1e-6)).min(1.0));
    for (name, _, theirs) in reference.whole_part("step0.grad.") {
        let what = named("step 0: gradients");
        parity.within(&what, against, 1e-4, difference(&gradients[name], theirs), at(name));
        // At step 0 the mean of gradients is a tenth of the gradient that was used.
        if let Some(mean) = first.get(&format!("exp_avg.{name}")) {
            parity.within(&what, against, 1e-4, difference(&(mean / (0.1 * scale)), theirs), at(name));
        }
    }
    if let Some(keep) = run.tensors.get("step0_dropout.keep") {
        let what = named("one step with dropout inside of the method");
        let mask = keep.to_kind(Kind::Float) / 0.9;
        let (logits, loss, gradients) = derived(start, &t5, &batch, Step::Given(mask));
        let logits = difference(&logits, &run.tensors["step0_dropout.logits"]);
        parity.within(&what, against, 1e-4, logits, at("logits"));
        let loss = difference(&loss.view([1]), &run.tensors["step0_dropout.loss"]);
        parity.within(&what, against, 1e-4, loss, at("loss"));
        for (name, _, theirs) in reference.whole_part("step0_dropout.grad.") {
            parity.within(&what, against, 1e-4, difference(&gradients[name], theirs), at(name));
        }
    }

    // Curves. The rate that is written down is the main one; those of other groups go alike.
    let their_losses = run.numbers("loss_per_step");
    let options = reference.options(start);
    let mut compared = BTreeSet::new();
    for spec in start.specs() {
        let group = json["trainable"][spec.name]["group"].as_str().unwrap();
        if !compared.insert(group) {
            continue;
        }
        let theirs = json["lr_per_step"][group].as_array().unwrap();
        assert_eq!(theirs.len(), ours.rates.len());
        let FitOptions { schedule: kind, warmup_steps: warmup, steps: total, .. } = options;
        let schedule = Schedule { kind, rate: reference.group(spec.name).0, warmup, total };
        for (step, theirs) in theirs.iter().enumerate() {
            let rate = if spec.rate == Rate::Main { ours.rates[step] } else { schedule.at(step as u64) };
            let difference = (rate - theirs.as_f64().unwrap()).abs();
            parity.within(&named("rate of a step"), against, 1e-9, difference, at(&format!("step {step}")));
        }
    }
    assert_eq!(ours.losses.len(), their_losses.len());
    for (step, (loss, theirs)) in ours.losses.iter().zip(&their_losses).enumerate() {
        let (what, allowed) = match step {
            0 => (named("step 0: loss"), 1e-5),
            _ if low => {
                let moved = reference.sensitivity(&format!("/loss_per_step/{step}"));
                (rated("loss of all steps"), 1e-3f64.max(if known.slack > 2.0 { known.slack * moved } else { 0.0 }))
            }
            1..5 => (rated("loss of the first five steps"), 5e-4),
            _ => (rated("loss of later steps"), reference.allowed(3e-2, &format!("/loss_per_step/{step}"))),
        };
        parity.within(&what, against, allowed, (loss - theirs).abs(), at(&format!("step {step}")));
    }

    // The trained tensors on the way and at the end.
    let stated = if low { 3e-4 } else { 0.1 };
    for step in run.kept() {
        for (name, whole, theirs) in reference.whole_part(&format!("after_step{step}.")) {
            let difference = difference(&ours.kept[&(step + 1)][&format!("adapter.{name}")], theirs);
            let allowed = reference.allowed(stated, &format!("/tensors/{whole}"));
            parity.within(&rated("tensors on the way"), against, allowed, difference, at(whole));
        }
    }
    for (name, whole, theirs) in reference.whole_part("final.") {
        let found = last.named().find(|(own, _)| *own == name).unwrap().1;
        let allowed = reference.allowed(stated, &format!("/tensors/{whole}"));
        parity.within(&rated("tensors at the end"), against, allowed, difference(found, theirs), at(name));
    }
    let mut moments = 0;
    for moment in ["exp_avg", "exp_avg_sq", "exp_avg_sq_row", "exp_avg_sq_col"] {
        for (name, whole, theirs) in reference.part(&format!("final.{moment}.")) {
            let found = &ours.end[&format!("{moment}.{name}")];
            let largest = largest(theirs);
            let allowed = (if low { 1e-3f64 } else { 0.2 })
                .max(reference.slack * reference.sensitivity(&format!("/tensors/{whole}")) / largest);
            let what = rated(&format!("`{moment}` at the end, part of the largest"));
            parity.within(&what, against, allowed, difference(found, theirs) / largest, at(name));
            moments += 1;
        }
    }
    assert!(moments >= last.tensors().len(), "{}: moments of {moments} tensors", run.name());
    for (name, tensor) in
        reference.init().iter().filter(|(name, _)| reference.run.tensors.contains_key(&format!("given.{name}")))
    {
        let kept = last.stored().find(|(own, _)| own == name).unwrap().1;
        parity.same(&named("frozen tensors at the end"), against, kept, tensor, at(name));
    }

    check_folded(parity, known, reference, &bench, &t5, last);
    if let Some(counts) = json.get("positive_sigma_count") {
        let theirs: Vec<f64> = counts.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let what = rated("positive entries of sigma by step");
        parity.same(&what, against, &ours.figures["positive_sigma"], &theirs, at(""));
    }

    // What came of it.
    let _guard = tch::no_grad_guard();
    let loss = (eval_loss(&bench, &run.rows("eval.")) - json["eval_loss"].as_f64().unwrap()).abs();
    let allowed = reference.allowed(if low { 1e-3 } else { 3e-2 }, "/eval_loss");
    parity.within(&rated("loss of the evaluation"), against, allowed, loss, at(""));
    let get = |name: &str| &run.batches[&format!("eval.{name}")];
    let longest = json["generate_max_length"].as_u64().unwrap() as usize - 1;
    for (adapter, greedy) in [(start, "greedy_before_training"), (last, "greedy_after_training")] {
        let (states, mask) = adapter.fold().encode(&t5, get("input_ids"), get("attention_mask"));
        if greedy == "greedy_after_training" {
            let logits = t5.decode(&states, &mask, &t5.shift_right(get("labels")));
            let allowed = reference.allowed(if low { 5e-3 } else { 0.2 }, "/tensors/eval.logits");
            let difference = difference(&logits, &run.tensors["eval.logits"]);
            parity.within(&rated("logits of the evaluation"), against, allowed, difference, at(""));
        }
        for (row, theirs) in t5.greedy(&states, &mask, longest).iter().zip(json[greedy].as_array().unwrap()) {
            let theirs: Vec<i64> = theirs.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
            let theirs = golden::generated(&theirs, run.config.eos_token_id);
            let what = named(&greedy.replace('_', " ").replace("greedy", "greedy ids"));
            parity.same(&what, against, row.as_slice(), theirs, at(""));
        }
    }
}

/// The folded form: what inference needs, and what PEFT is given where it can hold it.
fn check_folded(parity: &mut Parity, known: &Known, reference: &Reference, bench: &Bench, t5: &T5, last: &Adapter) {
    let _guard = tch::no_grad_guard();
    let (run, against) = (&reference.run, reference.against());
    let stated = if reference.low_rate() { 1.5e-3 } else { 0.5 };
    let at = |what: &str| format!("{} {what}", run.name());
    let rated = |what: &str| of(reference, known.ours, what);
    let file = Tensors::open(&bench.path("train").join(adapter::TENSORS)).unwrap();
    let info: AdapterInfo = json_file::read(&bench.path("train/adapter.json")).unwrap();
    let without_libtorch = adapter::folded(&info, &file).unwrap();
    match last.method().peft {
        Peft::Holds => assert_eq!(Some(adapter::prompt(&info, &file).unwrap()), without_libtorch),
        Peft::Refuses(why) => assert_eq!(adapter::prompt(&info, &file).unwrap_err().notes, [why]),
    }
    let Some(folded) = run.json["folded"].as_object() else {
        assert!(without_libtorch.is_none());
        return;
    };
    let parts = last.fold();
    let mut compared = |what: &str, tensor: &Tensor| {
        let whole = folded[what].as_str().unwrap();
        let allowed = reference.allowed(stated, &format!("/tensors/{whole}"));
        let difference = difference(tensor, &run.tensors[whole]);
        parity.within(&rated(&format!("folded {what}")), against, allowed, difference, at(""));
    };
    compared("prompt", &parts.parts()[0]);
    if folded.contains_key("offset") {
        compared("offset", &parts.parts()[1]);
    }
    if folded.contains_key("embedding") {
        // Every token's row, as a text of one token.
        let ids = run.tensors["folded.embedding_ids"].unsqueeze(1);
        let entered = parts.enter(t5, &ids, &ids.ones_like(), Step::Inference).states;
        compared("embedding", &entered.select(1, entered.size()[1] - 1));
    }
    if let Some(block) = folded.get("prompt_layer") {
        assert_eq!(last.shape().optional_int("prompt_layer"), block.as_i64());
    }
    if let Some(folded) = without_libtorch {
        let folded = Tensor::from_slice(&folded.to_f32()).view([folded.rows as i64, folded.cols as i64]);
        let difference = difference(&folded, &parts.parts()[0]);
        let what = format!("`{}`: folded with and without libtorch", known.ours);
        parity.within(&what, "itself", 1e-5, difference, at(""));
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
