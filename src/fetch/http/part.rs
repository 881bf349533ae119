//! [`Part`]: what has arrived of a file, whether more can be added to it, and whether it is what it should be. Asks no
//! server.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use serde::{Deserialize, Serialize};

use super::answer::{Head, Message, Problem, next};
use super::{CHUNK, Wanted, length};
use crate::base::fs::{self, on};
use crate::fetch::hash::{Hashes, Summary, Wants};
use crate::fetch::{Watch, size};

/// What is kept beside a file that is arriving: what it is a part of.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) url: String,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

impl State {
    /// What makes a continued download safe: a strong ETag, else the date.
    pub(super) fn validator(&self) -> Option<&str> {
        self.etag.as_deref().filter(|e| !e.starts_with("W/")).or(self.last_modified.as_deref())
    }
}

/// What has arrived of a file.
pub(super) struct Part<'a> {
    pub(super) wanted: &'a Wanted<'a>,
    state_path: PathBuf,
    pub(super) state: State,
    /// How much of it is kept.
    pub(super) len: u64,
    /// Of the bytes kept, once they went by.
    pub(super) hashes: Option<Hashes>,
    /// Whether some of it is from an earlier attempt.
    continued: bool,
}

impl<'a> Part<'a> {
    /// Looks at what there is. Bytes that cannot be continued safely do not count: those of another URL, and those
    /// with neither a validator nor a digest to be checked by at the end. `hashes` are those of the bytes that this process
    /// wrote in an earlier attempt.
    pub(super) fn open(wanted: &'a Wanted<'a>, hashes: Option<Hashes>) -> Result<Self, Problem> {
        if let Some(dir) = wanted.to.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut name = wanted.to.as_os_str().to_owned();
        name.push(".state");
        let state_path = PathBuf::from(name);
        let state: State = std::fs::read(&state_path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .filter(|state: &State| state.url == wanted.url.as_str())
            .unwrap_or_default();
        let safe = !state.url.is_empty() && (state.validator().is_some() || wanted.pin.is_set());
        let len = if safe { length(wanted.to) } else { 0 };
        let len = if wanted.pin.bytes.is_some_and(|b| len > b) { 0 } else { len };
        let hashes = hashes.filter(|hashes| hashes.bytes() == len);
        Ok(Self { wanted, state_path, state, len, hashes, continued: len > 0 })
    }

    /// When the pin tells that all is there already, no request is needed.
    pub(super) fn already_whole(&mut self, watch: &dyn Watch) -> Result<Option<Summary>, Problem> {
        if self.len == 0 || self.wanted.pin.bytes != Some(self.len) || !self.wanted.pin.is_set() {
            return Ok(None);
        }
        match self.verify(watch) {
            Ok(summary) => Ok(Some(summary)),
            // It was thrown away: start anew.
            Err(Problem::Passing { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Throws away what there is: the server sends the whole.
    pub(super) fn restart(&mut self, head: &Head) -> Result<(), Problem> {
        let url = self.wanted.url.as_str().to_owned();
        self.state = State { url, etag: head.etag.clone(), last_modified: head.last_modified.clone() };
        self.discard()?;
        File::create(self.wanted.to).map_err(on("write", self.wanted.to))?;
        let text = serde_json::to_vec(&self.state).expect("a state is plain JSON");
        Ok(fs::write_atomic(&self.state_path, &text)?)
    }

    /// The server sends the rest: is it the rest of this?
    pub(super) fn accept_range(&mut self, head: &Head) -> Result<Option<u64>, Problem> {
        let (first, total) = head.range();
        let same_file = match (&self.state.etag, &head.etag) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        if first != Some(self.len) || !same_file {
            self.discard()?;
            return Err(Problem::passing("the server sent another part than was asked for"));
        }
        Ok(total.or_else(|| head.length.map(|n| n + self.len)))
    }

    /// The server says that there is nothing after what is here: then this is all, or it is another file.
    pub(super) fn nothing_left(&mut self, head: &Head, watch: &dyn Watch) -> Result<Option<Summary>, Problem> {
        if head.range().1 == Some(self.len) {
            return self.verify(watch).map(Some);
        }
        self.discard()?;
        Err(Problem::passing("the file on the server is another by now"))
    }

    /// Writes the chunks as they come.
    pub(super) fn receive(
        &mut self,
        messages: &Receiver<Message>,
        total: Option<u64>,
        watch: &dyn Watch,
    ) -> Result<(), Problem> {
        let to = self.wanted.to;
        let hashes = self.hash_kept(watch)?;
        let what = format!("downloading {}", self.wanted.label);
        let mut file = OpenOptions::new().append(true).open(to).map_err(on("write", to))?;
        watch.progress(&what, hashes.bytes(), total);
        let hashes = self.hashes.insert(hashes);
        loop {
            let chunk = match next(messages, watch)? {
                Message::Chunk(chunk) => chunk,
                Message::End => break,
                Message::Failed(problem) => return Err(problem),
                Message::Head(_) => return Err(Problem::passing("the server answered twice")),
            };
            if total.is_some_and(|t| hashes.bytes() + chunk.len() as u64 > t) {
                drop(file);
                self.discard()?;
                return Err(Problem::passing("the server sent more than the whole file"));
            }
            file.write_all(&chunk).map_err(on("write", to))?;
            hashes.update(&chunk);
            watch.progress(&what, hashes.bytes(), total);
        }
        self.len = hashes.bytes();
        if let Some(total) = total.filter(|t| *t > self.len) {
            let why = format!("the connection ended after {} of {}", size(self.len), size(total));
            return Err(Problem::passing(why));
        }
        Ok(())
    }

    /// The digests of what is kept. What was hashed as it arrived is not hashed again.
    fn hash_kept(&mut self, watch: &dyn Watch) -> Result<Hashes, Problem> {
        if let Some(hashes) = self.hashes.take() {
            return Ok(hashes);
        }
        let tensors = self.wanted.to.extension().is_some_and(|ending| ending == "safetensors");
        let mut hashes = Hashes::new(Wants { sha256: true, tensors });
        if self.len == 0 {
            return Ok(hashes);
        }
        let mut file = fs::open(self.wanted.to)?;
        let mut chunk = vec![0; CHUNK];
        let what = format!("checking {}", self.wanted.label);
        loop {
            watch.check()?;
            match file.read(&mut chunk).map_err(on("read", self.wanted.to))? {
                0 => break,
                n => hashes.update(&chunk[..n]),
            }
            watch.progress(&what, hashes.bytes(), Some(self.len));
        }
        if hashes.bytes() == self.len {
            return Ok(hashes);
        }
        self.discard()?;
        Err(Problem::passing("the partial file changed meanwhile"))
    }

    /// Compares with the pin. What is wrong is thrown away; a wrong end of an older beginning may be tried once more.
    pub(super) fn verify(&mut self, watch: &dyn Watch) -> Result<Summary, Problem> {
        let summary = self.hash_kept(watch)?.finish();
        if let Err(diag) = self.wanted.pin.check(&summary, self.wanted.label, self.wanted.source) {
            let continued = self.continued;
            self.discard()?;
            if continued {
                return Err(Problem::passing("what was here is not what is pinned"));
            }
            return Err(Problem::Final(diag));
        }
        Ok(summary)
    }

    fn discard(&mut self) -> Result<(), Problem> {
        (self.len, self.hashes, self.continued) = (0, None, false);
        for path in [self.wanted.to, &self.state_path] {
            fs::remove_file(path)?;
        }
        Ok(())
    }
}
