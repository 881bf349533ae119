//! The content of `report.md`.

use super::sample::{evaluated, inputs, options};
use crate::report::inputs::Inputs;
use crate::report::render::{markdown, render};
use crate::report::summary::{ReportOptions, Summary};

fn text(summary: &Summary, inputs: &Inputs) -> String {
    render(summary, inputs, &[&markdown::RENDERER]).unwrap().remove(0).text
}

#[test]
fn every_number_has_its_baselines_and_its_origin() {
    let summary = Summary::of(&inputs(), &options()).unwrap();
    let text = text(&summary, &inputs());
    assert!(text.starts_with("# Four tasks & \\<two> methods\n"), "{text}");
    assert!(text.contains(
        "| task | measure | examples | constant | dpt, before | dpt | n | prompt-tuning, before | prompt-tuning | n |"
    ));
    assert!(text.contains("| boolq | accuracy | 3\u{202f}270 | 62.2 | 57.2 ± 0.0 |"), "{text}");
    assert!(text.contains("| dpt | 100 | 10 | 8\u{202f}680 | 11.3 % |"), "{text}");
    for run in &summary.runs {
        assert!(text.contains(&run.origin.key.hex()) && text.contains(&run.origin.key.to_string()));
    }
    let again = Summary::of(&inputs(), &options()).unwrap();
    assert_eq!(text, super::markdown::text(&again, &inputs()), "same bytes twice");
}

#[test]
fn random_backbone_and_missing_cell_are_in_plain_sight() {
    let mut runs =
        vec![evaluated("rte", "dpt", 1, 0.5), evaluated("cb", "dpt", 1, 0.5), evaluated("cb", "prompt-tuning", 1, 0.5)];
    for run in &mut runs {
        run.record.backbone.origin = "random".into();
    }
    let inputs = Inputs { runs, ..Inputs::default() };
    let summary = Summary::of(&inputs, &ReportOptions { complete: false, ..options() }).unwrap();
    let text = text(&summary, &inputs);
    assert!(text.contains("> **Random backbone.** tiny was never trained"), "{text}");
    assert!(text.contains("| – | missing | 0 |"), "{text}");
    assert!(text.contains("- rte with prompt-tuning: no run"), "{text}");
}
