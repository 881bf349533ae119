//! The report as Markdown: its tables, for a terminal, a pull request or a paper's appendix. No pictures.

use std::fmt::Write;

use super::format::{MISSING, count, figure, mean_sd, percent};
use super::summary::{Summary, Variant, in_words};

/// The whole text.
pub fn render(summary: &Summary) -> String {
    let mut out = format!("# {}\n", plain(&summary.title));
    backbones(&mut out, summary);
    results(&mut out, summary);
    parameters(&mut out, summary);
    inits(&mut out, summary);
    drifts(&mut out, summary);
    runs(&mut out, summary);
    provenance(&mut out, summary);
    out
}

/// Text that means nothing else to Markdown.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '<' | '[' | ']' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Text as code; a back quote in it becomes a plain one.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('|', "\\|"))
}

fn table(out: &mut String, head: &[String], rows: &[Vec<String>], text_columns: usize) {
    let _ = writeln!(out, "\n| {} |", head.join(" | "));
    let rules: Vec<_> = (0..head.len()).map(|i| if i < text_columns { "---" } else { "---:" }).collect();
    let _ = writeln!(out, "| {} |", rules.join(" | "));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
}

fn backbones(out: &mut String, summary: &Summary) {
    for (backbone, _) in summary.backbones.iter().filter(|(b, _)| b.origin == "random") {
        let _ = writeln!(
            out,
            "\n> **Random backbone.** {} was never trained: its weights are random draws. Scores near the constant answer \
             are what is to be expected, and say nothing about a method.",
            plain(&backbone.name)
        );
    }
    for (backbone, runs) in &summary.backbones {
        let _ = writeln!(
            out,
            "\nBackbone: **{}** ({}), {runs} runs.",
            plain(&backbone.name),
            origin_in_words(&backbone.origin)
        );
    }
    for (scoring, runs) in &summary.scorings {
        let _ = writeln!(out, "\nScored: {}, {runs} runs.", in_words(scoring));
    }
}

/// Where a backbone's weights come from.
pub fn origin_in_words(origin: &str) -> &str {
    match origin {
        "random" => "random weights, never trained",
        "pretrained-here" => "pretrained by this tool",
        "download" => "existing checkpoint",
        other => other,
    }
}

fn results(out: &mut String, summary: &Summary) {
    let _ = writeln!(out, "\n## Results");
    let _ = writeln!(
        out,
        "\nScores in percent; mean ± sample standard deviation over {} ({}). *Constant* is the best that one constant answer \
         reaches; *before* is the same prompt before training, scored alike.",
        plain(&summary.over),
        summary.over_values.iter().map(|v| plain(v)).collect::<Vec<_>>().join(", ")
    );
    let before = summary.cells.iter().any(|c| c.untrained.is_some());
    let mut head: Vec<String> = ["task", "measure", "examples", "constant"].map(str::to_owned).into();
    for variant in &summary.variants {
        if before {
            head.push(format!("{}, before", plain(&variant.name)));
        }
        head.push(plain(&variant.name));
        head.push("n".into());
    }
    let mut rows = Vec::new();
    for task in &summary.tasks {
        let constant = task.majority.as_ref().map_or("–".into(), |(score, _)| percent(*score));
        let mut row = vec![plain(&task.task), plain(&task.measure), count(task.examples), constant];
        for variant in &summary.variants {
            let cell = summary.cell(&task.task, &variant.name);
            if before {
                row.push(cell.and_then(|c| c.untrained.as_ref()).map_or("–".into(), mean_sd));
            }
            row.push(cell.map_or(MISSING.into(), |c| mean_sd(&c.score)));
            row.push(cell.map_or("0".into(), |c| c.score.n.to_string()));
        }
        rows.push(row);
    }
    let (name, note) = summary.mean_row();
    if summary.tasks.len() > 1 {
        let constants: Vec<_> = summary.means.iter().map(|m| m.majority).collect();
        let constant = match constants.first() {
            Some(Some(score)) if constants.iter().all(|c| *c == Some(*score)) => percent(*score),
            _ => "–".into(),
        };
        let mut row = vec![format!("**{name}**"), String::new(), String::new(), constant];
        for mean in &summary.means {
            if before {
                row.push(mean.untrained.as_ref().map_or("–".into(), mean_sd));
            }
            row.push(mean.score.as_ref().map_or(MISSING.into(), mean_sd));
            row.push(mean.score.as_ref().map_or("0".into(), |s| s.n.to_string()));
        }
        rows.push(row);
    }
    table(out, &head, &rows, 2);
    if let Some(note) = note.filter(|_| summary.tasks.len() > 1) {
        let _ = writeln!(out, "\n{note}");
    }
    for caution in &summary.cautions {
        let _ = writeln!(out, "\n> {}", caution.replace('\n', " "));
    }
    if !summary.missing.is_empty() {
        let _ = writeln!(out, "\nMissing:\n");
        for missing in &summary.missing {
            let _ = writeln!(out, "- {}", plain(missing));
        }
    }
}

/// One number, or least and most.
pub fn range(range: (u64, u64)) -> String {
    if range.0 == range.1 { count(range.0) } else { format!("{} to {}", count(range.0), count(range.1)) }
}

/// Trained numbers as a share of prompt tuning's with as many virtual tokens.
pub fn share(variant: &Variant) -> String {
    let (ours, theirs) = (variant.trainable_parameters.1, variant.prompt_tuning_parameters.1);
    if theirs == 0 { "–".into() } else { format!("{} %", percent(ours as f64 / theirs as f64)) }
}

fn parameters(out: &mut String, summary: &Summary) {
    let _ = writeln!(out, "\n## Trained parameters");
    let others = summary.other_params();
    let names = ["method", "virtual tokens", "rank"].into_iter().chain(others.iter().copied());
    let head: Vec<_> = names.chain(["trained", "of prompt tuning"]).map(str::to_owned).collect();
    let rows: Vec<_> = summary
        .variants
        .iter()
        .map(|v| {
            let rank = v.rank.map_or("–".into(), range);
            let first = [plain(&v.name), range(v.virtual_tokens), rank];
            let own = others.iter().map(|name| plain(&v.param(name)));
            first.into_iter().chain(own).chain([range(v.trainable_parameters), share(v)]).collect()
        })
        .collect();
    table(out, &head, &rows, 1);
}

fn inits(out: &mut String, summary: &Summary) {
    if summary.inits.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n## Where training started");
    let head = [
        "node",
        "source",
        "rank",
        "energy",
        "centred",
        "Gaussian",
        "relative error",
        "effective rank",
        "rms of the prompt",
    ]
    .map(str::to_owned);
    let rows: Vec<_> = summary
        .inits
        .iter()
        .map(|init| {
            let mut row = vec![code(&init.origin.node), plain(&init.record.source)];
            match &init.record.figures {
                Some(f) => row.extend([
                    f.rank.to_string(),
                    percent(f.spectrum.energy),
                    percent(f.centred.energy),
                    percent(f.gaussian.energy),
                    figure(f.relative_error),
                    figure(f.spectrum.effective_rank),
                    figure(f.rms_product),
                ]),
                None => row.extend(std::iter::repeat_n("–".to_owned(), 7)),
            }
            row
        })
        .collect();
    table(out, &head, &rows, 2);
    let _ = writeln!(
        out,
        "\nEnergy: share of the squared singular values kept, in percent; of the source as it is, less its mean row, and of a \
         Gaussian matrix of the same shape."
    );
    for init in &summary.inits {
        for warning in &init.record.warnings {
            let _ = writeln!(out, "\n> {}: {}", code(&init.origin.node), plain(warning));
        }
    }
}

fn drifts(out: &mut String, summary: &Summary) {
    if summary.drifts.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n## How far training went");
    let head =
        ["training", "start", "relative change", "cosine with the start", "smallest shared direction", "rms after"]
            .map(str::to_owned);
    let rows: Vec<_> = summary
        .drifts
        .iter()
        .map(|d| {
            let least = d.drift.angle_cosines.last().copied().map_or("–".into(), figure);
            vec![
                code(&d.training),
                plain(&d.init),
                figure(d.drift.relative_change),
                figure(d.drift.cosine),
                least,
                figure(d.drift.rms),
            ]
        })
        .collect();
    table(out, &head, &rows, 2);
    let _ = writeln!(
        out,
        "\nRelative change: ‖P − P₀‖ / ‖P₀‖. The smallest shared direction is the cosine of the largest principal angle between \
         the row spaces at start and end: 1 when the start's directions survived, 0 when one of them is gone."
    );
}

fn runs(out: &mut String, summary: &Summary) {
    let _ = writeln!(out, "\n## Runs");
    let head = [
        "task",
        "method",
        &summary.over,
        "score",
        "verbalizer",
        "greedy",
        "before",
        "constant",
        "outside labels",
        "modal",
        "best step",
    ]
    .map(str::to_owned);
    let rows: Vec<_> = summary
        .runs
        .iter()
        .map(|run| {
            let r = &run.record;
            let of = |s: &Option<super::records::Scored>| s.as_ref().map_or("–".into(), |s| percent(s.score));
            vec![
                plain(&r.task),
                plain(&run.variant),
                plain(&run.over),
                percent(run.score),
                of(&r.metrics.verbalizer),
                of(&r.metrics.greedy),
                of(&r.baselines.untrained),
                r.baselines.majority.as_ref().map_or("–".into(), |m| percent(m.score)),
                percent(r.invalid as f64 / r.examples.max(1) as f64),
                percent(r.modal.share) + if run.collapsed { " (collapsed)" } else { "" },
                r.best_step.map_or("–".into(), |s| s.to_string()),
            ]
        })
        .collect();
    table(out, &head, &rows, 3);
    let _ = writeln!(
        out,
        "\nIn percent. *Outside labels*: greedy answers that are none of the candidates. *Modal*: share of the most frequent answer."
    );
}

fn provenance(out: &mut String, summary: &Summary) {
    let _ = writeln!(out, "\n## Where the numbers come from");
    let head = ["node", "split, scoring", "key", "full key", "digest of `eval.json`"].map(str::to_owned);
    let rows: Vec<_> = summary
        .runs
        .iter()
        .map(|run| {
            vec![
                code(&run.origin.node),
                in_words(&run.scoring),
                code(&run.origin.key.to_string()),
                code(&run.origin.key.hex()),
                code(&run.origin.digest.hex()),
            ]
        })
        .collect();
    table(out, &head, &rows, 5);
}

#[cfg(test)]
mod tests {
    use super::super::material::Material;
    use super::super::summary::{Options, Summary};
    use super::*;
    use crate::base::value::{Params, Value};
    use crate::report::tests::sample::{evaluated, material, options};

    #[test]
    fn every_number_stands_with_its_baselines_and_its_origin() {
        let summary = Summary::of(&material(), &options()).unwrap();
        let text = render(&summary);
        assert!(text.starts_with("# Four tasks & \\<two> methods\n"), "{text}");
        assert!(text.contains("| task | measure | examples | constant | dpt, before | dpt | n | prompt-tuning, before | prompt-tuning | n |"));
        assert!(text.contains("| boolq | accuracy | 3\u{202f}270 | 62.2 | 57.2 ± 0.0 |"), "{text}");
        assert!(text.contains("| dpt | 100 | 10 | 8\u{202f}680 | 11.3 % |"), "{text}");
        for run in &summary.runs {
            assert!(text.contains(&run.origin.key.hex()) && text.contains(&run.origin.key.to_string()));
        }
        assert_eq!(text, render(&Summary::of(&material(), &options()).unwrap()), "same bytes twice");
    }

    #[test]
    fn other_parameters_of_methods_have_columns_in_both_forms() {
        let mut runs = vec![evaluated("rte", "dpt", 1, 0.5), evaluated("rte", "residual", 1, 0.5)];
        runs[1].record.params = Params::from([("hidden".to_owned(), Value::Int(20))]);
        let material = Material { runs, ..Material::default() };
        let summary = Summary::of(&material, &Options { complete: false, ..options() }).unwrap();
        let text = render(&summary);
        assert!(text.contains("| method | virtual tokens | rank | hidden | trained | of prompt tuning |"), "{text}");
        assert!(text.contains("| dpt | 100 | 10 | – |") && text.contains("| residual | 100 | – | 20 |"), "{text}");
        let page = super::super::html::render(&summary, &material).unwrap();
        assert!(page.contains("<th>rank</th><th>hidden</th>") && page.contains("<td>–</td><td>20</td>"), "{page}");
    }

    #[test]
    fn a_random_backbone_and_a_missing_cell_are_in_plain_sight() {
        let mut runs = vec![
            evaluated("rte", "dpt", 1, 0.5),
            evaluated("cb", "dpt", 1, 0.5),
            evaluated("cb", "prompt-tuning", 1, 0.5),
        ];
        for run in &mut runs {
            run.record.backbone.origin = "random".into();
        }
        let summary =
            Summary::of(&Material { runs, ..Material::default() }, &Options { complete: false, ..options() }).unwrap();
        let text = render(&summary);
        assert!(text.contains("> **Random backbone.** tiny was never trained"), "{text}");
        assert!(text.contains("| – | missing | 0 |"), "{text}");
        assert!(text.contains("- rte with prompt-tuning: no run"), "{text}");
    }
}
