//! The answer to one request, as messages of the thread that reads it, and which failures may pass. Knows no
//! file and no retry.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use ureq::ResponseExt;
use ureq::http::{HeaderMap, StatusCode, Uri, header};

use super::request::{CHUNK, TICK};
use crate::base::diag::Diag;
use crate::base::fs;
use crate::fetch::Watch;

/// Why an attempt did not end well.
pub(super) enum Problem {
    /// Trying again may help, after this wait if the server named one.
    Passing { why: String, wait: Option<Duration> },
    /// It will not help: the network, or the server's answers, are so.
    Lasting(String),
    /// Trying again will not help. The message is complete.
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
    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self::Passing { why: why.into(), wait: None }
    }
}

/// A message of the network thread.
pub(super) enum Message {
    Head(Head),
    Chunk(Vec<u8>),
    End,
    Failed(Problem),
}

/// The parts of a response's head that are used.
#[derive(Default)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// The address that answered, after redirects and without its query.
    pub(super) place: String,
    /// `Content-Length`.
    pub(super) length: Option<u64>,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// When the answer was made.
    pub(super) date: Option<String>,
    pub(super) content_range: Option<String>,
    /// `Content-Encoding`.
    pub(super) encoding: Option<String>,
    /// `true` if the server says that it sends no parts: `Accept-Ranges: none`.
    pub(super) no_ranges: bool,
    /// `true` if the body is several parts in one.
    pub(super) multipart: bool,
    pub(super) retry_after: Option<Duration>,
}

/// The content of `Content-Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The first and the last byte that follow; `None` where there is nothing to send.
    pub(super) bytes: Option<(u64, u64)>,
    /// The size of the whole file.
    pub(super) total: Option<u64>,
}

impl Head {
    pub(super) fn read(status: StatusCode, uri: &Uri, headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let encodings: Vec<_> =
            headers.get_all(header::CONTENT_ENCODING).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
        let multipart =
            text(header::CONTENT_TYPE).is_some_and(|t| t.trim().to_ascii_lowercase().starts_with("multipart/"));
        Self {
            status,
            place: uri.to_string().split(['?', '#']).next().unwrap_or_default().to_owned(),
            length: text(header::CONTENT_LENGTH).and_then(|t| t.trim().parse().ok()),
            etag: text(header::ETAG),
            last_modified: text(header::LAST_MODIFIED),
            date: text(header::DATE),
            content_range: text(header::CONTENT_RANGE),
            encoding: Some(encodings.join(", ")).filter(|t| !t.is_empty()),
            no_ranges: text(header::ACCEPT_RANGES).is_some_and(|t| t.trim().eq_ignore_ascii_case("none")),
            multipart,
            retry_after: text(header::RETRY_AFTER).and_then(|t| t.trim().parse().ok()).map(Duration::from_secs),
        }
    }

    /// `bytes 5-9/10`, `bytes 5-9/*` or `bytes */10`. `None`: it says nothing that can be true.
    pub(super) fn range(&self) -> Option<Range> {
        let (range, total) = self.content_range.as_deref()?.trim().strip_prefix("bytes ")?.split_once('/')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let total = if total.trim() == "*" { None } else { Some(number(total)?) };
        if range.trim() == "*" {
            return Some(Range { bytes: None, total });
        }
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let fits = first <= last && last < total.unwrap_or(u64::MAX);
        fits.then_some(Range { bytes: Some((first, last)), total })
    }
}

/// Reads a response to its end. Returns the last message.
pub(super) fn pass_on(response: ureq::http::Response<ureq::Body>, send: &SyncSender<Message>) -> Message {
    let head = Head::read(response.status(), response.get_uri(), response.headers());
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
pub(super) fn next(messages: &Receiver<Message>, watch: &dyn Watch) -> Result<Message, Problem> {
    loop {
        watch.check()?;
        match messages.recv_timeout(TICK) {
            Ok(message) => return Ok(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Problem::passing("the network thread ended early")),
        }
    }
}

/// Returns the problem that a failure of the network is, and whether it may pass.
pub(super) fn explain(error: ureq::Error) -> Problem {
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
