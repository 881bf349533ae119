//! [`Fetched`]: the record that a download keeps of what it read, from which `dpt pin` makes pins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hash::Sha256;
use super::source::{Location, Source};
use crate::base::digest::Digest;

/// The record that a download keeps of every file which it read, by path below the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// By path below the source.
    pub files: BTreeMap<String, FetchedFile>,
}

/// One file, as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedFile {
    /// Its URL, `a mirror of URL` where a mirror stood for it unchecked, or `local file`.
    pub origin: String,
    /// Its size.
    pub bytes: u64,
    /// Its digest, as hubs publish it. Not taken of a large local file that no pin asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Its digest, as the store names it.
    pub blake3: Digest,
    /// `true` if it was compared with a pin.
    pub pinned: bool,
}

/// The pin of one file, as `dpt pin` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Below the source's `url`.
    pub path: String,
    /// Its digest.
    pub sha256: Sha256,
    /// Its size.
    pub bytes: u64,
}

/// Pins by source name and KEY.
pub type Records = BTreeMap<String, BTreeMap<String, Record>>;

/// Adds to `records` what `fetched` tells of `source`: its files over HTTP. Local sources need no pins, their content
/// is in the key. The KEY is the one that the source has for the path, else the path.
pub fn collect(source: &Source, fetched: &Fetched, records: &mut Records) {
    if matches!(source.location, Location::Local(_)) {
        return;
    }
    for (path, file) in &fetched.files {
        let key = source.files.iter().find(|(_, spec)| spec.path == *path).map_or(path, |(key, _)| key);
        let Some(sha256) = file.sha256 else { continue };
        let record = Record { path: path.clone(), sha256, bytes: file.bytes };
        records.entry(source.name.clone()).or_default().insert(key.clone(), record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::value::{Params, Value};

    fn fetched(path: &str) -> Fetched {
        let file = FetchedFile {
            origin: format!("https://h/{path}"),
            bytes: 3,
            sha256: Some(Sha256::of(b"abc")),
            blake3: Digest::of(b"abc"),
            pinned: false,
        };
        Fetched { files: BTreeMap::from([(path.to_owned(), file)]) }
    }

    fn source(url: &str) -> Source {
        let files = Params::from([("boolq".to_owned(), Value::Str("BoolQ.zip".to_owned()))]);
        Source::from_value(&Value::Table(Params::from([
            ("name".to_owned(), Value::Str("superglue".to_owned())),
            ("url".to_owned(), Value::Str(url.to_owned())),
            ("files".to_owned(), Value::Table(files)),
        ])))
        .unwrap()
    }

    #[test]
    fn files_over_http_under_the_keys_of_their_source() {
        let mut records = Records::new();
        collect(&source("https://h"), &fetched("RTE.zip"), &mut records);
        collect(&source("https://h"), &fetched("BoolQ.zip"), &mut records);
        collect(&source("file:x"), &fetched("WSC.zip"), &mut records);
        let record = |path: &str| Record { path: path.to_owned(), sha256: Sha256::of(b"abc"), bytes: 3 };
        let files = [("RTE.zip".to_owned(), record("RTE.zip")), ("boolq".to_owned(), record("BoolQ.zip"))];
        assert_eq!(records, Records::from([("superglue".to_owned(), BTreeMap::from(files))]));
    }
}
