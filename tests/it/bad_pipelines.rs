//! Every file of `tests/bad` has the messages that `dpt` prints for it, in lines that begin with `#!` above the line
//! that they are about. `DPT_BLESS=1 cargo test --test it bad_` rewrites them; review the difference before you commit
//! it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use dpt::base::diag::{Class, Diag};
use dpt::base::value::{Params, Value};
use dpt::cli::render;
use dpt::pipeline::{self, LoadOptions};
use dpt::stages::ctx::{Ctx, Outcome};
use dpt::stages::stage::{Arity, Literal, Param, Port, Runs, StageKind, StageResult, Type};

fn nothing(_: &Ctx) -> StageResult {
    Ok(Outcome::default())
}

fn rank_fits(params: &Params) -> Result<(), Diag> {
    match (&params["rank"], &params["virtual_tokens"]) {
        (Value::Int(rank), Value::Int(tokens)) if rank > tokens => {
            Err(Diag::error(Class::Usage, format!("`rank` {rank} is larger than `virtual_tokens` {tokens}")))
        }
        _ => Ok(()),
    }
}

const fn kind(name: &'static str, params: &'static [Param], inputs: &'static [Port<'static>]) -> StageKind {
    StageKind { name, about: "a stub", params, inputs, runs: Runs::Here(nothing), ..StageKind::BASE }
}

const fn port(role: &'static str, accepts: &'static [&'static str], arity: Arity, doc: &'static str) -> Port<'static> {
    Port { role, accepts, files: &["*"], arity, doc }
}

const COUNT: Type = Type::Int(1, i64::MAX);
static KINDS: &[&StageKind] = &[
    &kind(
        "download",
        &[
            Param::required("source", Type::Source, "where it comes from"),
            Param::with_default(
                "format",
                Type::Choice(&["superglue", "checkpoint"]),
                Literal::Str("superglue"),
                "what it is",
            ),
        ],
        &[],
    ),
    &kind(
        "tokenize",
        &[
            Param::required("task", Type::Choice(&["boolq", "cb", "rte"]), "which task"),
            Param::with_default("max_source", Type::Int(1, 4096), Literal::Int(256), "longest input"),
            Param::with_default("words", Type::Strs, Literal::Strs(&[]), "some words"),
        ],
        &[
            port("data", &["download"], Arity::One, "the raw rows"),
            port("tokenizer", &["download"], Arity::One, "the vocabulary"),
        ],
    ),
    &kind("svd-init", &[], &[port("model", &["download"], Arity::One, "the backbone")]),
    &StageKind {
        check: Some(rank_fits),
        ..kind(
            "train",
            &[
                Param::required("method", Type::Choice(&["dpt", "prompt-tuning"]), "which prompt"),
                Param::with_default("virtual_tokens", COUNT, Literal::Int(100), "rows of the prompt"),
                Param::with_default("rank", COUNT, Literal::Int(10), "inner size of the factors"),
                Param::with_default("learning_rate", Type::Float(0.0, 10.0), Literal::Float(0.3), "peak rate"),
                Param::with_default("freeze", Type::Bool, Literal::Bool(true), "whether the backbone is left alone"),
                Param::with_default("evals", Type::Ints, Literal::Ints(&[]), "steps to evaluate at"),
                Param::optional("seed", Type::Int(0, i64::MAX), "for order and initial values"),
            ],
            &[
                port("data", &["tokenize"], Arity::One, "the token ids"),
                port("model", &["download"], Arity::One, "the backbone"),
                port("init", &["svd-init"], Arity::Optional, "the initial factors"),
            ],
        )
    },
    &kind("report", &[], &[port("runs", &["train"], Arity::Many, "what it tells of")]),
    &kind("copy", &[], &[port("of", &[], Arity::Optional, "anything")]),
];

#[test]
fn bad_pipelines_give_the_messages_in_their_comments() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "toml"));
    files.sort();
    assert!(files.len() >= 10, "the folder is there");
    let mut differ = String::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let wanted = annotated(&path, &text);
        if std::env::var_os("DPT_BLESS").is_some() {
            std::fs::write(&path, wanted).unwrap();
        } else if text != wanted {
            let _ = writeln!(differ, "==> {} should be\n{wanted}", path.display());
        }
    }
    assert!(differ.is_empty(), "{differ}");
}

/// Returns `text` with its messages as `#!` lines above the lines that they are about.
fn annotated(path: &Path, text: &str) -> String {
    let bare: Vec<&str> = text.lines().filter(|line| !line.starts_with("#!")).collect();
    let name = Path::new(path.file_name().unwrap());
    // Messages have line numbers, which the `#!` lines shift. So first only make room for them.
    let blank = |d: &Diag| vec!["#!".to_owned(); render(d).lines().count()];
    let roomy = insert(&bare, &say(name, &bare.join("\n")), &bare.join("\n"), &blank);
    let shown = |d: &Diag| render(d).lines().map(|l| format!("#! {l}").trim_end().to_owned()).collect();
    insert(&bare, &say(name, &roomy), &roomy, &shown)
}

fn say(name: &Path, text: &str) -> Vec<Diag> {
    let options = LoadOptions { stages: KINDS, ..LoadOptions::default() };
    pipeline::load_text(name, text.to_owned(), &options).map_or_else(|diags| diags, |plan| plan.warnings)
}

/// Inserts the block of each message above its line in `bare`. `of` is the text that the messages are about.
fn insert(bare: &[&str], diags: &[Diag], of: &str, block: &dyn Fn(&Diag) -> Vec<String>) -> String {
    assert!(!diags.is_empty(), "nothing is wrong with it");
    let mut lines: Vec<Vec<String>> = bare.iter().map(|_| Vec::new()).collect();
    lines.push(Vec::new());
    for diag in diags {
        let above = diag.span.as_ref().map_or(usize::MAX, |s| s.line_column().0 - 1);
        let line = of.lines().take(above).filter(|line| !line.starts_with("#!")).count();
        lines[line].extend(block(diag));
    }
    let mut text = String::new();
    for (i, block) in lines.iter().enumerate() {
        for line in block.iter().map(String::as_str).chain(bare.get(i).copied()) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Returns a message as the terminal shows it, without colours.
fn render(diag: &Diag) -> String {
    anstream::adapter::strip_str(&render::diag(diag)).to_string()
}
