//! One file over HTTP(S): resumed where the server allows it, retried with back-off, checked while it arrives.
//!
//! What has arrived lies at [`FetchRequest::to`], with a note of what it is beside it (`.state`): its version, its
//! length and its digest. After an interruption the rest is asked for with `Range`, on the condition (`If-Range`) that
//! the file is still the same; a server that knows no ranges, or has another file by now, sends the whole again. Not
//! every server knows `If-Range`, so the answer is compared too (`version`). A file that is all there is not fetched
//! again, only its digest (or, without a pin, its identity on the server) is checked. Delays are fixed, not drawn: 0.5
//! s, 1 s, 2 s, … or what the server says in `Retry-After`.
//!
//! The network is read on a thread of its own, so that a stalled server does not keep an interruption waiting.

mod answer;
mod bounds;
mod coding;
mod part;
mod request;
mod version;

use std::fmt;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use ureq::http::{StatusCode, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use url::Url;

use super::hash::{Hashes, Summary};
use super::source::shown;
use super::{Watch, size};
use crate::base::diag::{Class, Diag};
use crate::base::fs;

pub use bounds::Bounds;
pub use request::FetchRequest;

use answer::{Head, Message, Problem, explain, next, pass_on};
use part::Part;
use request::{TICK, length};

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
    bounds: Bounds,
}

/// Without the token.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("policy", &self.policy).finish_non_exhaustive()
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
        Self { agent: config.new_agent(), token: token.filter(|t| !t.is_empty()), policy, bounds: Bounds::default() }
    }

    /// The same client with these bounds for the sizes of files.
    pub fn bounded(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// A client with the default [`Policy`] and what the environment says: `HF_TOKEN`, a token for huggingface.co (read
    /// here and nowhere else, so that it can stand in no parameter, recipe or journal); `SSL_CERT_FILE`, the
    /// authorities to trust instead of Mozilla's, as networks need whose proxy re-signs.
    ///
    /// # Errors
    /// When `SSL_CERT_FILE` names a file that cannot be read or holds no certificate.
    pub fn from_env() -> Result<Self, Diag> {
        let roots = match crate::base::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) {
            Some(path) => roots(Path::new(&path))?,
            None => RootCerts::WebPki,
        };
        Ok(Self::with_roots(Policy::default(), crate::base::env::var("HF_TOKEN").ok(), roots))
    }

    /// The token, where it may be shown.
    fn token_for(&self, url: &Url) -> Option<&str> {
        self.token.as_deref().filter(|_| url.scheme() == "https" && url.host_str() == Some(HUB))
    }

    /// Fetches `wanted`.
    ///
    /// # Errors
    /// When it is not there, may not be read, is not what is pinned, or cannot be had after all tries; when it cannot
    /// be written; when `watch` ends it. What has arrived is kept, unless it is known to be wrong.
    pub fn fetch(&self, wanted: &FetchRequest, watch: &dyn Watch) -> Result<Summary, Diag> {
        self.fetch_if_there(wanted, watch)?.ok_or_else(|| not_there(wanted).lasting())
    }

    /// Fetches `wanted`, or finds that the server has no such file.
    ///
    /// # Errors
    /// As [`Client::fetch`].
    pub fn fetch_if_there(&self, wanted: &FetchRequest, watch: &dyn Watch) -> Result<Option<Summary>, Diag> {
        let (mut failures, mut hashes) = (0, None);
        // The most that was ever there: a file that is thrown away and fetched again up to the same byte is no
        // progress.
        let mut most = length(wanted.to);
        loop {
            watch.check()?;
            let (why, wait) = match self.attempt(wanted, &mut hashes, watch) {
                Ok(found) => return Ok(found),
                Err(Problem::Final(diag)) if diag.class == Class::Stage => return Err(diag.lasting()),
                Err(Problem::Final(diag)) => return Err(diag),
                Err(Problem::Lasting(why)) => return Err(cannot(wanted, &why).lasting()),
                Err(Problem::Passing { why, wait }) => (why, wait),
            };
            let arrived = length(wanted.to);
            failures = if arrived > most { 1 } else { failures + 1 };
            most = most.max(arrived);
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

    /// One request, and all that it brings. `hashes` are those of what earlier ones brought. `None`: the server has no
    /// such file.
    fn attempt(
        &self,
        wanted: &FetchRequest,
        hashes: &mut Option<Hashes>,
        watch: &dyn Watch,
    ) -> Result<Option<Summary>, Problem> {
        let mut part = Part::open(wanted, hashes.take())?;
        let summary = self.complete(&mut part, watch);
        *hashes = part.hashes.take();
        summary
    }

    /// Asks for what `part` lacks, and checks it.
    fn complete(&self, part: &mut Part, watch: &dyn Watch) -> Result<Option<Summary>, Problem> {
        let wanted = part.wanted;
        part.check_kept(watch)?;
        if let Some(summary) = part.already_whole(watch)? {
            return Ok(Some(summary));
        }
        let messages = self.request(wanted.url, part);
        let head = match next(&messages, watch)? {
            Message::Head(head) => head,
            Message::Failed(why) => return Err(why),
            Message::Chunk(_) | Message::End => return Err(Problem::passing("the server said nothing")),
        };
        let brings = match head.status.as_u16() {
            200 => part.restart(&head)?,
            206 => part.accept_range(&head)?,
            416 if part.len > 0 => return part.nothing_left(&head, watch),
            404 | 410 => return Ok(None),
            code => return Err(self.refused(wanted, code, &head)),
        };
        if let Some(total) = brings.total {
            wanted.pin.check_announced(total, wanted.label, wanted.source)?;
        }
        part.receive(&messages, brings, &self.bounds, watch)?;
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
            if let Some(validator) = part.validator() {
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

    /// Returns the problem of a status other than success.
    fn refused(&self, wanted: &FetchRequest, code: u16, head: &Head) -> Problem {
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

fn not_there(wanted: &FetchRequest) -> Diag {
    Diag::error(Class::Stage, format!("`{}` is not there: the server says 404 (Not Found)", wanted.label))
        .note(format!("looked for at {}", shown(wanted.url)))
        .help(format!("check `url` and `files` of `[source.{}]`", wanted.source))
}

fn cannot(wanted: &FetchRequest, why: &str) -> Diag {
    Diag::error(Class::Environment, format!("cannot fetch `{}`: {why}", wanted.label))
        .note(format!("from {}", shown(wanted.url)))
        .help(mirror_help(wanted.source))
}

fn gave_up(wanted: &FetchRequest, why: &str, tries: u32) -> Diag {
    let diag = cannot(wanted, why).note(format!("tried {tries} times"));
    match (part::kept(wanted), length(wanted.to)) {
        (0, 0) => diag,
        (0, _) => diag.note("the next run begins anew: the server gives no way to continue what has arrived"),
        (kept, _) => diag.note(format!("{} are kept: the next run goes on from there", size(kept))),
    }
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

#[cfg(test)]
mod tests {
    use ureq::http::HeaderMap;

    use super::answer::Range;
    use super::*;

    fn head(headers: &[(&'static str, &'static str)]) -> Head {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Head::read(StatusCode::OK, &"http://h/f?signed=1".parse().unwrap(), &map)
    }

    #[test]
    fn content_range_is_read() {
        let range = |text: &'static str| head(&[("content-range", text)]).range();
        let read = |bytes, total| Some(Range { bytes, total });
        assert_eq!(range("bytes 5-9/10"), read(Some((5, 9)), Some(10)));
        assert_eq!(range("bytes */10"), read(None, Some(10)));
        assert_eq!(range("bytes 5-9/*"), read(Some((5, 9)), None));
        for bad in ["rows 1-2/3", "bytes 5-9/9", "bytes 9-5/10", "bytes -5/10", "bytes 5-9", "bytes 5-9/x"] {
            assert_eq!(range(bad), None, "{bad}");
        }
        assert_eq!(head(&[]).range(), None);
    }

    #[test]
    fn a_head_says_its_place_its_coding_and_whether_there_are_ranges() {
        let plain = head(&[]);
        assert_eq!((plain.place.as_str(), plain.encoding, plain.no_ranges), ("http://h/f", None, false));
        let odd = [("content-encoding", "gzip"), ("content-encoding", "br"), ("accept-ranges", "None")];
        let odd = head(&odd);
        assert_eq!((odd.encoding.as_deref(), odd.no_ranges), (Some("gzip, br"), true));
        assert!(head(&[("content-type", "Multipart/byteranges; boundary=x")]).multipart);
    }

    #[test]
    fn retry_after_in_seconds() {
        assert_eq!(head(&[("retry-after", "7")]).retry_after, Some(Duration::from_secs(7)));
        assert_eq!(head(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]).retry_after, None);
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
