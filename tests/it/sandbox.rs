//! [`Sandbox`]: a folder of its own, a cleared environment, and the built `dpt`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A temporary folder in which `dpt` runs. Removed at the end.
pub struct Sandbox {
    dir: tempfile::TempDir,
}

/// What a run of `dpt` left. In both texts the sandbox's folder is `<DIR>` and times are `<TIME>`.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; -1 for a signal.
    pub code: i32,
    /// Results.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl Sandbox {
    /// An empty one.
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    /// An empty one in memory, where the machine has a place for that: for tests that sync often and do not ask how well.
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

    /// `dpt` with these words, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dpt"));
        command.args(args).current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", "/usr/bin:/bin").env("HOME", self.path());
        command
    }

    /// Runs `dpt` with these words.
    pub fn dpt(&self, args: &[&str]) -> Ran {
        self.ran(&mut self.command(args))
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
    /// Panics with all that was printed, unless the exit code is this.
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
fn times_are_redacted_and_other_numbers_are_not() {
    assert_eq!(times("4 nodes in 3m 05s, 0.4 s, 12 ms; 7 MB"), "4 nodes in <TIME>, <TIME>, <TIME>; 7 MB");
}
