//! Metrics against the DPT paper's code, in the mode `dpt-paper`; and where SuperGLUE's own definition is another.

use dpt::data::task::{self, MetricMode, Task};
use dpt::data::template::{Purpose, Rendering, Template};
use dpt::metrics::{self, SCORE, ScoreRow, Suite, normalize, wsc};
use serde_json::Value as Json;

use crate::golden;
use crate::parity::Parity;

const PAPER: &str = "the paper's code";

/// A file's `metric`, the classes, and for each figure in `expected` the metric that must give it.
const METRICS: &[(&str, &[&str], &[(&str, &str)])] = &[
    ("accuracy", &[], &[("accuracy", "accuracy")]),
    ("cb_macro_f1", &["0", "1", "2"], &[("f1_multiclass", "macro-f1-all"), ("accuracy", "accuracy")]),
    ("f1_with_invalid", &["0", "1"], &[("f1", "f1")]),
    ("multirc", &["0", "1"], &[("f1", "f1"), ("em", "question-em")]),
    ("squad", &[], &[("f1", "answer-f1"), ("em", "answer-em")]),
    ("matthews", &[], &[("matthews_correlation", "matthews")]),
    ("pearson", &[], &[("pearson", "pearson")]),
    ("spearman", &[], &[("spearmanr", "spearman")]),
    ("wsc_simple", &[], &[("accuracy", "wsc-match")]),
];

/// The figures of one case that has predictions, in percent.
fn check(parity: &mut Parity, metric: &str, case: &Json) {
    let row = METRICS.iter().find(|(theirs, ..)| *theirs == metric);
    let (_, classes, figures) = row.unwrap_or_else(|| panic!("no metric is held against `{metric}`"));
    let predictions = strings(&case["predictions"]);
    let targets = case["targets"].as_array().unwrap();
    let answers: Vec<Vec<String>> = targets
        .iter()
        .map(|target| target.as_str().map_or_else(|| strings(target), |text| vec![text.to_owned()]))
        .collect();
    let groups: Vec<String> =
        case.get("groups").map_or_else(Vec::new, |g| g.as_array().unwrap().iter().map(Json::to_string).collect());
    let rows: Vec<ScoreRow> = (0..predictions.len())
        .map(|i| ScoreRow {
            prediction: &predictions[i],
            target: answers[i].first().map_or("", String::as_str),
            answers: &answers[i],
            group: groups.get(i).map(String::as_str),
        })
        .collect();
    for (figure, expected) in case["expected"].as_object().unwrap() {
        let ours = figures.iter().find(|(theirs, _)| theirs == figure);
        let (_, ours) = ours.unwrap_or_else(|| panic!("no metric is held against `{figure}` of `{metric}`"));
        let found = 100.0 * metrics::find(ours).unwrap().score(&rows, classes).unwrap();
        let difference = (found - expected.as_f64().unwrap()).abs();
        parity.within(&format!("`{ours}`, percent"), PAPER, 1e-6, difference, format!("{metric} {}", case["name"]));
    }
}

fn strings(value: &Json) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn metrics_agree_with_the_reference() {
    let Some(dir) = golden::dir("metrics") else { return };
    let mut parity = Parity::new("Metrics", "metrics");
    for path in golden::list(&dir) {
        let file = golden::json(&path);
        let metric = file["metric"].as_str().unwrap();
        let lists = file.as_object().unwrap().iter().filter_map(|(name, value)| Some((name, value.as_array()?)));
        let mut cases = 0;
        for (list, case) in lists.flat_map(|(name, cases)| cases.iter().map(move |case| (name, case))) {
            let text = |name: &str| case[name].as_str().unwrap();
            if case.get("predictions").is_some() {
                check(&mut parity, metric, case);
            } else if metric == "normalize" {
                let ours = [normalize::squad(text("text")), normalize::trivia_qa(text("text"))];
                let theirs = [text("squad"), text("trivia_qa")];
                parity.same("answers, normalised", PAPER, &ours.each_ref().map(String::as_str), &theirs, case);
            } else if metric == "wsc_simple" {
                let flag = match wsc::compare(text("prediction"), text("target")) {
                    wsc::Match::Yes => 1,
                    wsc::Match::No => 0,
                    wsc::Match::Empty => -1,
                };
                parity.same("WSC: one answer", PAPER, &flag, &case["expected"].as_i64().unwrap(), &case["name"]);
            } else {
                panic!("{}: `{list}` has a case of no known kind: {case}", path.display());
            }
            cases += 1;
        }
        assert!(cases > 0, "{} has no cases", path.display());
    }
}

/// Whatever counts for a task in the paper's mode has a row above, and the first is what the paper's code selects by.
#[test]
fn paper_mode_of_every_task_agrees_with_the_reference() {
    let selected = |task: &dyn Task| match task.name() {
        "multirc" => "f1",
        "record" => "answer-f1",
        "wsc" => "wsc-match",
        _ => "accuracy",
    };
    for task in task::TASKS {
        let names = task.metrics(MetricMode::DptPaper);
        assert_eq!(names[0], selected(*task), "{}", task.name());
        for name in names {
            let held = METRICS.iter().flat_map(|(.., figures)| *figures).any(|(_, ours)| ours == name);
            assert!(held, "{}: `{name}`", task.name());
        }
    }
}

/// Where the two definitions part. Official: CB over the classes that occur and by the mean of two, MultiRC and ReCoRD
/// by the mean of two, WSC as two classes over all rows, ReCoRD once a query.
#[test]
fn official_metrics_differ_from_the_paper_code() {
    let suite = |task: &str, mode| Suite::new(task::find(task).unwrap().metrics(mode)).unwrap();
    let [official, paper] = [MetricMode::Official, MetricMode::DptPaper];
    for task in ["cb", "multirc", "record"] {
        assert_eq!(suite(task, official).counting(), SCORE);
        assert_ne!(suite(task, paper).counting(), SCORE);
    }
    let pairs = [("0", "0"), ("1", "1"), ("1", "1"), ("2", "1")];
    let rows = pairs.map(|(prediction, target)| ScoreRow { prediction, target, ..ScoreRow::default() });
    let cb = |mode, metric: &str| {
        let scores = suite("cb", mode).score(&rows, &["0", "1", "2"]).unwrap();
        scores.into_iter().find(|(name, _)| *name == metric).unwrap().1
    };
    assert!((cb(paper, "macro-f1-all") - (1.0 + 0.8) / 3.0).abs() < 1e-12);
    assert!((cb(official, SCORE) - (cb(official, "accuracy") + cb(official, "macro-f1")) / 2.0).abs() < 1e-12);

    let examples = |task: &str, template, jsonl: &str| {
        let task = task::find(task).unwrap();
        let how = Rendering::new(task, template, Purpose::Evaluate);
        let batch = task.parse_jsonl(jsonl, "validation").unwrap();
        let rows: Vec<_> = task::rows(task, &batch, "validation").unwrap().collect();
        rows.iter().flat_map(|row| task.render(row, &how)).filter(|example| example.keep).count()
    };
    let wsc = |label| {
        format!(
            r#"{{"text": "Ann saw Bo as she left.", "idx": 0, "label": {label}, "target": {{"span1_index": 0,
               "span1_text": "Ann", "span2_index": 4, "span2_text": "she"}}}}"#
        )
        .replace('\n', " ")
    };
    let both = format!("{}\n{}", wsc(true), wsc(false));
    assert_eq!(examples("wsc", Template::Plain, &both), 2);
    assert_eq!(examples("wsc", Template::DptPaper, &both), 1);
    let record =
        r#"{"idx": 0, "passage": {"text": "Ann met Bo.", "entities": [{"start": 0, "end": 2}, {"start": 8, "end": 9}]},
        "qas": [{"idx": 0, "query": "@placeholder met.", "answers": [{"start": 0, "end": 2, "text": "Ann"},
        {"start": 8, "end": 9, "text": "Bo"}]}]}"#
            .replace('\n', " ");
    assert_eq!(examples("record", Template::Plain, &record), 1);
    assert_eq!(examples("record", Template::DptPaper, &record), 2);
}
