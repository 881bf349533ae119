//! One file over HTTP(S): resumed where the server allows it, retried with back-off, checked while it arrives.
//!
//! What has arrived lies at [`Wanted::to`], with a note of what it is beside it (`.state`). After an interruption the
//! rest is asked for with `Range`, on the condition (`If-Range`) that the file is still the same; a server that knows no
//! ranges, or has another file by now, sends the whole again. A file that is all there is not fetched again, only its
//! digest (or, without a pin, its identity on the server) is checked. Delays are fixed, not drawn: 0.5 s, 1 s, 2 s, …
//! or what the server says in `Retry-After`.
//!
//! The network is read on a thread of its own, so that a stalled server does not keep an interruption waiting.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ureq::http::{HeaderMap, StatusCode, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use url::Url;

use super::hash::{Hashes, Summary};
use super::source::{Pin, shown};
use super::{Watch, size};
use crate::base::diag::{Class, Diag};
use crate::base::fs::{self, on};

/// How much is read from the network at a time.
const CHUNK: usize = 128 * 1024;
/// How often a wait looks whether it should end.
const TICK: Duration = Duration::from_millis(50);
/// The longest wait that a server may ask for with `Retry-After`.
const LONGEST_ASKED: Duration = Duration::from_secs(120);
/// Where a token may go.
const HUB: &str = "huggingface.co";

/// How patient a [`Client`] is.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How often it is tried while nothing new arrives.
    pub tries: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first_delay: Duration,
    /// The longest such wait.
    pub longest_delay: Duration,
    /// How long connecting may take.
    pub connect: Duration,
    /// How long a server may be silent.
    pub silence: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tries: 6,
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(30),
            connect: Duration::from_secs(20),
            silence: Duration::from_secs(60),
        }
    }
}

/// Fetches files.
pub struct Client {
    agent: ureq::Agent,
    token: Option<String>,
    policy: Policy,
}

/// Without the token.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// A file to be fetched.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where it is.
    pub url: &'a Url,
    /// Its name in progress and messages.
    pub label: &'a str,
    /// The name of the source, for messages.
    pub source: &'a str,
    /// Where it is put.
    pub to: &'a Path,
    /// What it must be.
    pub pin: Pin,
}

/// What is kept beside a file that is arriving: what it is a part of.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    url: String,
    etag: Option<String>,
    last_modified: Option<String>,
}

/// Why an attempt did not end well.
enum Problem {
    /// Trying again may help, after this wait if the server named one.
    Passing { why: String, wait: Option<Duration> },
    /// It will not help: the network, or the server's answers, are so.
    Lasting(String),
    /// It will not help: told in full.
    Final(Diag),
}

impl From<Diag> for Problem {
    fn from(diag: Diag) -> Self {
        Self::Final(diag)
    }
}

impl From<fs::FsError> for Problem {
    fn from(error: fs::FsError) -> Self {
        Self::Final(error.into())
    }
}

impl Problem {
    fn passing(why: impl Into<String>) -> Self {
        Self::Passing { why: why.into(), wait: None }
    }
}

impl Client {
    /// A client that shows `token` to huggingface.co (over HTTPS) and to nobody else. Proxies are taken from the
    /// environment (`HTTPS_PROXY`, `NO_PROXY`, …).
    pub fn new(policy: Policy, token: Option<String>) -> Self {
        Self::with_roots(policy, token, RootCerts::WebPki)
    }

    fn with_roots(policy: Policy, token: Option<String>, roots: RootCerts) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(10)
            .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
            .user_agent(concat!("dpt/", env!("CARGO_PKG_VERSION")))
            // The bytes that are pinned are those of the file, not of a compressed form of it.
            .accept_encoding("identity")
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .timeout_resolve(Some(policy.connect))
            .timeout_connect(Some(policy.connect))
            .timeout_recv_response(Some(policy.silence))
            .timeout_per_read(Some(policy.silence))
            .build();
        Self { agent: config.new_agent(), token: token.filter(|t| !t.is_empty()), policy }
    }

    /// A client with the default [`Policy`] and what the environment says: `HF_TOKEN`, a token for huggingface.co (read
    /// here and nowhere else, so that it can stand in no parameter, recipe or journal); `SSL_CERT_FILE`, the authorities
    /// to trust instead of Mozilla's, as networks need whose proxy re-signs.
    ///
    /// # Errors
    /// When `SSL_CERT_FILE` names a file that cannot be read or holds no certificate.
    pub fn from_env() -> Result<Self, Diag> {
        let roots = match std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) {
            Some(path) => roots(Path::new(&path))?,
            None => RootCerts::WebPki,
        };
        Ok(Self::with_roots(Policy::default(), std::env::var("HF_TOKEN").ok(), roots))
    }

    /// The token, where it may be shown.
    fn token_for(&self, url: &Url) -> Option<&str> {
        self.token.as_deref().filter(|_| url.scheme() == "https" && url.host_str() == Some(HUB))
    }

    /// Fetches `wanted`.
    ///
    /// # Errors
    /// When it is not there, may not be read, is not what is pinned, or cannot be had after all tries; when it cannot be
    /// written; when `watch` ends it. What has arrived is kept, unless it is known to be wrong.
    pub fn fetch(&self, wanted: &Wanted, watch: &dyn Watch) -> Result<Summary, Diag> {
        self.fetch_if_there(wanted, watch)?.ok_or_else(|| not_there(wanted).lasting())
    }

    /// Fetches `wanted`, or finds that the server has no such file.
    ///
    /// # Errors
    /// As [`Client::fetch`].
    pub fn fetch_if_there(&self, wanted: &Wanted, watch: &dyn Watch) -> Result<Option<Summary>, Diag> {
        let mut failures = 0;
        loop {
            watch.check()?;
            let before = length(wanted.to);
            let (why, wait) = match self.attempt(wanted, watch) {
                Ok(found) => return Ok(found),
                Err(Problem::Final(diag)) if diag.class == Class::Stage => return Err(diag.lasting()),
                Err(Problem::Final(diag)) => return Err(diag),
                Err(Problem::Lasting(why)) => return Err(cannot(wanted, &why).lasting()),
                Err(Problem::Passing { why, wait }) => (why, wait),
            };
            failures = if length(wanted.to) > before { 1 } else { failures + 1 };
            if failures >= self.policy.tries {
                return Err(gave_up(wanted, &why, failures));
            }
            let delay = wait.map_or_else(|| self.delay(failures), |w| w.min(LONGEST_ASKED));
            watch.note(&format!(
                "{}: {why}; trying again in {:.1} s ({failures} of {} tries)",
                wanted.label,
                delay.as_secs_f64(),
                self.policy.tries
            ));
            sleep(delay, watch)?;
        }
    }

    fn delay(&self, failures: u32) -> Duration {
        self.policy.first_delay.saturating_mul(1 << (failures - 1).min(16)).min(self.policy.longest_delay)
    }

    /// One request, and all that it brings. `None`: the server has no such file.
    fn attempt(&self, wanted: &Wanted, watch: &dyn Watch) -> Result<Option<Summary>, Problem> {
        let mut part = Part::open(wanted)?;
        if let Some(summary) = part.already_whole(watch)? {
            return Ok(Some(summary));
        }
        let messages = self.request(wanted.url, &part);
        let head = match next(&messages, watch)? {
            Message::Head(head) => head,
            Message::Failed(why) => return Err(why),
            Message::Chunk(_) | Message::End => return Err(Problem::passing("the server said nothing")),
        };
        let total = match head.status.as_u16() {
            200 => {
                part.restart(&head)?;
                head.length
            }
            206 => part.accept_range(&head)?,
            416 if part.len > 0 => return part.nothing_left(&head, watch),
            404 | 410 => return Ok(None),
            code => return Err(self.refused(wanted, code, &head)),
        };
        if let Some(total) = total {
            wanted.pin.check_announced(total, wanted.label, wanted.source)?;
        }
        part.receive(&messages, total.or(wanted.pin.bytes), watch)?;
        part.verify(watch).map(Some)
    }

    /// Starts a request on a thread of its own. Dropping the receiver ends the thread at its next chunk or time-out.
    fn request(&self, url: &Url, part: &Part) -> Receiver<Message> {
        let mut request = self
            .agent
            .get(url.as_str())
            .config()
            // A secret place stays secret also after a redirect.
            .https_only(url.scheme() == "https")
            .proxy(if is_loopback(url) { None } else { ureq::Proxy::try_from_env() })
            .build();
        if let Some(token) = self.token_for(url) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if part.len > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", part.len));
            if let Some(validator) = part.state.validator() {
                request = request.header(header::IF_RANGE, validator);
            }
        }
        let (send, receive) = sync_channel(4);
        std::thread::spawn(move || {
            let last = match request.call() {
                Ok(response) => pass_on(response, &send),
                Err(e) => Message::Failed(explain(e)),
            };
            // Nobody listens any more: the work was ended.
            let _ = send.send(last);
        });
        receive
    }

    /// What a status other than success means.
    fn refused(&self, wanted: &Wanted, code: u16, head: &Head) -> Problem {
        let says = match StatusCode::from_u16(code).ok().and_then(|s| s.canonical_reason()) {
            Some(reason) => format!("the server says {code} ({reason})"),
            None => format!("the server says {code}"),
        };
        if matches!(code, 408 | 425 | 429 | 500..=599) {
            return Problem::Passing { why: says, wait: head.retry_after };
        }
        let at = shown(wanted.url);
        let diag =
            Diag::error(Class::Stage, format!("cannot fetch `{}`: {says}", wanted.label)).note(format!("from {at}"));
        let hub = wanted.url.host_str() == Some(HUB);
        Problem::Final(match code {
            401 | 403 if hub && self.token.is_none() => diag
                .note(format!("{HUB} says {code} also of a repository that does not exist"))
                .help("set the environment variable HF_TOKEN to a token that may read it"),
            401 | 403 if hub => diag
                .note("the token in HF_TOKEN was shown")
                .help("ask for access on the model's page, or set HF_TOKEN to a token that has it"),
            401 | 403 => diag.help(format!(
                "fetch it by other means and pass `--mirror {}=DIR`: no credentials are sent to this server",
                wanted.source
            )),
            _ => diag.help(mirror_help(wanted.source)),
        })
    }
}

/// What the network thread says.
enum Message {
    Head(Head),
    Chunk(Vec<u8>),
    End,
    Failed(Problem),
}

/// What matters of a response's head.
struct Head {
    status: StatusCode,
    /// `Content-Length`.
    length: Option<u64>,
    etag: Option<String>,
    last_modified: Option<String>,
    content_range: Option<String>,
    retry_after: Option<Duration>,
}

impl Head {
    fn read(status: StatusCode, headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        Self {
            status,
            length: text(header::CONTENT_LENGTH).and_then(|t| t.trim().parse().ok()),
            etag: text(header::ETAG),
            last_modified: text(header::LAST_MODIFIED),
            content_range: text(header::CONTENT_RANGE),
            retry_after: text(header::RETRY_AFTER).and_then(|t| t.trim().parse().ok()).map(Duration::from_secs),
        }
    }

    /// `bytes 5-9/10` → (Some(5), Some(10)); `bytes */10` → (None, Some(10)).
    fn range(&self) -> (Option<u64>, Option<u64>) {
        let Some((range, total)) =
            self.content_range.as_deref().and_then(|t| t.trim().strip_prefix("bytes ")?.split_once('/'))
        else {
            return (None, None);
        };
        (range.split_once('-').and_then(|(first, _)| first.trim().parse().ok()), total.trim().parse().ok())
    }
}

impl State {
    /// What makes a continued download safe: a strong ETag, else the date.
    fn validator(&self) -> Option<&str> {
        self.etag.as_deref().filter(|e| !e.starts_with("W/")).or(self.last_modified.as_deref())
    }
}

/// What has arrived of a file.
struct Part<'a> {
    wanted: &'a Wanted<'a>,
    state_path: PathBuf,
    state: State,
    /// How much of it is kept.
    len: u64,
    /// Of the bytes kept, once they were read.
    hashes: Option<Hashes>,
    /// Whether some of it is from an earlier attempt.
    continued: bool,
}

impl<'a> Part<'a> {
    /// Looks at what there is. Bytes that cannot be continued safely do not count: those of another URL, and those
    /// with neither a validator nor a digest to be checked by at the end.
    fn open(wanted: &'a Wanted<'a>) -> Result<Self, Problem> {
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
        Ok(Self { wanted, state_path, state, len, hashes: None, continued: len > 0 })
    }

    /// When the pin tells that all is there already, no request is needed.
    fn already_whole(&mut self, watch: &dyn Watch) -> Result<Option<Summary>, Problem> {
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
    fn restart(&mut self, head: &Head) -> Result<(), Problem> {
        let url = self.wanted.url.as_str().to_owned();
        self.state = State { url, etag: head.etag.clone(), last_modified: head.last_modified.clone() };
        self.discard()?;
        File::create(self.wanted.to).map_err(on("write", self.wanted.to))?;
        let text = serde_json::to_vec(&self.state).expect("a state is plain JSON");
        Ok(fs::write_atomic(&self.state_path, &text)?)
    }

    /// The server sends the rest: is it the rest of this?
    fn accept_range(&mut self, head: &Head) -> Result<Option<u64>, Problem> {
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
    fn nothing_left(&mut self, head: &Head, watch: &dyn Watch) -> Result<Option<Summary>, Problem> {
        if head.range().1 == Some(self.len) {
            return self.verify(watch).map(Some);
        }
        self.discard()?;
        Err(Problem::passing("the file on the server is another by now"))
    }

    /// Writes the chunks as they come.
    fn receive(&mut self, messages: &Receiver<Message>, total: Option<u64>, watch: &dyn Watch) -> Result<(), Problem> {
        let to = self.wanted.to;
        let mut hashes = self.hash_kept(watch)?;
        let what = format!("downloading {}", self.wanted.label);
        let mut file = OpenOptions::new().append(true).open(to).map_err(on("write", to))?;
        watch.progress(&what, hashes.bytes(), total);
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
        self.hashes = Some(hashes);
        Ok(())
    }

    /// The digests of what is kept from before.
    fn hash_kept(&mut self, watch: &dyn Watch) -> Result<Hashes, Problem> {
        let mut hashes = Hashes::new();
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
    fn verify(&mut self, watch: &dyn Watch) -> Result<Summary, Problem> {
        let hashes = match self.hashes.take() {
            Some(hashes) => hashes,
            None => self.hash_kept(watch)?,
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
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(on("remove", path)(e).into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Reads a response to its end. Returns the last message.
fn pass_on(response: ureq::http::Response<ureq::Body>, send: &SyncSender<Message>) -> Message {
    let head = Head::read(response.status(), response.headers());
    let wanted = matches!(head.status.as_u16(), 200 | 206);
    if send.send(Message::Head(head)).is_err() || !wanted {
        return Message::End;
    }
    let mut body = response.into_body().into_reader();
    loop {
        let mut chunk = vec![0; CHUNK];
        match body.read(&mut chunk) {
            Ok(0) => return Message::End,
            Ok(n) => chunk.truncate(n),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Message::Failed(explain(e.into())),
        }
        if send.send(Message::Chunk(chunk)).is_err() {
            return Message::End;
        }
    }
}

/// The next message; looks at `watch` while it waits.
fn next(messages: &Receiver<Message>, watch: &dyn Watch) -> Result<Message, Problem> {
    loop {
        watch.check()?;
        match messages.recv_timeout(TICK) {
            Ok(message) => return Ok(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Problem::passing("the network thread ended early")),
        }
    }
}

/// What a failure of the network means, and whether it may pass.
fn explain(error: ureq::Error) -> Problem {
    use ureq::Error as E;
    let lasting = |why: &str| Problem::Lasting(why.to_owned());
    match error {
        E::TooManyRedirects => lasting("the server redirects in a circle (more than 10 times)"),
        E::RedirectFailed => lasting("the server redirects to a place that cannot be followed"),
        E::RequireHttpsOnly(_) => lasting("the server redirects from https to http, which is refused"),
        E::BadUri(e) => lasting(&format!("the address cannot be used: {e}")),
        E::InvalidProxyUrl => lasting("the proxy named in the environment cannot be used"),
        E::Tls(e) => lasting(&format!("the secure connection failed: {e}")),
        E::Rustls(e) => lasting(&format!("the secure connection failed: {e}")),
        E::HostNotFound => Problem::passing("the host is not known"),
        E::ConnectionFailed => Problem::passing("no connection"),
        E::Timeout(t) => Problem::passing(format!("no answer in time ({t})")),
        E::Io(e) => Problem::passing(plain_io(&e)),
        other => Problem::passing(other.to_string()),
    }
}

fn plain_io(e: &std::io::Error) -> String {
    use std::io::ErrorKind as K;
    match e.kind() {
        K::ConnectionRefused => "the server refuses the connection".to_owned(),
        K::UnexpectedEof | K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe => {
            "the connection broke".to_owned()
        }
        _ => e.to_string(),
    }
}

fn not_there(wanted: &Wanted) -> Diag {
    Diag::error(Class::Stage, format!("`{}` is not there: the server says 404 (Not Found)", wanted.label))
        .note(format!("looked for at {}", shown(wanted.url)))
        .help(format!("check `url` and `files` of `[source.{}]`", wanted.source))
}

fn cannot(wanted: &Wanted, why: &str) -> Diag {
    Diag::error(Class::Environment, format!("cannot fetch `{}`: {why}", wanted.label))
        .note(format!("from {}", shown(wanted.url)))
        .help(mirror_help(wanted.source))
}

fn gave_up(wanted: &Wanted, why: &str, tries: u32) -> Diag {
    let kept = length(wanted.to);
    let diag = cannot(wanted, why).note(format!("tried {tries} times"));
    if kept > 0 { diag.note(format!("{} are kept: the next run goes on from there", size(kept))) } else { diag }
}

fn mirror_help(source: &str) -> String {
    format!("run again later, or take a local copy with `--mirror {source}=DIR`")
}

/// Waits, looking at `watch` meanwhile.
fn sleep(delay: Duration, watch: &dyn Watch) -> Result<(), Diag> {
    let mut left = delay;
    while !left.is_zero() {
        watch.check()?;
        let step = left.min(TICK);
        std::thread::sleep(step);
        left -= step;
    }
    watch.check()
}

/// The certificates in a PEM file.
fn roots(path: &Path) -> Result<RootCerts, Diag> {
    let pem = fs::read(path)?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        let message = format!("`{}` holds no certificates", path.display());
        return Err(
            Diag::error(Class::Environment, message).note("it is named by the environment variable SSL_CERT_FILE")
        );
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&'static str, &'static str)]) -> Head {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Head::read(StatusCode::OK, &map)
    }

    #[test]
    fn content_range_is_read() {
        assert_eq!(head(&[("content-range", "bytes 5-9/10")]).range(), (Some(5), Some(10)));
        assert_eq!(head(&[("content-range", "bytes */10")]).range(), (None, Some(10)));
        assert_eq!(head(&[("content-range", "bytes 5-9/*")]).range(), (Some(5), None));
        assert_eq!(head(&[("content-range", "rows 1-2/3")]).range(), (None, None));
        assert_eq!(head(&[]).range(), (None, None));
    }

    #[test]
    fn retry_after_in_seconds() {
        assert_eq!(head(&[("retry-after", "7")]).retry_after, Some(Duration::from_secs(7)));
        assert_eq!(head(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]).retry_after, None);
    }

    #[test]
    fn a_weak_etag_does_not_continue_a_file() {
        let state = |etag: &str, date: Option<&str>| State {
            url: String::new(),
            etag: Some(etag.to_owned()),
            last_modified: date.map(str::to_owned),
        };
        assert_eq!(state("\"a\"", None).validator(), Some("\"a\""));
        assert_eq!(state("W/\"a\"", None).validator(), None);
        assert_eq!(state("W/\"a\"", Some("then")).validator(), Some("then"));
    }

    #[test]
    fn delays_double_up_to_a_bound() {
        let client = Client::new(Policy::default(), None);
        let seconds: Vec<f64> = [1, 2, 3, 10].iter().map(|n| client.delay(*n).as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 30.0]);
    }

    #[test]
    fn a_token_is_for_the_hub_alone_and_never_printed() {
        let client = Client::new(Policy::default(), Some("hf_secret".to_owned()));
        assert!(!format!("{client:?}").contains("secret"));
        let shown = |url: &str| client.token_for(&Url::parse(url).unwrap()).is_some();
        assert!(shown("https://huggingface.co/google-t5/t5-base/resolve/main/config.json"));
        for url in ["http://huggingface.co/x", "https://huggingface.co.evil.org/x", "https://cdn-lfs.huggingface.co/x"]
        {
            assert!(!shown(url), "{url}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "nothing").unwrap();
        assert!(roots(&path).unwrap_err().message.ends_with("ca.pem` holds no certificates"));
        assert!(roots(&dir.path().join("gone")).unwrap_err().message.starts_with("cannot read"));
    }
}
