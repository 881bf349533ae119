//! [`Bench`]: the folder that is disturbed, with pipelines, their input files in several versions, and what each
//! version must give.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Context, Failed, Result};

/// How many versions of the input files there are.
pub const VERSIONS: u32 = 3;
/// No `dpt` here needs as long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Commands and downloads in a fan: 6 inputs, a stage that is synced (it takes longer than 0.1 s) and stages that are
/// not, a folder of many files, a gather.
const FAN: &str = r#"
schema = 1
[pipeline]
targets = ["sum", "many"]
[axes]
n = ["0", "1", "2", "3", "4", "5"]
[source.here]
url = "file:data"
[stage.fetch]
kind = "download"
axes = ["n"]
source = "here"
format = "files"
file = ["{n}.txt"]
[stage.upper]
kind = "command"
axes = ["n"]
needs = { raw = "fetch" }
run = ["sh", "scripts/upper.sh", "{in.raw/files/*}", "{out.text}", "{param.extra}"]
code = ["scripts"]
params = { extra = "EXTRA" }
outputs = { text = "text.txt" }
[[stage.upper.by]]
n = "3"
params = { extra = "slow" }
[stage.many]
kind = "command"
run = ["sh", "-c", "sleep 0.12; for i in $(seq 60); do echo \"$i {param.extra}\" > {out.rows}/$i.txt; done"]
params = { extra = "EXTRA" }
outputs = { rows = "rows/" }
[stage.sum]
kind = "command"
needs = { parts = "upper[*]" }
run = ["sh", "-c", "cat \"$@\" > {out.all}; wc -c < {out.all} | sed 's/.*/{{\"bytes\": &}}/' > {out.metrics}", "sum", "{in.parts/text.txt}"]
outputs = { all = "all.txt", metrics = "metrics.json" }
"#;

/// Training with checkpoints, on random weights.
const TRAIN: &str = r#"
schema = 1
[pipeline]
targets = ["train", "pretrain"]
[stage.rows]
kind = "generate"
tasks = ["rte"]
train_rows = 32
val_rows = 8
test_rows = 0
pretrain_rows = 64
[stage.model]
kind = "random-model"
needs = { tokenizer = "rows" }
vocab_size = 2048
[stage.pick]
kind = "command"
needs = { rows = "rows" }
run = ["cp", "{in.rows/RTE/train.jsonl}", "{out.train}"]
outputs = { train = "train.jsonl" }
[stage.tokenize]
needs = { data = "pick", tokenizer = "rows" }
task = "rte"
max_source_length = 48
[stage.train]
method = "dpt"
needs = { data = "tokenize", model = "model" }
virtual_tokens = 4
rank = 2
steps = 200
batch_size = 2
checkpoint_every = 5
select_on = "none"
resources = { cpu = 1 }
[stage.pretrain]
needs = { data = "rows" }
d_model = 16
d_kv = 8
d_ff = 16
num_heads = 2
num_layers = 1
steps = 100
batch_size = 4
warmup_steps = 10
checkpoint_every = 5
resources = { cpu = 1 }
"#;

/// File names below `results/`, and bytes.
type Files = BTreeMap<String, Vec<u8>>;

/// The folder.
pub struct Bench {
    dir: tempfile::TempDir,
    dpt: PathBuf,
    /// Pipelines by file name.
    pub pipelines: Vec<&'static str>,
    /// The version that the input files have now.
    pub version: u32,
    /// The results of each version of each pipeline.
    expected: BTreeMap<(u32, &'static str), Files>,
    /// How many processes were started.
    pub started: usize,
}

/// How a process ended.
pub struct Ended {
    /// The exit code, or the number of the signal.
    pub code: std::result::Result<i32, i32>,
    /// Standard output and error.
    pub text: String,
    args: String,
}

impl Ended {
    /// Fails unless it ended with one of `codes`.
    pub fn code(self, codes: &[i32]) -> Result<Self> {
        match self.code {
            Ok(code) if codes.contains(&code) => Ok(self),
            _ => Err(Failed(format!("`dpt {}` ended with {:?}, not {codes:?}:\n{}", self.args, self.code, self.text))),
        }
    }

    /// The journal that it names as unreadable.
    pub fn unreadable_journal(&self) -> Option<String> {
        let (_, rest) = self.text.split_once("the journal `")?;
        let (path, rest) = rest.split_once('`')?;
        rest.starts_with(" cannot be read").then(|| path.to_owned())
    }

    /// Fails if it shows a bug: a panic, or a signal that nobody sent.
    pub fn no_bug(self) -> Result<Self> {
        match self.code {
            Ok(70 | 101) => {}
            Ok(_) | Err(KILL) => return Ok(self),
            Err(_) => {}
        }
        Err(Failed(format!("`dpt {}` crashed with {:?}:\n{}", self.args, self.code, self.text)))
    }
}

const KILL: i32 = 9;

impl Bench {
    /// Makes the folder, and runs every version of every pipeline once in a store of its own.
    pub fn new(dpt: &Path, train: bool) -> Result<Self> {
        if !dpt.is_file() {
            return Err(Failed(format!("there is no program at `{}`", dpt.display())));
        }
        let dir = tempfile::Builder::new().prefix("dpt-torture-").tempdir()?;
        let mut pipelines = vec!["a.toml", "b.toml"];
        fs::write(dir.path().join("a.toml"), FAN.replace("EXTRA", "one"))?;
        // Shares `fetch` and the `by` row of `upper` with the first.
        fs::write(dir.path().join("b.toml"), FAN.replace("EXTRA", "two"))?;
        if train {
            pipelines.push("train.toml");
            fs::write(dir.path().join("train.toml"), TRAIN)?;
        }
        let mut bench = Self { dir, dpt: dpt.to_owned(), pipelines, version: 0, expected: BTreeMap::new(), started: 0 };
        for version in 0..VERSIONS {
            bench.write_version(version)?;
            for pipeline in bench.pipelines.clone() {
                let cache = format!("expected-{version}");
                bench.dpt(&["run", pipeline, "--cache", &cache])?.code(&[0])?;
                let files = bench.results(&cache, pipeline)?;
                bench.expected.insert((version, pipeline), files);
            }
        }
        bench.write_version(0)?;
        Ok(bench)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The store that is disturbed.
    pub fn store(&self) -> PathBuf {
        self.path().join("cache/v1")
    }

    /// Leaves the folder where it is, for a person to look at.
    pub fn keep(&mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.path().to_owned()
    }

    /// Brings the input files to a version, each written beside and renamed as editors do.
    pub fn write_version(&mut self, version: u32) -> Result {
        self.version = version;
        let write = |name: &str, text: String| -> Result {
            let path = self.path().join(name);
            fs::create_dir_all(path.parent().expect("below the bench"))?;
            let beside = self.path().join(".beside");
            fs::write(&beside, text)?;
            Ok(fs::rename(beside, path)?)
        };
        for n in 0..6 {
            // Two files are the same in all versions.
            let version = if n < 2 { 0 } else { version };
            write(&format!("data/{n}.txt"), format!("text {n} of version {version}\n").repeat(3))?;
        }
        let script = format!(
            "# version {version}\nif [ \"$3\" = slow ]; then sleep 0.12; fi\n(echo \"$3 {version}\"; tr a-z A-Z < \"$1\") > \"$2\"\n"
        );
        write("scripts/upper.sh", script)
    }

    /// `dpt` with these words, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.dpt);
        command.args(args).current_dir(self.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        for variable in ["DPT_CACHE", "DPT_SHARED_STORE", "DPT_FAULT", "DPT_WORKER"] {
            command.env_remove(variable);
        }
        command
    }

    /// Starts it.
    pub fn start(&mut self, command: &mut Command) -> Result<Started> {
        self.started += 1;
        let log = self.path().join(format!("log-{}", self.started % 16));
        let file = fs::File::create(&log)?;
        command.stdout(file.try_clone()?).stderr(file);
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let child = command.spawn().context(|| "cannot start `dpt`".to_owned())?;
        Ok(Started { child, args: args.join(" "), log })
    }

    /// Runs `dpt` with these words to its end.
    pub fn dpt(&mut self, args: &[&str]) -> Result<Ended> {
        let mut command = self.command(args);
        self.start(&mut command)?.wait()
    }

    /// The content of a pipeline's results folder.
    fn results(&self, cache: &str, pipeline: &str) -> Result<Files> {
        let name = pipeline.trim_end_matches(".toml");
        let mut files = files_below(&self.path().join(cache).join("results").join(name))?;
        // Stamps name keys and moments.
        files.retain(|name, _| !name.split('/').any(|part| part.starts_with('.')));
        Ok(files)
    }

    /// Compares the results of a pipeline with those of its undisturbed run.
    pub fn compare(&self, pipeline: &'static str) -> Result {
        let (found, expected) = (self.results("cache", pipeline)?, &self.expected[&(self.version, pipeline)]);
        if let Some(name) = expected.keys().find(|name| !found.contains_key(*name)) {
            return Err(Failed(format!("`{name}` is missing from the results of {pipeline}")));
        }
        match found.iter().find(|(name, bytes)| expected.get(*name) != Some(bytes)) {
            Some((name, _)) => Err(Failed(format!(
                "`{name}` of {pipeline} is not what an undisturbed run of version {} gives",
                self.version
            ))),
            None => Ok(()),
        }
    }
}

/// A running `dpt`.
pub struct Started {
    /// The process.
    pub child: Child,
    args: String,
    log: PathBuf,
}

impl Started {
    /// Waits for its end. Fails if that does not come.
    pub fn wait(mut self) -> Result<Ended> {
        use std::os::unix::process::ExitStatusExt;
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if start.elapsed() > PATIENCE {
                self.child.kill()?;
                self.child.wait()?;
                return Err(Failed(format!("`dpt {}` did not end within {} s", self.args, PATIENCE.as_secs())));
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let text = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
        let code = status.code().ok_or_else(|| status.signal().unwrap_or(0));
        Ok(Ended { code, text, args: self.args })
    }

    /// Sends it a signal, by name.
    pub fn signal(&self, name: &str) -> Result {
        // The process may have ended: then there is nothing to signal, and `kill` says so.
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-s", name, &pid]).stderr(Stdio::null()).status()?;
        Ok(())
    }
}

/// Every plain file below a folder, by its relative name. A folder that does not exist has none.
pub fn files_below(folder: &Path) -> Result<Files> {
    let mut found = Files::new();
    for path in paths_below(folder) {
        let name = path.strip_prefix(folder).expect("below it").display().to_string();
        found.insert(name, fs::read(&path)?);
    }
    Ok(found)
}

/// The paths of all plain files below a folder.
pub fn paths_below(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(dir) = left.pop() {
        for item in fs::read_dir(dir).into_iter().flatten().flatten() {
            match item.file_type() {
                Ok(kind) if kind.is_dir() => left.push(item.path()),
                Ok(kind) if kind.is_file() => found.push(item.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}
