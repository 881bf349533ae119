//! [`Build`]: identifies the sources from which `dpt` or `dpt-worker` was built. They compare it at the start, because
//! results of a worker that was built from other sources would be stored under the keys of this engine's stages.
//!
//! It has two parts. The digest of this crate's sources comes from `build.rs`: both programs link this crate. The
//! sources of the crate `dpt-torch` are compiled into both programs' `main.rs`, and hashed when a worker starts: so a
//! change there does not compile this crate again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use include_dir::Dir;
use serde::{Deserialize, Serialize};

use crate::base::diag::{Class, Diag};
use crate::base::digest::{Digest, FieldHasher};
use crate::stages::STAGES;

/// What a program was built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Of the package.
    pub version: String,
    /// Of all source files of `dpt` and `dpt-torch`, and of `Cargo.lock`.
    pub sources: Digest,
    /// Each stage kind with its version.
    pub stages: BTreeMap<String, u32>,
}

/// How this program makes its [`Build`], once `main` has said it.
static THIS: OnceLock<fn() -> Build> = OnceLock::new();

impl Build {
    /// Of a program with these sources of `dpt-torch`.
    pub fn of(torch: &Dir) -> Self {
        let mut files = Vec::new();
        gather(torch, &mut files);
        files.sort_unstable();
        let mut hasher = FieldHasher::new("dpt.build.1");
        hasher.field(env!("DPT_SOURCES").as_bytes());
        for (path, bytes) in files {
            hasher.field(path.as_bytes()).field(bytes);
        }
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sources: hasher.finish(),
            stages: STAGES.iter().map(|kind| (kind.name.to_owned(), kind.version)).collect(),
        }
    }

    /// Says how this program makes its build. Only the first call counts.
    pub fn set_this(build: fn() -> Build) {
        let _ = THIS.set(build);
    }

    /// This program's. One whose `main` has not said it (a test) counts as built without `dpt-torch`.
    pub fn this() -> Self {
        THIS.get().map_or_else(|| Self::of(&Dir::new("", &[])), |build| build())
    }

    /// Why a worker of build `other` at `program` is not used.
    pub fn refusal(&self, program: &str, other: Option<&Build>) -> Diag {
        let of = |build: Option<&Build>| build.map_or("an older one, which does not say".to_owned(), Build::to_string);
        let mut diag = Diag::error(Class::Environment, format!("`{program}` is of another build than `dpt`"))
            .note(format!("the build of `dpt` is {self}"))
            .note(format!("the build of the worker is {}", of(other)));
        let stages = other.map(|other| self.other_stages(other)).unwrap_or_default();
        if !stages.is_empty() {
            diag = diag.note(stages.join(", "));
        }
        diag.help(
            "build both from the same sources: `cargo build --release` (or `cargo build`) makes both; \
             unset `DPT_WORKER` if it names an old one",
        )
    }

    fn other_stages(&self, other: &Build) -> Vec<String> {
        let names = self.stages.keys().chain(other.stages.keys());
        let names: std::collections::BTreeSet<_> = names.collect();
        let version = |build: &Build, name| build.stages.get(name).map_or("none".to_owned(), u32::to_string);
        let differs = names.into_iter().filter_map(|name| {
            let (ours, theirs) = (version(self, name), version(other, name));
            (ours != theirs).then(|| format!("stage `{name}` is version {ours} here and {theirs} there"))
        });
        differs.collect()
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, sources {}", self.version, self.sources)
    }
}

/// Adds the files below `dir` with their paths, without hidden ones, which editors make.
fn gather<'d>(dir: &'d Dir, files: &mut Vec<(String, &'d [u8])>) {
    for file in dir.files() {
        let path = file.path().to_string_lossy().into_owned();
        if !path.split('/').any(|part| part.starts_with('.')) {
            files.push((path, file.contents()));
        }
    }
    dir.dirs().for_each(|dir| gather(dir, files));
}

#[cfg(test)]
mod tests {
    use include_dir::{DirEntry, File};

    use super::*;

    #[test]
    fn changed_or_renamed_source_gives_another_build() {
        const ONE: &[DirEntry] = &[DirEntry::File(File::new("main.rs", b"a"))];
        const TEXT: &[DirEntry] = &[DirEntry::File(File::new("main.rs", b"b"))];
        const NAME: &[DirEntry] = &[DirEntry::File(File::new("mine.rs", b"a"))];
        const MOVED: &[DirEntry] = &[DirEntry::File(File::new("learn/main.rs", b"a"))];
        const BELOW: &[DirEntry] = &[DirEntry::Dir(Dir::new("learn", MOVED))];
        const HIDDEN: &[DirEntry] =
            &[DirEntry::File(File::new("main.rs", b"a")), DirEntry::File(File::new(".main.rs.swp", b"x"))];
        let of = |entries: &'static [DirEntry<'static>]| Build::of(&Dir::new("", entries));
        assert_eq!(of(ONE), of(ONE));
        assert_eq!(of(ONE), of(HIDDEN), "an editor's file is no source");
        for other in [TEXT, NAME, BELOW, &[]] {
            assert_ne!(of(ONE).sources, of(other).sources);
        }
    }

    #[test]
    fn refusal_says_both_builds_and_the_stages_that_differ() {
        let this = Build::this();
        let mut other = Build { version: "0.0.9".into(), sources: Digest::of(b"other"), ..this.clone() };
        other.stages.insert("train".into(), 1);
        let diag = this.refusal("/opt/dpt-worker", Some(&other));
        assert_eq!(diag.class, Class::Environment);
        assert_eq!(diag.message, "`/opt/dpt-worker` is of another build than `dpt`");
        assert_eq!(diag.notes[0], format!("the build of `dpt` is {this}"));
        assert_eq!(diag.notes[1], format!("the build of the worker is 0.0.9, sources {}", Digest::of(b"other")));
        let train = this.stages["train"];
        assert_eq!(diag.notes[2], format!("stage `train` is version {train} here and 1 there"));
        assert!(diag.help.unwrap().contains("cargo build --release"));
    }
}
