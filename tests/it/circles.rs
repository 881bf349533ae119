//! No circles between the files of a folder. An arrow goes from a file to each file that it imports from; a file of a
//! sub-folder counts as that sub-folder, and `mod.rs` (or `x.rs` beside `x/`) is a file like the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use crate::tidy::{code, files, root};

/// A registry and its rows: the trait `Task` names templates and verbalizers, and the rows bring both.
const REGISTRIES: &[(&str, &str)] = &[
    ("src/data", "task template verbalizer"),
    ("src/data/task", "boolq cb copa jsonl mod multirc read record rte table wic wsc"),
];

/// The circles that are still to be opened. A row whose circle is gone, or is a smaller one, must be removed or
/// changed.
const STILL_CLOSED: &[(&str, &str)] = &[(
    "torch/src/prompt",
    "accept adapter adept dept dpt ept late_dpt lipt lopt2 mod mpt p_tuning pilot prompt_tuning residual smop ulpt",
)];

/// A module's path from the crate's root: `["data", "task", "boolq"]`.
type Module = Vec<String>;

/// `#[cfg(test)] mod NAME;`, with other attributes in between.
static TEST_MODULE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"#\[cfg\((?:all\()?test[^\n]*\n(?:#\[[^\n]*\n)*(?:pub(?:\([a-z]+\))? )?mod (\w+);").unwrap()
});
/// `mod NAME {` at the beginning of a line.
static INLINE_MODULE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^(?:pub(?:\([a-z]+\))? )?mod \w+ \{").unwrap());
/// A part of a path.
static HEAD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\w+::").unwrap());
/// What stands before a path that is handed on.
static HANDED_ON: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\s*pub(\([a-z]+\))? use $").unwrap());

#[test]
fn files_of_a_folder_import_each_other_in_one_direction() {
    let mut allowed: BTreeSet<(String, String)> = BTreeSet::new();
    for (folder, names) in REGISTRIES.iter().chain(STILL_CLOSED) {
        allowed.insert(((*folder).to_owned(), (*names).to_owned()));
    }
    let mut wrong = Vec::new();
    for sources in ["src", "torch/src", "xtask/src"] {
        for (folder, names, arrows) in circles(sources) {
            if !allowed.remove(&(folder.clone(), names.clone())) {
                wrong.push(format!("{folder}: a circle of {names}\n{}", arrows.join("\n")));
            }
        }
    }
    let gone = allowed.iter().map(|(folder, names)| format!("{folder}: no circle of {names} any more: remove its row"));
    wrong.extend(gone);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The circles below a folder of sources: the folder, the names of the files in the circle, and its arrows as lines.
fn circles(sources: &str) -> Vec<(String, String, Vec<String>)> {
    let modules = modules(sources);
    let arrows = arrows(&modules);
    let folders: BTreeSet<&[String]> =
        modules.keys().flat_map(|module| (0..module.len()).map(|depth| &module[..depth])).collect();
    let mut found = Vec::new();
    for folder in folders {
        let name_in = |module: &Module| match module.strip_prefix(folder) {
            Some([]) => Some("mod".to_owned()),
            Some([name, ..]) => Some(name.clone()),
            None => None,
        };
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut lines = Vec::new();
        for (from, to) in &arrows {
            if let (Some(a), Some(b)) = (name_in(from), name_in(to))
                && a != b
            {
                lines.push((a.clone(), b.clone(), format!("    {} -> {}", from.join("/"), to.join("/"))));
                graph.entry(a).or_default().insert(b);
            }
        }
        for circle in mutually_reachable(&graph) {
            let inside = lines.iter().filter(|(a, b, _)| circle.contains(a) && circle.contains(b));
            let name = std::iter::once(sources.to_owned()).chain(folder.iter().cloned()).collect::<Vec<_>>().join("/");
            let names = circle.iter().cloned().collect::<Vec<_>>().join(" ");
            found.push((name, names, inside.map(|(_, _, line)| line.clone()).collect()));
        }
    }
    found
}

/// The sets of two or more names that reach each other.
fn mutually_reachable(graph: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<BTreeSet<String>> {
    let reach = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(name) = next.pop() {
            for to in graph.get(name).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = graph.keys().map(|name| (name, reach(name))).collect();
    let on_a_circle = reached.iter().filter(|(name, seen)| seen.contains(**name));
    on_a_circle
        .map(|(name, seen)| {
            seen.iter().filter(|to| reached.get(to).is_some_and(|back| back.contains(*name))).cloned().collect()
        })
        .collect()
}

/// The text of each module without comments and tests. Modules that are only compiled for tests are left out.
fn modules(sources: &str) -> BTreeMap<Module, String> {
    let folder = root().join(sources);
    let has_library = folder.join("lib.rs").exists();
    let (mut found, mut tests) = (BTreeMap::new(), BTreeSet::new());
    for path in files(&folder) {
        let module = module_of(path.strip_prefix(&folder).unwrap());
        // The program beside a library is a crate of its own.
        if has_library && path == folder.join("main.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for name in TEST_MODULE.captures_iter(&text) {
            tests.insert([&module[..], &[name[1].to_owned()]].concat());
        }
        let lines: Vec<&str> = code(&text).map(|(_, line)| line).collect();
        found.insert(module, lines.join("\n"));
    }
    found.retain(|module, _| {
        let is_test = |depth| tests.contains(&module[..depth]) || module[depth - 1].ends_with("tests");
        !(1..=module.len()).any(is_test)
    });
    found
}

fn module_of(path: &Path) -> Module {
    let mut parts: Module = path.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod" || (parts.len() == 1 && (last == "lib" || last == "main"))) {
        parts.pop();
    }
    parts
}

/// Who imports from whom.
fn arrows(modules: &BTreeMap<Module, String>) -> BTreeSet<(Module, Module)> {
    let mut imports: Vec<(Module, Module)> = Vec::new();
    // What a module only hands on with `pub use`, by its path there.
    let mut handed_on: BTreeMap<Module, Module> = BTreeMap::new();
    for (module, text) in modules {
        for (path, is_handed_on) in paths(module, text, modules) {
            if is_handed_on {
                let name = path.last().unwrap().clone();
                handed_on.insert([&module[..], &[name]].concat(), path);
            } else {
                imports.push((module.clone(), path));
            }
        }
    }
    let resolved = imports.into_iter().filter_map(|(from, path)| {
        let to = owner(path, modules, &handed_on);
        (!to.is_empty() && to != from).then_some((from, to))
    });
    resolved.collect()
}

/// The module that has what `path` names.
fn owner(mut path: Module, modules: &BTreeMap<Module, String>, handed_on: &BTreeMap<Module, Module>) -> Module {
    // Handed on more than a few times: a circle of `pub use`.
    for _ in 0..8 {
        let longest = (1..=path.len()).rev().find(|depth| modules.contains_key(&path[..*depth]));
        let via = (1..=path.len()).rev().find(|depth| handed_on.contains_key(&path[..*depth]));
        match via.filter(|depth| longest.is_none_or(|longest| longest < *depth)) {
            Some(depth) => path = [&handed_on[&path[..depth]][..], &path[depth..]].concat(),
            None => return path[..longest.unwrap_or(0)].to_vec(),
        }
    }
    path
}

/// Every path from the crate's root that a module names, and whether it only hands it on.
fn paths(module: &Module, text: &str, modules: &BTreeMap<Module, String>) -> Vec<(Module, bool)> {
    let inline = inline_modules(text);
    let children: Vec<&String> = modules
        .keys()
        .filter(|other| other.len() == module.len() + 1 && other.starts_with(module))
        .map(|m| &m[module.len()])
        .collect();
    let mut found = Vec::new();
    for word in HEAD.find_iter(text) {
        if text[..word.start()].ends_with([':', '.']) {
            continue;
        }
        let mut rest = &text[word.end()..];
        let mut base = module.clone();
        match &text[word.start()..word.end() - 2] {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                if !inline.iter().any(|range| range.contains(&word.start())) {
                    base.pop();
                }
                while let Some(further) = rest.strip_prefix("super::") {
                    rest = further;
                    base.pop();
                }
            }
            name if children.iter().any(|child| *child == name) => base.push(name.to_owned()),
            _ => continue,
        }
        let line = text[..word.start()].rfind('\n').map_or(0, |at| at + 1);
        let is_handed_on = HANDED_ON.is_match(&text[line..word.start()]);
        for end in endings(rest) {
            found.push(([&base[..], &end[..]].concat(), is_handed_on));
        }
    }
    found
}

/// Where a text has modules in braces.
fn inline_modules(text: &str) -> Vec<std::ops::Range<usize>> {
    let end = |from: usize| text[from..].find("\n}").map_or(text.len(), |at| from + at);
    INLINE_MODULE.find_iter(text).map(|found| found.start()..end(found.end())).collect()
}

/// What follows the first `::` of a path: one ending, or with braces several.
fn endings(text: &str) -> Vec<Module> {
    fn part<'a>(mut text: &'a str, before: &[String], found: &mut Vec<Module>) -> &'a str {
        text = text.trim_start();
        if let Some(inside) = text.strip_prefix('{') {
            text = inside.trim_start();
            while !text.is_empty() && !text.starts_with('}') {
                let rest = part(text, before, found).trim_start();
                let rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
                // What is no path is not read on.
                if rest.len() == text.len() {
                    return rest;
                }
                text = rest;
            }
            return text.strip_prefix('}').unwrap_or(text);
        }
        let length = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        let length = if text.starts_with('*') { 1 } else { length };
        if length == 0 {
            return text;
        }
        let path = [before, &[text[..length].to_owned()]].concat();
        let rest = &text[length..];
        match rest
            .strip_prefix("::")
            .filter(|next| next.starts_with(|c: char| c.is_alphanumeric() || "_{*".contains(c)))
        {
            Some(next) => part(next, &path, found),
            None => {
                found.push(path);
                match rest.trim_start().strip_prefix("as ") {
                    Some(renamed) => renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
                    None => rest,
                }
            }
        }
    }
    let mut found = Vec::new();
    part(text, &[], &mut found);
    found
}

#[test]
fn import_lists_are_read_to_their_ends() {
    let read = |text: &str| endings(text).iter().map(|path| path.join("::")).collect::<Vec<_>>();
    assert_eq!(read("a::{b, c::{self, D as E}, f::*};"), ["a::b", "a::c::self", "a::c::D", "a::f::*"]);
    assert_eq!(read("a::b(x)"), ["a::b"]);
    let graph = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")];
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, to) in graph {
        edges.entry(from.to_owned()).or_default().insert(to.to_owned());
    }
    let circle: BTreeSet<String> = ["b", "c"].map(str::to_owned).into();
    assert_eq!(mutually_reachable(&edges), BTreeSet::from([circle]));
}
