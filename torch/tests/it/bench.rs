//! Runs single stages as the engine would, from folder to folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dpt::base::diag::Diag;
use dpt::base::value::{Params, Value};
use dpt::stages::ctx::{Cancel, Ctx, Input, Job, Outcome, Progress};
use dpt::stages::stage::Runs;
use dpt::testing::Recorder;

fn value(toml: &toml::Value) -> Value {
    match toml {
        toml::Value::String(s) => Value::Str(s.clone()),
        toml::Value::Integer(i) => Value::Int(*i),
        toml::Value::Float(f) => Value::Float(*f),
        toml::Value::Boolean(b) => Value::Bool(*b),
        toml::Value::Array(items) => Value::List(items.iter().map(value).collect()),
        other => panic!("{other}"),
    }
}

/// Held while a training draws from libtorch's generator: there is one a process, and a worker trains one run at a
/// time.
static GENERATOR: Mutex<()> = Mutex::new(());

/// Returns what keeps other tests from drawing from libtorch's generator. A test that failed while it held it does not
/// count.
pub fn generator() -> MutexGuard<'static, ()> {
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder for each node that ran.
pub struct Bench(tempfile::TempDir);

impl Bench {
    /// Without any node.
    pub fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, node: &str) -> PathBuf {
        self.0.path().join(node)
    }

    pub fn input(&self, node: &str, axes: &[(&str, &str)]) -> Input {
        dpt::testing::input(node, axes, &self.path(node))
    }

    /// Runs `kind` as `node`, with its defaults and `set` (TOML), on the outputs of earlier nodes.
    pub fn run(&self, kind: &str, node: &str, set: &str, inputs: &[(&str, &str)]) -> Result<Outcome, Diag> {
        let inputs: Vec<_> = inputs.iter().map(|(role, from)| (*role, self.input(from, &[]))).collect();
        self.run_on(kind, node, set, inputs)
    }

    pub fn run_on(&self, kind: &str, node: &str, set: &str, inputs: Vec<(&str, Input)>) -> Result<Outcome, Diag> {
        self.run_watched(kind, node, set, inputs, &Recorder::default())
    }

    /// The same, told to `progress`.
    pub fn run_watched(
        &self,
        kind: &str,
        node: &str,
        set: &str,
        inputs: Vec<(&str, Input)>,
        progress: &dyn Progress,
    ) -> Result<Outcome, Diag> {
        let kind = dpt::stages::find(kind).unwrap();
        let set: toml::Table = set.parse().unwrap();
        let variants = kind.variants.map_or(&[][..], |variants| variants.rows);
        let mut params = Params::new();
        for param in kind.params {
            params.extend(param.default.value().map(|value| (param.name.to_owned(), value)));
        }
        let variant = kind.variants.and_then(|of| {
            let default = params.get(of.of).and_then(Value::as_str);
            let word = set.get(of.of).and_then(toml::Value::as_str).or(default).map(str::to_owned);
            of.rows.iter().find(|row| Some(row.word) == word.as_deref())
        });
        if let Some(row) = variant {
            let own = row.params().filter_map(|p| Some((p.name, p.default.value()?)));
            let others = row.defaults.iter().map(|(name, value)| (*name, value.to_value()));
            params.extend(own.chain(others).map(|(name, value)| (name.to_owned(), value)));
        }
        for (name, set) in set {
            // A parameter of other methods does not count, as in a pipeline that goes over several.
            let elsewhere = variants.iter().flat_map(|row| row.params()).any(|p| p.name == name);
            let has = kind.param(variant, &name).is_some();
            assert!(has || elsewhere, "`{name}` is no parameter of `{}`", kind.name);
            if has {
                params.insert(name, value(&set));
            }
        }
        if let Some(check) = kind.check {
            check(&params)?;
        }
        let (out, scratch) = (self.path(node), self.path(&format!("{node}.scratch")));
        std::fs::create_dir_all(&out).unwrap();
        std::fs::create_dir_all(&scratch).unwrap();
        let mut by_role: BTreeMap<String, Vec<Input>> = BTreeMap::new();
        for (role, input) in inputs {
            assert!(kind.inputs.iter().any(|p| p.role == role), "`{role}` is no input of `{}`", kind.name);
            by_role.entry(role.to_owned()).or_default().push(input);
        }
        let job = Job {
            node: node.into(),
            kind: kind.name.into(),
            params,
            inputs: by_role,
            out: out.clone(),
            scratch,
            threads: 1,
            device: "cpu".into(),
            ..Job::default()
        };
        let ctx = Ctx { job: &job, progress, cancel: &Cancel::new() };
        let outcome = match kind.runs {
            Runs::Here(run) | Runs::Program(run) => run(&ctx)?,
            Runs::Worker => dpt_torch::stages::runner(kind.name).unwrap()(&ctx)?,
        };
        for output in kind.outputs.iter().filter(|o| o.required && !o.name.contains('*')) {
            assert!(out.join(output.name).exists(), "`{}` wrote no `{}`", kind.name, output.name);
        }
        for entry in std::fs::read_dir(&out).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(kind.outputs.iter().any(|o| o.name == name || o.name.contains('*')), "`{name}` is not declared");
        }
        Ok(outcome)
    }
}
