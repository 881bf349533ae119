//! The report as one HTML page that needs nothing else: style and pictures inside, no scripts, no fonts, no network.

use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment};
use serde::Serialize;
use serde_json::json;

use super::figures::COLOURS;
use super::format::{MISSING, count, figure, mean_sd, percent};
use super::markdown::{origin_in_words, range, share};
use super::material::Material;
use super::pictures;
use super::records::Scored;
use super::summary::{Summary, in_words};
use crate::base::diag::{Class, Diag};

const TEMPLATE: &str = include_str!("report.html");

/// The whole page.
///
/// # Errors
/// A bug: template and context disagree.
pub fn render(summary: &Summary, material: &Material) -> Result<String, Diag> {
    let bug = |e: minijinja::Error| Diag::error(Class::Bug, format!("the report's template does not fit: {e:#}"));
    let mut env = Environment::new();
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    env.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    env.add_template("report", TEMPLATE).map_err(bug)?;
    let (mean_name, mean_note) = summary.mean_row();
    let page = json!({
        "title": summary.title,
        "over": summary.over,
        "over_values": summary.over_values,
        "colours": COLOURS.iter().map(|c| format!("#{:02x}{:02x}{:02x}", c.0, c.1, c.2)).collect::<Vec<_>>(),
        "random": summary.random_backbones(),
        "backbones": summary.backbones.iter().map(|(b, n)| json!({ "name": b.name, "origin": origin_in_words(&b.origin), "runs": n })).collect::<Vec<_>>(),
        "scorings": summary.scorings.iter().map(|(s, n)| json!({ "words": in_words(s), "runs": n })).collect::<Vec<_>>(),
        "before": summary.cells.iter().any(|c| c.untrained.is_some()),
        "uneven": summary.cells.iter().any(|c| !c.lacks.is_empty()) || !summary.missing.is_empty(),
        "variants": variants(summary),
        "other_params": summary.other_params(),
        "strip_height": format!("{:.1}", 1.0 + 0.5 * summary.variants.len() as f64),
        "rows": rows(summary),
        "mean": (summary.tasks.len() > 1).then(|| mean(summary, &mean_name)),
        "mean_note": mean_note.filter(|_| summary.tasks.len() > 1),
        "cautions": summary.cautions,
        "missing": summary.missing,
        "training": pictures::training(material, summary),
        "starts": pictures::starts(material),
        "trained": pictures::trained(material, summary),
        "inits": inits(summary),
        "warnings": summary.inits.iter().flat_map(|i| i.record.warnings.iter().map(|w| json!({ "node": i.origin.node, "text": w }))).collect::<Vec<_>>(),
        "drifts": drifts(summary),
        "runs": runs(summary),
    });
    let page = env.get_template("report").and_then(|t| t.render(Value::from(Serde(&page)))).map_err(bug)?;
    Ok(page)
}

#[derive(Serialize)]
struct VariantView {
    name: String,
    colour: usize,
    virtual_tokens: String,
    rank: String,
    /// In the order of `other_params`.
    others: Vec<String>,
    parameters: String,
    share: String,
}

fn variants(summary: &Summary) -> Vec<VariantView> {
    summary
        .variants
        .iter()
        .enumerate()
        .map(|(i, v)| VariantView {
            name: v.name.clone(),
            colour: i % COLOURS.len(),
            virtual_tokens: range(v.virtual_tokens),
            rank: v.rank.map_or("–".into(), range),
            others: summary.other_params().into_iter().map(|name| v.param(name)).collect(),
            parameters: range(v.trainable_parameters),
            share: share(v),
        })
        .collect()
}

#[derive(Serialize)]
struct RowView {
    name: String,
    sub: String,
    constant: String,
    constant_answer: String,
    cells: Vec<CellView>,
    marks: Vec<Mark>,
}

#[derive(Serialize)]
struct CellView {
    before: String,
    score: String,
    n: String,
    missing: bool,
    short: bool,
}

/// A mark on the strip from 0 to 100.
#[derive(Serialize)]
struct Mark {
    kind: &'static str,
    colour: usize,
    at: String,
    top: String,
    title: String,
}

/// `lane`: which of how many lanes; `None` for a mark that belongs to all.
fn mark(kind: &'static str, lane: Option<(usize, usize)>, score: f64, what: &str) -> Mark {
    let (colour, top) = match lane {
        Some((i, of)) => (i, 100.0 * (i as f64 + 1.0) / (of as f64 + 1.0)),
        None => (0, 50.0),
    };
    Mark {
        top: format!("{top:.1}"),
        kind,
        colour: colour % COLOURS.len(),
        at: format!("{:.2}", score.clamp(0.0, 1.0) * 100.0),
        title: format!("{what}: {}", percent(score)),
    }
}

fn rows(summary: &Summary) -> Vec<RowView> {
    let lanes = summary.variants.len();
    summary
        .tasks
        .iter()
        .map(|task| {
            let mut marks = Vec::new();
            if let Some((score, _)) = &task.majority {
                marks.push(mark("constant", None, *score, "constant answer"));
            }
            let cells = summary
                .variants
                .iter()
                .enumerate()
                .map(|(i, variant)| {
                    let Some(cell) = summary.cell(&task.task, &variant.name) else {
                        return CellView {
                            before: "–".into(),
                            score: MISSING.into(),
                            n: String::new(),
                            missing: true,
                            short: false,
                        };
                    };
                    if let Some(before) = &cell.untrained {
                        marks.push(mark(
                            "before",
                            Some((i, lanes)),
                            before.mean,
                            &format!("{} before training", variant.name),
                        ));
                    }
                    for run in summary.runs.iter().filter(|r| r.variant == variant.name && r.record.task == task.task) {
                        let what = format!("{}, {} {}", variant.name, summary.over, run.over);
                        marks.push(mark("after", Some((i, lanes)), run.score, &what));
                    }
                    CellView {
                        before: cell.untrained.as_ref().map_or("–".into(), |s| percent(s.mean)),
                        score: mean_sd(&cell.score),
                        n: cell.score.n.to_string(),
                        missing: false,
                        short: !cell.lacks.is_empty(),
                    }
                })
                .collect();
            RowView {
                name: task.task.clone(),
                sub: format!("{}, {} examples", task.measure, count(task.examples)),
                constant: task.majority.as_ref().map_or("–".into(), |(score, _)| percent(*score)),
                constant_answer: task.majority.as_ref().map_or(String::new(), |(_, answer)| answer.clone()),
                cells,
                marks,
            }
        })
        .collect()
}

fn mean(summary: &Summary, name: &str) -> RowView {
    let lanes = summary.variants.len();
    let mut marks = Vec::new();
    let first = summary.means.first().and_then(|m| m.majority);
    let shared = first.filter(|score| summary.means.iter().all(|m| m.majority == Some(*score)));
    if let Some(score) = shared {
        marks.push(mark("constant", None, score, "constant answers"));
    }
    let cells = summary
        .means
        .iter()
        .enumerate()
        .map(|(i, mean)| {
            if let Some(before) = &mean.untrained {
                marks.push(mark("before", Some((i, lanes)), before.mean, &format!("{} before training", mean.variant)));
            }
            if let Some(score) = &mean.score {
                marks.push(mark("after", Some((i, lanes)), score.mean, &mean.variant));
            }
            CellView {
                before: mean.untrained.as_ref().map_or("–".into(), |s| percent(s.mean)),
                score: mean.score.as_ref().map_or(MISSING.into(), mean_sd),
                n: mean.score.as_ref().map_or(String::new(), |s| s.n.to_string()),
                missing: mean.score.is_none(),
                short: false,
            }
        })
        .collect();
    RowView {
        name: name.into(),
        sub: String::new(),
        constant: shared.map_or("–".into(), percent),
        constant_answer: String::new(),
        cells,
        marks,
    }
}

fn inits(summary: &Summary) -> Vec<Vec<String>> {
    summary
        .inits
        .iter()
        .map(|init| {
            let mut row = vec![init.origin.node.clone(), init.record.source.clone()];
            match &init.record.figures {
                Some(f) => row.extend([
                    f.rank.to_string(),
                    percent(f.spectrum.energy),
                    percent(f.centred.energy),
                    percent(f.gaussian.energy),
                    figure(f.relative_error),
                    figure(f.spectrum.effective_rank),
                    figure(f.rms_source),
                    figure(f.rms_product),
                ]),
                None => row.extend(std::iter::repeat_n("–".to_owned(), 8)),
            }
            row
        })
        .collect()
}

fn drifts(summary: &Summary) -> Vec<Vec<String>> {
    summary
        .drifts
        .iter()
        .map(|d| {
            vec![
                d.training.clone(),
                d.init.clone(),
                figure(d.drift.relative_change),
                figure(d.drift.cosine),
                d.drift.angle_cosines.last().copied().map_or("–".into(), figure),
                figure(d.drift.rms),
            ]
        })
        .collect()
}

#[derive(Serialize)]
struct RunView {
    node: String,
    task: String,
    variant: String,
    over: String,
    score: String,
    verbalizer: String,
    greedy: String,
    before: String,
    constant: String,
    invalid: String,
    modal: String,
    collapsed: bool,
    best_step: String,
    scoring: String,
    key: String,
    full_key: String,
    digest: String,
}

fn runs(summary: &Summary) -> Vec<RunView> {
    let of = |s: &Option<Scored>| s.as_ref().map_or("–".into(), |s| percent(s.score));
    summary
        .runs
        .iter()
        .map(|run| {
            let r = &run.record;
            RunView {
                node: run.origin.node.clone(),
                task: r.task.clone(),
                variant: run.variant.clone(),
                over: run.over.clone(),
                score: percent(run.score),
                verbalizer: of(&r.metrics.verbalizer),
                greedy: of(&r.metrics.greedy),
                before: of(&r.baselines.untrained),
                constant: r.baselines.majority.as_ref().map_or("–".into(), |m| percent(m.score)),
                invalid: percent(r.invalid as f64 / r.examples.max(1) as f64),
                modal: percent(r.modal.share),
                collapsed: run.collapsed,
                best_step: r.best_step.map_or("–".into(), |s| s.to_string()),
                scoring: in_words(&run.scoring),
                key: run.origin.key.to_string(),
                full_key: run.origin.key.hex(),
                digest: run.origin.digest.hex(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::summary::{Options, Summary};
    use super::*;
    use crate::report::tests::sample::{material, options};

    fn page(material: &Material) -> String {
        let summary = Summary::of(material, &Options { complete: false, ..options() }).unwrap();
        render(&summary, material).unwrap()
    }

    /// For the eye: with `DPT_REPORT_SAMPLES=DIR cargo test` the pages of these tests are written there.
    fn look(name: &str, page: &str) {
        if let Some(dir) = std::env::var_os("DPT_REPORT_SAMPLES") {
            std::fs::write(std::path::Path::new(&dir).join(format!("{name}.html")), page).unwrap();
        }
    }

    #[test]
    fn the_page_needs_nothing_else_and_is_the_same_twice() {
        let page = page(&material());
        for outside in ["http://", "https://", "<script", "<link", "<img", "@import", "url("] {
            let found = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(outside), "{outside}");
        }
        assert!(page.contains("Four tasks &amp; &lt;two&gt; methods"), "names are escaped");
        assert_eq!(page.matches("<svg").count(), 4 * 2 + 1 + 2);
        assert_eq!(page, super::tests::page(&material()));
        look("whole", &page);
    }

    #[test]
    fn banners_for_random_weights_and_missing_runs() {
        let mut material = material();
        assert!(!page(&material).contains("class=\"banner\""));
        for run in &mut material.runs {
            run.record.backbone.origin = "random".into();
        }
        material.runs.pop();
        let page = page(&material);
        assert!(page.contains("Random backbone: tiny was never trained"));
        assert!(page.contains("<li>rte with prompt-tuning: lacks 43</li>"));
        material.runs.retain(|r| r.record.task != "cb" || r.record.method != "dpt");
        let page = super::tests::page(&material);
        look("partial", &page);
        assert!(page.contains("<td class=\"missing\">missing</td>"));
    }

    #[test]
    fn eight_tasks_and_four_columns_stay_one_table() {
        use super::super::summary::SUPERGLUE;
        use crate::report::tests::sample::{evaluated, origin};
        let mut runs = Vec::new();
        for (i, task) in SUPERGLUE.iter().enumerate() {
            for (j, (method, rank)) in
                [("dpt", "4"), ("dpt", "10"), ("dpt", "64"), ("prompt-tuning", "10")].iter().enumerate()
            {
                for seed in [42, 43, 44] {
                    let score = 0.55 + 0.04 * i as f64 + 0.01 * j as f64 + 0.003 * (seed - 43) as f64;
                    let mut run = evaluated(task, method, seed, score);
                    let seed = seed.to_string();
                    let axes = [("task", *task), ("method", *method), ("rank", *rank), ("seed", seed.as_str())];
                    run.origin = origin("eval", &axes);
                    runs.push(run);
                }
            }
        }
        let page = page(&Material { runs, ..Material::default() });
        look("wide", &page);
        assert!(page.contains(">SuperGLUE</th>") && page.contains("dpt · rank=64"));
        assert_eq!(page.matches("class=\"main\"").count(), 8 * 4 + 4 + 8 * 4 * 3);
    }

    #[test]
    fn without_trainings_and_inits() {
        let material = Material { runs: material().runs, ..Material::default() };
        let page = page(&material);
        assert!(!page.contains("<svg") && page.contains("Where the numbers come from"));
    }
}
