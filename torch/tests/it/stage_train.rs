//! The stage `train`, from files to files, on a tiny random T5.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int32Type};
use dpt::adapter::method::Method;
use dpt::adapter::methods::{self, METHODS};
use dpt::artifact::{json, table, tensors::Tensors};
use dpt::base::diag::{Class, Diag};
use dpt::base::draw::Draws;
use dpt::base::param::{Param, Type};
use dpt::base::value::{Params, Value};
use dpt::data::encoded::{ClassTokens, Encoded, SplitTokens, Tokens, to_batch};
use dpt::stages::ctx::{Ctx, Job, Outcome};
use dpt::stages::train;
use dpt::testing::{Recorder, input};
use dpt_torch::model::config::{T5Config, TensorInit};
use dpt_torch::model::tensors;
use dpt_torch::prompt::{Adapter, AdapterInfo};
use tch::{Device, Tensor};

/// A T5 of 16 x 2 layers, random.
fn config() -> T5Config {
    T5Config { d_model: 16, d_kv: 4, d_ff: 32, num_layers: 2, num_heads: 4, vocab_size: 40, ..T5Config::default() }
}

fn write_model(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let config = config();
    std::fs::write(dir.join("config.json"), config.to_json()).unwrap();
    let tensors = config.tensors().into_iter().map(|spec| {
        let mut draws = Draws::new(&spec.name, 7);
        let numbers: i64 = spec.shape.iter().product();
        let values: Vec<f32> = (0..numbers)
            .map(|_| match spec.init {
                TensorInit::Constant(value) => value as f32,
                TensorInit::Normal(std) => (draws.gaussian() * std) as f32,
            })
            .collect();
        (spec.name, Tensor::from_slice(&values).view(spec.shape.as_slice()))
    });
    tensors::write(&dir.join("model.safetensors"), &tensors.collect()).unwrap();
    json::write(&dir.join("backbone.json"), &serde_json::json!({"name": "t5-nano", "origin": "random"})).unwrap();
}

/// Rows whose class is a token of the source, behind some noise.
fn examples(n: usize, seed: i64) -> Vec<Encoded> {
    let mut draws = Draws::new("test.examples", seed);
    (0..n)
        .map(|i| {
            let label = (i % 2) as i32;
            let mut input_ids: Vec<i32> = (0..3 + draws.below(9)).map(|_| 10 + draws.below(30) as i32).collect();
            input_ids.extend([4 + label, 1]);
            Encoded {
                example_id: i.to_string(),
                input_length: input_ids.len() as i32,
                input_ids,
                target_ids: vec![4 + label, 1],
                target: label.to_string(),
                label: Some(label),
                ..Encoded::default()
            }
        })
        .collect()
}

fn write_data(dir: &Path) {
    let class = |label: i32| ClassTokens {
        label: label.to_string(),
        text: label.to_string(),
        ids: vec![4 + label, 1],
        decoded: label.to_string(),
    };
    let tokens = Tokens {
        task: "rte".into(),
        template: "dpt-paper".into(),
        verbalizer: vec![class(0), class(1)],
        metrics: vec!["accuracy".into()],
        metric_mode: "official".into(),
        vocab_size: 40,
        pad_id: 0,
        eos_id: 1,
        max_source_length: 256,
        max_target_length: 8,
        splits: BTreeMap::from([("train".into(), SplitTokens { rows: 21, ..SplitTokens::default() })]),
        tokenizer_digest: String::new(),
    };
    std::fs::create_dir_all(dir).unwrap();
    json::write(&dir.join("tokens.json"), &tokens).unwrap();
    table::write(&dir.join("train.parquet"), &to_batch(&examples(21, 1))).unwrap();
    table::write(&dir.join("validation.parquet"), &to_batch(&examples(14, 2))).unwrap();
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_model(&dir.path().join("model"));
        write_data(&dir.path().join("data"));
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the stage with its defaults and `set`; the outputs lie in folder `out`.
    fn run(&self, out: &str, set: &[(&str, Value)], stop_at: u64) -> (Result<Outcome, Diag>, Vec<String>) {
        self.run_until(out, set, stop_at, NEVER)
    }

    /// The same, but gone in the middle of step `at`: what lies in its scratch folder then is all that is left.
    fn kill(&self, out: &str, set: &[(&str, Value)], at: u64) {
        let run = std::panic::AssertUnwindSafe(|| self.run_until(out, set, NEVER, at));
        assert!(std::panic::catch_unwind(run).is_err());
    }

    fn run_until(
        &self,
        out: &str,
        set: &[(&str, Value)],
        stop_at: u64,
        die_at: u64,
    ) -> (Result<Outcome, Diag>, Vec<String>) {
        let mut params = Params::new();
        for param in train::KIND.params {
            if let Some(value) = param.default.value() {
                params.insert(param.name.to_owned(), value);
            }
        }
        let shape = [("virtual_tokens", 5), ("rank", 2), ("batch_size", 4), ("epochs", 2)];
        params.extend(shape.map(|(name, value)| (name.to_owned(), Value::Int(value))));
        params.insert("method".into(), Value::Str("dpt".into()));
        for (name, value) in set {
            params.insert((*name).to_owned(), value.clone());
        }
        if params.contains_key("steps") {
            params.remove("epochs");
        }
        (train::KIND.check.unwrap())(&params).unwrap();
        let out = self.path(out);
        let scratch = self.path("scratch");
        std::fs::create_dir_all(&out).unwrap();
        std::fs::create_dir_all(&scratch).unwrap();
        let mut inputs = BTreeMap::from([
            ("data".to_owned(), vec![input("tokenize[rte]", &[], &self.path("data"))]),
            ("model".to_owned(), vec![input("backbone", &[], &self.path("model"))]),
        ]);
        if self.path("init").exists() {
            inputs.insert("init".to_owned(), vec![input("svd_init", &[], &self.path("init"))]);
        }
        let job = Job {
            node: "train[task=rte]".into(),
            kind: "train".into(),
            params,
            inputs,
            out,
            scratch,
            threads: 1,
            device: "cpu".into(),
            ..Job::default()
        };
        let recorder = Recorder { cancel_at: Some(stop_at), panic_at: Some(die_at), ..Recorder::default() };
        let ctx = Ctx { job: &job, progress: &recorder, cancel: &recorder.cancel };
        let _held = crate::bench::generator();
        let result = dpt_torch::stages::train::run(&ctx);
        (result, recorder.notes())
    }

    /// The bytes of every output.
    fn bytes(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        let there = |name: &&str| self.path(out).join(name).exists();
        let optional = train::KIND.outputs.iter().filter(|output| !output.required).map(|output| output.name);
        let names = train::KIND.outputs.iter().filter(|output| output.required).map(|output| output.name);
        names
            .chain(optional.filter(there))
            .map(|name| (name.to_owned(), std::fs::read(self.path(out).join(name)).unwrap()))
            .collect()
    }
}

const NEVER: u64 = u64::MAX;

#[test]
fn every_output_is_there_and_the_same_twice() {
    let bench = Bench::new();
    let (outcome, _) = bench.run("a", &[], NEVER);
    let outcome = outcome.unwrap();
    assert_eq!(outcome.numerics["device"], "cpu");
    // What `accept = "exact"` asks for has the same fields.
    let now = dpt::base::machine::numerics(false, "2.11.0", 1);
    assert!(outcome.numerics.keys().eq(now.keys()) && outcome.numerics["cpu"] == now["cpu"], "{:?}", outcome.numerics);
    assert!(outcome.metrics["accuracy"] >= 0.0);
    std::fs::remove_dir_all(bench.path("scratch")).unwrap();
    bench.run("b", &[], NEVER).0.unwrap();
    assert_eq!(bench.bytes("a"), bench.bytes("b"));

    let info: AdapterInfo = json::read(&bench.path("a/adapter.json")).unwrap();
    assert_eq!((info.trainable_parameters, info.init.as_str()), (2 * (5 + 16), "reference"));
    assert_eq!((info.task.as_deref(), info.backbone_name.as_deref()), (Some("rte"), Some("t5-nano")));
    assert_eq!((info.select_on.as_deref(), info.select_metric.as_deref()), (Some("validation"), Some("accuracy")));
    let adapter =
        Adapter::load(&info, &Tensors::open(&bench.path("a/adapter.safetensors")).unwrap(), Device::Cpu).unwrap();
    assert_eq!(adapter.prompt().size(), [5, 16]);
    let curves = table::read(&bench.path("a/curves.parquet")).unwrap();
    assert_eq!(curves.num_rows(), 12, "two epochs of six batches");
    let evals = table::read(&bench.path("a/evals.parquet")).unwrap();
    assert_eq!(evals.num_rows(), 12, "twenty scorings do not fit into twelve steps: one a step");
}

#[test]
fn seeds_and_methods_give_other_adapters() {
    let bench = Bench::new();
    bench.run("a", &[], NEVER).0.unwrap();
    for (out, name, value) in [
        ("seed", "seed", Value::Int(43)),
        ("method", "method", Value::Str("prompt-tuning".into())),
        ("order", "order", Value::Str("dpt-paper".into())),
        ("file", "order", Value::Str("file".into())),
        ("dropout", "frozen_dropout", Value::Str("config".into())),
        ("init", "init", Value::Str("gaussian".into())),
    ] {
        std::fs::remove_dir_all(bench.path("scratch")).unwrap();
        bench.run(&format!("out.{out}"), &[(name, value)], NEVER).0.unwrap();
        assert_ne!(bench.bytes("a")["curves.parquet"], bench.bytes(&format!("out.{out}"))["curves.parquet"], "{name}");
    }
}

/// Interrupted (which writes a checkpoint on the way out) and killed (which leaves the last regular one), with dropout
/// on.
#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let bench = Bench::new();
    let set = [
        ("checkpoint_every", Value::Int(5)),
        ("frozen_dropout", Value::Str("config".into())),
        ("patience", Value::Int(50)),
        ("eval_every", Value::Int(2)),
    ];
    bench.run("whole", &set, NEVER).0.unwrap();
    let whole = bench.bytes("whole");

    // Killed after its last step, while results were written: no step is trained again.
    let (result, notes) = bench.run("written", &set, NEVER);
    result.unwrap();
    assert_eq!(notes, ["goes on after step 12 from its checkpoint"]);
    assert_eq!(bench.bytes("written"), whole);

    std::fs::remove_dir_all(bench.path("scratch")).unwrap();
    bench.kill("killed", &set, 11);
    let (result, notes) = bench.run("killed", &set, NEVER);
    result.unwrap();
    assert_eq!(notes, ["goes on after step 10 from its checkpoint"]);
    assert_eq!(bench.bytes("killed"), whole);

    std::fs::remove_dir_all(bench.path("scratch")).unwrap();
    let (result, _) = bench.run("interrupted", &set, 7);
    assert_eq!(result.unwrap_err().class, Class::Interrupted);
    let (result, notes) = bench.run("interrupted", &set, NEVER);
    result.unwrap();
    assert_eq!(notes, ["goes on after step 7 from its checkpoint"]);
    assert_eq!(bench.bytes("interrupted"), whole);

    // A damaged checkpoint is told and not used.
    let path = bench.path("scratch/checkpoint.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let (result, notes) = bench.run("damaged", &set, NEVER);
    result.unwrap();
    assert!(notes[0].starts_with("the checkpoint is set aside, training starts again: "), "{notes:?}");
    assert_eq!(bench.bytes("damaged"), whole);
}

#[test]
fn damaged_checkpoint_is_set_aside_and_training_restarts() {
    let bench = Bench::new();
    let set = [("checkpoint_every", Value::Int(5))];
    bench.run("whole", &set, NEVER).0.unwrap();
    let path = bench.path("scratch/checkpoint.safetensors");
    let tensors = Tensors::open(&path).unwrap().names();
    for name in tensors {
        std::fs::remove_dir_all(bench.path("scratch")).unwrap();
        bench.kill("cut", &set, 8);
        let mut bytes = std::fs::read(&path).unwrap();
        // One bit of the tensor's last number.
        let at = {
            let file = Tensors::open(&path).unwrap();
            let tensor = file.require(&name).unwrap().bytes;
            let last = tensor[tensor.len() - 4..].to_vec();
            bytes.windows(tensor.len()).position(|w| w == tensor).unwrap() + tensor.len() - last.len()
        };
        bytes[at] ^= 0x40;
        std::fs::write(&path, &bytes).unwrap();
        let (result, notes) = bench.run("cut", &set, NEVER);
        result.unwrap();
        assert_eq!(
            notes,
            ["the checkpoint is set aside, training starts again: its bytes are not those that were written \
              (it is now `checkpoint.set-aside`)"],
            "{name}"
        );
        assert_eq!(bench.bytes("cut"), bench.bytes("whole"), "{name}");
        assert_eq!(std::fs::read(path.with_extension("set-aside")).unwrap(), bytes);
    }
}

#[test]
fn patience_stops_and_the_best_is_kept() {
    let bench = Bench::new();
    let set = [
        ("steps", Value::Int(200)),
        ("eval_every", Value::Int(1)),
        ("patience", Value::Int(3)),
        ("learning_rate", Value::Float(0.0)),
    ];
    let (outcome, _) = bench.run("a", &set, NEVER);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.metrics["steps"], outcome.metrics["best_step"]), (4.0, 1.0));
    assert_eq!(outcome.notes, ["stopped after 4 of 200 steps: no gain in 3 scorings"]);

    std::fs::remove_dir_all(bench.path("scratch")).unwrap();
    let set = [("steps", Value::Int(3)), ("select_on", Value::Str("none".into()))];
    let (outcome, _) = bench.run("none", &set, NEVER);
    assert_eq!(outcome.unwrap().metrics["best_step"], 3.0);
    assert_eq!(table::read(&bench.path("none/evals.parquet")).unwrap().num_rows(), 0);
}

#[test]
fn a_prompt_learns_what_the_backbone_can_tell() {
    let bench = Bench::new();
    let set = [
        ("method", Value::Str("prompt-tuning".into())),
        ("steps", Value::Int(120)),
        ("select_on", Value::Str("train".into())),
    ];
    let (outcome, _) = bench.run("a", &set, NEVER);
    let summary: serde_json::Value = json::read(&bench.path("a/train.json")).unwrap();
    let loss = |name: &str| summary[name].as_f64().unwrap();
    assert!(loss("last_loss") < loss("first_loss") - 0.5, "{summary}");
    assert!(outcome.unwrap().metrics["accuracy"] >= 0.6);
}

#[test]
fn factors_from_svd_init_are_the_start() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.path("init")).unwrap();
    let factors = |rank: i64| {
        let tensors = BTreeMap::from([
            ("factor_a".to_owned(), Tensor::ones([5, rank], tch::kind::FLOAT_CPU)),
            ("factor_b".to_owned(), Tensor::ones([rank, 16], tch::kind::FLOAT_CPU)),
        ]);
        tensors::write(&bench.path("init/factors.safetensors"), &tensors).unwrap();
    };
    factors(2);
    // The first step has rate 0: the factors are still where they started.
    let set = [("steps", Value::Int(1)), ("warmup", Value::Float(1.0)), ("weight_decay", Value::Float(0.0))];
    bench.run("a", &set, NEVER).0.unwrap();
    let info: AdapterInfo = json::read(&bench.path("a/adapter.json")).unwrap();
    assert_eq!(info.init, "svd");
    let adapter =
        Adapter::load(&info, &Tensors::open(&bench.path("a/adapter.safetensors")).unwrap(), Device::Cpu).unwrap();
    assert_eq!(adapter.prompt(), Tensor::full([5, 16], 2.0, tch::kind::FLOAT_CPU));

    factors(3);
    let error = bench.run("b", &set, NEVER).0.unwrap_err();
    assert_eq!(error.message, "the given tensors are not an adapter of method `dpt`");
    assert_eq!(error.notes[0], "`factor_a`: wanted [5, 2], found [5, 3]");
    let reference = [("init", Value::Str("reference".into()))];
    let error = bench.run("c", &reference, NEVER).0.unwrap_err();
    assert_eq!(error.message, "`init = \"reference\"` leaves the `init` input unused");
}

#[test]
fn inputs_that_do_not_fit_are_told() {
    let bench = Bench::new();
    let message = |set: &[(&str, Value)]| bench.run("a", set, NEVER).0.unwrap_err().message;
    assert_eq!(message(&[("task", Value::Str("cb".into()))]), "`task` is `cb`, and the data is of task `rte`");
    assert_eq!(
        message(&[("select_on", Value::Str("dev".into()))]),
        "`select_on = \"dev\"` names a split that the data has not"
    );
    assert!(
        message(&[
            ("learning_rate", Value::Float(1e6)),
            ("steps", Value::Int(60)),
            ("max_grad_norm", Value::Float(0.0)),
            ("dtype", Value::Str("float16".into()))
        ])
        .starts_with("training diverged: at step ")
    );

    let mut tokens: Tokens = json::read(&bench.path("data/tokens.json")).unwrap();
    tokens.vocab_size = 41;
    json::write(&bench.path("data/tokens.json"), &tokens).unwrap();
    assert_eq!(message(&[]), "the tokenizer has 41 tokens, the model 40");
    table::write(&bench.path("data/train.parquet"), &to_batch(&[])).unwrap();
    assert_eq!(message(&[]), "there is nothing to train on: the split `train` is empty");
}

/// The parameters of `method` in tests: its own defaults, with small sizes.
pub fn small(method: &'static Method) -> Vec<(&'static str, Value)> {
    let sizes = [("positions", 16), ("prompt_block", 4), ("added_block", 8), ("prompt_layer", 1), ("hidden", 6)];
    let value = |param: &Param| {
        let known = sizes.iter().find(|(name, _)| *name == param.name).map(|(_, size)| Value::Int(*size));
        let small = if param.since == 1 && matches!(param.ty, Type::Int(..)) { Some(Value::Int(2)) } else { None };
        known.or(small).or_else(|| param.default.value())
    };
    let own = method.params.iter().filter_map(|param| Some((param.name, value(param)?)));
    let rates = method.training.iter().filter_map(|param| Some((param.name, param.default.value()?)));
    let others = method.defaults.iter().map(|(name, value)| (*name, value.to_value()));
    let set =
        [("method", Value::Str(method.name.into())), ("virtual_tokens", Value::Int(5)), ("warmup", Value::Float(2.0))];
    others.chain(own).chain(rates).chain(set).collect()
}

/// Every method, with its own optimizer and its own noise, and the options of the product.
#[test]
fn every_method_resumes_as_if_it_had_not_stopped() {
    let (on, text) = (Value::Bool(true), |text: &str| Value::Str(text.into()));
    let options = [("shift", on.clone()), ("row_scale", on), ("blocks", Value::Int(2)), ("sparse", Value::Int(3))];
    let mut all: Vec<_> = METHODS.iter().map(|method| small(method)).collect();
    all.push(small(METHODS[0]).into_iter().chain(options).collect());
    for mut set in all {
        set.extend([("checkpoint_every", Value::Int(2)), ("frozen_dropout", text("config")), ("steps", Value::Int(6))]);
        set.push(("eval_every", Value::Int(3)));
        let bench = Bench::new();
        bench.run("whole", &set, NEVER).0.unwrap();
        std::fs::remove_dir_all(bench.path("scratch")).unwrap();
        bench.kill("parts", &set, 5);
        let (result, notes) = bench.run("parts", &set, NEVER);
        let outcome = result.unwrap();
        assert_eq!(notes, ["goes on after step 4 from its checkpoint"], "{set:?}");
        let (parts, whole) = (bench.bytes("parts"), bench.bytes("whole"));
        let differ: Vec<_> = whole.iter().filter(|(name, bytes)| parts.get(*name) != Some(bytes)).collect();
        assert!(differ.is_empty(), "{:?} differ with {set:?}", differ.iter().map(|(name, _)| name).collect::<Vec<_>>());

        let info: AdapterInfo = json::read(&bench.path("whole/adapter.json")).unwrap();
        let (method, shape) = info.method().unwrap();
        assert_eq!(info.trainable_parameters, method.parameters(&shape));
        let stored = method.stored(&shape);
        assert_eq!(info.stored_parameters, Some(stored).filter(|all| *all != info.trainable_parameters));
        assert!(outcome.metrics["loss"].is_finite());
        let [start, end] = ["initial", "adapter"].map(|name| {
            let file = Tensors::open(&bench.path(&format!("whole/{name}.safetensors"))).unwrap();
            Adapter::load(&info, &file, Device::Cpu).unwrap()
        });
        if info.best_step == Some(6) {
            for ((name, before), (_, after)) in start.named().zip(end.named()) {
                assert!(before != after, "{}: `{name}` did not move", method.name);
            }
        }
        let kept = |adapter: &Adapter| -> Vec<Tensor> {
            adapter.stored().skip(adapter.tensors().len()).map(|(_, tensor)| tensor.copy()).collect()
        };
        assert_eq!(kept(&start), kept(&end), "{}", method.name);
    }
}

#[test]
fn figures_of_a_method_are_written_by_step_beside_their_controls() {
    let bench = Bench::new();
    let method = methods::find("pilot").unwrap();
    let set: Vec<_> = small(method).into_iter().chain([("steps", Value::Int(4))]).collect();
    bench.run("out", &set, NEVER).0.unwrap();
    let figures = table::read(&bench.path("out/figures.parquet")).unwrap();
    let names = figures.column_by_name("figure").unwrap().as_string::<i32>();
    let (steps, values) = (figures.column_by_name("step").unwrap(), figures.column_by_name("value").unwrap());
    let (steps, values) = (steps.as_primitive::<Int32Type>(), values.as_primitive::<Float64Type>());
    let mut by_name: BTreeMap<&str, Vec<(i32, f64)>> = BTreeMap::new();
    for i in 0..figures.num_rows() {
        by_name.entry(names.value(i)).or_default().push((steps.value(i), values.value(i)));
    }
    let wanted = [
        "effective_rank",
        "positive_sigma",
        "positive_sigma_of_a_random_walk",
        "sigma_above_a_thousandth",
        "singular_values_above_a_thousandth",
    ];
    assert_eq!(by_name.keys().copied().collect::<Vec<_>>(), wanted);
    for (name, rows) in &by_name {
        assert_eq!(rows.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 1, 2, 3, 4], "{name}");
        assert!((rows[0].1 - 5.0).abs() < 0.7, "{name}: five directions at the start, not {}", rows[0].1);
        assert!(rows.iter().all(|(_, value)| (0.0..=5.0 + 1e-9).contains(value)), "{name}");
    }
}

#[test]
fn parameters_that_do_not_fit_data_or_backbone_are_refused_before_training() {
    let bench = Bench::new();
    let refused = |name: &str, set: &[(&'static str, Value)]| {
        let all: Vec<_> = small(methods::find(name).unwrap()).into_iter().chain(set.iter().cloned()).collect();
        let (result, _) = bench.run("out", &all, NEVER);
        assert!(!bench.path("out/initial.safetensors").exists(), "{name}");
        result.unwrap_err()
    };
    let long = refused("dept", &[("positions", Value::Int(9))]);
    assert!(long.message.ends_with("tokens, and `positions` of method `dept` is 9"), "{}", long.message);
    assert!(long.help.unwrap().contains("`max_source_length` of `tokenize` to at most 9"));
    let layer = refused("late-dpt", &[("prompt_layer", Value::Int(2))]);
    assert_eq!(layer.message, "`prompt_layer` is 2, not below the number of the encoder's blocks, which is 2");
    let block = refused("accept", &[("added_block", Value::Int(5))]);
    assert_eq!(block.message, "`added_block` is 5, which does not divide the model's width, 16");
    let rank = refused("ulpt", &[("rank", Value::Int(17))]);
    assert_eq!(rank.message, "`rank` is 17, above the model's width, which is 16");

    // An adapter of one method as the start of another.
    bench.run("other", &small(methods::find("dept").unwrap()), NEVER).0.unwrap();
    std::fs::rename(bench.path("other"), bench.path("init")).unwrap();
    std::fs::remove_dir_all(bench.path("scratch")).unwrap();
    let (result, _) = bench.run("out", &small(methods::find("adept").unwrap()), NEVER);
    let other = result.unwrap_err();
    assert!(other.message.ends_with("which is of method `dept`"), "{}", other.message);
    let mut set = small(methods::find("dept").unwrap());
    set.push(("positions", Value::Int(17)));
    let (result, _) = bench.run("out", &set, NEVER);
    let shape = result.unwrap_err();
    assert_eq!(shape.notes, ["`lora_a`: wanted [17, 2], found [16, 2]"]);
    assert!(shape.help.unwrap().contains("`positions`"));
}
