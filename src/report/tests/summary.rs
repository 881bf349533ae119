//! Cells, means and cautions by hand.

use super::sample::{evaluated, inputs, options, origin};
use crate::base::diag::Diag;
use crate::report::inputs::{Evaluated, Inputs};
use crate::report::summary::grid::superglue;
use crate::report::summary::{ReportOptions, Summary};

fn of(runs: Vec<Evaluated>, complete: bool) -> Result<Summary, Diag> {
    Summary::of(&Inputs { runs, ..Inputs::default() }, &ReportOptions { complete, ..options() })
}

#[test]
fn cells_and_means_by_hand() {
    let runs = vec![
        evaluated("rte", "dpt", 1, 0.60),
        evaluated("rte", "dpt", 2, 0.70),
        evaluated("cb", "dpt", 1, 0.80),
        evaluated("cb", "dpt", 2, 0.80),
    ];
    let s = of(runs, true).unwrap();
    let tasks: Vec<_> = s.tasks.iter().map(|t| t.task.as_str()).collect();
    assert_eq!(tasks, ["cb", "rte"], "SuperGLUE's order");
    assert_eq!(s.tasks[0].measure, "mean of accuracy and f1");
    let rte = s.cell("rte", "dpt").unwrap();
    assert!((rte.score.mean - 0.65).abs() < 1e-12 && (rte.score.sd.unwrap() - 0.005f64.sqrt()).abs() < 1e-12);
    let mean = s.means[0].score.as_ref().unwrap();
    assert!(
        (mean.mean - 0.725).abs() < 1e-12 && (mean.sd.unwrap() - 0.00125f64.sqrt()).abs() < 1e-12,
        "sd of 0.70 and 0.75"
    );
    assert!((s.means[0].majority.unwrap() - (0.361 + 0.5271) / 2.0).abs() < 1e-12);
    assert!(!s.means[0].superglue && s.mean_row().1.unwrap().contains("not the SuperGLUE score"));
    assert!(s.missing.is_empty());
    assert!(s.cautions[0].starts_with("Every number rests on two values of seed"), "{:?}", s.cautions);
    assert!(s.cautions[1].starts_with("Few examples: cb (56 examples, 1.8 points each)"));
}

#[test]
fn mean_of_eight_tasks_is_the_superglue_score() {
    let runs = superglue().iter().map(|t| evaluated(t, "dpt", 1, 0.5)).collect();
    let s = of(runs, true).unwrap();
    assert_eq!(s.mean_row().0, "SuperGLUE");
}

#[test]
fn missing_runs_are_named_or_refused() {
    let runs = || {
        vec![
            evaluated("rte", "dpt", 1, 0.6),
            evaluated("rte", "dpt", 2, 0.7),
            evaluated("cb", "dpt", 1, 0.8),
            evaluated("cb", "prompt-tuning", 1, 0.8),
            evaluated("cb", "prompt-tuning", 2, 0.8),
        ]
    };
    let s = of(runs(), false).unwrap();
    assert_eq!(s.missing, ["cb with dpt: lacks 2", "rte with prompt-tuning: no run"]);
    assert!(s.cell("rte", "prompt-tuning").is_none());
    let mean = |i: usize| s.means[i].score.as_ref().unwrap().n;
    assert_eq!((mean(0), mean(1)), (1, 2), "only seeds that every task has");
    assert!(s.mean_row().1.unwrap().contains("cannot be compared"));
    let error = of(runs(), true).unwrap_err();
    assert_eq!(error.message, "1 of 3 cells lack a seed");
    assert_eq!(error.notes, ["cb with dpt lacks 2"]);
    assert!(of(Vec::new(), false).unwrap_err().message.contains("no run"));
}

#[test]
fn runs_that_cannot_be_averaged_are_refused() {
    let twice = vec![evaluated("rte", "dpt", 1, 0.6), evaluated("rte", "dpt", 1, 0.7)];
    assert!(of(twice, true).unwrap_err().message.contains("stand for the same cell"));
    let mut other = evaluated("rte", "dpt", 2, 0.7);
    other.record.split = "dev".into();
    let error = of(vec![evaluated("rte", "dpt", 1, 0.6), other], true).unwrap_err();
    assert!(error.message.contains("scored differently"), "{error}");
    assert_eq!(
        error.notes,
        ["validation split, verbalizer answers, official metrics, plain template \
             against dev split, verbalizer answers, official metrics, plain template"]
    );
    let error = Summary::of(
        &Inputs { runs: vec![evaluated("rte", "dpt", 1, 0.6)], ..Inputs::default() },
        &ReportOptions { over: "fold".into(), ..options() },
    );
    assert_eq!(error.unwrap_err().message, "`eval[task=rte,method=dpt,seed=1]` has no axis `fold` to average over");
}

#[test]
fn further_axes_make_columns() {
    let with_rank = |rank: &str| {
        let mut run = evaluated("rte", "dpt", 1, 0.6);
        run.origin = origin("eval", &[("task", "rte"), ("method", "dpt"), ("rank", rank), ("seed", "1")]);
        run
    };
    let s = of(vec![with_rank("4"), with_rank("8")], true).unwrap();
    let names: Vec<_> = s.variants.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["dpt · rank=4", "dpt · rank=8"]);
}

#[test]
fn collapsed_and_optimistic_runs_give_cautions() {
    let mut run = evaluated("rte", "dpt", 1, 0.53);
    run.record.modal.share = 0.99;
    run.record.select_on = Some("validation".into());
    let s = of(vec![run], true).unwrap();
    assert!(s.cautions.iter().any(|c| c.starts_with("Collapsed")), "{:?}", s.cautions);
    assert!(s.cautions.iter().any(|c| c.contains("optimistic")), "{:?}", s.cautions);
}

#[test]
fn drift_and_parameters_are_in_the_summary() {
    let s = Summary::of(&inputs(), &options()).unwrap();
    assert_eq!(s.drifts.len(), 16);
    assert!(s.drifts.iter().all(|d| d.drift.relative_change > 0.0));
    assert_eq!(
        (s.variants[0].trainable_parameters, s.variants[0].prompt_tuning_parameters),
        ((8680, 8680), (76800, 76800))
    );
}

#[test]
fn summary_reads_back_from_its_json() {
    let summary = Summary::of(&inputs(), &options()).unwrap();
    let text = crate::artifact::json::to_text(&summary).unwrap();
    let back: Summary = serde_json::from_str(&text).unwrap();
    assert_eq!(crate::artifact::json::to_text(&back).unwrap(), text);
    assert_eq!(back.variants[0].parameters.get("rank"), summary.variants[0].parameters.get("rank"));
}
