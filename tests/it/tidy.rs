//! What the style asks of the sources, held by machine: who imports whom, module docs, no forgotten files.

use std::fs;
use std::path::{Path, PathBuf};

/// Each top-level module and what it may import, lowest first. A module that is not here is not tidy.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("artifact", &["base"]),
    ("cache", &["artifact", "base"]),
    ("fetch", &["artifact", "base"]),
    ("metrics", &["artifact", "base"]),
    ("svd", &["base"]),
    ("learn", &["base"]),
    ("adapter", &["svd", "artifact", "base"]),
    ("data", &["metrics", "artifact", "base"]),
    ("model", &["artifact", "base"]),
    ("report", &["svd", "data", "metrics", "artifact", "base"]),
    ("stages", &["report", "adapter", "svd", "learn", "model", "data", "metrics", "fetch", "artifact", "base"]),
    ("worker", &["stages", "base"]),
    ("engine", &["worker", "stages", "cache", "artifact", "base"]),
    ("pipeline", &["engine", "stages", "fetch", "cache", "artifact", "base"]),
    ("repro", &["pipeline", "engine", "stages", "cache", "artifact", "base"]),
    (
        "cli",
        &["repro", "pipeline", "engine", "worker", "stages", "adapter", "cache", "data", "model", "artifact", "base"],
    ),
    ("testing", &["stages", "artifact", "base"]),
];

/// The same for `dpt-torch`. The layers that come from `dpt` have their row above.
const TORCH_MAY_IMPORT: &[(&str, &[&str])] = &[
    ("cuda", &["base"]),
    ("model", &["artifact", "base"]),
    ("prompt", &["adapter", "model", "artifact", "base"]),
    ("learn", &["prompt", "model", "data", "metrics", "artifact", "base"]),
    ("stages", &["report", "adapter", "svd", "learn", "prompt", "model", "data", "metrics", "artifact", "base"]),
];

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`, by name.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn ours() -> Vec<PathBuf> {
    ["src", "tests", "benches", "torch/src", "torch/tests", "xtask/src"]
        .iter()
        .flat_map(|folder| files(&root().join(folder)))
        .collect()
}

fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The lines of code before the unit tests, without comments, numbered from 1.
pub fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests = |line: &&str| !(line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test,"));
    let numbered = text.lines().take_while(tests).enumerate().map(|(i, line)| (i + 1, line));
    numbered.map(|(n, line)| (n, line.split("//").next().unwrap_or(line)))
}

/// The names after each `crate::` of a line.
fn imports(line: &str) -> Vec<&str> {
    line.split("crate::")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
        .collect()
}

#[test]
fn files_import_from_lower_layers_only() {
    let mut wrong = wrong_imports("src", MAY_IMPORT);
    wrong.extend(wrong_imports("torch/src", TORCH_MAY_IMPORT));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn wrong_imports(folder: &str, table: &[(&str, &[&str])]) -> Vec<String> {
    let mut wrong = Vec::new();
    for path in files(&root().join(folder)) {
        let inside = path.strip_prefix(root().join(folder)).unwrap().with_extension("");
        let module = inside.iter().next().unwrap().to_str().unwrap();
        if matches!(module, "lib" | "main") {
            continue;
        }
        let name = short(&path);
        let Some((_, may)) = table.iter().find(|(known, _)| *known == module) else {
            wrong.push(format!("{name}: module `{module}` has no row in its table"));
            continue;
        };
        for (number, line) in code(&fs::read_to_string(&path).unwrap()) {
            for import in imports(line) {
                let is_for_tests = import == "testing" && name.ends_with("tests.rs");
                if import != module && !may.contains(&import) && !is_for_tests {
                    wrong.push(format!("{name}:{number}: `{module}` imports `{import}`"));
                }
            }
        }
    }
    wrong
}

#[test]
fn of_the_stages_the_engine_sees_the_declarations_alone() {
    for path in files(&root().join("src/engine")) {
        for (number, line) in code(&fs::read_to_string(&path).unwrap()) {
            let mut sees = line.split("crate::stages::").skip(1);
            let fine = sees.all(|rest| {
                ["stage::", "ctx::", "stage;", "ctx;", "{ctx", "{stage"].iter().any(|s| rest.starts_with(s))
            });
            assert!(fine, "{}:{number}: {line}", short(&path));
        }
    }
}

/// TOML is the pipeline's: layers below it take values.
#[test]
fn toml_is_read_by_the_pipeline_and_above_it_only() {
    let above = ["pipeline", "repro", "cli"].map(|folder| root().join("src").join(folder));
    for path in files(&root().join("src")).iter().filter(|path| !above.iter().any(|folder| path.starts_with(folder))) {
        for (number, line) in code(&fs::read_to_string(path).unwrap()) {
            let knows = ["toml::", "toml_edit", "toml_parser"].iter().any(|name| line.contains(name));
            assert!(!knows, "{}:{number}: {line}", short(path));
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for path in ours() {
        let text = fs::read_to_string(&path).unwrap();
        let doc = text.lines().find_map(|line| line.strip_prefix("//! "));
        assert!(text.starts_with("//! "), "{} does not begin with `//! `", short(&path));
        assert!(doc.is_some_and(|doc| doc.len() > 15), "{}: its first line says too little", short(&path));
    }
}

/// Folders whose lines and doc comments are not checked yet. A row without a fault must be removed.
const NOT_YET: &[&str] = &["torch/src", "torch/tests"];

#[test]
fn lines_fit_and_doc_comments_are_no_fragments() {
    let (mut wrong, mut clean) = (Vec::new(), NOT_YET.to_vec());
    for path in ours() {
        let name = short(&path);
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            // A text in the code may be as long as it is.
            let is_wide = line.chars().count() > 120
                && (!line.contains('"') && !line.ends_with('\\') || line.trim_start().starts_with("//"));
            let doc = ["/// ", "//! "].iter().find_map(|mark| line.trim_start().strip_prefix(mark));
            let is_fragment = doc.is_some_and(|doc| doc.starts_with("Whether "));
            if !is_wide && !is_fragment {
                continue;
            }
            clean.retain(|folder| !name.starts_with(folder));
            if !NOT_YET.iter().any(|folder| name.starts_with(folder)) {
                let what = if is_wide {
                    "is wider than 120 columns"
                } else {
                    "is a fragment: write \"Returns `true` if …\""
                };
                wrong.push(format!("{name}:{}: {what}: {line}", number + 1));
            }
        }
    }
    wrong.extend(clean.iter().map(|folder| format!("{folder}: nothing is wrong there: remove its row")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_to_do() {
    let left = [concat!("dbg", "!("), concat!("todo", "!("), concat!("unimplemented", "!(")];
    for path in ours() {
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            assert!(!left.iter().any(|word| line.contains(word)), "{}:{}: {line}", short(&path), number + 1);
        }
    }
}

#[test]
fn no_file_is_forgotten() {
    // Each folder of modules, and the file that declares them.
    let mut folders: Vec<(PathBuf, PathBuf)> =
        ["src/lib.rs", "torch/src/lib.rs", "xtask/src/main.rs", "tests/it/main.rs", "torch/tests/it/main.rs"]
            .map(|main| (root().join(main).parent().unwrap().to_owned(), root().join(main)))
            .into();
    for path in ours() {
        if path.ends_with("mod.rs") {
            folders.push((path.parent().unwrap().to_owned(), path));
        } else if path.with_extension("").is_dir() {
            folders.push((path.with_extension(""), path));
        }
    }
    for (folder, main) in folders {
        let declared = fs::read_to_string(&main).unwrap();
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            let is_module = path.is_dir() && path.join("mod.rs").exists();
            // `x_tests.rs` is declared by `x.rs`; a crate's programs and libraries are declared by nobody.
            let is_root = ["mod", "lib", "main"].contains(&stem.as_str());
            let is_file =
                path.extension().is_some_and(|ending| ending == "rs") && !is_root && !stem.ends_with("_tests");
            let has = declared.lines().any(|line| line.trim().ends_with(&format!("mod {stem};")));
            assert!(has || !(is_module || is_file), "{} has no `mod` line in {}", short(&path), short(&main));
        }
    }
}

#[test]
fn only_one_file_knows_colour() {
    for path in files(&root().join("src")) {
        let knows = fs::read_to_string(&path).unwrap().contains("anstyle::");
        assert!(!knows || path.ends_with("cli/render.rs"), "{} uses anstyle", short(&path));
    }
}

/// A method is a file and a row on each side: no other file of the product names one, or one of its tensors.
#[test]
fn prompt_methods_are_named_in_their_own_files_only() {
    use dpt::adapter::methods::METHODS;
    use dpt::base::param::{Param, Type};
    use dpt::base::value::Value;

    let mut words = Vec::new();
    for method in METHODS {
        let value = |param: &Param| match param.ty {
            Type::Int(..) => Some(Value::Int(2)),
            _ => param.default.value(),
        };
        let params = method.params.iter().filter_map(|p| Some((p.name.to_owned(), value(p)?))).collect();
        let shape = method.shape(3, 4, &params).unwrap();
        let tensors = (method.tensors)(&shape);
        // Letters and words of many meanings do not count.
        let common = ["prompt", "prompts", "scale", "shift", "sigma", "embedding"];
        let rare = |name: &&str| name.len() > 2 && !common.contains(name);
        words.extend(tensors.iter().map(|spec| spec.name).filter(rare));
        words.push(method.name);
    }
    let own = [root().join("src/adapter/methods"), root().join("torch/src/prompt")];
    for path in product().into_iter().filter(|path| !own.iter().any(|folder| path.starts_with(folder))) {
        for (number, line) in code(&fs::read_to_string(&path).unwrap()) {
            for word in &words {
                // The program is called `dpt` too, and so is an order of examples; `accept` is a key of stages.
                let other_meaning = ["dpt", "accept"].contains(word);
                let named = line.contains(&format!("\"{word}\"")) && (!other_meaning || line.contains("method"));
                assert!(!named, "{}:{}: names `{word}`", short(&path), number);
            }
        }
    }
}

/// The product's files without tests.
fn product() -> Vec<PathBuf> {
    let is_test = |path: &PathBuf| {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        stem == "sample" || stem.ends_with("tests") || path.components().any(|part| part.as_os_str() == "tests")
    };
    let all = ["src", "torch/src"].iter().flat_map(|folder| files(&root().join(folder)));
    all.filter(|path| !is_test(path)).collect()
}

/// Every line of code, outside of `own`, with one of `words` as a whole text.
fn lines_with(words: &[&str], own: &dyn Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for path in product() {
        let (name, text) = (short(&path), fs::read_to_string(&path).unwrap());
        for (number, line) in code(&text) {
            for word in words.iter().filter(|word| line.contains(&format!("\"{word}\"")) && !own(&name, word)) {
                found.push(format!("{name}:{number}: names `{word}`: {}", line.trim()));
            }
        }
    }
    found
}

/// A stage is a file on each side and its rows: what other files need of it are fields of its kind.
#[test]
fn stages_are_named_in_their_own_files_only() {
    let names: Vec<&str> = dpt::stages::STAGES.iter().map(|kind| kind.name).collect();
    let own = |file: &str, name: &str| {
        let module = name.replace('-', "_");
        let is_own = ["src/stages", "torch/src/stages"]
            .iter()
            .any(|folder| file == format!("{folder}/{module}.rs") || file.starts_with(&format!("{folder}/{module}/")));
        // The registry of functions of a worker. And a value of `backbone.json`, which says where weights come from.
        is_own || file == "torch/src/stages/mod.rs" || file == "src/report/records.rs" && name == "download"
    };
    let mut wrong = lines_with(&names, &own);
    // Two names are splits of data, too. There, a line that means the stage says `kind` or `accepts`.
    let is_split = |line: &String| ["names `train`", "names `pretrain`"].iter().any(|word| line.contains(word));
    wrong.retain(|line| !is_split(line) || line.contains("kind") || line.contains("accepts"));
    // Tests of the store, in a file without `tests` in its name.
    wrong.retain(|line| !line.starts_with("src/cache/attacks.rs"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A task is a file and a row. A synthetic stand-in is a row of its own registry.
#[test]
fn tasks_are_named_in_their_own_files_only() {
    let own =
        |file: &str, name: &str| file == format!("src/data/task/{name}.rs") || file.starts_with("src/data/synth/");
    let wrong = lines_with(dpt::data::task::TASK_NAMES, &own);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: Vec<_> = dpt::data::task::TASKS.iter().map(|task| task.name()).collect();
    assert_eq!(listed, dpt::data::task::TASK_NAMES);
}

/// A metric is a file and a row, and tasks say which metrics they have.
#[test]
fn metrics_are_named_in_their_own_files_and_by_tasks_only() {
    let names: Vec<&str> = dpt::metrics::METRICS.iter().map(|metric| metric.name()).collect();
    let own = |file: &str, _: &str| {
        file.starts_with("src/metrics/") && file != "src/metrics/mod.rs" || file.starts_with("src/data/task/")
    };
    let mut wrong = lines_with(&names, &own);
    // Tests of the store, in a file without `tests` in its name.
    wrong.retain(|line| !line.starts_with("src/cache/attacks.rs"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
