//! [`Source`]: a pipeline's `[source.NAME]` table, resolved; and [`SourcePlace`]: what stands for it in this run, the
//! net, a local folder or a mirror.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use url::Url;

use super::hash::{Sha256, Summary};
use super::size;
use crate::base::diag::{Class, Diag};
use crate::base::look::look;
use crate::base::name::is_relative_file;
use crate::base::secret::is_secret_name;
use crate::base::value::{Params, Value};

/// Where files come from, and what they must be.
#[derive(Clone, Debug)]
pub struct Source {
    /// The NAME of `[source.NAME]`.
    pub name: String,
    /// Where.
    pub location: Location,
    /// `true` if pins are checked.
    pub verify: bool,
    /// The files named in the table, by KEY.
    pub files: BTreeMap<String, FileSpec>,
}

/// A source's `url`.
#[derive(Clone, Debug)]
pub enum Location {
    /// `https://…` or `http://…`.
    Http(Url),
    /// `file:…`: a folder, or one archive; relative paths start at the pipeline file's folder.
    Local(PathBuf),
}

/// One entry of a source's `files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// Below the source's `url`.
    pub path: String,
    /// The pinned content.
    pub pin: Pin,
}

/// The pinned content of a file. Empty: any content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    /// Its digest.
    pub sha256: Option<Sha256>,
    /// Its size.
    pub bytes: Option<u64>,
}

/// The place that a source is taken from in this run.
#[derive(Clone, Debug)]
pub enum SourcePlace {
    /// The net.
    Http(Url),
    /// A folder or an archive of this machine.
    Local {
        /// It.
        root: PathBuf,
        /// `true` if it replaces a source on the net (`--mirror`).
        mirror: bool,
    },
}

/// One file to be had.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Its path below the source, as pins name it.
    pub path: String,
    /// Where it lies.
    pub at: At,
    /// The pinned content; already empty if the source is not verified.
    pub pin: Pin,
}

/// Where one file lies.
#[derive(Clone, Debug)]
pub enum At {
    /// At a URL.
    Http(Url),
    /// On this machine.
    File(PathBuf),
}

impl Source {
    /// Reads the resolved table `{ name, url, verify, files = { KEY = { path, sha256, bytes } } }`.
    ///
    /// # Errors
    /// Usage: a URL of another scheme or with credentials in it, a path that leaves the source, a malformed digest.
    pub fn from_value(value: &Value) -> Result<Self, Diag> {
        let Value::Table(table) = value else {
            return Err(Diag::error(Class::Bug, "a source was not resolved to a table"));
        };
        let name = text(table, "name").unwrap_or("source").to_owned();
        let url = text(table, "url").ok_or_else(|| bad(&name, "has no `url`"))?;
        let location = location(&name, url)?;
        let verify = !matches!(table.get("verify"), Some(Value::Bool(false)));
        let mut files = BTreeMap::new();
        if let Some(Value::Table(entries)) = table.get("files") {
            for (key, entry) in entries {
                files.insert(key.clone(), file_spec(&name, key, entry)?);
            }
        }
        Ok(Self { name, location, verify, files })
    }

    /// The file that `word` names: a KEY of `files`, the path of one of them, or else a path of its own, without pin.
    ///
    /// # Errors
    /// Usage: a path that leaves the source.
    pub fn pick(&self, word: &str) -> Result<FileSpec, Diag> {
        if let Some(spec) = self.files.get(word) {
            return Ok(spec.clone());
        }
        check_path(&self.name, word)?;
        let known = self.files.values().find(|spec| spec.path == word);
        Ok(known.cloned().unwrap_or_else(|| FileSpec { path: word.to_owned(), pin: Pin::default() }))
    }

    /// The pin of the file at `path`, as far as pins are checked.
    pub fn pin(&self, path: &str) -> Pin {
        match self.files.values().find(|spec| spec.path == path) {
            Some(spec) if self.verify => spec.pin,
            _ => Pin::default(),
        }
    }

    /// Returns the place to take it from: a mirror of its name, else its own `url`.
    ///
    /// # Errors
    /// Usage: a mirror that is not there. Environment: a local folder that is not there: the pipeline is right, and
    /// this machine lacks something.
    pub fn place(&self, base: &Path, mirrors: &BTreeMap<String, PathBuf>) -> Result<SourcePlace, Diag> {
        let (root, mirror) = match (mirrors.get(&self.name), &self.location) {
            (Some(dir), location) => (dir.clone(), matches!(location, Location::Http(_))),
            (None, Location::Http(url)) => return Ok(SourcePlace::Http(url.clone())),
            (None, Location::Local(path)) => (base.join(path), false),
        };
        let class = if mirrors.contains_key(&self.name) { Class::Usage } else { Class::Environment };
        if look(&root).map_err(|e| Diag { class, ..e.into() })?.is_none() {
            let what = if mirrors.contains_key(&self.name) { "the mirror" } else { "the folder or archive" };
            let mut diag = bad(&self.name, &format!("names a place that is not there: `{}`", root.display()));
            diag.class = class;
            return Err(diag.help(format!("correct the path of {what}, or `--mirror {}=DIR`", self.name)));
        }
        Ok(SourcePlace::Local { root, mirror })
    }

    /// Where files come from, as a record of provenance says it: the URL, or that they are local (a path of this
    /// machine would say nothing elsewhere).
    pub fn origin(&self) -> String {
        match &self.location {
            Location::Http(url) => shown(url),
            Location::Local(_) => "local files".to_owned(),
        }
    }
}

impl Pin {
    /// Returns `true` if it fixes the content.
    pub fn is_set(&self) -> bool {
        self.sha256.is_some()
    }

    /// Compares with what came. `file` names it in the message, `source` is the table to look at.
    ///
    /// # Errors
    /// When size or digest differ: both values.
    pub fn check(&self, got: &Summary, file: &str, source: &str) -> Result<(), Diag> {
        let size_differs = self.bytes.is_some_and(|b| b != got.bytes);
        if let Some(wanted) = self.sha256.filter(|s| Some(*s) != got.sha256) {
            let found = got.sha256.map_or_else(|| "not taken".to_owned(), |sha256| sha256.to_string());
            let mut diag = Diag::error(Class::Stage, format!("`{file}` is not what source `{source}` pins"))
                .note(format!("sha256 wanted {wanted}"))
                .note(format!("sha256 found  {found}"));
            if size_differs {
                diag = diag.note(self.size_note(got.bytes));
            }
            return Err(diag.help(changed_help(source)).lasting());
        }
        if size_differs {
            let diag = Diag::error(Class::Stage, format!("`{file}` has not the size that source `{source}` pins"));
            return Err(diag.note(self.size_note(got.bytes)).help(changed_help(source)).lasting());
        }
        Ok(())
    }

    /// Compares the size that a server announces, before anything is fetched.
    ///
    /// # Errors
    /// When it differs.
    pub fn check_announced(&self, bytes: u64, file: &str, source: &str) -> Result<(), Diag> {
        match self.bytes {
            Some(wanted) if wanted != bytes => {
                let diag = Diag::error(Class::Stage, format!("`{file}` has not the size that source `{source}` pins"));
                Err(diag.note(self.size_note(bytes)).help(changed_help(source)))
            }
            _ => Ok(()),
        }
    }

    fn size_note(&self, found: u64) -> String {
        let wanted = self.bytes.unwrap_or_default();
        format!("{wanted} bytes wanted, {found} bytes found ({} and {})", size(wanted), size(found))
    }
}

fn changed_help(source: &str) -> String {
    format!(
        "if the file was changed on purpose, correct its pin in `[source.{source}.files]`; \
         `--set source.{source}.verify=false` takes it unchecked"
    )
}

/// A URL for messages and records: without query and fragment, which may hold secrets.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string().trim_end_matches('/').to_owned()
}

/// `base` with `path` below it; a query of `base` is kept.
pub fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/'));
    }
    url
}

fn location(name: &str, url: &str) -> Result<Location, Diag> {
    if let Some(path) = url.strip_prefix("file:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err(bad(name, "has a `url` without a path").help("write `url = \"file:relative/folder\"`"));
        }
        return Ok(Location::Local(PathBuf::from(path)));
    }
    let parsed = Url::parse(url).map_err(|e| {
        bad(name, &format!("has a `url` that cannot be read: {e}"))
            .help("write `https://host/folder`, or `file:relative/folder`")
    })?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() {
        return Err(bad(name, &format!("has a `url` of the kind `{}:`, which is not known", parsed.scheme()))
            .help("write `https://host/folder`, or `file:relative/folder`"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(bad(name, "has credentials in its `url`").help(
            "take them out: pipelines are shared; for huggingface.co set the environment variable HF_TOKEN instead",
        ));
    }
    if let Some((key, _)) = parsed.query_pairs().find(|(key, _)| is_secret_name(key)) {
        return Err(bad(name, &format!("has a secret in its `url`: `{}`", key.escape_debug())).help(
            "take it out: the address is written into keys; fetch the files by other means and read them with `--mirror`",
        ));
    }
    Ok(Location::Http(parsed))
}

fn file_spec(source: &str, key: &str, value: &Value) -> Result<FileSpec, Diag> {
    let empty = Params::new();
    let (path, table) = match value {
        Value::Str(path) => (path.as_str(), &empty),
        Value::Table(table) => (text(table, "path").unwrap_or(key), table),
        _ => return Err(bad(source, &format!("has `files.{key}`, which is no table"))),
    };
    check_path(source, path)?;
    let sha256 = match text(table, "sha256") {
        Some(hex) => Some(hex.parse().map_err(|e| bad(source, &format!("has a wrong pin for `{key}`: {e}")))?),
        None => None,
    };
    let bytes = match table.get("bytes") {
        Some(Value::Int(n)) => {
            Some(u64::try_from(*n).map_err(|_| bad(source, &format!("has a size below zero for `{key}`")))?)
        }
        _ => None,
    };
    Ok(FileSpec { path: path.to_owned(), pin: Pin { sha256, bytes } })
}

fn check_path(source: &str, path: &str) -> Result<(), Diag> {
    if is_relative_file(path.strip_suffix('/').unwrap_or(path)) {
        return Ok(());
    }
    Err(bad(source, &format!("names `{path}`, which is not a plain path below it"))
        .help("write a relative path with `/` between its parts, without `..`"))
}

fn bad(name: &str, what: &str) -> Diag {
    Diag::error(Class::Usage, format!("source `{name}` {what}"))
}

fn text<'a>(table: &'a Params, key: &str) -> Option<&'a str> {
    table.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(url: &str, files: &[(&str, Value)]) -> Value {
        let files = files.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        Value::Table(Params::from([
            ("name".to_owned(), Value::Str("s".to_owned())),
            ("url".to_owned(), Value::Str(url.to_owned())),
            ("files".to_owned(), Value::Table(files)),
        ]))
    }

    fn wrong(url: &str) -> String {
        Source::from_value(&table(url, &[])).unwrap_err().message
    }

    #[test]
    fn urls_are_joined_part_by_part() {
        let base = Url::parse("https://h/a/b/?download=true").unwrap();
        assert_eq!(below(&base, "c d/e.zip").as_str(), "https://h/a/b/c%20d/e.zip?download=true");
        assert_eq!(below(&Url::parse("https://h").unwrap(), "x").as_str(), "https://h/x");
        assert_eq!(shown(&below(&base, "x")), "https://h/a/b/x");
    }

    #[test]
    fn files_by_key_by_path_and_unlisted() {
        let sha = Sha256::of(b"x");
        let entry = Value::Table(Params::from([
            ("path".to_owned(), Value::Str("BoolQ.zip".to_owned())),
            ("sha256".to_owned(), Value::Str(sha.to_string())),
            ("bytes".to_owned(), Value::Int(1)),
        ]));
        let files = [("boolq", entry), ("cb", Value::Str("CB.zip".to_owned()))];
        let mut source = Source::from_value(&table("https://h/v2", &files)).unwrap();
        let pin = Pin { sha256: Some(sha), bytes: Some(1) };
        assert_eq!(source.pick("boolq").unwrap(), FileSpec { path: "BoolQ.zip".to_owned(), pin });
        assert_eq!(source.pick("BoolQ.zip").unwrap().pin, pin);
        assert_eq!(source.pick("cb").unwrap().path, "CB.zip");
        assert_eq!(source.pick("RTE.zip").unwrap().pin, Pin::default());
        assert_eq!(source.pin("BoolQ.zip"), pin);
        source.verify = false;
        assert_eq!(source.pin("BoolQ.zip"), Pin::default());
        assert!(source.pick("../x").is_err());
    }

    #[test]
    fn what_is_no_source() {
        assert_eq!(wrong("ftp://h/x"), "source `s` has a `url` of the kind `ftp:`, which is not known");
        assert_eq!(wrong("https://me:secret@h/x"), "source `s` has credentials in its `url`");
        assert_eq!(wrong("https://h/x?a=1&token=s3cret"), "source `s` has a secret in its `url`: `token`");
        assert_eq!(wrong("file:"), "source `s` has a `url` without a path");
        assert!(wrong("nonsense").starts_with("source `s` has a `url` that cannot be read"));
        let files = [("a", Value::Table(Params::from([("sha256".to_owned(), Value::Str("12".to_owned()))])))];
        let diag = Source::from_value(&table("file:x", &files)).unwrap_err();
        assert_eq!(
            diag.message,
            "source `s` has a wrong pin for `a`: `12` is not a SHA-256 digest: expected 64 hex digits"
        );
    }

    #[test]
    fn a_mirror_stands_before_the_url_and_must_be_there() {
        let source = Source::from_value(&table("https://h/v2", &[])).unwrap();
        let none = BTreeMap::new();
        assert!(matches!(source.place(Path::new("."), &none).unwrap(), SourcePlace::Http(_)));
        let here = BTreeMap::from([("s".to_owned(), PathBuf::from("."))]);
        assert!(matches!(source.place(Path::new("/"), &here).unwrap(), SourcePlace::Local { mirror: true, .. }));
        let gone = BTreeMap::from([("s".to_owned(), PathBuf::from("no/such"))]);
        let diag = source.place(Path::new("."), &gone).unwrap_err();
        assert_eq!(diag.message, "source `s` names a place that is not there: `no/such`");
        assert_eq!(diag.class, Class::Usage);
        let local = Source::from_value(&table("file:no/such", &[])).unwrap();
        assert_eq!(local.place(Path::new("."), &none).unwrap_err().class, Class::Environment);
    }

    #[test]
    fn a_mismatch_tells_both_values() {
        let mut hashes = crate::fetch::hash::Hashes::new(crate::fetch::hash::Wants { sha256: true, tensors: false });
        hashes.update(b"abc");
        let got = hashes.finish();
        assert!(Pin::default().check(&got, "f", "s").is_ok());
        let pin = Pin { sha256: Some(Sha256::of(b"abd")), bytes: Some(4) };
        let diag = pin.check(&got, "f", "s").unwrap_err();
        assert_eq!(diag.message, "`f` is not what source `s` pins");
        assert_eq!(diag.notes.len(), 3);
        assert_eq!(diag.notes[2], "4 bytes wanted, 3 bytes found (4 bytes and 3 bytes)");
    }
}
