//! Every available real row passes both templates, with and without its label.

use dpt::data::task::{self, Task};
use dpt::data::template::{Purpose, Rendering, Template};
use serde_json::Value as Json;

use crate::golden;

#[test]
fn every_real_row_passes_both_templates() {
    let Some(dir) = golden::data("superglue_fewshot") else { return };
    for task in task::TASKS {
        for path in golden::list(&dir.join(task.folder())) {
            let text = std::fs::read_to_string(&path).unwrap();
            let origin = format!("{}/{}", task.folder(), golden::name(&path));
            let batch = task.parse_jsonl(&text, &origin).unwrap();
            for template in [Template::Plain, Template::DptPaper] {
                let how = Rendering::new(*task, template, Purpose::Evaluate);
                let rows = task::rows(*task, &batch, &origin).unwrap();
                let examples: Vec<_> = rows.flat_map(|row| task.render(&row, &how)).collect();
                assert!(examples.iter().all(|e| e.target.is_some() && !e.source.is_empty()), "{origin}");
                let mut seen: Vec<_> = examples.iter().map(|e| e.id.as_str()).collect();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len(), examples.len(), "{origin}: ids are unique");
            }
            unlabelled(*task, &text, &origin);
        }
    }
}

/// Returns the rows without labels and answers, like test splits.
fn unlabelled(task: &dyn Task, text: &str, origin: &str) {
    fn strip(value: &mut Json) {
        match value {
            Json::Object(map) => {
                map.remove("label");
                if map.contains_key("query") {
                    map.remove("answers");
                }
                map.values_mut().for_each(strip);
            }
            Json::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let mut row: Json = serde_json::from_str(line).unwrap();
            strip(&mut row);
            row.to_string()
        })
        .collect();
    let batch = task.parse_jsonl(&lines.join("\n"), origin).unwrap();
    let how = Rendering::new(task, Template::Plain, Purpose::Evaluate);
    for row in task::rows(task, &batch, origin).unwrap() {
        assert!(task.render(&row, &how).iter().all(|e| e.target.is_none() && e.label.is_none()), "{origin}");
    }
}
