//! The content of `report.html`.

use super::bytes::wide;
use super::sample::{inputs, options};
use crate::report::inputs::Inputs;
use crate::report::render::{html, json, render};
use crate::report::summary::{ReportOptions, Summary};

fn page(inputs: &Inputs) -> String {
    let summary = Summary::of(inputs, &ReportOptions { complete: false, ..options() }).unwrap();
    render(&summary, inputs, &[&html::RENDERER]).unwrap().remove(0).text
}

#[test]
fn page_needs_nothing_else_and_is_the_same_twice() {
    let page = page(&inputs());
    for outside in ["http://", "https://", "<script", "<link", "<img", "@import", "url("] {
        let found = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(outside), "{outside}");
    }
    assert!(page.contains("Four tasks &amp; &lt;two&gt; methods"), "names are escaped");
    assert_eq!(page.matches("<svg").count(), 4 * 2 + 1 + 2);
    assert_eq!(page, super::html::page(&inputs()));
}

#[test]
fn banners_warn_of_random_weights_and_missing_runs() {
    let mut inputs = inputs();
    assert!(!page(&inputs).contains("class=\"banner\""));
    for run in &mut inputs.runs {
        run.record.backbone.origin = "random".into();
    }
    inputs.runs.pop();
    let page = page(&inputs);
    assert!(page.contains("Random backbone: tiny was never trained"));
    assert!(page.contains("<li>rte with prompt-tuning: lacks 43</li>"));
    inputs.runs.retain(|r| r.record.task != "cb" || r.record.method != "dpt");
    let page = super::html::page(&inputs);
    assert!(page.contains("<td class=\"missing\">missing</td>"));
}

#[test]
fn eight_tasks_and_four_columns_stay_one_table() {
    let page = page(&wide());
    assert!(page.contains(">SuperGLUE</th>") && page.contains("dpt · rank=64"));
    assert_eq!(page.matches("class=\"main\"").count(), 8 * 4 + 4 + 8 * 4 * 3);
}

#[test]
fn page_without_trainings_and_inits_has_no_pictures() {
    let inputs = Inputs { runs: inputs().runs, ..Inputs::default() };
    let page = page(&inputs);
    assert!(!page.contains("<svg") && page.contains("Where the numbers come from"));
}

#[test]
fn footer_names_the_json_file_only_if_it_is_written() {
    let summary = Summary::of(&inputs(), &options()).unwrap();
    let both = render(&summary, &inputs(), &[&html::RENDERER, &json::RENDERER]).unwrap();
    assert!(both[0].text.contains("<code>report.json</code> beside it"));
    assert!(!page(&inputs()).contains("report.json"));
}
