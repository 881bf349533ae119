//! [`Part`]: what has arrived of a file, whether more can be added to it, and whether it is what it should be. Asks no
//! server.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::answer::{Head, Message, Problem, next};
use super::bounds::{self, Bounds};
use super::coding::Coding;
use super::request::{CHUNK, FetchRequest, length};
use super::version::Version;
use crate::base::digest::Digest;
use crate::base::fs::{self, on};
use crate::fetch::hash::{Hashes, Summary, Wants};
use crate::fetch::source::Pin;
use crate::fetch::{Watch, size};

/// How often the state is written while a file arrives. A killed process loses what came since.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How many bytes of unknown number are written before the disk is looked at again.
const LOOK_EVERY: u64 = 16 << 20;

/// The state beside a partial file: which file it is a part of, and how much of it is known to be right.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    url: String,
    version: Version,
    /// `true` if the server sends no parts of it.
    no_ranges: bool,
    /// `true` if the server packs it: its parts would be parts of the packed form.
    packed: bool,
    /// How many bytes are kept.
    kept: u64,
    /// Their digest.
    blake3: Option<Digest>,
}

impl State {
    /// How many of the bytes kept count in the next request: those of a part that can be continued, and those of a
    /// whole file whose pin tells that it is whole.
    fn counts(&self, pin: &Pin) -> u64 {
        let whole = pin.is_set() && pin.bytes == Some(self.kept);
        let proven = pin.is_set() || self.version.validator().is_some();
        let fits = pin.bytes.is_none_or(|most| self.kept <= most);
        if whole || (proven && fits && !self.no_ranges && !self.packed) { self.kept } else { 0 }
    }
}

/// The content of an answer.
pub(super) struct Brings {
    /// How its bytes become the file's.
    coding: Coding,
    /// `Content-Length`.
    length: Option<u64>,
    /// Where in the file its last byte is, counted from 1.
    end: Option<u64>,
    /// The size of the whole file.
    pub(super) total: Option<u64>,
    /// `true` if the server said that size.
    announced: bool,
}

/// A partial file.
pub(super) struct Part<'a> {
    pub(super) wanted: &'a FetchRequest<'a>,
    state_path: PathBuf,
    state: State,
    /// How many bytes are kept.
    pub(super) len: u64,
    /// Of the bytes kept, once they went by.
    pub(super) hashes: Option<Hashes>,
    /// `true` if some of it is from an earlier attempt.
    continued: bool,
}

/// How many bytes of `wanted` the next run would go on from.
pub(super) fn kept(wanted: &FetchRequest) -> u64 {
    let (_, state) = state(wanted);
    Some(state.counts(&wanted.pin)).filter(|kept| *kept <= length(wanted.to)).unwrap_or(0)
}

fn state(wanted: &FetchRequest) -> (PathBuf, State) {
    let mut name = wanted.to.as_os_str().to_owned();
    name.push(".state");
    let path = PathBuf::from(name);
    let state = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let state = state.filter(|state: &State| state.url == wanted.url.as_str()).unwrap_or_default();
    (path, state)
}

impl<'a> Part<'a> {
    /// Looks at what there is. Bytes that cannot be continued safely do not count: those of another URL, and those with
    /// neither a validator nor a digest to be checked by at the end. `hashes` are those of the bytes that this process
    /// wrote in an earlier attempt.
    pub(super) fn open(wanted: &'a FetchRequest<'a>, hashes: Option<Hashes>) -> Result<Self, Problem> {
        fs::create_dir_all(folder(wanted.to))?;
        let (state_path, state) = state(wanted);
        let len = kept(wanted);
        let hashes = hashes.filter(|hashes| len > 0 && hashes.bytes() == len);
        Ok(Self { wanted, state_path, state, len, hashes, continued: len > 0 })
    }

    /// Compares what is kept with its digest. What an earlier process wrote is read once; bytes after those that the
    /// digest counts are cut off. Where anything differs, all of it is thrown away.
    pub(super) fn check_kept(&mut self, watch: &dyn Watch) -> Result<(), Problem> {
        if self.len == 0 || self.hashes.is_some() {
            return Ok(());
        }
        let to = self.wanted.to;
        let mut file = OpenOptions::new().read(true).write(true).open(to).map_err(on("read", to))?;
        file.set_len(self.len).map_err(on("write", to))?;
        let mut hashes = self.new_hashes();
        let mut chunk = vec![0; CHUNK];
        let what = format!("checking {}", self.wanted.label);
        loop {
            watch.check()?;
            match file.read(&mut chunk).map_err(on("read", to))? {
                0 => break,
                n => hashes.update(&chunk[..n]),
            }
            watch.progress(&what, hashes.bytes(), Some(self.len));
        }
        if hashes.bytes() == self.len && Some(hashes.so_far()) == self.state.blake3 {
            self.hashes = Some(hashes);
            return Ok(());
        }
        self.discard()?;
        let label = self.wanted.label;
        watch.note(&format!("{label}: the part that an earlier run kept has changed since: all of it is fetched anew"));
        Ok(())
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

    /// What `If-Range` names: the validator of what is kept.
    pub(super) fn validator(&self) -> Option<&str> {
        self.state.version.validator()
    }

    /// Throws away what there is: the server sends the whole.
    pub(super) fn restart(&mut self, head: &Head) -> Result<Brings, Problem> {
        let coding = Coding::of(head, self.wanted.url.path())?;
        let packed = coding.is_packed();
        let announced = head.length.filter(|_| !packed);
        let version = Version::of(head, announced);
        // The same version whole, where the rest was asked for: this server knows no ranges.
        let no_ranges = head.no_ranges || (self.len > 0 && self.state.version.is(&version));
        self.discard()?;
        File::create(self.wanted.to).map_err(on("write", self.wanted.to))?;
        let url = self.wanted.url.as_str().to_owned();
        self.state = State { url, version, no_ranges, packed, kept: 0, blake3: None };
        self.save(true)?;
        let total = announced.or(self.wanted.pin.bytes);
        Ok(Brings { coding, length: head.length, end: total, total, announced: announced.is_some() })
    }

    /// The server sends a part: is it the rest of this?
    pub(super) fn accept_range(&mut self, head: &Head) -> Result<Brings, Problem> {
        let range = head.range().filter(|_| !head.multipart);
        let fits = range.and_then(|range| Some((range.bytes?, range.total)));
        let Some(((_, last), total)) = fits.filter(|((first, _), _)| self.len > 0 && *first == self.len) else {
            self.discard()?;
            return Err(Problem::passing("the server sent another part than was asked for"));
        };
        let version = Version::of(head, total);
        let ours = &self.state.version;
        let same = if self.wanted.pin.is_set() { ours.may_be(&version) } else { ours.is(&version) };
        let coding = Coding::of(head, self.wanted.url.path())?;
        let known = total.or(self.state.version.total);
        let whole = known.or(self.wanted.pin.bytes);
        // Where nothing says the size of the whole, no part can be known to be the last one.
        let sized = whole.is_some() && head.length.is_none_or(|n| n == last - self.len + 1);
        if !same || !sized || coding.is_packed() {
            self.discard()?;
            return Err(Problem::passing(
                "the rest that the server sent is not surely of the same version of the file as what had arrived, \
                 which was thrown away",
            ));
        }
        self.state.version.total = known;
        Ok(Brings { coding, length: head.length, end: Some(last + 1), total: whole, announced: known.is_some() })
    }

    /// The server says that there is nothing after what is here: then this is all, or it is another file.
    pub(super) fn nothing_left(&mut self, head: &Head, watch: &dyn Watch) -> Result<Option<Summary>, Problem> {
        let total = head.range().and_then(|range| range.total);
        let whole = self.state.version.total.or(self.wanted.pin.bytes) == Some(self.len);
        if whole && total == Some(self.len) && self.state.version.may_be(&Version::of(head, total)) {
            return self.verify(watch).map(Some);
        }
        self.discard()?;
        Err(Problem::passing("the file on the server is another by now"))
    }

    /// Writes what an answer brings as it comes, and keeps account of it.
    pub(super) fn receive(
        &mut self,
        messages: &Receiver<Message>,
        mut brings: Brings,
        bounds: &Bounds,
        watch: &dyn Watch,
    ) -> Result<(), Problem> {
        let folder = folder(self.wanted.to);
        if let Some(total) = brings.total {
            if brings.announced && self.wanted.pin.bytes.is_none() && total > bounds.announced {
                return Err(self.too_large(total, bounds.announced)?);
            }
            bounds::check_room(folder, self.wanted.label, total.saturating_sub(self.len))?;
        }
        let mut hashes = self.hashes.take().unwrap_or_else(|| self.new_hashes());
        let received = self.write(messages, &mut brings, &mut hashes, bounds, watch);
        self.len = hashes.bytes();
        self.hashes = Some(hashes);
        match received {
            Ok(()) => {
                if brings.total.is_none() {
                    self.state.version.total = Some(self.len);
                }
                self.save(false)?;
            }
            Err(Ended::Wrong(problem)) => {
                self.discard()?;
                return Err(problem);
            }
            Err(Ended::Early(problem)) => {
                // What was saved before still holds if this fails, as on a full disk.
                let _ = self.save(false);
                return Err(problem);
            }
        }
        let (len, total) = (size(self.len), size(brings.total.unwrap_or(self.len)));
        match (brings.end, brings.total) {
            (Some(end), _) if self.len < end => {
                Err(Problem::passing(format!("the connection ended after {len} of {total}")))
            }
            (_, Some(whole)) if self.len < whole => {
                Err(Problem::passing(format!("the server sent {len} of {total}, and no more")))
            }
            _ => Ok(()),
        }
    }

    /// Writes the chunks as they come.
    fn write(
        &mut self,
        messages: &Receiver<Message>,
        brings: &mut Brings,
        hashes: &mut Hashes,
        bounds: &Bounds,
        watch: &dyn Watch,
    ) -> Result<(), Ended> {
        let to = self.wanted.to;
        let what = format!("downloading {}", self.wanted.label);
        let mut file = OpenOptions::new().append(true).open(to).map_err(on("write", to)).map_err(Problem::from)?;
        watch.progress(&what, hashes.bytes(), brings.total);
        let (mut came, mut looked, mut saved) = (0u64, hashes.bytes(), Instant::now());
        let (end, total, announced) = (brings.end, brings.total, brings.announced);
        let wanted = self.wanted;
        let mut wrong = None;
        let mut take = |hashes: &mut Hashes, bytes: &[u8], packed: Option<u64>| -> Result<(), Problem> {
            let len = hashes.bytes() + bytes.len() as u64;
            if end.is_some_and(|end| len > end) {
                wrong = Some(Wrong::More);
            } else if wanted.pin.bytes.is_none() {
                let most = bounds.most(announced);
                let most = packed.map_or(most, |packed| most.min(bounds.unpacked(packed)));
                if len > most {
                    wrong = Some(Wrong::TooLarge { len, most });
                }
            }
            if wrong.is_some() {
                return Err(Problem::passing("the server sent more than the whole file"));
            }
            if total.is_none() && len - looked >= LOOK_EVERY {
                looked = len;
                bounds::check_room(folder(to), wanted.label, bounds.reserve)?;
            }
            file.write_all(bytes).map_err(on("write", to))?;
            hashes.update(bytes);
            Ok(())
        };
        let ended = loop {
            let chunk = match next(messages, watch) {
                Ok(Message::Chunk(chunk)) => chunk,
                Ok(Message::End) => break brings.coding.end(&mut |bytes, packed| take(hashes, bytes, packed)),
                Ok(Message::Failed(problem)) | Err(problem) => break Err(problem),
                Ok(Message::Head(_)) => break Err(Problem::passing("the server answered twice")),
            };
            came += chunk.len() as u64;
            if let Err(problem) = brings.coding.take(&chunk, &mut |bytes, packed| take(hashes, bytes, packed)) {
                break Err(problem);
            }
            watch.progress(&what, hashes.bytes(), total);
            if saved.elapsed() >= SAVE_EVERY {
                saved = Instant::now();
                (self.state.kept, self.state.blake3) = (hashes.bytes(), Some(hashes.so_far()));
                if let Err(problem) = self.write_state(false) {
                    break Err(problem);
                }
            }
        };
        match (wrong, ended) {
            (Some(Wrong::TooLarge { len, most }), _) => {
                Err(Ended::Wrong(Problem::Final(bounds::too_large(wanted.label, wanted.source, len, most))))
            }
            (Some(Wrong::More), Err(problem)) => Err(Ended::Wrong(problem)),
            (_, Err(problem)) if brings.coding.is_packed() && !matches!(problem, Problem::Final(_)) => {
                Err(Ended::Wrong(problem))
            }
            (_, Err(problem)) => Err(Ended::Early(problem)),
            (_, Ok(())) if brings.coding.is_packed() && brings.length.is_some_and(|length| came < length) => {
                Err(Ended::Wrong(Problem::passing("the connection ended early")))
            }
            (_, Ok(())) => Ok(()),
        }
    }

    /// Throws away a file that is larger than it may be.
    fn too_large(&mut self, bytes: u64, most: u64) -> Result<Problem, Problem> {
        self.discard()?;
        Ok(Problem::Final(bounds::too_large(self.wanted.label, self.wanted.source, bytes, most)))
    }

    fn new_hashes(&self) -> Hashes {
        let tensors = self.wanted.to.extension().is_some_and(|ending| ending == "safetensors");
        Hashes::new(Wants { sha256: true, tensors })
    }

    /// Writes the state of what is kept.
    fn save(&mut self, durable: bool) -> Result<(), Problem> {
        if let Some(hashes) = &self.hashes {
            (self.state.kept, self.state.blake3) = (hashes.bytes(), Some(hashes.so_far()));
        }
        self.write_state(durable)
    }

    fn write_state(&self, durable: bool) -> Result<(), Problem> {
        let text = serde_json::to_vec(&self.state).expect("a state is plain JSON");
        Ok(fs::replace(&self.state_path, &text, durable)?)
    }

    /// Compares with the pin. What is wrong is thrown away; a wrong end of an older beginning may be tried once more.
    pub(super) fn verify(&mut self, watch: &dyn Watch) -> Result<Summary, Problem> {
        self.check_kept(watch)?;
        let Some(hashes) = self.hashes.take() else {
            return Err(Problem::passing("the partial file changed meanwhile"));
        };
        let summary = hashes.finish();
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
        self.state = State::default();
        Ok(())
    }
}

/// How an answer that was not taken whole ended.
enum Ended {
    /// The bytes so far are right.
    Early(Problem),
    /// The bytes so far are of no use.
    Wrong(Problem),
}

impl From<Problem> for Ended {
    fn from(problem: Problem) -> Self {
        Self::Early(problem)
    }
}

/// The error for an answer that is too long.
enum Wrong {
    /// More than it announced.
    More,
    /// More than any file may have.
    TooLarge { len: u64, most: u64 },
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
