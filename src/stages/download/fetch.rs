//! [`Fetch`]: brings the files of a running download to where the format reads them, checks them against their pins,
//! and keeps the record.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::artifact::{Known, LARGE, json};
use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::base::stat::{Signature, now_ns};
use crate::base::value::Value;
use crate::fetch::hash::{Sha256, Summary};
use crate::fetch::http::{Bounds, Client, FetchRequest};
use crate::fetch::record::{Fetched, FetchedFile};
use crate::fetch::source::{At, Location, SourceFile};
use crate::fetch::{Watch, archive, local};
use crate::stages::ctx::{Ctx, Outcome, Unit, Update};
use crate::stages::stage::StageResult;

use super::local_file::{LocalFile, ReadContent};
use super::spec::DownloadSpec;

/// The output that lists every file that was read.
pub(super) const FETCHED: &str = "fetched.json";

/// A running download.
pub(super) struct Fetch<'a> {
    pub(super) ctx: &'a Ctx<'a>,
    pub(super) spec: &'a DownloadSpec,
    client: Option<Client>,
    fetched: Fetched,
    /// The digests of what [`Fetch::bring`] brought, by path.
    brought: HashMap<PathBuf, Known>,
    pub(super) outcome: Outcome,
}

/// Passes progress on to the stage, and ends when the stage should.
pub(super) struct FetchWatch<'a>(&'a Ctx<'a>);

impl Watch for FetchWatch<'_> {
    fn progress(&self, what: &str, done: u64, total: Option<u64>) {
        self.0.progress.update(Update { what: what.to_owned(), done, total, unit: Unit::Bytes, detail: String::new() });
    }

    fn note(&self, text: &str) {
        self.0.progress.note(text);
    }

    fn check(&self) -> Result<(), Diag> {
        self.0.check_cancel()
    }
}

impl<'a> Fetch<'a> {
    pub(super) fn new(ctx: &'a Ctx<'a>, spec: &'a DownloadSpec) -> Self {
        let (fetched, outcome) = (Fetched::default(), Outcome::default());
        Self { ctx, spec, client: None, fetched, brought: HashMap::new(), outcome }
    }

    pub(super) fn watch(&self) -> FetchWatch<'a> {
        FetchWatch(self.ctx)
    }

    /// Returns an empty folder of this stage's own, for what comes out of an archive.
    pub(super) fn fresh_folder(&self) -> Result<PathBuf, Diag> {
        let path = self.ctx.job.scratch.join("unpacked");
        fs::remove_dir_all(&path)?;
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Returns how messages name `item`: a local file by its path, from the pipeline's folder on.
    pub(super) fn shown(&self, item: &SourceFile) -> String {
        match &item.at {
            At::Http(_) => item.path.clone(),
            At::File(path) => path.strip_prefix(&self.ctx.job.base).unwrap_or(path).display().to_string(),
        }
    }

    /// Fetches `item` if need be, checks it against its pin and records it. Returns where it lies: in the scratch
    /// folder, or where it is on this machine. `None`: it is not there, and `optional`.
    pub(super) fn obtain(&mut self, item: &SourceFile, optional: bool) -> Result<Option<PathBuf>, Diag> {
        match &item.at {
            At::Http(_) => Ok(self.download(item, optional)?.map(|(path, _)| path)),
            At::File(path) => {
                let file = LocalFile::begin(self.ctx, path, &item.path)?;
                let summary = file.end(ReadContent::File(path), self.wants_sha256(item, file.size()), &self.watch())?;
                self.taken(item, &summary)?;
                Ok(Some(path.clone()))
            }
        }
    }

    /// Returns the bytes of `item` and their SHA-256, otherwise as [`Fetch::obtain`].
    pub(super) fn bytes(&mut self, item: &SourceFile, optional: bool) -> Result<Option<(Vec<u8>, Sha256)>, Diag> {
        let (bytes, summary) = match &item.at {
            At::Http(_) => match self.download(item, optional)? {
                Some((path, summary)) => (fs::read(&path)?, summary),
                None => return Ok(None),
            },
            At::File(path) => {
                let file = LocalFile::begin(self.ctx, path, &item.path)?;
                let bytes = local::read(path, &item.path, &self.watch())?;
                let summary = file.end(ReadContent::Bytes(&bytes), true, &self.watch())?;
                self.taken(item, &summary)?;
                (bytes, summary)
            }
        };
        let sha256 = summary.sha256.expect("it was wanted");
        Ok(Some((bytes, sha256)))
    }

    /// Brings `item` to where it can be checked and then moved to output `name` ([`Fetch::deliver`]): a download to the
    /// scratch folder, where it outlives a failure; a local file to the output itself.
    pub(super) fn bring(&mut self, item: &SourceFile, name: &str, optional: bool) -> Result<Option<PathBuf>, Diag> {
        let (path, summary) = match &item.at {
            At::Http(_) => match self.download(item, optional)? {
                Some(brought) => brought,
                None => return Ok(None),
            },
            At::File(path) => {
                let to = self.ctx.out(name);
                let file = LocalFile::begin(self.ctx, path, &item.path)?;
                local::copy(path, &to, &item.path, &self.watch())?;
                let summary = file.end(ReadContent::File(&to), self.wants_sha256(item, file.size()), &self.watch())?;
                self.taken(item, &summary)?;
                (to, summary)
            }
        };
        self.brought.insert(path.clone(), summary.known());
        Ok(Some(path))
    }

    /// Moves what [`Fetch::bring`] brought to output `name`.
    pub(super) fn deliver(&mut self, path: &Path, name: &str) -> Result<(), Diag> {
        if let Some(known) = self.brought.get(path) {
            self.outcome.hashed.insert(name.to_owned(), *known);
        }
        let to = self.ctx.out(name);
        if path == to { Ok(()) } else { local::take(path, &to) }
    }

    /// Unpacks the members of archive `item` that `wanted` names. Returns the folder they are in, and the names of all
    /// members.
    pub(super) fn unpack(
        &mut self,
        item: &SourceFile,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<(PathBuf, Vec<String>), Diag> {
        let signature = || match &item.at {
            At::Http(_) => Ok(None),
            At::File(path) => Signature::at(path),
        };
        let (before, began) = (signature()?, now_ns());
        let path = self.obtain(item, false)?.expect("an archive is not optional");
        let into = self.fresh_folder()?;
        let names = archive::unpack(&path, &into, &self.limits(), wanted, &self.watch())?;
        if signature()? != before {
            return Err(Diag::error(Class::Stage, format!("`{}` changed while it was read", self.shown(item)))
                .help("run again when nothing writes to it")
                .outdated());
        }
        if before.is_some_and(|signature| signature.racy(began)) {
            // It was written so shortly before that a change would not show.
            self.obtain(item, false)?;
        }
        Ok((into, names))
    }

    fn limits(&self) -> archive::Limits {
        archive::Limits::allowing(self.bytes_param("unpack_limit"))
    }

    fn bytes_param(&self, name: &str) -> Option<u64> {
        match self.ctx.job.params.get(name) {
            Some(Value::Int(bytes)) => u64::try_from(*bytes).ok(),
            _ => None,
        }
    }

    fn download(&mut self, item: &SourceFile, optional: bool) -> Result<Option<(PathBuf, Summary)>, Diag> {
        let At::Http(url) = &item.at else { unreachable!("a download has a URL") };
        let to = self.ctx.job.scratch.join("fetch").join(&item.path);
        let bounds = Bounds::allowing(self.bytes_param("download_limit"));
        let client = match &mut self.client {
            Some(client) => client,
            none => none.insert(Client::from_env()?.bounded(bounds)),
        };
        let wanted = FetchRequest { url, label: &item.path, source: &self.spec.source.name, to: &to, pin: item.pin };
        let summary = if optional {
            client.fetch_if_there(&wanted, &FetchWatch(self.ctx))?
        } else {
            Some(client.fetch(&wanted, &FetchWatch(self.ctx))?)
        };
        let Some(summary) = summary else { return Ok(None) };
        self.record(item, &summary, summary.sha256);
        Ok(Some((to, summary)))
    }

    /// Returns whether the SHA-256 of a local file belongs into the record: where a pin is to be checked or may be made
    /// of it, and of small files, of which it costs nothing.
    fn wants_sha256(&self, item: &SourceFile, size: u64) -> bool {
        size < LARGE || item.pin.is_set() || matches!(self.spec.source.location, Location::Http(_))
    }

    fn taken(&mut self, item: &SourceFile, summary: &Summary) -> Result<(), Diag> {
        item.pin.check(summary, &self.shown(item), &self.spec.source.name)?;
        let sha256 = summary.sha256.filter(|_| self.wants_sha256(item, summary.bytes));
        self.record(item, summary, sha256);
        Ok(())
    }

    fn record(&mut self, item: &SourceFile, summary: &Summary, sha256: Option<Sha256>) {
        let file = FetchedFile {
            origin: self.spec.origin(item),
            bytes: summary.bytes,
            sha256,
            blake3: summary.blake3,
            pinned: item.pin.is_set(),
        };
        self.fetched.files.insert(item.path.clone(), file);
    }

    /// Writes the record, and says what the user should know of it.
    pub(super) fn finish(mut self) -> StageResult {
        json::write(&self.ctx.out(FETCHED), &self.fetched)?;
        let source = &self.spec.source;
        if let Location::Http(_) = source.location {
            if let Some(dir) = self.ctx.job.mirrors.get(&source.name) {
                self.outcome.notes.push(format!("`{}` was read from the mirror `{}`", source.name, dir.display()));
            }
            let open: Vec<_> = self.fetched.files.iter().filter(|(_, f)| !f.pinned).map(|(path, _)| path).collect();
            if source.verify && !open.is_empty() {
                let files =
                    if open.len() == 1 { format!("`{}` is", open[0]) } else { format!("{} files are", open.len()) };
                self.outcome.notes.push(format!("{files} not pinned: `dpt pin PIPELINE` records what was fetched"));
            }
            if !source.verify && source.files.values().any(|f| f.pin.is_set()) {
                self.outcome.notes.push(format!("the pins of `{}` were not checked (`verify = false`)", source.name));
            }
        }
        Ok(self.outcome)
    }
}
