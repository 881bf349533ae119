//! The LaTeX files compile, by themselves and in another document.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::bytes::cases;
use crate::report::render::{latex, render};
use crate::report::summary::Summary;

/// Runs pdflatex in `folder`; returns its log where it fails.
fn compile(folder: &Path, file: &str) -> Result<(), String> {
    let output = Command::new("pdflatex")
        .args(["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", file])
        .current_dir(folder)
        .output()
        .map_err(|e| e.to_string())?;
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(()) } else { Err(log) }
}

#[test]
fn reports_compile_with_pdflatex() {
    if Command::new("pdflatex").arg("--version").output().is_err() {
        eprintln!("skipped: there is no pdflatex on this machine");
        return;
    }
    for (name, mut inputs, mut options) in cases() {
        // Every printable ASCII character, letters with accents, and some that pdflatex does not know.
        let hard: String =
            (' '..='~').chain('À'..='ÿ').chain("ĂąĆčĐęĞłŃőŒřŚşŠţŤůŰŸźŻž±−–—“”…中\u{7}".chars()).collect();
        for init in &mut inputs.inits {
            init.record.warnings.push(hard.clone());
            init.record.source = format!("[{}]", init.record.source);
        }
        options.title.push_str(&hard);
        let summary = Summary::of(&inputs, &options).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tables")).unwrap();
        for file in render(&summary, &inputs, &[&latex::RENDERER]).unwrap() {
            fs::write(folder.path().join(&file.name), &file.text).unwrap();
        }
        if let Err(log) = compile(folder.path(), "report.tex") {
            panic!("report `{name}` does not compile:\n{log}");
        }
        let paper = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\begin{table}\\caption{Scores}\n\
                     \\input{tables/results}\\end{table}\\end{document}";
        fs::write(folder.path().join("paper.tex"), paper).unwrap();
        if let Err(log) = compile(folder.path(), "paper.tex") {
            panic!("the main table of report `{name}` does not compile in another document:\n{log}");
        }
        if let Some(dir) = std::env::var_os("DPT_REPORT_SAMPLES") {
            fs::copy(folder.path().join("report.pdf"), Path::new(&dir).join(format!("{name}.pdf"))).unwrap();
        }
    }
}

#[test]
fn best_cells_are_bold_and_groups_have_a_rule() {
    let (_, inputs, options) = cases().into_iter().next().unwrap();
    let summary = Summary::of(&inputs, &options).unwrap();
    let files = render(&summary, &inputs, &[&latex::RENDERER]).unwrap();
    let results = &files.iter().find(|file| file.name == "tables/results.tex").unwrap().text;
    assert!(results.contains("\\multicolumn{2}{c}{dpt} & \\multicolumn{2}{c}{prompt-tuning} \\\\"), "{results}");
    assert!(results.contains("\\cmidrule(lr){5-6}\\cmidrule(lr){7-8}"), "{results}");
    let bold = results.lines().filter(|line| line.contains("\\textbf{")).count();
    assert_eq!(bold, 4 + 1, "every task and the mean:\n{results}");
}
