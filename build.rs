//! Tells the crate what it is built from: the digest of its own sources and of the versions that it is built with, as
//! `DPT_SOURCES`. Runs again only when one of them has changed, and then the crate is compiled anyway.
#![allow(clippy::disallowed_methods, reason = "a build script is built before the library")]

use std::path::{Path, PathBuf};

fn main() {
    let mut paths = vec![PathBuf::from("Cargo.toml"), PathBuf::from("Cargo.lock"), PathBuf::from("src")];
    // Cargo runs this at each build if a path is missing.
    paths.retain(|path| path.exists());
    println!("cargo::rerun-if-changed=build.rs");
    for path in &paths {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let mut files = Vec::new();
    paths.iter().for_each(|path| gather(path, &mut files));
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        for field in [file.to_string_lossy().as_bytes(), &bytes] {
            hasher.update(&(field.len() as u64).to_le_bytes()).update(field);
        }
    }
    println!("cargo::rustc-env=DPT_SOURCES={}", hasher.finalize().to_hex());
}

/// Adds the files at or below `path`, without hidden ones, which editors make.
fn gather(path: &Path, files: &mut Vec<PathBuf>) {
    if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
        return;
    }
    if !path.is_dir() {
        return files.push(path.to_owned());
    }
    for entry in std::fs::read_dir(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display())) {
        gather(&entry.expect("an entry of a folder").path(), files);
    }
}
