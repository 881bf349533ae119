//! User files that change between the making of a key and their copy.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sandbox::{Ran, Sandbox};

/// A full named pipe, so that writers block.
struct FullPipe {
    reader: File,
    filled: usize,
}

impl FullPipe {
    /// Replaces `path` by such a pipe.
    fn put(path: &Path) -> Self {
        let beside = path.with_extension("new");
        assert!(Command::new("mkfifo").arg(&beside).status().unwrap().success());
        let open = |options: &mut OpenOptions| options.custom_flags(libc::O_NONBLOCK).open(&beside).unwrap();
        let reader = open(OpenOptions::new().read(true));
        let mut writer = open(OpenOptions::new().write(true));
        let mut filled = 0;
        while let Ok(written) = writer.write(&[b'.'; 4096]) {
            filled += written;
        }
        fs::rename(&beside, path).unwrap();
        Self { reader, filled }
    }

    /// Returns `true` if a writer has opened the pipe.
    fn has_writer(&self) -> bool {
        let mut watched = [PollFd::new(&self.reader, PollFlags::empty())];
        poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 })).unwrap();
        !watched[0].revents().contains(PollFlags::HUP)
    }

    /// Unblocks the writers and returns what they wrote.
    fn drain(mut self) -> String {
        let mut bytes = Vec::new();
        while self.has_writer() || bytes.len() <= self.filled {
            match self.reader.read_to_end(&mut bytes) {
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                read => drop(read.unwrap()),
            }
        }
        String::from_utf8(bytes.split_off(self.filled)).unwrap()
    }
}

/// Runs `dpt` and calls `at` for each fault point that it reaches (see `src/base/fault.rs`). Meanwhile `dpt` stops at
/// its next point.
fn watched(sandbox: &Sandbox, args: &[&str], mut at: impl FnMut(&str) + Send) -> Ran {
    let path = sandbox.path().join("points");
    let mut pipe = FullPipe::put(&path);
    let mut command = sandbox.command(args);
    command.env("DPT_FAULT_LOG", &path);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                if pipe.has_writer() {
                    let full = std::mem::replace(&mut pipe, FullPipe::put(&path));
                    full.drain().lines().for_each(&mut at);
                }
            }
        });
        let ran = sandbox.ran(&mut command);
        ended.store(true, Ordering::SeqCst);
        ran
    })
}

/// Calls `change` once, between the making of the first node's key and the copy of its files.
fn changed_once(sandbox: &Sandbox, args: &[&str], change: impl FnOnce() + Send) -> Ran {
    let mut change = Some(change);
    watched(sandbox, args, |point| {
        if point == "lock.take"
            && let Some(change) = change.take()
        {
            change();
        }
    })
}

const READS: &str = r#"
schema = 1
[stage.a]
kind = "command"
run = ["sh", "s.sh", "{files.f}", "{out.x}"]
code = ["s.sh", "lib"]
files = { f = "f.txt" }
outputs = { x = "x.txt" }
"#;

fn reads() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("p.toml", READS);
    sandbox.write("s.sh", "(echo one; cat lib/* $1) > $2");
    sandbox.write("lib/a", "lib\n");
    sandbox.write("f.txt", "file\n");
    // Larger than the buffer of a copy.
    sandbox.write("lib/large", &"large\n".repeat(20_000));
    sandbox
}

fn result(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.path().join("cache/results/p/a/x.txt")).unwrap()
}

#[test]
fn file_changed_after_its_key_gives_no_result_under_that_key() {
    let large = |text: &str| text.repeat(20_000);
    let changes: [(&str, Option<String>); 6] = [
        ("s.sh", Some("(echo two; cat lib/* $1) > $2".to_owned())),
        ("lib/a", Some("LIB\n".to_owned())),
        ("lib/large", Some(large("LARGE\n"))),
        ("lib/b", Some("added\n".to_owned())),
        ("lib/a", None),
        ("f.txt", Some("FILE\n".to_owned())),
    ];
    for (name, text) in changes {
        let sandbox = reads();
        let path = sandbox.path().join(name);
        let before = fs::read(&path).ok();
        let put = |text: Option<&[u8]>| match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        };
        let ran = changed_once(&sandbox, &["run", "p.toml"], || put(text.as_deref().map(str::as_bytes))).code(0);
        assert!(ran.stderr.contains("after its key was made"), "{name}: {}", ran.stderr);
        let changed = result(&sandbox);
        put(before.as_deref());
        sandbox.dpt(&["run", "p.toml"]).code(0);
        let (old, expected) = (result(&sandbox), reads());
        expected.dpt(&["run", "p.toml"]).code(0);
        assert_eq!(old, result(&expected), "{name}");
        assert_ne!(old, changed, "{name}: the run that saw the change made the new result");
    }
}

#[test]
fn file_added_to_a_source_after_its_key_changes_the_key() {
    let sandbox = Sandbox::new();
    let text = "
schema = 1
[source.s]
url = \"file:data\"
[stage.a]
kind = \"download\"
source = \"s\"
format = \"files\"
";
    sandbox.write("p.toml", text);
    sandbox.write("data/a.txt", "a");
    let added = sandbox.path().join("data/b.txt");
    let ran = changed_once(&sandbox, &["run", "p.toml"], || fs::write(&added, "b").unwrap()).code(0);
    assert!(ran.stderr.contains("was added after the key was made"), "{}", ran.stderr);
    let files = |sandbox: &Sandbox| {
        let (_, entry) = sandbox.entry("a");
        entry["made"][0]["files"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(files(&sandbox), ["fetched.json", "files/a.txt", "files/b.txt"]);
    fs::remove_file(added).unwrap();
    let ran = sandbox.dpt(&["run", "p.toml", "--json"]).code(0);
    assert!(ran.stdout.contains("node-done"), "the first key has no result: {}", ran.stdout);
}

#[test]
fn file_that_keeps_changing_fails_its_node() {
    let sandbox = reads();
    let path = sandbox.path().join("f.txt");
    let mut number = 0;
    let ran = watched(&sandbox, &["run", "p.toml"], |point| {
        if point == "lock.take" {
            number += 1;
            fs::write(&path, format!("{number}\n")).unwrap();
        }
    });
    let ran = ran.code(1);
    assert!(ran.stderr.contains("f.txt` changed after its key was made"), "{}", ran.stderr);
    assert!(ran.stderr.contains("its key was made 6 times"), "{}", ran.stderr);
    assert_eq!(number, 6);
}
