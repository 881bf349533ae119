//! The tables of `docs/parity.md`: tests record every comparison with another program (`tests/it/parity.rs`), here they
//! become Markdown between two markers of the page.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use crate::{Context, Failed, Result, cargo, step, target};

const BEGIN: &str = "<!-- tables: cargo xtask parity -->\n";
const END: &str = "<!-- end of tables -->\n";

/// The headings in their order on the page; others come behind them.
const PARTS: &[&str] =
    &["Preprocessing", "Tokenisation", "Metrics", "T5", "Checkpoints", "Training", "Methods", "Half types", "PEFT"];

/// Differences below this are those of the last bits of float64, and vary between machines.
const NOTHING: f64 = 1e-12;

/// Runs the tests that record, and no others.
pub fn test(root: &Path) -> Result {
    let folder = recorded(root);
    if folder.exists() {
        fs::remove_dir_all(&folder).context(|| format!("cannot empty {}", folder.display()))?;
    }
    // Their names say what they compare with.
    let tests = ["--test", "it", "--", "golden", "peft"];
    step(cargo(root).args(["test", "--release", "-p", "dpt", "-p", "dpt-torch"]).args(tests))
}

/// Where tests record (`CARGO_TARGET_TMPDIR`).
fn recorded(root: &Path) -> PathBuf {
    target(root).join("tmp/parity")
}

/// Writes the tables of what was recorded.
pub fn write(root: &Path) -> Result<ExitCode> {
    let folder = recorded(root);
    let mut records = Vec::new();
    let mut files: Vec<_> = match fs::read_dir(&folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?,
        Err(_) => Vec::new(),
    };
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "json")) {
        let text = fs::read(path).context(|| format!("cannot read {}", path.display()))?;
        records.push(serde_json::from_slice(&text).context(|| format!("{} is no record", path.display()))?);
    }
    if records.is_empty() {
        let message = format!("no test has recorded anything in {}", folder.display());
        return Err(Failed(message + ": are the reference figures at hand (DPT_GOLDEN_DIR)?"));
    }
    let page = root.join("docs/parity.md");
    let text = fs::read_to_string(&page).context(|| format!("cannot read {}", page.display()))?;
    let new = replace(&text, &tables(&records)?)?;
    if new == text {
        println!("{} is as it should be", page.display());
    } else {
        fs::write(&page, new).context(|| format!("cannot write {}", page.display()))?;
        println!("{} is written", page.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn replace(page: &str, tables: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).ok_or_else(|| Failed(format!("no line `{}`", BEGIN.trim())))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| Failed(format!("no line `{}`", END.trim())))?;
    Ok(format!("{before}{BEGIN}{tables}{END}{after}"))
}

/// A heading and a table for each part.
fn tables(records: &[Value]) -> Result<String> {
    let part = |record: &Value| record["part"].as_str().unwrap_or_default().to_owned();
    let mut parts: Vec<String> = records.iter().map(part).collect();
    let place = |name: &str| PARTS.iter().position(|known| *known == name).unwrap_or(PARTS.len());
    parts.sort_by_key(|name| (place(name), name.clone()));
    parts.dedup();
    let mut text = String::new();
    for name in parts {
        let _ = writeln!(text, "\n### {name}\n\n| compared | against | cases | largest difference | allowed |");
        text.push_str("| --- | --- | ---: | ---: | ---: |\n");
        let rows = records.iter().filter(|record| part(record) == name);
        for row in rows.flat_map(|record| record["rows"].as_array().into_iter().flatten()) {
            let word = |key: &str| row[key].as_str().ok_or_else(|| Failed(format!("a row has no `{key}`: {row}")));
            let number = |key: &str| row[key].as_f64().ok_or_else(|| Failed(format!("a row has no `{key}`: {row}")));
            let (largest, allowed) = match row["tolerance"].as_f64() {
                Some(tolerance) => (upwards(number("largest")?), plain(tolerance)),
                None => ("none".to_owned(), "none".to_owned()),
            };
            let (what, against, cases) = (word("what")?, word("against")?, number("cases")?);
            let _ = writeln!(text, "| {what} | {against} | {cases} | {largest} | {allowed} |");
        }
    }
    text.push('\n');
    Ok(text)
}

/// The number with one digit (two where the first is 1), rounded up: steady from run to run.
fn upwards(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    if number < NOTHING {
        return format!("below {NOTHING:e}");
    }
    let text = format!("{number:.3e}"); // 1.0000000002e-4 is 1e-4
    let (digits, exponent) = text.split_once('e').expect("a number in scientific notation");
    let tenths = (digits.parse::<f64>().expect("digits") * 10.0).ceil() as u64;
    let tenths = if tenths < 20 { tenths } else { tenths.div_ceil(10) * 10 };
    let exponent: i32 = exponent.parse().expect("an exponent");
    plain(format!("{tenths}e{}", exponent - 1).parse().expect("a number"))
}

/// The number with at most three digits, as one writes it.
fn plain(number: f64) -> String {
    let number: f64 = format!("{number:.2e}").parse().expect("a number");
    if number == 0.0 || number >= 0.01 { number.to_string() } else { format!("{number:e}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn few_digits_and_never_less() {
        let numbers = [0.0, 1e-14, 1e-4, 3.01e-7, 9.2e-6, 0.0341, 0.3, 0.95, 1.02, 2.0];
        let expected = ["0", "below 1e-12", "1e-4", "4e-7", "1e-5", "0.04", "0.3", "1", "1.1", "2"];
        assert_eq!(numbers.map(upwards), expected);
        let numbers = [0.15, 5.0 * 3e-4, 1e-9, 2.0];
        assert_eq!(numbers.map(plain), ["0.15", "1.5e-3", "1e-9", "2"]);
    }

    #[test]
    fn tables_stand_between_the_markers_in_the_order_of_the_page() {
        let row = |what: &str, tolerance: Option<f64>| json!({"what": what, "against": "x", "cases": 3, "largest": 2e-5, "tolerance": tolerance});
        let records = [
            json!({"part": "Other", "rows": [row("loaded", None)]}),
            json!({"part": "T5", "rows": [row("logits", Some(1e-4)), row("loss", Some(1e-4))]}),
            json!({"part": "T5", "rows": [row("ids", None)]}),
        ];
        let page = format!("Before.\n\n{BEGIN}old\n{END}\nAfter.\n");
        let new = replace(&page, &tables(&records).unwrap()).unwrap();
        let lines: Vec<_> = new.lines().filter(|line| line.starts_with("###") || line.starts_with("| l")).collect();
        assert_eq!(lines[..3], ["### T5", "| logits | x | 3 | 2e-5 | 1e-4 |", "| loss | x | 3 | 2e-5 | 1e-4 |"]);
        assert_eq!(lines[3..], ["### Other", "| loaded | x | 3 | none | none |"]);
        assert!(new.starts_with("Before.\n") && new.ends_with("After.\n") && !new.contains("old"));
        assert_eq!(replace(&new, &tables(&records).unwrap()).unwrap(), new);
        assert!(replace("no markers", "").is_err());
    }
}
