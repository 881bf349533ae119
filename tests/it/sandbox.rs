//! [`Sandbox`]: a temporary folder, a clean environment, and the built `dpt`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A temporary folder in which `dpt` runs. Removed at the end.
pub struct Sandbox {
    dir: tempfile::TempDir,
}

/// The outcome of a command. In both texts the sandbox's folder is `<DIR>` and times are `<TIME>`.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Sandbox {
    /// Makes an empty sandbox.
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Makes an empty sandbox in memory if possible, for tests that sync often and do not test syncing.
    pub fn in_memory() -> Self {
        match tempfile::tempdir_in("/dev/shm") {
            Ok(dir) => Self { dir },
            Err(_) => Self::new(),
        }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file and the folders above it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("below the sandbox")).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Returns the command `dpt` with these arguments, not started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dpt"));
        command.args(args).current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", "/usr/bin:/bin").env("HOME", self.path());
        command
    }

    /// Runs `dpt` with these arguments.
    pub fn dpt(&self, args: &[&str]) -> Ran {
        self.ran(&mut self.command(args))
    }

    /// Returns path and content of the first manifest of a node in `cache/`.
    pub fn entry(&self, node: &str) -> (PathBuf, serde_json::Value) {
        let entries = fs::read_dir(self.path().join("cache/v1/entries")).unwrap();
        let files = entries.flat_map(|dir| fs::read_dir(dir.unwrap().path()).unwrap()).map(|file| file.unwrap().path());
        let mut found: Vec<_> = files
            .map(|path| (path.clone(), serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()))
            .filter(|(_, entry): &(PathBuf, serde_json::Value)| entry["made"][0]["node"] == node)
            .collect();
        found.sort_by_key(|(path, _)| path.clone());
        found.into_iter().next().unwrap_or_else(|| panic!("no entry of {node}"))
    }

    /// Replaces one file of a node's result in `cache/` by this text, with valid digests. Returns the key.
    pub fn forge(&self, pipeline: &str, node: &str, file: &str, text: &str) -> String {
        use dpt::cache::{Claim, CommitInfo, Entry, Store};
        let (path, entry) = self.entry(node);
        let key: dpt::cache::CacheKey = serde_json::from_value(entry["key"].clone()).unwrap();
        let entry = Entry::read(&path, key).unwrap().unwrap().unwrap();
        let store = Store::open(&Store::folder_for(&self.path().join(pipeline))).unwrap();
        let Ok(Claim::Miss(miss)) = store.claim(key, &|_| true, true) else { panic!("{node} cannot be claimed") };
        let made = entry.made[0].clone();
        for (name, record) in &made.files {
            let to = miss.out().join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(store.object(&record.bytes), &to).unwrap();
        }
        let forged = miss.out().join(file);
        fs::remove_file(&forged).unwrap();
        fs::write(&forged, text).unwrap();
        let (metrics, numerics) = (made.metrics, made.numerics);
        let work = CommitInfo {
            node: made.node,
            run: made.run,
            seconds: made.seconds,
            metrics,
            numerics,
            ..CommitInfo::default()
        };
        miss.commit(&entry.recipe, work).unwrap();
        store.flush().unwrap();
        key.hex()
    }

    /// Runs a command of [`Sandbox::command`].
    pub fn ran(&self, command: &mut Command) -> Ran {
        let output = command.output().expect("dpt starts");
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: self.redact(&output.stdout),
            stderr: self.redact(&output.stderr),
        }
    }

    fn redact(&self, text: &[u8]) -> String {
        let text = String::from_utf8(text.to_vec()).expect("text");
        let dir = self.path().display().to_string();
        let real = self.path().canonicalize().map(|path| path.display().to_string()).unwrap_or_else(|_| dir.clone());
        times(&text.replace(&real, "<DIR>").replace(&dir, "<DIR>"))
    }
}

impl Ran {
    /// Panics with the output unless this is the exit code.
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, expected, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// Replaces `0.4 s`, `12 ms`, `3m 05s` by `<TIME>`.
fn times(text: &str) -> String {
    let time = regex::Regex::new(r"\b(\d+h \d\dm|\d+m \d\ds|\d+(\.\d+)? m?s)\b").expect("a regex");
    time.replace_all(text, "<TIME>").into_owned()
}

#[test]
fn only_times_are_redacted() {
    assert_eq!(times("4 nodes in 3m 05s, 0.4 s, 12 ms; 7 MB"), "4 nodes in <TIME>, <TIME>, <TIME>; 7 MB");
}
