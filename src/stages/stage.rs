//! What a stage *is*: its name, version, parameters, inputs and outputs, as data. The planner checks a pipeline against
//! it, the engine makes keys from it, help texts are printed from it. What it *does* is a function over [`Ctx`].

use std::path::{Path, PathBuf};

use crate::base::diag::Diag;
pub use crate::base::param::{Literal, Param, ParamDefault, Type};
use crate::base::value::{Params, Value};
use crate::data::tokenizer::beside;
use crate::fetch::record::Records;

use super::ctx::{Ctx, Outcome};
pub use super::named::{NamedOutput, NamedRoles};

/// The result of running a stage.
pub type StageResult = Result<Outcome, Diag>;

/// A registered kind of work. One `pub const KIND: StageKind` a file, one row in `STAGES`.
#[derive(Debug)]
pub struct StageKind {
    /// As written in `kind = "…"`: kebab-case.
    pub name: &'static str,
    /// Bumped by hand when the same recipe would give other artifacts. Part of the key.
    pub version: u32,
    /// One line for help texts.
    pub about: &'static str,
    /// Every parameter that it always has. Any other key in the pipeline is an error, except those of `variants`.
    pub params: &'static [Param],
    /// Parameters that it has only for some values of one of `params`.
    pub variants: Option<Variants>,
    /// What it reads from other stages.
    pub inputs: &'static [Port<'static>],
    /// Set if it reads stages by further roles, which the pipeline names.
    pub named_roles: Option<NamedRoles>,
    /// What it provides to ports besides its own name: a backbone, an adapter.
    pub provides: &'static [Provision],
    /// The files it may write. A file that is not listed is an error, and so is a required one that is missing.
    pub outputs: &'static [Output],
    /// Set if the pipeline says which files a node writes. Returns them for its parameters; none if these are wrong.
    pub named_outputs: Option<fn(&Params) -> Vec<NamedOutput>>,
    /// Where it runs.
    pub runs: Runs,
    /// Returns what of the world outside the store enters the key (`download`: the source's identity). `None`: nothing.
    pub identity: Option<fn(&Params, &Outside) -> Result<Identity, Diag>>,
    /// Checks parameters against each other before anything runs. `None`: the types say it all.
    pub check: Option<fn(&Params) -> Result<(), Diag>>,
    /// Checks a value of an axis of the stage, given parameters, the axis and the value as text. `None`: any will do.
    pub check_axis: Option<fn(&Params, &str, &str) -> Result<(), Diag>>,
    /// Set if `dpt pin` can record what it brings from the net.
    pub pinning: Option<Pinning>,
}

/// What `dpt pin` needs to know of a stage kind.
#[derive(Clone, Copy, Debug)]
pub struct Pinning {
    /// Returns whether a node with these parameters reads from the net. Local files count by content and need no pins.
    pub is_remote: fn(&Params) -> bool,
    /// Returns the name of the source that a node with these parameters reads.
    pub source: fn(&Params) -> Option<&str>,
    /// The output that lists what was read.
    pub record: &'static str,
    /// Returns the files that were not checked against a pin, by source and key, given parameters and the path of the
    /// record.
    pub unpinned: fn(&Params, &Path) -> Result<Records, Diag>,
}

/// The file in which a stage keeps what its program printed. It is never part of what consumers read, unless their port
/// names it: two runs of one program seldom print the same.
pub const LOG: &str = "command.log";

/// Parameters of a stage that depend on the value of one of its parameters: those of a prompt method on `method`. For
/// other values they do not exist: the stage does not get them, and they are not in its key.
#[derive(Clone, Copy, Debug)]
pub struct Variants {
    /// The parameter that decides, a `Type::Choice`.
    pub of: &'static str,
    /// One row for each of its words.
    pub rows: &'static [Variant],
}

/// What one value of the deciding parameter adds.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// The value.
    pub word: &'static str,
    /// Parameters that the stage has for it, in two lists.
    pub params: [&'static [Param]; 2],
    /// Parameters of the stage that have another default for it: name, and that default.
    pub defaults: &'static [(&'static str, Literal)],
}

impl Variant {
    /// Returns all its parameters.
    pub fn params(&self) -> impl Iterator<Item = &'static Param> + use<> {
        let [first, second] = self.params;
        first.iter().chain(second)
    }
}

impl StageKind {
    /// A kind that has nothing, for `..StageKind::BASE`: a declaration says only what its kind has.
    pub const BASE: Self = Self {
        name: "",
        version: 1,
        about: "",
        params: &[],
        variants: None,
        inputs: &[],
        named_roles: None,
        provides: &[],
        outputs: &[],
        named_outputs: None,
        runs: Runs::Worker,
        identity: None,
        check: None,
        check_axis: None,
        pinning: None,
    };

    /// Returns the row that counts for a node with these parameters.
    pub fn variant(&self, params: &Params) -> Option<&'static Variant> {
        let variants = self.variants?;
        let word = params.get(variants.of)?.as_str()?;
        variants.rows.iter().find(|row| row.word == word)
    }

    /// Returns the declaration of parameter `name` for a node that is of `variant`.
    pub fn param(&self, variant: Option<&Variant>, name: &str) -> Option<&'static Param> {
        let base = self.params.iter().find(|param| param.name == name);
        base.or_else(|| variant.and_then(|variant| variant.params().find(|param| param.name == name)))
    }

    /// Returns every parameter that it may have, each name once.
    pub fn all_params(&self) -> Vec<&'static Param> {
        let mut all: Vec<_> = self.params.iter().collect();
        for param in self.variants.iter().flat_map(|variants| variants.rows).flat_map(Variant::params) {
            if all.iter().all(|known| known.name != param.name) {
                all.push(param);
            }
        }
        all
    }

    /// Returns whether some or all nodes of this kind provide `what`. Every kind provides its own name.
    pub fn may_provide(&self, what: &str) -> bool {
        self.name == what || self.provides.iter().any(|provision| provision.what == what)
    }

    /// Returns whether a node with these parameters provides `what`.
    pub fn provides(&self, what: &str, params: &Params) -> bool {
        self.name == what || self.provides.iter().any(|provision| provision.what == what && provision.holds(params))
    }

    /// Returns whether it hands its files to a program of the user's. Nobody knows what such a program reads of a file,
    /// so its inputs count by their bytes and by whether they are executable. Our own stages read nothing of a file but
    /// what its logical digest covers.
    pub fn runs_programs(&self) -> bool {
        matches!(self.runs, Runs::Program(_))
    }

    /// Returns whether its nodes have a use for a GPU.
    pub fn may_use_gpu(&self) -> bool {
        matches!(self.runs, Runs::Worker | Runs::Program(_))
    }

    /// Returns whether it brings files that others wrote: from outside, or by a program of the user's. Their endings
    /// promise nothing.
    pub fn brings_foreign_files(&self) -> bool {
        self.identity.is_some()
    }

    /// Returns whether the pipeline says which files it writes.
    pub fn writes_anything(&self) -> bool {
        self.named_outputs.is_some()
    }
}

/// What a stage provides whose figures are scores: they come first where figures of stages are compared.
pub const SCORES: &str = "scores";

/// What a stage provides: a word that [`Port::accepts`] can name. If a new stage provides adapters, every port that
/// accepts adapters accepts it.
#[derive(Clone, Copy, Debug)]
pub struct Provision {
    /// The word: `backbone`, `adapter`, `rows`.
    pub what: &'static str,
    /// The parameter and the value with which the stage provides it. `None`: always.
    pub when: Option<(&'static str, &'static str)>,
}

impl Provision {
    /// Returns what the stage always provides.
    pub const fn always(what: &'static str) -> Self {
        Self { what, when: None }
    }

    /// Returns what it provides if the parameter `name` is `value`.
    pub const fn when(what: &'static str, name: &'static str, value: &'static str) -> Self {
        Self { what, when: Some((name, value)) }
    }

    fn holds(&self, params: &Params) -> bool {
        self.when.is_none_or(|(name, value)| matches!(params.get(name), Some(Value::Str(text)) if text == value))
    }
}

/// Where a stage runs.
#[derive(Clone, Copy, Debug)]
pub enum Runs {
    /// In the engine's own process: CPU work without libtorch.
    Here(fn(&Ctx) -> StageResult),
    /// In the engine's own process, which starts a program of the user's and waits for it.
    Program(fn(&Ctx) -> StageResult),
    /// In a worker process, which has libtorch. `dpt_torch::stages::runner` knows the function.
    Worker,
}

/// An input of a stage: a role in `needs = { role = "stage" }`.
#[derive(Clone, Copy, Debug)]
pub struct Port<'a> {
    /// The role's name.
    pub role: &'a str,
    /// What it takes: words that stage kinds [provide](StageKind::provides), or names of kinds; empty: any stage.
    pub accepts: &'a [&'a str],
    /// The files of the producer that are read, `*` matching any run of characters: only their digests enter the key,
    /// and only they are handed to the stage. `&["*"]`: all of them.
    pub files: &'a [&'a str],
    /// How many producers.
    pub arity: Arity,
    /// One line for help texts.
    pub doc: &'a str,
}

impl<'a> Port<'a> {
    /// Returns the files of which a producer must make one: those that do not merely complete a tokenizer.
    pub fn own_files(&self) -> Vec<&'a str> {
        self.files.iter().copied().filter(|file| !beside::FILES.contains(file)).collect()
    }
}

/// How many producers an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arity {
    /// Exactly one.
    One,
    /// One or none: `needs` may leave it out, or name it with `?`.
    Optional,
    /// Any number, by a gather such as `eval[*]`; at least one.
    Many,
    /// Any number, none included.
    OptionalMany,
}

/// A file that a stage writes. Its kind follows from the ending: `.parquet`, `.safetensors`, `.json`, any other: bytes.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// A relative path; may have one `*`, for a set of files whose number depends on the input.
    pub name: &'static str,
    /// `true` if it is always there.
    pub required: bool,
    /// One line for help texts.
    pub doc: &'static str,
}

/// The world outside the store and the pipeline text: where paths start, and local copies of sources.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// The folder of the pipeline file: relative `file:` sources start here.
    pub base: PathBuf,
    /// `--mirror NAME=DIR`.
    pub mirrors: std::collections::BTreeMap<String, PathBuf>,
}

/// What a key has of the world outside the store.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Parameters whose value is replaced in the recipe (a local path by nothing, say): by parameter name.
    /// `None` leaves the parameter out.
    pub params: Vec<(&'static str, Option<Value>)>,
    /// Files and folders of the working tree whose *content* enters the recipe, by a field name. Folders count with all
    /// files below them, by relative name.
    pub files: Vec<(String, PathBuf)>,
}
