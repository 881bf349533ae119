//! From a random backbone to a report, stage by stage as the engine would run them, at the smallest sizes.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array, Float32Array, Float64Array, Int32Array, ListArray, StringArray};
use dpt::adapter::{self, AdapterInfo};
use dpt::artifact::tensors::Tensors;
use dpt::artifact::{json, table};
use dpt::base::digest::Digest;
use dpt::data::task;
use dpt::report::records::{EvalRecord, InitRecord};
use dpt::report::summary::Summary;
use dpt::svd::decompose::Svd;
use dpt::svd::matrix::Matrix;

use crate::bench::Bench;

/// A Unigram tokenizer of whole words and letters.
fn tokenizer_json() -> String {
    let mut vocab = vec!["<pad>".to_owned(), "</s>".into(), "<unk>".into(), "▁".into()];
    vocab.extend(
        ["entailment", "not_entailment", "premise:", "hypothesis:", "it", "rains", "shines"].map(|w| format!("▁{w}")),
    );
    vocab.extend(('a'..='z').chain(['_', ':', '1', '2']).map(String::from));
    let score = |i: usize| {
        if i < 3 {
            0.0
        } else if i < 11 {
            -1.0
        } else {
            -9.0
        }
    };
    let entries: Vec<_> = vocab.iter().enumerate().map(|(i, piece)| serde_json::json!([piece, score(i)])).collect();
    let special = |id: usize| {
        serde_json::json!({"id": id, "content": vocab[id], "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false})
    };
    let metaspace =
        serde_json::json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(0), special(1), special(2)],
        "pre_tokenizer": metaspace, "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": 2, "vocab": entries, "byte_fallback": false},
    })
    .to_string()
}

impl Bench {
    /// With a tokenizer and the rows of RTE in two splits.
    pub fn new() -> Self {
        let bench = Self::empty();
        let (tokenizer, data) = (bench.path("tokenizer"), bench.path("data"));
        std::fs::create_dir_all(&tokenizer).unwrap();
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(tokenizer.join("tokenizer.json"), tokenizer_json()).unwrap();
        for (split, rows) in [("train", 8), ("validation", 6)] {
            let lines: String = (0..rows)
                .map(|i| {
                    let (word, label) = if i % 3 == 0 { ("shines", "not_entailment") } else { ("rains", "entailment") };
                    format!("{{\"premise\": \"it rains\", \"hypothesis\": \"it {word}\", \"label\": \"{label}\", \"idx\": {i}}}\n")
                })
                .collect();
            let rows = task::find("rte").unwrap().parse_jsonl(&lines, split).unwrap();
            table::write(&data.join(format!("{split}.parquet")), &rows).unwrap();
        }
        bench
    }

    /// Backbone and tokenised data.
    pub fn prepare(&self) {
        self.run("random-model", "model", MODEL, &[("tokenizer", "tokenizer")]).unwrap();
        let set = "task = \"rte\"\ntemplate = \"plain\"";
        self.run("tokenize", "tokens", set, &[("data", "data"), ("tokenizer", "tokenizer")]).unwrap();
    }

    fn bytes(&self, node: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.path(node)).unwrap().map(|e| e.unwrap());
        entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
    }

    fn init_record(&self, node: &str) -> InitRecord {
        json::read(&self.path(node).join("svd_init.json")).unwrap()
    }
}

const MODEL: &str =
    "name = \"nano\"\nd_model = 16\nd_kv = 4\nd_ff = 32\nlayers = 1\nheads = 4\nvocab_size = 64\nseed = 3";
const DIMS: &str = "virtual_tokens = 6\nrank = 3\n";

fn matrix(path: &Path, name: &str) -> Matrix {
    let file = Tensors::open(path).unwrap();
    let tensor = file.require(name).unwrap();
    Matrix::from_f32(tensor.shape[0], tensor.shape[1], &tensor.f32s().unwrap())
}

fn product(path: &Path) -> Matrix {
    matrix(path, "factor_a").times(&matrix(path, "factor_b"))
}

#[test]
fn a_random_model_is_a_checkpoint_like_any_other() {
    let bench = Bench::new();
    for (node, feed_forward) in [("old", "relu"), ("new", "gated-gelu")] {
        let set = format!("{MODEL}\nfeed_forward = \"{feed_forward}\"\ndecoder_layers = 2");
        let outcome = bench.run("random-model", node, &set, &[("tokenizer", "tokenizer")]).unwrap();
        let input = bench.input(node, &[]);
        let t5 = dpt_torch::model::t5::T5::load(&input.files, tch::Device::Cpu, tch::Kind::Float).unwrap();
        assert_eq!(t5.config().parameters() as f64, outcome.metrics["parameters"]);
        assert_eq!(t5.config().tied(), node == "old");
        let again = format!("{node}-again");
        bench.run("random-model", &again, &set, &[("tokenizer", "tokenizer")]).unwrap();
        assert_eq!(bench.bytes(node), bench.bytes(&again), "same seed, same bytes");
        assert_eq!(bench.bytes(node)["tokenizer.json"], tokenizer_json().into_bytes());
        let text = std::fs::read_to_string(bench.path(node).join("backbone.json")).unwrap();
        assert!(text.contains("\"random\"") && text.contains("\"nano\""), "{text}");
    }
    let small = format!("{}\n", MODEL.replace("64", "40"));
    let error = bench.run("random-model", "small", &small, &[("tokenizer", "tokenizer")]).unwrap_err();
    assert_eq!(error.message, "`vocab_size` is 40, and the tokenizer of `tokenizer` has 41 tokens");
}

#[test]
fn every_source_gives_factors_that_agree_with_their_figures() {
    let bench = Bench::new();
    bench.prepare();
    let model = ("model", "model");
    let table = matrix(&bench.path("model").join("model.safetensors"), "shared.weight");

    bench.run("svd-init", "vocab", DIMS, &[model]).unwrap();
    let record = bench.init_record("vocab");
    let ids: Vec<usize> = record.ids.as_ref().unwrap().iter().map(|row| row[0] as usize).collect();
    assert_eq!((ids.len(), ids.iter().all(|id| (3..64).contains(id))), (6, true), "{ids:?}");
    let source = table.pick(&ids);
    let best = Svd::of(&source).truncated(3);
    let found = product(&bench.path("vocab").join("factors.safetensors"));
    assert!(found.minus(&best).energy() / best.energy() < 1e-12, "A B is the best approximation of rank 3");
    let figures = record.figures.unwrap();
    assert!((figures.relative_error - (source.minus(&best).energy() / source.energy()).sqrt()).abs() < 1e-9);
    assert!((figures.relative_error.powi(2) - (1.0 - figures.spectrum.energy)).abs() < 1e-9);
    let spectrum = table::read(&bench.path("vocab").join("spectrum.parquet")).unwrap();
    let energy: &Float64Array = table::column(&spectrum, "energy").unwrap();
    let k: &Int32Array = table::column(&spectrum, "k").unwrap();
    assert_eq!((k.value(2), energy.len()), (3, 6));
    assert!((energy.value(2) - figures.spectrum.energy).abs() < 1e-12);
    bench.run("svd-init", "vocab-again", DIMS, &[model]).unwrap();
    assert_eq!(bench.bytes("vocab"), bench.bytes("vocab-again"));

    let text = format!("{DIMS}source = \"text\"\ntext = \"it rains\"\nfill = \"half\"");
    let outcome = bench.run("svd-init", "text", &text, &[model]).unwrap();
    let record = bench.init_record("text");
    assert_eq!((record.source_rows, record.rows.as_str()), (2, "tile"));
    assert_eq!(record.ids.unwrap(), [[8], [9]]);
    assert_eq!(record.figures.unwrap().filled, 1);
    assert_eq!(outcome.notes[0], "the source has 2 directions, 1 of the 3 asked for were filled in");
    assert!(!outcome.notes.iter().any(|n| n.contains("nearly equal")), "{:?}", outcome.notes);

    let labels = format!("{DIMS}source = \"labels\"");
    bench.run("svd-init", "labels", &labels, &[model, ("data", "tokens")]).unwrap();
    let ids = bench.init_record("labels").ids.unwrap();
    assert_eq!(ids[..2], [vec![4], vec![5]], "entailment and not_entailment, without `</s>`");
    assert_eq!(ids.len(), 6);
    let error = bench.run("svd-init", "labels", &labels, &[model]).unwrap_err();
    assert_eq!(error.message, "`source = \"labels\"` needs an input `data`");

    for source in ["uniform", "gaussian"] {
        let set = format!("{DIMS}source = \"{source}\"");
        bench.run("svd-init", source, &set, &[model]).unwrap();
        let figures = bench.init_record(source).figures.unwrap();
        assert_eq!((figures.numerical_rank, figures.filled), (3, 0));
        assert!(figures.relative_error < 1e-7, "a product of rank 3 keeps all of itself");
    }
    // The same numbers as `train` draws for `init = "reference"`: torch.manual_seed(42), uniform_(-0.5, 0.5).
    let a = matrix(&bench.path("uniform").join("factors.safetensors"), "factor_a");
    assert!((a.data[0] - (0.882_269_26 - 0.5)).abs() < 1e-6, "{}", a.data[0]);

    let scaled = format!("{DIMS}scale = \"match-reference\"\nscale_by = 2.0");
    bench.run("svd-init", "scaled", &scaled, &[model]).unwrap();
    let rms = product(&bench.path("scaled").join("factors.safetensors")).rms();
    assert!((rms - 2.0 * 3f64.sqrt() / 12.0).abs() < 1e-6, "{rms}");

    bench.run("svd-init", "basis", &format!("{DIMS}source_rows = 40\nrows = \"basis\""), &[model]).unwrap();
    let (a, b) = ("factor_a", "factor_b");
    let path = bench.path("basis").join("factors.safetensors");
    assert_eq!((matrix(&path, a).rows, matrix(&path, b).cols), (6, 16));
    assert_eq!(bench.init_record("basis").source_rows, 40);
    let prompt = format!("{DIMS}method = \"prompt-tuning\"");
    bench.run("svd-init", "full", &prompt, &[model]).unwrap();
    assert!(matrix(&bench.path("full").join("factors.safetensors"), "prompt").minus(&source).energy() == 0.0);
}

#[test]
fn an_init_that_cannot_be_made_says_why() {
    let bench = Bench::new();
    bench.prepare();
    let model = ("model", "model");
    let error = |set: &str, inputs: &[(&str, &str)]| bench.run("svd-init", "bad", set, inputs).unwrap_err();
    let e = error("virtual_tokens = 20\nrank = 18", &[model]);
    assert_eq!(e.message, "rank 18 exceeds the smaller side of a 20 x 16 matrix");
    let e = error("virtual_tokens = 70\nrank = 3", &[model]);
    assert_eq!(e.message, "70 different tokens are wanted, and there are 61 from 3 to 63");
    let e = error(&format!("{DIMS}vocab_range = [3, 64]"), &[model]);
    assert_eq!(e.message, "`vocab_range` ends at 64, and the token table has 64 rows");
    let e = error(&format!("{DIMS}source_rows = 9"), &[model]);
    assert_eq!(e.message, "the source has 9 rows, and `virtual_tokens` is 6");
    let e = error(&format!("{DIMS}source = \"text\"\ntext = \"it\"\nfill = \"error\""), &[model]);
    assert_eq!(e.message, "rank 3 is asked for, and the source matrix has numerical rank 1");

    // A prompt of another width, and one of another model of the same width.
    let train = format!("{DIMS}method = \"dpt\"\nsteps = 1\nbatch_size = 4");
    bench.run("train", "trained", &train, &[("data", "tokens"), model]).unwrap();
    let wide = MODEL.replace("d_model = 16", "d_model = 24");
    bench.run("random-model", "wide", &wide, &[("tokenizer", "tokenizer")]).unwrap();
    bench.run("random-model", "other", &MODEL.replace("seed = 3", "seed = 4"), &[("tokenizer", "tokenizer")]).unwrap();
    let set = format!("{DIMS}source = \"prompt\"");
    let e = error(&set, &[("model", "wide"), ("prompt", "trained")]);
    assert_eq!(e.message, "the prompt of `trained` has d_model 16, the model of `wide` has 24");
    let e = error(&set, &[("model", "other"), ("prompt", "trained")]);
    assert_eq!(e.message, "the prompt of `trained` was trained on another model than `other`");
    bench.run("svd-init", "again", &set, &[model, ("prompt", "trained")]).unwrap();
    let (start, end) =
        (bench.path("trained").join("adapter.safetensors"), bench.path("again").join("factors.safetensors"));
    assert!(product(&start).minus(&product(&end)).energy() < 1e-10, "a prompt of rank 3 is its own rank 3 truncation");
}

/// A method with tensors of several ranks, of which `svd-init` makes one.
#[test]
fn residual_method_goes_from_svd_init_to_report_and_export() {
    let bench = Bench::new();
    bench.prepare();
    let model = ("model", "model");
    let shape = "method = \"residual\"\nvirtual_tokens = 6\nhidden = 5\n";
    bench.run("svd-init", "svd", shape, &[model]).unwrap();
    let train = format!("{shape}steps = 4\nbatch_size = 4\nlearning_rate = 0.01");
    bench.run("train", "train", &train, &[("data", "tokens"), model, ("init", "svd")]).unwrap();
    bench.run("train", "own", &train, &[("data", "tokens"), model]).unwrap();
    bench.run("eval", "eval", "batch_size = 4", &[("adapter", "train"), ("data", "tokens"), model]).unwrap();

    // The start is what `svd-init` wrote: the matrix as the prompt, the network as a fresh one.
    let factors = Tensors::open(&bench.path("svd/factors.safetensors")).unwrap();
    for (node, same) in [("train", true), ("own", false)] {
        let initial = Tensors::open(&bench.path(node).join("initial.safetensors")).unwrap();
        assert_eq!(initial.names(), factors.names());
        for name in initial.names() {
            let equal = initial.require(&name).unwrap().bytes == factors.require(&name).unwrap().bytes;
            // Both draw the network alike; vocabulary rows come of draws of their own.
            assert_eq!(equal, same || name != "prompt", "{node}: {name}");
        }
    }
    let info: AdapterInfo = json::read(&bench.path("train/adapter.json")).unwrap();
    assert_eq!((info.init.as_str(), info.trainable_parameters), ("svd", 6 * 16 + 2 * 16 * 5 + 5 + 3 * 16));
    let curves = table::read(&bench.path("train/curves.parquet")).unwrap();
    let rates: &Float64Array = table::column(&curves, "learning_rate").unwrap();
    assert!(rates.iter().all(|rate| rate == Some(0.01)), "its authors' rate is constant: {rates:?}");

    // One prompt for report, export and a decomposition.
    let prompt = adapter::prompt(&info, &Tensors::open(&bench.path("train/adapter.safetensors")).unwrap()).unwrap();
    let again = "method = \"prompt-tuning\"\nvirtual_tokens = 6\nsource = \"prompt\"";
    bench.run("svd-init", "again", again, &[model, ("prompt", "train")]).unwrap();
    assert_eq!(matrix(&bench.path("again/factors.safetensors"), "prompt").to_f32(), prompt.to_f32());
    let record: EvalRecord = json::read(&bench.path("eval/eval.json")).unwrap();
    assert_eq!((record.rank, record.params.get("hidden")), (None, Some(&dpt::base::value::Value::Int(5))));
    bench.run("report", "report", "require = \"partial\"", &[("runs", "eval"), ("training", "train")]).unwrap();
    let report = std::fs::read_to_string(bench.path("report/report.md")).unwrap();
    assert!(report.contains("| method | virtual tokens | rank | hidden |"), "{report}");
}

#[test]
fn from_a_random_backbone_to_a_report() {
    let bench = Bench::new();
    bench.prepare();
    bench.run("svd-init", "svd", DIMS, &[("model", "model")]).unwrap();
    let base = format!("{DIMS}steps = 6\nbatch_size = 4\n");
    let mut nodes = Vec::new();
    for (method, seed) in [("dpt", 1), ("dpt", 2), ("prompt-tuning", 1), ("prompt-tuning", 2)] {
        let set = format!("{base}method = \"{method}\"\nseed = {seed}");
        let mut inputs = vec![("data", "tokens"), ("model", "model")];
        if method == "dpt" {
            inputs.push(("init", "svd"));
        }
        let (train, eval) = (format!("train-{method}-{seed}"), format!("eval-{method}-{seed}"));
        bench.run("train", &train, &set, &inputs).unwrap();
        let inputs = [("adapter", train.as_str()), ("data", "tokens"), ("model", "model")];
        bench.run("eval", &eval, "batch_size = 4", &inputs).unwrap();
        nodes.push((train, eval, method, seed.to_string()));
    }

    let record: EvalRecord = json::read(&bench.path("eval-dpt-1").join("eval.json")).unwrap();
    assert_eq!((record.examples, record.virtual_tokens, record.rank, record.d_model), (6, 6, Some(3), 16));
    assert_eq!(record.trainable_parameters, 3 * (6 + 16));
    assert_eq!((record.backbone.name.as_str(), record.backbone.origin.as_str()), ("nano", "random"));
    let majority = record.baselines.majority.clone().unwrap();
    assert_eq!((majority.answer.as_str(), majority.score), ("entailment", 4.0 / 6.0));
    let predictions = table::read(&bench.path("eval-dpt-1").join("predictions.parquet")).unwrap();
    let chosen: &Int32Array = table::column(&predictions, "verbalizer_label").unwrap();
    let labels: &Int32Array = table::column(&predictions, "label").unwrap();
    let lists: &ListArray = table::column(&predictions, "log_likelihoods").unwrap();
    let right = (0..6).filter(|&i| chosen.value(i) == labels.value(i)).count();
    assert_eq!(record.score, Some(right as f64 / 6.0), "accuracy, counted by hand");
    for i in 0..6 {
        let list = lists.value(i);
        let list: &Float32Array = list.as_any().downcast_ref().unwrap();
        let best = if list.value(0) >= list.value(1) { 0 } else { 1 };
        assert_eq!((list.len(), chosen.value(i)), (2, best));
        assert!(list.value(0) < 0.0);
    }
    let greedy: &StringArray = table::column(&predictions, "greedy").unwrap();
    let exact = (0..6).filter(|&i| ["entailment", "not_entailment"].contains(&greedy.value(i))).count();
    assert_eq!(record.invalid, 6 - exact as u64);
    let submission = std::fs::read_to_string(bench.path("eval-dpt-1").join("submission.jsonl")).unwrap();
    assert_eq!(submission.lines().count(), 6);
    let first: serde_json::Value = serde_json::from_str(submission.lines().next().unwrap()).unwrap();
    let names = ["entailment", "not_entailment"];
    assert_eq!(first, serde_json::json!({"idx": 0, "label": names[chosen.value(0) as usize]}));

    // Scoring is the same again, and batches do not matter to the answers.
    let inputs = [("adapter", "train-dpt-1"), ("data", "tokens"), ("model", "model")];
    bench.run("eval", "eval-again", "batch_size = 4", &inputs).unwrap();
    assert_eq!(bench.bytes("eval-dpt-1"), bench.bytes("eval-again"));
    bench.run("eval", "eval-single", "batch_size = 1", &inputs).unwrap();
    assert_eq!(bench.bytes("eval-dpt-1")["submission.jsonl"], bench.bytes("eval-single")["submission.jsonl"]);

    let report = |node: &str, without: usize| {
        let mut inputs = Vec::new();
        for (train, eval, method, seed) in nodes.iter().skip(without) {
            let axes = [("task", "rte"), ("method", *method), ("seed", seed.as_str())];
            inputs.push(("runs", bench.input(eval, &axes)));
            inputs.push(("training", bench.input(train, &axes)));
        }
        inputs.push(("init", bench.input("svd", &[("method", "dpt")])));
        bench.run_on("report", node, "title = \"Chain\"", inputs)
    };
    let outcome = report("report", 0).unwrap();
    assert!(outcome.notes.iter().any(|n| n.contains("backbone `nano` is random")), "{:?}", outcome.notes);
    let summary: Summary = json::read(&bench.path("report").join("report.json")).unwrap();
    assert_eq!((summary.cells.len(), summary.cells[0].score.n, summary.drifts.len()), (2, 2, 4));
    assert_eq!(summary.runs[0].origin.key, Digest::of(b"eval-dpt-1"));
    let html = std::fs::read_to_string(bench.path("report").join("report.html")).unwrap();
    assert!(html.contains("Random backbone: nano was never trained"));
    assert!(html.contains(&Digest::of(b"eval-dpt-1").hex()) && html.matches("<svg").count() == 5);
    report("report-again", 0).unwrap();
    assert_eq!(bench.bytes("report"), bench.bytes("report-again"));

    let error = report("report-short", 1).unwrap_err();
    assert_eq!(error.message, "1 of 2 cells lack a seed");
    assert_eq!(error.notes, ["rte with dpt lacks 1"]);
}

/// A prompt from elsewhere: it can be scored, and training can start from it.
#[test]
fn an_imported_prompt_is_as_good_as_a_trained_one() {
    let bench = Bench::new();
    bench.prepare();
    let values: Vec<f32> = (0..6 * 16).map(|i| (i as f32 * 0.37).sin()).collect();
    let import = |node: &str, d_model: usize| {
        let info = AdapterInfo::imported(6, d_model);
        adapter::write_whole(&bench.path(node), &info, &values[..6 * d_model]).unwrap();
    };
    import("imported", 16);
    let inputs = [("adapter", "imported"), ("data", "tokens"), ("model", "model")];
    let outcome = bench.run("eval", "scored", "batch_size = 4", &inputs).unwrap();
    let record: EvalRecord = json::read(&bench.path("scored").join("eval.json")).unwrap();
    assert_eq!((record.method.as_str(), record.seed, record.best_step), ("prompt-tuning", None, None));
    assert!(record.score.is_some() && record.baselines.untrained.is_none() && record.trainable_parameters == 96);
    assert!(outcome.notes.iter().any(|note| note.contains("was imported")), "{:?}", outcome.notes);

    let start = |node: &str, method: &str, from: &str| {
        let set = format!("{DIMS}method = \"{method}\"\nsteps = 2\nbatch_size = 4");
        bench.run("train", node, &set, &[("data", "tokens"), ("model", "model"), ("init", from)])
    };
    start("further", "prompt-tuning", "imported").unwrap();
    assert_eq!(matrix(&bench.path("further/initial.safetensors"), "prompt").to_f32(), values);
    let error = start("other", "dpt", "imported").unwrap_err();
    assert_eq!(error.message, "`dpt` cannot start from the prompt of `imported`, which is of method `prompt-tuning`");
    // Through its decomposition it can; and a trained prompt starts the same method again, or the whole one.
    let set = format!("{DIMS}source = \"prompt\"");
    bench.run("svd-init", "factors", &set, &[("model", "model"), ("prompt", "imported")]).unwrap();
    start("decomposed", "dpt", "factors").unwrap();
    start("again", "dpt", "decomposed").unwrap();
    assert_eq!(bench.bytes("again")["initial.safetensors"], bench.bytes("decomposed")["adapter.safetensors"]);
    start("whole", "prompt-tuning", "decomposed").unwrap();
    let info: AdapterInfo = json::read(&bench.path("whole/adapter.json")).unwrap();
    assert_eq!(info.init, "adapter");

    import("narrow", 8);
    let inputs = [("adapter", "narrow"), ("data", "tokens"), ("model", "model")];
    let error = bench.run("eval", "bad", "", &inputs).unwrap_err();
    assert_eq!(error.message, "the prompt of `narrow` has d_model 8, the model of `model` has 16");
}

#[test]
fn inputs_that_do_not_belong_together_are_refused() {
    let bench = Bench::new();
    bench.prepare();
    let train = format!("{DIMS}method = \"dpt\"\nsteps = 1\nbatch_size = 4");
    bench.run("train", "trained", &train, &[("data", "tokens"), ("model", "model")]).unwrap();
    bench.run("random-model", "other", &MODEL.replace("seed = 3", "seed = 4"), &[("tokenizer", "tokenizer")]).unwrap();
    let eval = |set: &str, model: &str| {
        let inputs = [("adapter", "trained"), ("data", "tokens"), ("model", model)];
        bench.run("eval", "bad", set, &inputs).unwrap_err()
    };
    assert_eq!(eval("", "other").message, "the prompt of `trained` was trained on another model than `other`");
    assert_eq!(eval("task = \"cb\"", "model").message, "`task` is `cb`, and the data is of task `rte`");
    let e = eval("split = \"test\"", "model");
    assert_eq!(e.message, "the data has no split `test`");
    assert_eq!(e.notes, ["`tokens` has `train`, `validation`"]);
    // Another tokenizer beside the same weights.
    let text = tokenizer_json().replace("shines", "shone");
    std::fs::write(bench.path("model").join("tokenizer.json"), text).unwrap();
    let e = eval("", "model");
    assert_eq!(e.message, "the tokenizer that the data was made with is not at hand");
    assert!(e.notes[1].starts_with("`tokenizer.json` of `model` is b3:"), "{e}");
}
