//! Secrets of a command. They are given to the program, and removed from everything that is written or shown.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::base::diag::{Class, Diag};
use crate::base::fs::{self, on};
use crate::base::value::{Params, Value};

use crate::stages::ctx::Outcome;

use super::settings::{DeclaredInputs, texts, usage};

/// A shorter value cannot be distinguished from other text.
const SHORTEST: usize = 6;
/// How much of a file is looked at at a time.
const CHUNK: usize = 1 << 20;

/// One secret.
#[derive(Clone)]
pub struct Secret {
    /// Its variable.
    pub name: String,
    value: Vec<u8>,
}

/// Shows only the name.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({})", self.name)
    }
}

impl Secret {
    /// Returns a secret, unless its value is too short to be recognised.
    pub fn new(name: &str, value: OsString) -> Option<Self> {
        let value = value.into_vec();
        (value.len() >= SHORTEST).then(|| Self { name: name.to_owned(), value })
    }

    /// For the program.
    pub fn value(&self) -> OsString {
        OsString::from_vec(self.value.clone())
    }

    fn mark(&self) -> String {
        format!("[secret {}]", self.name)
    }
}

/// Returns the secrets that `names` are set to.
///
/// # Errors
/// One that is not set, or is too short to be kept out of a log.
pub fn read(names: &[String]) -> Result<Vec<Secret>, Diag> {
    let lack = |name: &String, what: &str| {
        Diag::error(Class::Environment, format!("the secret `{name}` {what}"))
            .help(format!("set the environment variable `{name}` where `dpt` is started"))
            .lasting()
    };
    let one = |name: &String| match crate::base::env::var_os(name).filter(|value| !value.is_empty()) {
        None => Err(lack(name, "is not set")),
        Some(value) => Secret::new(name, value).ok_or_else(|| {
            lack(
                name,
                &format!("is shorter than {SHORTEST} characters: it cannot be distinguished from other text in a log"),
            )
        }),
    };
    names.iter().map(one).collect()
}

/// Checks that no parameter holds a secret, which would be written into the key.
///
/// # Errors
/// One does: which, and where.
pub fn refuse_in_params(settings: &DeclaredInputs, params: &Params) -> Result<(), Diag> {
    let set = settings.secrets.iter().filter_map(|name| Secret::new(name, crate::base::env::var_os(name)?));
    let mut secrets: Vec<Secret> = set.collect();
    if secrets.is_empty() {
        return Ok(());
    }
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.value.len()));
    let env = super::environment::counted(&settings.env)?;
    let tables = params.iter().map(|(name, value)| (name.clone(), value.clone()));
    for (name, value) in tables.chain([("env".to_owned(), Value::Table(env))]) {
        if let Some(secret) = secrets.iter().find(|secret| holds(&value, secret)) {
            return Err(usage(format!("`{name}` holds the value of the secret `{}`", secret.name))
                .note("parameters are written into keys and journals")
                .help("let the program take it from its environment"));
        }
    }
    Ok(())
}

/// Checks that no value of an axis holds a secret: names of nodes are written into keys and journals.
///
/// # Errors
/// One does. The message does not repeat it.
pub fn refuse_in_axis(params: &Params, axis: &str, value: &str) -> Result<(), Diag> {
    // Only the names are read: this runs for each node of a plan.
    let names = texts(params, "secrets");
    let mut set = names.iter().filter_map(|name| Secret::new(name, crate::base::env::var_os(name)?));
    match set.find(|secret| find(value.as_bytes(), &secret.value).is_some()) {
        None => Ok(()),
        Some(secret) => {
            let message = format!("a value of the axis `{axis}` holds the value of the secret `{}`", secret.name);
            Err(usage(message)
                .note("the values of axes are in the names of nodes, which are written into keys and journals")
                .help("let the program take it from its environment"))
        }
    }
}

fn holds(value: &Value, secret: &Secret) -> bool {
    match value {
        Value::Str(text) => find(text.as_bytes(), &secret.value).is_some(),
        Value::List(items) => items.iter().any(|item| holds(item, secret)),
        Value::Table(fields) => {
            fields.iter().any(|(name, v)| find(name.as_bytes(), &secret.value).is_some() || holds(v, secret))
        }
        _ => false,
    }
}

/// Returns the secret that the file holds, if any.
///
/// # Errors
/// Fails if it cannot be read.
pub fn in_file<'a>(path: &Path, secrets: &'a [Secret]) -> Result<Option<&'a Secret>, Diag> {
    let Some(longest) = secrets.iter().map(|s| s.value.len()).max() else { return Ok(None) };
    let mut file: File = fs::open(path)?;
    let mut seen: Vec<u8> = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = file.read(&mut chunk).map_err(on("read", path))?;
        if n == 0 {
            return Ok(None);
        }
        seen.extend_from_slice(&chunk[..n]);
        if let Some(secret) = secrets.iter().find(|s| find(&seen, &s.value).is_some()) {
            return Ok(Some(secret));
        }
        seen.drain(..seen.len().saturating_sub(longest - 1));
    }
}

/// Returns whether a file's name holds a secret.
pub fn in_name<'a>(name: &str, secrets: &'a [Secret]) -> Option<&'a Secret> {
    secrets.iter().find(|s| find(name.as_bytes(), s.value().as_bytes()).is_some())
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    let first = what.first()?;
    let mut at = 0;
    while let Some(i) = text[at..].iter().position(|b| b == first) {
        at += i;
        if text[at..].starts_with(what) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Takes secrets out of a stream, also where one comes in two parts.
#[derive(Debug)]
pub struct Redactor {
    secrets: Vec<Secret>,
    /// What may be the beginning of a secret.
    held: Vec<u8>,
}

impl Redactor {
    /// For these secrets. Of two that overlap, the longer one is recognised.
    pub fn new(secrets: &[Secret]) -> Self {
        let mut secrets = secrets.to_vec();
        secrets.sort_by_key(|s| std::cmp::Reverse(s.value.len()));
        Self { secrets, held: Vec::new() }
    }

    /// Returns what of the stream may be shown now that `bytes` have come.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.secrets.is_empty() {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        let mut clean = self.replace();
        let keep = self.beginning();
        let rest = self.held.split_off(self.held.len() - keep);
        clean.extend(std::mem::replace(&mut self.held, rest));
        clean
    }

    /// Returns what remains at the end.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut clean = self.replace();
        clean.append(&mut self.held);
        clean
    }

    /// Everything up to the last whole secret in what is held, redacted.
    fn replace(&mut self) -> Vec<u8> {
        let mut clean = Vec::new();
        loop {
            let found = self.secrets.iter().filter_map(|s| Some((find(&self.held, &s.value)?, s)));
            let Some((at, secret)) = found.min_by_key(|(at, s)| (*at, std::cmp::Reverse(s.value.len()))) else {
                return clean;
            };
            clean.extend_from_slice(&self.held[..at]);
            clean.extend_from_slice(secret.mark().as_bytes());
            self.held.drain(..at + secret.value.len());
        }
    }

    /// Returns how many of the last bytes held may begin a secret.
    fn beginning(&self) -> usize {
        let longest = self.secrets.first().map_or(0, |s| s.value.len());
        let starts = |n: &usize| {
            let tail = &self.held[self.held.len() - n..];
            self.secrets.iter().any(|s| s.value.len() > *n && s.value.starts_with(tail))
        };
        (1..longest.min(self.held.len() + 1)).rev().find(starts).unwrap_or(0)
    }
}

/// Takes secrets out of texts that leave the stage: messages, notes, names. Also where a text has quoted one: with the
/// escapes of Rust, of JSON or of a shell, or with a mark for bytes that are not UTF-8.
#[derive(Debug)]
pub struct Clean(Vec<Secret>);

impl Clean {
    /// Of these secrets.
    pub fn new(secrets: &[Secret]) -> Self {
        let mut forms: Vec<Secret> = Vec::new();
        for Secret { name, value } in secrets {
            let text = String::from_utf8_lossy(value);
            let json = serde_json::to_string(&text).unwrap_or_default();
            let quoted = [
                value.clone(),
                text.clone().into_owned().into_bytes(),
                text.escape_debug().to_string().into_bytes(),
                json.trim_matches('"').to_owned().into_bytes(),
                text.replace('\'', r"'\''").into_bytes(),
            ];
            for value in quoted {
                if forms.iter().all(|form| form.value != value) {
                    forms.push(Secret { name: name.clone(), value });
                }
            }
        }
        Self(forms)
    }

    /// Returns the same bytes without secrets.
    pub fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut redactor = Redactor::new(&self.0);
        let mut clean = redactor.push(bytes);
        clean.extend(redactor.finish());
        clean
    }

    /// Returns the same text without secrets.
    pub fn text(&self, text: String) -> String {
        if self.0.iter().all(|secret| find(text.as_bytes(), &secret.value).is_none()) {
            return text;
        }
        String::from_utf8_lossy(&self.bytes(text.as_bytes())).into_owned()
    }

    /// Returns the same message without secrets.
    pub fn diag(&self, diag: Diag) -> Diag {
        let texts = |texts: Vec<String>| texts.into_iter().map(|text| self.text(text)).collect();
        Diag {
            message: self.text(diag.message),
            label: diag.label.map(|label| self.text(label)),
            notes: texts(diag.notes),
            help: diag.help.map(|help| self.text(help)),
            ..diag
        }
    }

    /// Returns what a stage reports besides its files, without secrets.
    ///
    /// # Errors
    /// Fails if a figure is a secret.
    pub fn outcome(&self, outcome: Outcome) -> Result<Outcome, Diag> {
        let shows = |value: &f64| self.0.iter().find(|s| find(format!("{value}").as_bytes(), &s.value).is_some());
        if let Some(secret) = outcome.metrics.values().find_map(shows) {
            let message = format!("a figure of `metrics` holds the value of the secret `{}`", secret.name);
            return Err(Diag::error(Class::Stage, message)
                .help("results are kept and shared: let the program leave it out")
                .lasting());
        }
        Ok(Outcome {
            metrics: outcome.metrics.into_iter().map(|(name, value)| (self.text(name), value)).collect(),
            notes: outcome.notes.into_iter().map(|note| self.text(note)).collect(),
            ..outcome
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[&str]) -> Vec<Secret> {
        let one = |(i, value): (usize, &&str)| Secret::new(&format!("S{i}"), value.into()).unwrap();
        values.iter().enumerate().map(one).collect()
    }

    #[test]
    fn secret_is_removed_however_the_stream_is_cut() {
        let secrets = secrets(&["hunter2-hunter2", "hunter2-x"]);
        let text = b"a hunter2-hunter2-hunter2-x hunter2 hunter2-hunter2";
        let expected = "a [secret S0]-[secret S1] hunter2 [secret S0]";
        for size in 1..text.len() {
            let mut redactor = Redactor::new(&secrets);
            let mut clean = Vec::new();
            for part in text.chunks(size) {
                clean.extend(redactor.push(part));
            }
            clean.extend(redactor.finish());
            assert_eq!(String::from_utf8(clean).unwrap(), expected, "in parts of {size}");
        }
    }

    #[test]
    fn stream_without_secrets_passes_at_once() {
        let mut redactor = Redactor::new(&[]);
        assert_eq!(redactor.push(b"abc"), b"abc");
        assert_eq!(redactor.finish(), b"");
    }

    #[test]
    fn text_without_secrets_is_not_held_back() {
        let mut redactor = Redactor::new(&secrets(&["abcdef"]));
        assert_eq!(redactor.push(b"line\n"), b"line\n");
        assert_eq!(redactor.push(b"xab"), b"x");
        assert_eq!(redactor.push(b"q"), b"abq");
    }

    #[test]
    fn a_secret_is_found_across_the_parts_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let secrets = secrets(&["sesame-open"]);
        let mut bytes = vec![b's'; CHUNK - 4];
        bytes.extend_from_slice(b"sesame-open");
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(in_file(&path, &secrets).unwrap().unwrap().name, "S0");
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(in_file(&path, &secrets).unwrap().is_none());
    }

    #[test]
    fn secret_is_removed_from_a_quoting_text() {
        let clean = Clean::new(&secrets(&["it's \"a\\b\"\n"]));
        let value = "it's \"a\\b\"\n";
        let quotes = [
            value.to_owned(),
            value.escape_debug().to_string(),
            serde_json::to_string(value).unwrap(),
            value.replace('\'', r"'\''"),
        ];
        for text in quotes {
            let cleaned = clean.text(format!("before {text} after"));
            assert!(cleaned.contains("[secret S0]") && !cleaned.contains("a\\b"), "{text}: {cleaned}");
            let diag = Diag::error(Class::Stage, &text).note(&text).help(&text).label(&text);
            assert!(!format!("{:?}", clean.diag(diag)).contains("it's"), "{text}");
        }
        assert_eq!(clean.text("nothing".to_owned()), "nothing");
    }

    #[test]
    fn figure_names_are_cleaned_and_secret_figures_refused() {
        let clean = Clean::new(&secrets(&["1234567", "sesame"]));
        let told =
            |name: &str, value: f64| Outcome { metrics: [(name.to_owned(), value)].into(), ..Outcome::default() };
        let outcome = clean.outcome(told("of sesame", 1.0)).unwrap();
        assert_eq!(outcome.metrics.keys().next().unwrap(), "of [secret S1]");
        let error = clean.outcome(told("a", 1.234567e6)).unwrap_err();
        assert_eq!(error.message, "a figure of `metrics` holds the value of the secret `S0`");
    }

    #[test]
    fn short_values_are_not_secrets() {
        assert!(Secret::new("S", "12345".into()).is_none());
        assert_eq!(format!("{:?}", Secret::new("S", "123456".into()).unwrap()), "Secret(S)");
    }
}
