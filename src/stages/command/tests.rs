//! Tests of commands without an engine: settings, identity, and whole runs in a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::*;
use crate::artifact::Counted;
use crate::base::diag::Class;
use crate::base::digest::{Digest, of_folder};
use crate::stages::ctx::{Cancel, Ctx, Input, Job, Outcome};

fn text(s: &str) -> Value {
    Value::Str(s.to_owned())
}

fn texts(items: &[&str]) -> Value {
    Value::List(items.iter().map(|s| text(s)).collect())
}

fn table(items: &[(&str, Value)]) -> Value {
    Value::Table(items.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
}

/// Returns the parameters of a command with one output `o`, which is `o.txt`.
fn params(items: &[(&str, Value)]) -> Params {
    let mut params = Params::from([
        ("outputs".to_owned(), table(&[("o", text("o.txt"))])),
        ("shell".to_owned(), Value::Bool(false)),
    ]);
    params.extend(items.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
    params
}

fn shell(script: &str) -> Params {
    params(&[("run", text(script)), ("shell", Value::Bool(true))])
}

fn wrong(items: &[(&str, Value)]) -> String {
    let run = [("run", texts(&["x"]))];
    let all: Vec<_> = run.iter().chain(items).cloned().collect();
    let diag = check(&params(&all)).unwrap_err();
    assert_eq!(diag.class, Class::Usage);
    diag.message
}

/// A command in a folder of its own: what the engine would give it.
struct Bench(crate::testing::Bench);

impl std::ops::Deref for Bench {
    type Target = crate::testing::Bench;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Bench {
    fn new(params: Params) -> Self {
        let mut bench = crate::testing::Bench::new("command", "figure[seed=1]");
        bench.job.params = params;
        bench.job.threads = 3;
        Self(bench)
    }

    /// One producer in `role`, with these files.
    fn input(&mut self, role: &str, axes: &[(&str, &str)], files: &[(&str, &str)]) {
        use std::os::unix::fs::PermissionsExt;
        let number = self.job.inputs.values().map(Vec::len).sum::<usize>();
        let path = |name: &str, text: &str| {
            let path = self.file(&format!("store/{number}/{name}"), text);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
            (name.to_owned(), path)
        };
        let files = files.iter().map(|(name, text)| path(name, text)).collect();
        let axes = axes.iter().map(|(a, v)| ((*a).to_owned(), (*v).to_owned())).collect();
        let input = Input {
            node: "n".into(),
            axes,
            key: Digest::of(b"k"),
            files,
            digests: Default::default(),
            executable: Default::default(),
        };
        self.add_input(role, input);
    }

    fn run_until(&self, cancel: &Cancel) -> Result<Outcome, Diag> {
        let job = Job { sources: self.counted(), ..self.job.clone() };
        super::run::run(&Ctx { job: &job, progress: &self.recorder, cancel })
    }

    /// Returns what the engine counts for the key.
    fn counted(&self) -> BTreeMap<PathBuf, Counted> {
        let outside = Outside { base: self.job.base.clone(), ..Outside::default() };
        let files = identity(&self.job.params, &outside).map(|identity| identity.files).unwrap_or_default();
        let counted = |path: &Path| Counted { digest: digest(path), signature: None, sha256: None };
        files.into_iter().map(|(_, path)| (path.clone(), counted(&path))).collect()
    }

    fn run(&self) -> Result<Outcome, Diag> {
        self.run_until(&Cancel::new())
    }

    fn out(&self, name: &str) -> String {
        std::fs::read_to_string(self.job.out.join(name)).unwrap()
    }
}

/// Returns the digest of a file or folder.
fn digest(path: &Path) -> Digest {
    if path.is_file() {
        return Digest::of(&std::fs::read(path).unwrap());
    }
    let mut files = BTreeMap::new();
    let mut open = vec![path.to_owned()];
    while let Some(dir) = open.pop() {
        for item in std::fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()) {
            if item.is_dir() {
                open.push(item);
            } else {
                let name = item.strip_prefix(path).unwrap().to_str().unwrap().to_owned();
                files.insert(name, Digest::of(&std::fs::read(item).unwrap()));
            }
        }
    }
    of_folder(files.iter().map(|(name, digest)| (name.as_str(), *digest)))
}

#[test]
fn a_program_gets_its_arguments_without_a_shell() {
    let run = texts(&["printf", "%s|", "a b", "$HOME", "{param.lr}", "{{x}}", "{in.d/*.txt}", "{out.o}", "{params}"]);
    let mut bench = Bench::new(params(&[("run", run), ("params", table(&[("lr", Value::Float(0.3))]))]));
    bench.input("d", &[], &[("b.txt", ""), ("a.txt", ""), ("c.json", "")]);
    let error = bench.run().unwrap_err();
    assert!(error.message.contains("did not make its output `o`, `o.txt`"), "{error}");
    let printed = "a b|$HOME|0.3|{x}|in/d/a.txt|in/d/b.txt|out/o.txt|params.json|";
    assert!(error.notes.iter().any(|note| note.ends_with(printed)), "{error}");
}

#[test]
fn declared_outputs_are_kept_and_others_noted() {
    // The folder of an output is there before the program starts.
    let script = "cat \"$DPT_IN_D/a.txt\" > \"$DPT_OUT_O\"; echo 1 > $DPT_OUT_P/x; echo 2 > out/stray";
    let mut bench = Bench::new(shell(script));
    bench.job.params.insert("outputs".into(), table(&[("o", text("o.txt")), ("p", text("p/"))]));
    bench.input("d", &[], &[("a.txt", "hello")]);
    let outcome = bench.run().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((bench.out("o.txt").as_str(), bench.out("p/x").as_str()), ("hello", "1\n"));
    assert_eq!(outcome.notes, ["not kept, since `outputs` does not name it: `stray`"]);
    assert!(!bench.job.out.join("stray").exists());
    assert_eq!(std::fs::read_dir(&bench.job.scratch).unwrap().count(), 0, "the working folder is gone");
}

#[test]
fn missing_output_error_lists_the_files_made() {
    let bench = Bench::new(shell("echo > out/O.txt; echo > out/other; echo said"));
    let error = bench.run().unwrap_err();
    assert_eq!(error.message, "the program succeeded, but did not make its output `o`, `o.txt`");
    assert_eq!(error.notes[0], "it made `O.txt`, `other`");
    assert_eq!(error.notes[1], "its last lines:\nsaid");
    assert!(error.lasting, "trying again cannot help");
}

#[test]
fn environment_has_only_declared_variables() {
    let bench =
        Bench::new(shell("env | cut -d= -f1 | sort | tr '\\n' ' ' > $DPT_OUT_O; touch \"$HOME/x\" \"$TMPDIR/x\""));
    bench.run().unwrap_or_else(|e| panic!("{e}"));
    let all = bench.out("o.txt");
    let names: Vec<_> =
        all.lines().next().unwrap().split_whitespace().filter(|n| !matches!(*n, "_" | "SHLVL" | "OLDPWD")).collect();
    let expected = [
        "CUDA_VISIBLE_DEVICES",
        "DPT_OUT_O",
        "DPT_PARAMS",
        "HOME",
        "LC_ALL",
        "OMP_NUM_THREADS",
        "PATH",
        "PWD",
        "TMPDIR",
    ];
    assert_eq!(names, expected, "and USER, LANG, CARGO and the others are not there");
}

#[test]
fn next_program_gets_another_path_and_no_leftovers() {
    let mut bench = Bench::new(shell(
        "pwd; find . ../home ../tmp | sort; for f in x out/y $HOME/z $TMPDIR/w; do echo > $f; done; echo > $DPT_OUT_O",
    ));
    bench.input("d", &[], &[("a.txt", "hello")]);
    let mut logs = Vec::new();
    for _ in 0..2 {
        bench.run().unwrap_or_else(|e| panic!("{e}"));
        logs.push(bench.out(LOG));
        assert_eq!(std::fs::read_dir(&bench.job.reuse).unwrap().count(), 1);
    }
    let [one, two] = [0, 1].map(|n| logs[n].split_once('\n').unwrap());
    assert_ne!(one.0, two.0);
    assert_eq!(one.1, two.1);
    assert_eq!(one.1, ".\n../home\n../tmp\n./in\n./in/d\n./in/d.json\n./in/d/a.txt\n./out\n./params.json\n");
}

#[test]
fn a_gather_is_numbered_folders_and_a_manifest() {
    let mut bench = Bench::new(shell("cat in/runs.json > $DPT_OUT_O; cat $DPT_IN_RUNS/*/e.txt"));
    bench.input("runs", &[("seed", "1"), ("task", "a/b")], &[("e.txt", "one ")]);
    bench.input("runs", &[("seed", "2"), ("task", "a/b")], &[("e.txt", "two")]);
    bench.run().unwrap_or_else(|e| panic!("{e}"));
    let manifest: serde_json::Value = serde_json::from_str(&bench.out("o.txt")).unwrap();
    let expected = serde_json::json!([
        { "axes": { "seed": "1", "task": "a/b" }, "folder": "in/runs/000", "files": ["e.txt"] },
        { "axes": { "seed": "2", "task": "a/b" }, "folder": "in/runs/001", "files": ["e.txt"] },
    ]);
    assert_eq!(manifest, expected);
    assert_eq!(bench.out(LOG), "one two");
}

#[test]
fn a_program_that_overwrites_its_input_changes_a_copy() {
    let script = "chmod -R u+w in; echo changed > in/d/a.txt; rm in/d/b.txt; echo > $DPT_OUT_O";
    let mut bench = Bench::new(shell(script));
    bench.input("d", &[], &[("a.txt", "kept"), ("b.txt", "kept")]);
    bench.run().unwrap_or_else(|e| panic!("{e}"));
    for path in bench.job.inputs["d"][0].files.values() {
        assert_eq!(std::fs::read_to_string(path).unwrap(), "kept");
        assert!(std::fs::metadata(path).unwrap().permissions().readonly());
    }
}

#[test]
fn code_is_copied_to_its_path_also_above_the_pipeline() {
    let run = texts(&["sh", "../tools/make.sh", "{files.style}", "{out.o}"]);
    let mut bench = Bench::new(params(&[
        ("run", run),
        ("code", texts(&["../tools/make.sh", "lib", "./lib2/x.txt"])),
        ("files", table(&[("style", text("deep/in/style.css"))])),
    ]));
    bench.job.base = bench.dir.path().join("base/pipelines");
    bench.file("base/tools/make.sh", "cat \"$1\" lib/one lib/sub/two lib2/x.txt > \"$2\"; echo \"$1\"");
    bench.file("base/pipelines/lib/one", "1");
    bench.file("base/pipelines/lib/sub/two", "2");
    bench.file("base/pipelines/lib2/x.txt", "3");
    bench.file("base/pipelines/deep/in/style.css", "css");
    bench.run().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(bench.out("o.txt"), "css123");
    assert_eq!(bench.out(LOG), "files/style/style.css\n");
}

#[test]
fn failure_shows_status_or_signal_and_end_of_log() {
    let bench = Bench::new(shell(
        "for i in $(seq 30); do echo line $i; done; printf '\\033[31mred\\033[0m \\007\\n' >&2; exit 3",
    ));
    let error = bench.run().unwrap_err();
    assert_eq!((error.class, error.lasting), (Class::Stage, false));
    assert_eq!(error.message, "`figure[seed=1]` ended with exit status 3");
    let tail = &error.notes[1];
    assert!(tail.starts_with("its last lines:\nline 12\n") && tail.contains("line 30\nred"), "{tail}");
    assert!(error.notes[2].contains("scratch/command.log"), "{error}");
    let killed = Bench::new(shell("kill -9 $$")).run().unwrap_err();
    assert_eq!(killed.message, "`figure[seed=1]` was killed by signal 9 (SIGKILL)");
    assert!(killed.notes.contains(&"it printed nothing".to_owned()), "{killed}");
}

#[test]
fn both_streams_are_one_log_in_order() {
    let bench = Bench::new(shell("echo a; echo b >&2; echo c; cat; echo > $DPT_OUT_O"));
    bench.run().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(bench.out(LOG), "a\nb\nc\n", "and stdin is empty");
}

#[test]
fn long_log_is_cut_in_the_middle_with_a_note() {
    let bench = Bench::new(shell(
        "echo first; yes 0123456789012345678901234567890 | head -c 20000000; echo last; echo > $DPT_OUT_O",
    ));
    bench.run().unwrap_or_else(|e| panic!("{e}"));
    let log = bench.out(LOG);
    assert!(log.len() < 9 << 20, "{}", log.len());
    assert!(log.starts_with("first\n") && log.ends_with("last\n"));
    let told = log.split("[dpt: ").nth(1).unwrap();
    let left_out: usize = told.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(left_out + (8 << 20), 20_000_011);
}

#[test]
fn missing_program_is_an_environment_error() {
    let error = Bench::new(params(&[("run", texts(&["no-such-program-here"]))])).run().unwrap_err();
    assert_eq!((error.class, error.lasting), (Class::Environment, true));
    assert_eq!(error.message, "cannot start `no-such-program-here`: there is no such program");
}

#[test]
fn an_undeclared_script_is_hinted_at() {
    let bench = Bench::new(params(&[("run", texts(&["cat", "scripts/plot.py"]))]));
    bench.file("base/scripts/plot.py", "");
    let error = bench.run().unwrap_err();
    assert!(error.help.unwrap().contains("code = [\"scripts/plot.py\"]"));
}

/// Returns what is alive of a process group that wrote its number to `file`.
fn gone(file: &Path) -> bool {
    let pid: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while rustix::process::test_kill_process(rustix::process::Pid::from_raw(pid).unwrap()).is_ok() {
        // A zombie of a grandchild that nobody waits for is as good as gone.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.contains(") Z ") {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

#[test]
fn cancel_ends_the_program_and_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let child = dir.path().join("child");
    let told = dir.path().join("told");
    let script = format!(
        "trap 'echo ended > {}; exit 0' TERM; sleep 1000 & echo $! > {}; wait",
        told.display(),
        child.display()
    );
    let bench = Bench::new(shell(&script));
    let cancel = Cancel::new();
    let ended = Mutex::new(None);
    std::thread::scope(|scope| {
        scope.spawn(|| *ended.lock().unwrap() = Some(bench.run_until(&cancel)));
        while std::fs::read_to_string(&child).unwrap_or_default().trim().is_empty() {
            std::thread::sleep(Duration::from_millis(2));
        }
        cancel.ask();
    });
    let error = ended.into_inner().unwrap().unwrap().unwrap_err();
    assert_eq!(error.class, Class::Interrupted);
    assert_eq!(std::fs::read_to_string(&told).unwrap(), "ended\n", "it was asked before it was killed");
    assert!(gone(&child));
}

#[test]
fn background_processes_end_with_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let child = dir.path().join("child");
    let bench = Bench::new(shell(&format!("sleep 1000 & echo $! > {}; echo > $DPT_OUT_O", child.display())));
    let started = Instant::now();
    bench.run().unwrap_or_else(|e| panic!("{e}"));
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(gone(&child));
}

#[test]
fn metrics_file_becomes_figures() {
    let mut bench = Bench::new(shell("echo '{\"rows\": 3, \"note\": \"x\", \"mean\": 0.5}' > $DPT_OUT_METRICS"));
    bench.job.params.insert("outputs".into(), table(&[("metrics", text("m.json"))]));
    let outcome = bench.run().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(outcome.metrics, [("mean".to_owned(), 0.5), ("rows".to_owned(), 3.0)].into());
}

#[test]
fn outputs_that_are_links_or_leave_the_folder_are_refused() {
    let bench = Bench::new(shell("ln -s /etc/passwd $DPT_OUT_O"));
    assert_eq!(bench.run().unwrap_err().message, "output `o.txt` is not a plain file");
    let mut bench = Bench::new(shell("printf x > \"$DPT_OUT_P/a$(printf '\\033')b\""));
    bench.job.params.insert("outputs".into(), table(&[("p", text("p/"))]));
    assert_eq!(bench.run().unwrap_err().message, "output `p/a\\u{1b}b` has a name that cannot be kept");
    for bad in ["../x", "/x", "a/../b", "", "a\0b", "a\nb", "c:\\x", "./x", &"x".repeat(300)] {
        assert!(wrong(&[("outputs", table(&[("o", text(bad))]))]).contains("not a plain relative path"), "{bad}");
    }
    assert!(wrong(&[("outputs", table(&[("o", text(LOG))]))]).contains("a reserved name"));
    assert!(wrong(&[("outputs", table(&[("o", text("*.png"))]))]).contains("a pattern is no path"));
    let clash = |a: &str, b: &str| wrong(&[("outputs", table(&[("a", text(a)), ("b", text(b))]))]);
    assert!(clash("Fig.png", "fig.png").contains("conflicts with"));
    assert!(clash("p/", "p/x").contains("conflicts with"));
    assert_eq!(wrong(&[("outputs", table(&[]))]), "`outputs` is empty");
}

#[test]
fn contradictory_settings_are_refused() {
    assert_eq!(wrong(&[("run", text("ls | wc"))]), "`run` is one text, but `shell` is not set");
    assert_eq!(wrong(&[("run", texts(&[]))]), "`run` names no program");
    assert_eq!(wrong(&[("shell", Value::Bool(true))]), "`run` is a list, but `shell = true` needs one text");
    assert_eq!(wrong(&[("run", texts(&["x", "{out.png}"]))]), "`run` names `{out.png}`, but `outputs` has no `png`");
    assert_eq!(wrong(&[("run", texts(&["x", "{param.lr}"]))]), "`run` names `{param.lr}`, but `params` has no `lr`");
    assert_eq!(wrong(&[("run", texts(&["x", "{files.f}"]))]), "`run` names `{files.f}`, but `files` has no `f`");
    assert!(wrong(&[("run", texts(&["x", "{oops}"]))]).contains("`{oops}` is not a reference"));
    assert_eq!(wrong(&[("run", texts(&["scripts/x.sh"]))]), "`run` starts `scripts/x.sh`, which `code` does not name");
    assert!(check(&params(&[("run", texts(&["scripts/x.sh"])), ("code", texts(&["scripts"]))])).is_ok());
    for bad in ["/abs", "..", "", ".", "a/../..", "a\nb"] {
        assert!(wrong(&[("code", texts(&[bad]))]).contains("not a plain relative path"), "{bad}");
    }
    assert!(wrong(&[("code", texts(&["in/x.py"]))]).contains("`in` is reserved"));
    assert_eq!(wrong(&[("env", texts(&["A=b"]))]), "`env` names `A=b`, which cannot be the name of a variable");
    assert_eq!(wrong(&[("env", texts(&["HF_TOKEN"]))]), "`env` names `HF_TOKEN`, whose value looks like a secret");
    assert_eq!(wrong(&[("env", texts(&["A"])), ("secrets", texts(&["A"]))]), "`A` is in `env` and in `secrets`");
    assert!(wrong(&[("env", texts(&["HOME"]))]).contains("`dpt` itself sets"));
    assert!(
        wrong(&[("params", table(&[("a-b", Value::Int(1)), ("a_b", Value::Int(1))]))]).contains("the same variable")
    );
    let list = [("run", texts(&["x", "{param.l}"])), ("params", table(&[("l", texts(&["a"]))]))];
    assert_eq!(wrong(&list), "`run` names `{param.l}`, which is not a single value");
}

#[test]
fn shell_text_is_never_filled_in() {
    let diag = check(&shell("plot {in.d/x} > y")).unwrap_err();
    assert_eq!(diag.message, "`{in.d/x}` is not filled into a text for the shell");
    assert!(diag.help.unwrap().starts_with("write `\"$DPT_IN_D/x\"`"));
    check(&shell("awk '{print $1}' a${X} {a,b}")).unwrap();
    let mut evil = shell("printf %s \"$DPT_PARAM_X\" > $DPT_OUT_O");
    evil.insert("params".into(), table(&[("x", text("'; touch pwned; $(touch pwned) `touch pwned`"))]));
    let bench = Bench::new(evil);
    bench.run().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(bench.out("o.txt"), "'; touch pwned; $(touch pwned) `touch pwned`");
}

#[test]
fn a_role_reads_the_files_to_which_run_refers() {
    let of = |run: &[&str]| params(&[("run", texts(run))]);
    assert_eq!(files_read(&of(&["x", "{in.r/a.json}"]), "r"), ["a.json"]);
    assert_eq!(files_read(&of(&["x", "{in.r}"]), "r"), ["*"]);
    assert_eq!(files_read(&shell("x"), "r"), ["*"]);
    assert_eq!(roles_referred(&of(&["{in.b}", "{in.a/x}", "{in.a.manifest}"])), ["a", "b"]);
}
