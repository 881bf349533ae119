//! Where the reference figures lie; used by the tests of both crates. Where they are not at hand a test says so and
//! passes. Cases are found by listing, so that another set of the same layout can take the place of this one.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The part of the reference figures called `part`, such as `t5`: below `DPT_GOLDEN_DIR` (a relative path counts from
/// the repository's root), else below `../shared/golden` beside the repository. `None` where it is not there, which is
/// told.
pub fn dir(part: &str) -> Option<PathBuf> {
    found(&[root().join(part)], "DPT_GOLDEN_DIR")
}

/// The reference runs of prompt methods: in `DPT_GOLDEN_METHODS_DIR` (a relative path counts from the repository's
/// root), else in `../shared/golden-methods` beside the repository. `None` where they are not there, which is reported.
#[allow(dead_code)] // the tests of one of the crates need none
pub fn methods() -> Option<PathBuf> {
    const VARIABLE: &str = "DPT_GOLDEN_METHODS_DIR";
    let named = std::env::var_os(VARIABLE).filter(|dir| !dir.is_empty());
    found(&[repository().join(named.unwrap_or_else(|| "../shared/golden-methods".into()))], VARIABLE)
}

/// The real data and the real tokenizer, which lie beside the figures; else beside the repository.
#[allow(dead_code)] // the tests of one of the crates need none
pub fn data(folder: &str) -> Option<PathBuf> {
    let places = [root().join("../data").join(folder), repository().join("../shared/data").join(folder)];
    found(&places, "DPT_GOLDEN_DIR")
}

fn root() -> PathBuf {
    let named = std::env::var_os("DPT_GOLDEN_DIR").filter(|dir| !dir.is_empty());
    repository().join(named.unwrap_or_else(|| "../shared/golden".into()))
}

/// Cargo starts tests in the folder of their package: the repository's root is where the lock file is.
fn repository() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|dir| dir.join("Cargo.lock").exists()).unwrap_or(package)
}

fn found(places: &[PathBuf], variable: &str) -> Option<PathBuf> {
    if let Some(place) = places.iter().find(|place| place.is_dir()) {
        return Some(place.clone());
    }
    let text = format!("`{}` is not there; {variable} names the reference figures", places[0].display());
    // `cargo xtask test` gathers the first; the second is to be seen in a plain `cargo test` too, which hides the
    // first.
    println!("skipped: {text}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped {test}: {text}");
    None
}

/// What lies in `dir`, sorted, without hidden files.
pub fn list(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let hidden = |path: &PathBuf| path.file_name().unwrap().as_encoded_bytes().starts_with(b".");
    let mut all: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| !hidden(path)).collect();
    all.sort();
    all
}

/// The folders in `dir`, sorted; at least one.
#[allow(dead_code)] // the tests of one of the crates need none
pub fn folders(dir: &Path) -> Vec<PathBuf> {
    let all: Vec<_> = list(dir).into_iter().filter(|path| path.is_dir()).collect();
    assert!(!all.is_empty(), "{} holds no folder", dir.display());
    all
}

/// A JSON file.
pub fn json(path: &Path) -> serde_json::Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The last part of a path, as text.
pub fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("names are UTF-8")
}
