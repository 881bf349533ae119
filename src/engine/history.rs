//! [`History`]: earlier runs from their journals, newest first. A journal is read when it is first needed.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::diag::{Class, Diag};
use crate::cache::{CacheKey, StaleReason};
use crate::worker::protocol::WireDiag;

use super::event::{Event, HitKind};
use super::journal;

/// How many journals are read to find the fate of a node.
const LOOKED_AT: usize = 200;

/// The fate of a node in a run.
#[derive(Clone, Debug)]
pub enum NodeFate {
    /// It need not run.
    Hit(HitKind),
    /// It was made.
    Made {
        /// How long it ran.
        seconds: f64,
        /// Its figures.
        metrics: BTreeMap<String, f64>,
    },
    /// It failed.
    Failed(WireDiag),
    /// It did not get its turn: the node that failed, or why the run stopped.
    Skipped(String),
    /// It started, and the run ended before it did.
    Begun,
}

/// A node in a run.
#[derive(Clone, Debug)]
pub struct PastNode {
    /// Its key, where it came so far.
    pub key: Option<CacheKey>,
    /// Why it had to run.
    pub reasons: Vec<StaleReason>,
    /// Its fate.
    pub fate: NodeFate,
    /// When: seconds since 1970.
    pub at: f64,
}

/// A run.
#[derive(Clone, Debug, Default)]
pub struct PastRun {
    /// Its id.
    pub id: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline file, where the journal says it.
    pub file: Option<String>,
    /// When it began: seconds since 1970.
    pub at: f64,
    /// Its nodes, by full name.
    pub nodes: BTreeMap<String, PastNode>,
}

impl PastRun {
    /// From its journal at `path`.
    ///
    /// # Errors
    /// Fails if it cannot be read, or is no journal.
    pub fn read(path: &Path) -> Result<Self, Diag> {
        let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let mut run = Self { id, ..Self::default() };
        for line in journal::read(path)? {
            run.take(line.at, line.event);
        }
        Ok(run)
    }

    fn take(&mut self, at: f64, event: Event) {
        let begun = || PastNode { key: None, reasons: Vec::new(), fate: NodeFate::Begun, at };
        let mut put = |node: String, key: Option<CacheKey>, fate: NodeFate| {
            let seen = self.nodes.entry(node).or_insert_with(begun);
            (seen.key, seen.fate, seen.at) = (key.or(seen.key), fate, at);
        };
        match event {
            Event::RunStarted { pipeline, file, .. } => (self.pipeline, self.file, self.at) = (pipeline, file, at),
            Event::NodeHit { node, key, how, .. } => put(node, Some(key), NodeFate::Hit(how)),
            Event::NodesHit { how, nodes } => {
                nodes.into_iter().for_each(|(node, key)| put(node, Some(key), NodeFate::Hit(how)));
            }
            Event::NodeDone { node, key, seconds, metrics, .. } => {
                put(node, Some(key), NodeFate::Made { seconds, metrics });
            }
            Event::NodeFailed { node, error } => put(node, None, NodeFate::Failed(error)),
            Event::NodeSkipped { node, because } => put(node, None, NodeFate::Skipped(because)),
            Event::NodeQueued { node, key, reasons } => {
                put(node.clone(), Some(key), NodeFate::Begun);
                self.nodes.entry(node).or_insert_with(begun).reasons = reasons;
            }
            _ => {}
        }
    }
}

/// A pipeline by name and file. Two files may have pipelines of one name.
#[derive(Clone, Copy, Debug)]
pub struct PipelineId<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its file, as [`Store::file`](crate::cache::Store::file) has it. `None`: any with this name.
    pub file: Option<&'a str>,
}

impl PipelineId<'_> {
    /// Returns `true` if a run was of this pipeline. A journal of an older `dpt` has only the name.
    fn has(&self, run: &PastRun) -> bool {
        let file = self.file.is_none() || run.file.is_none() || self.file == run.file.as_deref();
        self.name == run.pipeline && file
    }
}

/// The journals of a store.
#[derive(Debug)]
pub struct History {
    /// Newest first.
    runs: Vec<(PathBuf, OnceCell<Result<PastRun, Diag>>)>,
}

impl History {
    /// The journals in folder `runs`; none if there is no such folder.
    pub fn of(runs: &Path) -> Self {
        let files = std::fs::read_dir(runs).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
        // Ids begin with the time.
        files.sort_by(|a, b| b.file_name().cmp(&a.file_name()));
        Self { runs: files.into_iter().map(|path| (path, OnceCell::new())).collect() }
    }

    /// All runs, newest first. A journal that cannot be read is left out; see [`Self::unreadable`].
    pub fn runs(&self) -> impl Iterator<Item = &PastRun> {
        self.runs.iter().filter_map(|(path, run)| run.get_or_init(|| PastRun::read(path)).as_ref().ok())
    }

    /// Runs of one pipeline among the last [`LOOKED_AT`], newest first.
    pub fn of_pipeline<'a>(&'a self, pipeline: PipelineId<'a>) -> impl Iterator<Item = &'a PastRun> {
        self.runs().take(LOOKED_AT).filter(move |run| pipeline.has(run))
    }

    /// The errors of journals that could not be read so far.
    pub fn unreadable(&self) -> impl Iterator<Item = &Diag> {
        self.runs.iter().filter_map(|(_, run)| run.get()?.as_ref().err())
    }

    /// The run that `text` names: an id, the beginning of one, `last`, `last~1`. With a pipeline, `last` is its last.
    ///
    /// # Errors
    /// Fails if there is no such run (and names the last ones), if there are several, or if the journal cannot be read.
    pub fn find(&self, text: &str, pipeline: Option<PipelineId>) -> Result<&PastRun, Diag> {
        let wanted = |run: &&PastRun| pipeline.is_none_or(|pipeline| pipeline.has(run));
        let back = text.strip_prefix("last").map(|rest| match rest.strip_prefix('~') {
            Some(n) => n.parse::<usize>().ok(),
            None => rest.is_empty().then_some(0),
        });
        let found: Vec<&PastRun> = match back {
            Some(Some(n)) => self.runs().filter(wanted).nth(n).into_iter().collect(),
            _ => {
                let named = |path: &PathBuf| path.file_stem().is_some_and(|s| s.to_string_lossy().starts_with(text));
                let some = self.runs.iter().filter(|(path, _)| named(path));
                let read =
                    some.map(|(path, run)| run.get_or_init(|| PastRun::read(path)).as_ref().map_err(Diag::clone));
                read.collect::<Result<_, _>>()?
            }
        };
        let list = |runs: &mut dyn Iterator<Item = &PastRun>| {
            let names: Vec<_> = runs.take(5).map(|run| format!("`{}` ({})", run.id, run.pipeline)).collect();
            names.join(", ")
        };
        match found[..] {
            [run] => Ok(run),
            [] => {
                let diag = Diag::error(Class::Usage, format!("there is no run `{text}` in the store"));
                let known = list(&mut self.runs().filter(wanted));
                Err(match known.is_empty() {
                    true => diag.note("the store has no journals"),
                    false => diag.note(format!("the last are {known}")),
                })
            }
            _ => Err(Diag::error(Class::Usage, format!("`{text}` matches {} runs", found.len()))
                .note(format!("among them {}", list(&mut found.iter().copied())))),
        }
    }

    /// Every key that a node had, newest first, each once in a row, and the run.
    pub fn keys<'a>(&'a self, pipeline: PipelineId<'a>, node: &'a str) -> Vec<(CacheKey, &'a PastRun)> {
        let mut keys: Vec<(CacheKey, &PastRun)> = self
            .of_pipeline(pipeline)
            .filter_map(|run| {
                let seen = run.nodes.get(node)?;
                let done = matches!(seen.fate, NodeFate::Hit(_) | NodeFate::Made { .. });
                Some((seen.key.filter(|_| done)?, run))
            })
            .collect();
        keys.dedup_by_key(|(key, _)| *key);
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Recipe;

    fn named(name: &str) -> PipelineId<'_> {
        PipelineId { name, file: None }
    }

    fn write(dir: &Path, id: &str, pipeline: &str, version: u32) -> CacheKey {
        use crate::engine::event::Sink;
        let journal = journal::Journal::new(dir, id);
        let key = Recipe::new("train", version).key();
        let node = "train[task=rte]".to_owned();
        journal.event(&Event::RunStarted {
            schema: 1,
            run: id.into(),
            pipeline: pipeline.into(),
            file: (pipeline != "p").then(|| format!("{pipeline}.toml")),
            nodes: 1,
            dry_run: false,
        });
        journal.event(&Event::NodeQueued { node: node.clone(), key, reasons: vec![StaleReason::NeverMade] });
        let metrics = [("score".to_owned(), 0.5)].into();
        journal.event(&Event::NodeDone { node, key, seconds: 1.0, bytes: 2, metrics });
        journal.event(&Event::NodeFailed { node: "eval".into(), error: Diag::error(Class::Stage, "no").into() });
        assert_eq!(journal.close(), None);
        key
    }

    #[test]
    fn run_is_found_by_id_and_by_age() {
        let dir = tempfile::tempdir().unwrap();
        let old = write(dir.path(), "20260101-000000-1", "p", 1);
        let new = write(dir.path(), "20260102-000000-1", "p", 2);
        write(dir.path(), "20260103-000000-1", "q", 3);
        let history = History::of(dir.path());
        let id = |text: &str, pipeline: Option<PipelineId>| history.find(text, pipeline).map(|run| run.id.clone());
        assert_eq!(id("last", None).unwrap(), "20260103-000000-1");
        assert_eq!(id("last", Some(named("p"))).unwrap(), "20260102-000000-1");
        assert_eq!(id("last~1", Some(named("p"))).unwrap(), "20260101-000000-1");
        assert_eq!(id("20260102", None).unwrap(), "20260102-000000-1");
        assert!(id("2026", None).unwrap_err().message.contains("matches 3 runs"));
        let missing = id("last~7", None).unwrap_err();
        assert!(missing.notes[0].contains("`20260103-000000-1` (q)"), "{missing}");
        let keys: Vec<_> = history.keys(named("p"), "train[task=rte]").into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [new, old]);
        assert_eq!(history.keys(named("p"), "eval").len(), 0);
        let run = history.find("last", Some(named("p"))).unwrap();
        assert!(matches!(&run.nodes["eval"].fate, NodeFate::Failed(error) if error.message == "no"));
        assert!(matches!(run.nodes["train[task=rte]"].reasons[..], [StaleReason::NeverMade]));
    }

    #[test]
    fn history_skips_a_damaged_journal_and_a_missing_folder() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "20260101-000000-1", "p", 1);
        std::fs::write(dir.path().join("20260102-000000-1.jsonl"), "oops\n").unwrap();
        let history = History::of(dir.path());
        assert_eq!((history.runs().count(), history.unreadable().count()), (1, 1));
        let told = history.find("20260102", None).unwrap_err();
        assert!(told.message.contains("line 1 is not an event"), "{}", told.message);
        assert_eq!(History::of(&dir.path().join("none")).runs().count(), 0);
    }

    #[test]
    fn history_leaves_out_runs_of_another_file() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "20260101-000000-1", "q", 1);
        write(dir.path(), "20260102-000000-1", "p", 2);
        let history = History::of(dir.path());
        let count = |name, file| history.of_pipeline(PipelineId { name, file }).count();
        assert_eq!((count("q", Some("q.toml")), count("q", Some("other/q.toml")), count("q", None)), (1, 0, 1));
        // An older journal says no file.
        assert_eq!(count("p", Some("p.toml")), 1);
    }
}
