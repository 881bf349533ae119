//! Runs `tokenize`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::record_batch::RecordBatch;
use rayon::prelude::*;
use serde::Deserialize;

use crate::artifact::{json, table};
use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::base::value::Params;
use crate::data::encoded::{self, ClassTokens, Encoded, SplitTokens, Tokens};
use crate::data::sample;
use crate::data::task::{self, Task, TaskRow};
use crate::data::template::{Example, Purpose, Rendering, RteFields, Template};
use crate::data::tokenizer::Tokenizer;
use crate::data::verbalizer::Verbalizer;
use crate::stages::ctx::{Ctx, Input, Outcome, Unit, Update};
use crate::stages::stage::StageResult;

use super::targets;

/// Rows between two words on how far it is.
const TOLD_EVERY: u64 = 500;

/// The parameters.
#[derive(Deserialize)]
struct Settings {
    task: String,
    template: String,
    verbalizer: Option<Params>,
    metric_mode: Option<String>,
    max_source_length: usize,
    max_target_length: usize,
    splits: Option<Vec<String>>,
    order: String,
    shots: Option<usize>,
    shots_seed: u64,
    rte_fields: String,
    record_prefix: bool,
}

/// What all splits share.
struct Job<'a> {
    ctx: &'a Ctx<'a>,
    task: &'static dyn Task,
    settings: Settings,
    template: Template,
    verbalizer: Verbalizer,
    tokenizer: Tokenizer,
}

pub(super) fn run(ctx: &Ctx) -> StageResult {
    let settings: Settings = ctx.params()?;
    let task = task::find(&settings.task)?;
    let template = Template::find(&settings.template).expect("the parameter's type has checked it");
    let verbalizer = targets::verbalizer(task, template, settings.verbalizer.as_ref())?;
    let tokenizer = Tokenizer::load(&ctx.input("tokenizer")?.files)?;
    let job = Job { ctx, task, settings, template, verbalizer, tokenizer };
    let classes = job.class_tokens()?;

    // Its own pool, because the engine sets how many threads a node may use.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(ctx.job.threads.max(1))
        .build()
        .map_err(|e| Diag::error(Class::Environment, format!("cannot start {} threads: {e}", ctx.job.threads)))?;
    let splits = pool.install(|| job.splits())?;

    let mode = targets::metric_mode(job.settings.metric_mode.as_deref(), template);
    let mode_name = task::METRIC_MODES.iter().find(|(_, known)| *known == mode).expect("every mode has its row").0;
    let tokens = Tokens {
        task: job.settings.task.clone(),
        template: job.settings.template.clone(),
        verbalizer: classes,
        metrics: task.metrics(mode).iter().map(|name| (*name).to_owned()).collect(),
        metric_mode: mode_name.to_owned(),
        vocab_size: job.tokenizer.vocab_size(),
        pad_id: job.tokenizer.pad(),
        eos_id: job.tokenizer.eos(),
        max_source_length: job.settings.max_source_length,
        max_target_length: job.settings.max_target_length,
        splits,
        tokenizer_digest: job.tokenizer.digest().hex(),
    };
    json::write(&ctx.out("tokens.json"), &tokens)?;
    Ok(job.outcome(&tokens))
}

impl Job<'_> {
    /// Returns the classes as ids.
    fn class_tokens(&self) -> Result<Vec<ClassTokens>, Diag> {
        let max = self.settings.max_target_length;
        let mut classes: Vec<ClassTokens> = Vec::with_capacity(self.verbalizer.len());
        for (label, text) in self.verbalizer.iter() {
            let ids = self.tokenizer.encode(text);
            if ids.len() > max {
                let message = format!("the text of class `{label}`, `{text}`, has {} ids", ids.len());
                return Err(Diag::error(Class::Stage, message)
                    .note(format!("`max_target_length` is {max}"))
                    .help("take a shorter text, or a larger `max_target_length`"));
            }
            let decoded = self.tokenizer.decode_clean(&ids);
            if let Some(other) = classes.iter().find(|other| other.ids == ids || other.decoded == decoded) {
                let message = format!("the tokenizer cannot tell the classes `{}` and `{label}` apart", other.label);
                return Err(Diag::error(Class::Stage, message)
                    .note(format!("`{}` is {:?}, `{text}` is {ids:?}", other.text, other.ids))
                    .help("give them other texts with `verbalizer`"));
            }
            classes.push(ClassTokens { label: label.to_owned(), text: text.to_owned(), ids, decoded });
        }
        Ok(classes)
    }

    /// Tokenises and writes every split.
    fn splits(&self) -> Result<BTreeMap<String, SplitTokens>, Diag> {
        let data = self.ctx.input("data")?;
        let split = |name: &'_ String| name.strip_suffix(".parquet").or(name.strip_suffix(".jsonl")).map(str::to_owned);
        let there: BTreeSet<String> = data.files.keys().filter_map(split).collect();
        let there: Vec<&str> = there.iter().map(String::as_str).collect();
        let wanted: Vec<&str> = match &self.settings.splits {
            None => there.clone(),
            Some(names) => names.iter().map(String::as_str).collect(),
        };
        let mut done = BTreeMap::new();
        for name in wanted {
            let drawn_here = name == "dev" && self.settings.shots.is_some();
            if !there.contains(&name) {
                if drawn_here && there.contains(&"train") {
                    continue;
                }
                let there: Vec<_> = there.iter().map(|name| format!("`{name}`")).collect();
                return Err(Diag::error(Class::Stage, format!("`{}` has no split `{name}`", data.node))
                    .note(format!("it has {}", there.join(", "))));
            }
            let batch = self.table(data, name)?;
            let rows: Vec<TaskRow> = task::rows(self.task, &batch, name)?.collect();
            self.check_labels(name, &rows)?;
            let (kept, dropped) = self.keep(name, &rows)?;

            match self.settings.shots.filter(|_| name == "train") {
                None => {
                    done.insert(name.to_owned(), self.write(name, &rows, self.order(&kept), dropped)?);
                }
                Some(shots) => {
                    let dev = !there.contains(&"dev")
                        && self.settings.splits.as_ref().is_none_or(|names| names.iter().any(|n| n == "dev"));
                    let draw = self.draw(&rows, &kept, shots, if dev { shots } else { 0 })?;
                    for (name, drawn) in [("train", draw.train), ("dev", draw.dev)] {
                        if !drawn.is_empty() {
                            let mut split = self.write(name, &rows, self.order(&drawn), 0)?;
                            split.drawn = Some(drawn);
                            done.insert(name.to_owned(), split);
                        }
                    }
                }
            }
        }
        if done.is_empty() {
            return Err(Diag::error(Class::Stage, "no split is left to tokenise")
                .note("with `shots`, `dev` is drawn from `train`: name both in `splits`"));
        }
        Ok(done)
    }

    /// Returns the table of a split: as `download` writes it, or read from the jsonl of a command.
    fn table(&self, data: &Input, split: &str) -> Result<RecordBatch, Diag> {
        let (typed, text) = (format!("{split}.parquet"), format!("{split}.jsonl"));
        match data.files.get(&text) {
            Some(path) if !data.files.contains_key(&typed) => {
                self.task.read_jsonl(&fs::read(path)?, &format!("{text} of {}", data.node), split)
            }
            _ => {
                let table = table::read(data.file(&typed)?)?;
                task::conform(self.task, &table, &format!("{typed} of {}", data.node), split)
            }
        }
    }

    /// Only a test split may lack labels.
    fn check_labels(&self, split: &str, rows: &[TaskRow]) -> Result<(), Diag> {
        if split == "test" {
            return Ok(());
        }
        let labelled = |row: &TaskRow| match self.task.labels() {
            [] => row.texts("answers").is_some_and(|answers| !answers.is_empty()),
            _ => row.label().is_some(),
        };
        let bare = rows.iter().filter(|row| !labelled(row)).count();
        if bare == 0 {
            return Ok(());
        }
        let what = if self.task.labels().is_empty() { "answers" } else { "a label" };
        let message = format!("{bare} of {} rows of split `{split}` are without {what}", rows.len());
        Err(Diag::error(Class::Stage, message).note("only the split `test` may lack them"))
    }

    /// Returns the rows that the template keeps, in file order, and how many it drops.
    fn keep(&self, split: &str, rows: &[TaskRow]) -> Result<(Vec<usize>, usize), Diag> {
        let how = self.rendering(split);
        let keeps = |row: &TaskRow| self.task.render(row, &how).iter().all(|example| example.keep);
        let kept: Vec<usize> = (0..rows.len()).into_par_iter().filter(|i| keeps(&rows[*i])).collect();
        let dropped = rows.len() - kept.len();
        if kept.is_empty() {
            let message = format!("split `{split}` of `{}` is empty", self.task.name());
            let diag = Diag::error(Class::Stage, message);
            return Err(match dropped {
                0 => diag,
                _ => diag.note(format!("template `{}` leaves out all of its {dropped} rows", self.template.name())),
            });
        }
        Ok((kept, dropped))
    }

    fn order(&self, rows: &[usize]) -> Vec<usize> {
        match self.settings.order.as_str() {
            "dpt-paper" => sample::paper_order(rows.len()).into_iter().map(|i| rows[i]).collect(),
            _ => rows.to_vec(),
        }
    }

    /// Returns a few-shot draw from the kept rows of `train`.
    fn draw(&self, rows: &[TaskRow], kept: &[usize], shots: usize, dev: usize) -> Result<sample::Draw, Diag> {
        let mut classes = vec![None; rows.len()];
        for i in kept {
            let class = if self.verbalizer.is_empty() { Some(0) } else { rows[*i].label() };
            classes[*i] = class.and_then(|class| usize::try_from(class).ok());
        }
        let count = self.verbalizer.len().max(1);
        sample::few_shot(&classes, count, shots, dev, self.settings.shots_seed).map_err(|e| {
            let class = self.verbalizer.iter().nth(e.class).map(|(label, _)| format!(" of class `{label}`"));
            let message = format!(
                "`shots = {shots}` needs {} rows{} in `train`, there are {}",
                e.wanted,
                class.unwrap_or_default(),
                e.has
            );
            let diag = Diag::error(Class::Stage, message);
            if dev > 0 { diag.note("as many rows again are drawn for `dev`, which the data lacks") } else { diag }
        })
    }

    fn rendering(&self, split: &str) -> Rendering {
        Rendering {
            template: self.template,
            purpose: if split == "train" { Purpose::Train } else { Purpose::Evaluate },
            verbalizer: self.verbalizer.clone(),
            rte_fields: if self.settings.rte_fields == "glue" { RteFields::Glue } else { RteFields::SuperGlue },
            record_prefix: self.settings.record_prefix,
        }
    }

    /// Writes the rows of `order` as one split.
    fn write(&self, split: &str, rows: &[TaskRow], order: Vec<usize>, dropped: usize) -> Result<SplitTokens, Diag> {
        let how = self.rendering(split);
        let done = AtomicU64::new(0);
        let encode = |i: &usize| -> Result<Vec<(Encoded, bool)>, Diag> {
            self.ctx.check_cancel()?;
            let examples = self.task.render(&rows[*i], &how).into_iter().map(|e| self.encode(e)).collect();
            self.tell(split, done.fetch_add(1, Ordering::Relaxed) + 1, order.len() as u64);
            Ok(examples)
        };
        let encoded: Vec<Vec<(Encoded, bool)>> = order.par_iter().map(encode).collect::<Result<_, _>>()?;
        let (examples, cut_targets): (Vec<Encoded>, Vec<bool>) = encoded.into_iter().flatten().unzip();
        if examples.is_empty() {
            return Err(Diag::error(Class::Stage, format!("split `{split}` of `{}` is empty", self.task.name())));
        }
        table::write(&self.ctx.out(&format!("{split}.parquet")), &encoded::to_batch(&examples))?;
        Ok(SplitTokens {
            rows: examples.len(),
            truncated: examples.iter().filter(|e| e.truncated).count(),
            truncated_targets: cut_targets.into_iter().filter(|cut| *cut).count(),
            dropped,
            max_input: examples.iter().map(|e| e.input_length as usize).max().unwrap_or(0),
            max_target: examples.iter().map(|e| e.target_ids.len()).max().unwrap_or(0),
            drawn: None,
        })
    }

    fn tell(&self, split: &str, done: u64, total: u64) {
        if done.is_multiple_of(TOLD_EVERY) || done == total {
            self.ctx.progress.update(Update {
                what: format!("tokenising {split}"),
                done,
                total: Some(total),
                unit: Unit::Examples,
                detail: String::new(),
            });
        }
    }

    /// Returns the example as ids, and whether its target was cut.
    fn encode(&self, example: Example) -> (Encoded, bool) {
        let max_target = self.settings.max_target_length;
        let (input_ids, length) = self.tokenizer.encode_truncated(&example.source, self.settings.max_source_length);
        let (target_ids, target_length) = match &example.target {
            Some(target) => self.tokenizer.encode_truncated(target, max_target),
            None => (Vec::new(), 0),
        };
        let choices = example.choices.as_ref();
        let choices =
            choices.map(|c| c.iter().map(|text| self.tokenizer.encode_truncated(text, max_target).0).collect());
        let encoded = Encoded {
            example_id: example.id,
            input_length: length as i32,
            truncated: length > input_ids.len(),
            input_ids,
            target_ids,
            target: example.target.unwrap_or_default(),
            label: example.label.map(|label| label as i32),
            group: example.group,
            answers: example.answers,
            choices,
            choice_texts: example.choices,
        };
        (encoded, target_length > max_target)
    }

    /// Returns the notes and figures to report besides the files.
    fn outcome(&self, tokens: &Tokens) -> Outcome {
        let mut outcome = Outcome::default();
        outcome.notes.extend_from_slice(self.tokenizer.notes());
        for (name, split) in &tokens.splits {
            outcome.metrics.insert(format!("{name}.rows"), split.rows as f64);
            outcome.metrics.insert(format!("{name}.truncated"), split.truncated as f64);
            let mut told = Vec::new();
            if split.truncated > 0 {
                let max = self.settings.max_source_length;
                told.push(format!("{} of {} sources cut at {max} ids", split.truncated, split.rows));
            }
            if split.truncated_targets > 0 {
                let max = self.settings.max_target_length;
                told.push(format!("{} targets cut at {max} ids", split.truncated_targets));
            }
            if split.dropped > 0 {
                told.push(format!("{} rows left out by template `{}`", split.dropped, self.template.name()));
            }
            if !told.is_empty() {
                outcome.notes.push(format!("{name}: {}", told.join(", ")));
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::base::digest::Digest;
    use crate::base::fs;
    use crate::base::value::Value;
    use crate::data::tokenizer::tests::spiece_of;
    use crate::stages::ctx::Input;

    /// A folder with tables of `task` (split name, jsonl) and a tokenizer of a few words; what `tokenize` makes of it.
    struct Bench(crate::testing::Bench);

    impl std::ops::Deref for Bench {
        type Target = crate::testing::Bench;
        fn deref(&self) -> &Self::Target {
            &self.0
        }
    }

    impl std::ops::DerefMut for Bench {
        fn deref_mut(&mut self) -> &mut Self::Target {
            &mut self.0
        }
    }

    impl Bench {
        fn new(task: &str, splits: &[(&str, String)]) -> Self {
            let mut bench = crate::testing::Bench::new("tokenize", &format!("tokenize[{task}]"));
            let dir = &bench.dir;
            let words = ["question:", "passage:", "q", "p", "long", "true", "false", "yes"];
            fs::write_atomic(&dir.path().join("spiece.model"), &spiece_of(&words)).unwrap();
            let known = task::find(task).unwrap();
            let mut tables = Vec::new();
            for (split, jsonl) in splits {
                let name = format!("{split}.parquet");
                table::write(&dir.path().join(&name), &known.parse_jsonl(jsonl, split).unwrap()).unwrap();
                tables.push(name);
            }
            let input = |names: Vec<String>| Input {
                node: "upstream".into(),
                axes: Vec::new(),
                key: Digest::of(b""),
                files: names.into_iter().map(|name| (name.clone(), dir.path().join(name))).collect(),
                digests: BTreeMap::new(),
                executable: Default::default(),
            };
            let inputs = [("data", input(tables)), ("tokenizer", input(vec!["spiece.model".into()]))];
            let params = [
                ("task", Value::Str(task.into())),
                ("template", Value::Str("plain".into())),
                ("max_source_length", Value::Int(256)),
                ("max_target_length", Value::Int(128)),
                ("order", Value::Str("file".into())),
                ("shots_seed", Value::Int(42)),
                ("rte_fields", Value::Str("glue".into())),
                ("record_prefix", Value::Bool(true)),
            ];
            bench.job.params = params.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            bench.job.inputs = inputs.into_iter().map(|(role, input)| (role.to_owned(), vec![input])).collect();
            bench.job.threads = 2;
            Self(bench)
        }

        fn set(mut self, name: &str, value: Value) -> Self {
            self.job.params.insert(name.to_owned(), value);
            self
        }

        fn run(&self) -> Result<Outcome, Diag> {
            let outcome = self.0.run(run)?;
            assert!(self.recorder.updates().iter().any(|u| Some(u.done) == u.total), "the end is told");
            Ok(outcome)
        }

        fn split(&self, name: &str) -> Vec<Encoded> {
            let name = format!("{name}.parquet");
            encoded::from_batch(&table::read(&self.job.out.join(&name)).unwrap(), &name).unwrap()
        }

        fn tokens(&self) -> Tokens {
            json::read(&self.job.out.join("tokens.json")).unwrap()
        }
    }

    fn boolq(rows: usize) -> String {
        let row = |i: usize| {
            format!(r#"{{"question": "q", "passage": "p{}", "idx": {i}, "label": {}}}"#, " long".repeat(i), i % 2 == 1)
        };
        (0..rows).map(row).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn rows_are_encoded_as_ids() {
        let bench = Bench::new("boolq", &[("train", boolq(4)), ("validation", boolq(2))])
            .set("max_source_length", Value::Int(7));
        let outcome = bench.run().unwrap();
        let train = bench.split("train");
        assert_eq!(train.len(), 4);
        assert_eq!((train[1].example_id.as_str(), train[1].label, train[1].target.as_str()), ("1", Some(1), "true"));
        let tokens = bench.tokens();
        assert_eq!(train[1].target_ids, tokens.verbalizer[1].ids);
        assert_eq!((train[0].input_length, train[0].truncated), (5, false));
        assert_eq!((train[3].input_length, train[3].truncated, train[3].input_ids.len()), (8, true, 7));
        assert_eq!(train[3].input_ids.last(), Some(&tokens.eos_id));
        assert_eq!(tokens.metrics, ["accuracy"]);
        let split = SplitTokens { rows: 4, truncated: 1, max_input: 8, max_target: 2, ..SplitTokens::default() };
        assert_eq!(tokens.splits["train"], split);
        assert_eq!(outcome.notes, ["train: 1 of 4 sources cut at 7 ids"]);
        assert_eq!(bench.split("validation").len(), 2);
    }

    #[test]
    fn thread_count_does_not_change_bytes() {
        let bytes = |threads: usize| {
            let mut bench = Bench::new("boolq", &[("train", boolq(60))]);
            bench.job.threads = threads;
            bench.run().unwrap();
            let read = |name: &str| fs::read(&Path::new(&bench.job.out).join(name)).unwrap();
            (read("train.parquet"), read("tokens.json"))
        };
        assert_eq!(bytes(1), bytes(4));
    }

    #[test]
    fn few_shot_draw_balances_classes_and_draws_dev() {
        let bench = Bench::new("boolq", &[("train", boolq(40)), ("validation", boolq(4))]).set("shots", Value::Int(3));
        bench.run().unwrap();
        for split in ["train", "dev"] {
            let rows = bench.split(split);
            assert_eq!(rows.iter().filter(|e| e.label == Some(0)).count(), 3);
            assert_eq!(rows.len(), 6);
            let drawn = bench.tokens().splits[split].drawn.clone().unwrap();
            assert_eq!(rows.iter().map(|e| e.example_id.parse().unwrap()).collect::<Vec<usize>>(), drawn);
        }
        assert_eq!(bench.split("validation").len(), 4);

        let e = Bench::new("boolq", &[("train", boolq(10))]).set("shots", Value::Int(3)).run().unwrap_err();
        assert_eq!(e.message, "`shots = 3` needs 6 rows of class `false` in `train`, there are 5");
    }

    #[test]
    fn paper_order_equals_torch_permutation() {
        let bench = Bench::new("boolq", &[("train", boolq(32))]).set("order", Value::Str("dpt-paper".into()));
        bench.run().unwrap();
        let ids: Vec<_> = bench.split("train").into_iter().map(|e| e.example_id).collect();
        assert_eq!(&ids[..4], ["6", "13", "18", "24"]);
    }

    #[test]
    fn unusable_values_are_refused() {
        let bench = |splits: &[(&str, String)]| Bench::new("boolq", splits);
        let bare = boolq(2).replace(", \"label\": true", "").replace(", \"label\": false", "");
        let e = bench(&[("train", bare.clone())]).run().unwrap_err();
        assert_eq!(e.message, "2 of 2 rows of split `train` are without a label");
        let test = bench(&[("test", bare)]);
        test.run().unwrap();
        assert!(test.split("test").iter().all(|e| e.label.is_none() && e.target_ids.is_empty()));

        let splits = |names: &[&str]| Value::List(names.iter().map(|n| Value::Str((*n).into())).collect());
        let e = bench(&[("train", boolq(2))]).set("splits", splits(&["validation"])).run().unwrap_err();
        assert_eq!(e.message, "`upstream` has no split `validation`");

        let unknown = [("true", Value::Str("☃☃".into())), ("false", Value::Str("☂".into()))];
        let table = Value::Table(unknown.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
        let e = bench(&[("train", boolq(2))]).set("verbalizer", table).run().unwrap_err();
        assert_eq!(e.message, "the tokenizer cannot tell the classes `false` and `true` apart");
    }

    #[test]
    fn split_emptied_by_the_template_is_an_error() {
        let row = r#"{"text": "a b", "target": {"span1_index": 0, "span1_text": "a", "span2_index": 1, "span2_text": "b"}, "idx": 0, "label": false}"#;
        let bench = Bench::new("wsc", &[("train", row.to_owned())]).set("template", Value::Str("dpt-paper".into()));
        let e = bench.run().unwrap_err();
        assert_eq!(e.message, "split `train` of `wsc` is empty");
        assert_eq!(e.notes, ["template `dpt-paper` leaves out all of its 1 rows"]);
    }

    #[test]
    fn a_tokenizer_of_another_model_is_refused() {
        let mut bench = Bench::new("boolq", &[("train", boolq(2))]);
        let config = bench.dir.path().join("config.json");
        fs::write_atomic(&config, br#"{"vocab_size": 64}"#).unwrap();
        bench.job.inputs.get_mut("tokenizer").unwrap()[0].files.insert("config.json".into(), config);
        let e = bench.run().unwrap_err();
        assert_eq!(e.message, "the tokenizer has 112 ids, the model has rows for 64 (`vocab_size`)");
    }

    #[test]
    fn request_to_end_ends_the_stage() {
        let bench = Bench::new("boolq", &[("train", boolq(2))]);
        bench.recorder.cancel.ask();
        let e = bench.run().unwrap_err();
        assert_eq!(e.class, Class::Interrupted);
    }
}
