//! Downloads over HTTP from servers that misbehave.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dpt::base::diag::{Class, Diag};
use dpt::fetch::hash::{Sha256, Summary};
use dpt::fetch::http::{Bounds, Client, FetchRequest, Policy};
use dpt::fetch::source::Pin;
use dpt::fetch::{Watch, local};
use tempfile::TempDir;
use url::Url;

use crate::support::http::{Reply, Request, Server};

/// Records progress and notes, and can interrupt the download.
#[derive(Default)]
pub struct Listener {
    pub notes: Mutex<Vec<String>>,
    last: Mutex<Option<(String, u64, Option<u64>)>>,
    /// Interrupts at the first progress of this many bytes.
    end_at: Option<u64>,
    end: AtomicBool,
}

impl Watch for Listener {
    fn progress(&self, what: &str, done: u64, total: Option<u64>) {
        *self.last.lock().unwrap() = Some((what.to_owned(), done, total));
        if self.end_at.is_some_and(|n| done >= n) {
            self.end.store(true, Ordering::SeqCst);
        }
    }

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }

    fn check(&self) -> Result<(), Diag> {
        if self.end.load(Ordering::SeqCst) { Err(Diag::error(Class::Interrupted, "ended")) } else { Ok(()) }
    }
}

/// The real retry policy, in milliseconds.
fn policy() -> Policy {
    let ms = Duration::from_millis;
    Policy { tries: 3, first_delay: ms(1), longest_delay: ms(4), connect: ms(5000), silence: ms(5000) }
}

/// A file to download from a server.
pub struct Case {
    pub server: Server,
    dir: TempDir,
    pin: Pin,
    pub listener: Listener,
    policy: Policy,
    bounds: Bounds,
    /// The last part of the address.
    pub name: &'static str,
}

impl Case {
    pub fn new(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = Listener::default();
        let (server, bounds) = (Server::start(answer), Bounds::default());
        Self { server, dir, pin: Pin::default(), listener, policy: policy(), bounds, name: "f.bin" }
    }

    pub fn bounded(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    pub fn pinned(mut self, body: &[u8]) -> Self {
        self.pin = Pin { sha256: Some(Sha256::of(body)), bytes: Some(body.len() as u64) };
        self
    }

    pub fn to(&self) -> PathBuf {
        self.dir.path().join("sub").join(self.name)
    }

    fn by<T>(&self, fetch: impl Fn(&Client, &FetchRequest) -> Result<T, Diag>) -> Result<T, Diag> {
        let url = Url::parse(&format!("{}/v2/{}", self.server.url, self.name)).unwrap();
        let client = Client::new(self.policy, Some("hf_secret".to_owned())).bounded(self.bounds);
        fetch(&client, &FetchRequest { url: &url, label: self.name, source: "s", to: &self.to(), pin: self.pin })
    }

    fn fetch_if_there(&self) -> Result<Option<Summary>, Diag> {
        self.by(|client, wanted| client.fetch_if_there(wanted, &self.listener))
    }

    pub fn fetch(&self) -> Result<Summary, Diag> {
        self.by(|client, wanted| client.fetch(wanted, &self.listener))
    }

    /// Fetches, and compares with `body`.
    pub fn brings(&self, body: &[u8]) {
        let summary = self.fetch().unwrap();
        assert_eq!(summary.sha256, Some(Sha256::of(body)));
        assert!(std::fs::read(self.to()).unwrap() == body);
    }

    /// Returns the start of each request's range.
    pub fn starts(&self) -> Vec<Option<u64>> {
        self.server.requests().iter().map(|r| r.from).collect()
    }
}

pub fn body() -> Vec<u8> {
    (0..300_000u32).flat_map(|i| i.to_le_bytes()).collect()
}

#[test]
fn file_is_fetched_in_one_request() {
    let case = Case::new(|r| Reply::file(r, &body(), "\"1\""));
    case.brings(&body());
    assert_eq!(case.starts(), [None]);
    let size = body().len() as u64;
    assert_eq!(*case.listener.last.lock().unwrap(), Some(("downloading f.bin".to_owned(), size, Some(size))));
    assert!(case.listener.notes.lock().unwrap().is_empty());
}

#[test]
fn broken_connection_resumes() {
    let case = Case::new(|r| {
        let reply = Reply::file(r, &body(), "\"1\"");
        if r.number < 2 { reply.cut_at(400_000) } else { reply }
    });
    case.brings(&body());
    assert_eq!(case.starts(), [None, Some(400_000), Some(800_000)]);
    assert_eq!(case.server.requests()[1].if_range.as_deref(), Some("\"1\""));
    let notes = case.listener.notes.lock().unwrap();
    assert!(notes[0].starts_with("f.bin: the connection "), "{notes:?}");
    assert!(notes[0].ends_with("trying again in 0.0 s (1 of 3 tries)"), "{notes:?}");
}

#[test]
fn interrupted_download_resumes_in_the_next_run() {
    let mut case = Case::new(|r| Reply { pause: Duration::from_millis(1), ..Reply::file(r, &body(), "\"1\"") });
    case.listener.end_at = Some(200_000);
    assert_eq!(case.fetch().unwrap_err().class, Class::Interrupted);
    let kept = std::fs::metadata(case.to()).unwrap().len();
    assert!(kept >= 200_000 && kept < body().len() as u64, "{kept}");
    case.listener = Listener::default();
    case.brings(&body());
    assert_eq!(case.starts(), [None, Some(kept)]);
}

#[test]
fn changed_file_is_fetched_again() {
    let other: Vec<u8> = body().iter().rev().copied().collect();
    let served = other.clone();
    let case = Case::new(move |r| match r.number {
        0 => Reply::file(r, &body(), "\"1\"").cut_at(500_000),
        _ => Reply::file(r, &served, "\"2\""),
    });
    case.brings(&other);
    assert_eq!(case.starts(), [None, Some(500_000)]);
}

#[test]
fn server_without_ranges_sends_the_file_again() {
    let case = Case::new(|r| {
        let reply = Reply::ok(body()).header("ETag", "\"1\"");
        if r.number == 0 { reply.cut_at(500_000) } else { reply }
    });
    case.brings(&body());
    assert_eq!(case.starts(), [None, Some(500_000)]);
}

#[test]
fn wrong_range_is_requested_again() {
    let case = Case::new(|r| match r.number {
        0 => Reply::file(r, &body(), "\"1\"").cut_at(500_000),
        1 => Reply { status: 206, body: body(), ..Reply::default() }
            .header("Content-Range", format!("bytes 0-{}/{}", body().len() - 1, body().len())),
        _ => Reply::file(r, &body(), "\"1\""),
    });
    case.brings(&body());
    assert_eq!(case.starts(), [None, Some(500_000), None]);
}

#[test]
fn part_of_a_possibly_different_file_is_not_resumed() {
    // Without ETag, date and pin, the part cannot be verified.
    let case = Case::new(|r| if r.number == 0 { Reply::ok(body()).cut_at(500_000) } else { Reply::ok(body()) });
    case.brings(&body());
    assert_eq!(case.starts(), [None, None]);
}

#[test]
fn pinned_file_resumes_any_part() {
    let no_etag = |r: &Request, body: &[u8]| {
        let mut reply = Reply::file(r, body, "");
        reply.headers.retain(|(name, _)| name != "ETag");
        reply
    };
    let cut = move |r: &Request| if r.number == 0 { no_etag(r, &body()).cut_at(500_000) } else { no_etag(r, &body()) };
    let case = Case::new(cut).pinned(&body());
    case.brings(&body());
    assert_eq!(case.starts(), [None, Some(500_000)]);

    // The part was of another file. The final digest shows it, and the file is fetched again.
    let mixed = move |r: &Request| match r.number {
        0 => no_etag(r, &vec![0; body().len()]).cut_at(500_000),
        _ => no_etag(r, &body()),
    };
    let case = Case::new(mixed).pinned(&body());
    case.brings(&body());
    assert_eq!(case.starts(), [None, Some(500_000), None]);
}

#[test]
fn complete_file_is_not_fetched_again() {
    let case = Case::new(|r| Reply::file(r, &body(), "\"1\"")).pinned(&body());
    case.brings(&body());
    case.brings(&body());
    assert_eq!(case.starts(), [None], "the pin tells that it is all there");

    let case = Case::new(|r| Reply::file(r, &body(), "\"1\""));
    case.brings(&body());
    case.brings(&body());
    assert_eq!(case.starts(), [None, Some(body().len() as u64)], "without a pin the server tells");

    let other = b"shorter".to_vec();
    let case = Case::new(move |r| match r.number {
        0 => Reply::file(r, &body(), "\"1\""),
        _ => Reply::file(r, &other, "\"2\""),
    });
    case.brings(&body());
    case.brings(b"shorter");
}

#[test]
fn busy_server_is_asked_again() {
    let case = Case::new(|r| match r.number {
        0 => Reply::status(503).header("Retry-After", "0"),
        1 => Reply::status(429),
        _ => Reply::file(r, &body(), "\"1\""),
    });
    case.brings(&body());
    assert_eq!(
        *case.listener.notes.lock().unwrap(),
        [
            "f.bin: the server says 503 (Service Unavailable); trying again in 0.0 s (1 of 3 tries)",
            "f.bin: the server says 429 (Too Many Requests); trying again in 0.0 s (2 of 3 tries)"
        ]
    );
}

#[test]
fn retry_after_is_honoured() {
    let case = Case::new(|r| match r.number {
        0 => Reply::status(503).header("Retry-After", "1"),
        _ => Reply::ok(body()),
    });
    let start = Instant::now();
    case.brings(&body());
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn busy_server_fails_after_some_attempts() {
    let case = Case::new(|_| Reply::status(500));
    let diag = case.fetch().unwrap_err();
    assert_eq!(diag.class, Class::Environment);
    assert_eq!(diag.message, "cannot fetch `f.bin`: the server says 500 (Internal Server Error)");
    assert_eq!(diag.notes, [format!("from {}/v2/f.bin", case.server.url), "tried 3 times".to_owned()]);
    assert_eq!(diag.help.unwrap(), "run again later, or take a local copy with `--mirror s=DIR`");
    assert_eq!(case.server.requests().len(), 3);
}

#[test]
fn failed_download_reports_the_kept_part() {
    let case = Case::new(|r| match r.number {
        0 => Reply::file(r, &body(), "\"1\"").cut_at(500_000),
        _ => Reply::status(502),
    });
    let diag = case.fetch().unwrap_err();
    assert_eq!(diag.notes[2], "500.0 kB are kept: the next run goes on from there");
}

#[test]
fn missing_file_on_a_server_is_an_error() {
    let case = Case::new(|_| Reply::status(404));
    assert_eq!(case.fetch_if_there().unwrap(), None);
    let diag = case.fetch().unwrap_err();
    assert_eq!(
        (diag.class, diag.message.as_str()),
        (Class::Stage, "`f.bin` is not there: the server says 404 (Not Found)")
    );
    assert_eq!(diag.notes, [format!("looked for at {}/v2/f.bin", case.server.url)]);
    assert_eq!(case.server.requests().len(), 2);
}

#[test]
fn forbidden_file_is_an_error_and_gets_no_foreign_token() {
    let case = Case::new(|_| Reply::status(401));
    let diag = case.fetch().unwrap_err();
    assert_eq!(diag.message, "cannot fetch `f.bin`: the server says 401 (Unauthorized)");
    assert!(diag.help.unwrap().contains("no credentials are sent to this server"));
    assert_eq!(case.server.requests().len(), 1);
    assert_eq!(case.server.requests()[0].authorization, None);
}

#[test]
fn wrong_announced_size_fails_before_reading() {
    let case = Case::new(|r| Reply::file(r, &body(), "\"1\"")).pinned(b"something small");
    let diag = case.fetch().unwrap_err();
    assert_eq!(diag.message, "`f.bin` has not the size that source `s` pins");
    assert_eq!(diag.notes, ["15 bytes wanted, 1200000 bytes found (15 bytes and 1.2 MB)"]);
    assert_eq!(std::fs::metadata(case.to()).unwrap().len(), 0);
}

#[test]
fn wrong_content_is_refused_and_not_kept() {
    let case = Case::new(|r| Reply::file(r, &vec![1; body().len()], "\"1\"")).pinned(&body());
    let diag = case.fetch().unwrap_err();
    assert_eq!((diag.class, diag.message.as_str()), (Class::Stage, "`f.bin` is not what source `s` pins"));
    assert_eq!(diag.notes[0], format!("sha256 wanted {}", Sha256::of(&body())));
    assert!(!case.to().exists());
    assert_eq!(case.server.requests().len(), 1, "it would not get better");
}

#[test]
fn endless_body_is_cut_at_the_pinned_size() {
    let case = Case::new(|_| Reply { unsized_body: true, ..Reply::ok(body()) }).pinned(b"something small");
    let diag = case.fetch().unwrap_err();
    assert_eq!(diag.message, "cannot fetch `f.bin`: the server sent more than the whole file");
}

#[test]
fn redirects_are_followed_but_not_in_circles() {
    let case = Case::new(|r| match r.path.as_str() {
        "/v2/f.bin" => Reply::status(302).header("Location", "/cdn/x?signed=1"),
        _ => Reply::file(r, &body(), "\"1\""),
    });
    case.brings(&body());

    let case = Case::new(|_| Reply::status(302).header("Location", "/v2/f.bin"));
    let diag = case.fetch().unwrap_err();
    assert_eq!(diag.message, "cannot fetch `f.bin`: the server redirects in a circle (more than 10 times)");
}

#[test]
fn silent_server_does_not_delay_an_interrupt() {
    let mut case = Case::new(|_| Reply { pause: Duration::from_secs(60), ..Reply::ok(body()) });
    case.policy.silence = Duration::from_secs(60);
    let start = Instant::now();
    let diag = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            case.listener.end.store(true, Ordering::SeqCst);
        });
        case.fetch().unwrap_err()
    });
    assert_eq!(diag.class, Class::Interrupted);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn silent_server_is_asked_again() {
    let mut case = Case::new(|r| {
        let pause = if r.number == 0 { Duration::from_secs(60) } else { Duration::ZERO };
        Reply { pause, ..Reply::file(r, &body(), "\"1\"") }
    });
    case.policy.silence = Duration::from_secs(1);
    case.brings(&body());
    assert!(case.server.requests().len() >= 2);
    assert!(case.listener.notes.lock().unwrap()[0].contains("no answer in time"));
}

#[test]
fn https_needs_tls() {
    let case = Case::new(|_| Reply::ok(body()));
    let url = Url::parse(&case.server.url.replace("http://", "https://")).unwrap();
    let to = case.dir.path().join("x");
    let wanted = FetchRequest { url: &url, label: "x", source: "s", to: &to, pin: Pin::default() };
    let diag = Client::new(policy(), None).fetch(&wanted, &case.listener).unwrap_err();
    assert_eq!(diag.class, Class::Environment, "{diag}");
    assert!(diag.message.starts_with("cannot fetch `x`: "), "{diag}");
}

#[test]
fn refused_connection_is_an_error() {
    let case = Case::new(|_| Reply::status(200));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("http://{free}/x")).unwrap();
    let to = case.dir.path().join("x");
    let wanted = FetchRequest { url: &url, label: "x", source: "s", to: &to, pin: Pin::default() };
    let diag = Client::new(policy(), None).fetch(&wanted, &case.listener).unwrap_err();
    assert_eq!(diag.message, "cannot fetch `x`: the server refuses the connection");
}

#[test]
fn full_disk_and_unwritable_folder_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::write(&from, body()).unwrap();
    let diag = local::copy(&from, Path::new("/dev/full"), "from", &Listener::default()).unwrap_err();
    assert_eq!(diag.class, Class::Environment);
    assert_eq!(diag.message, "cannot write `/dev/full`: no space left on device");
    assert!(diag.help.unwrap().starts_with("free some space"));

    let case = Case::new(|_| Reply::ok(body()));
    let url = Url::parse(&case.server.url).unwrap();
    let to = Path::new("/sys/dpt/x");
    let wanted = FetchRequest { url: &url, label: "x", source: "s", to, pin: Pin::default() };
    let diag = Client::new(policy(), None).fetch(&wanted, &case.listener).unwrap_err();
    assert_eq!(diag.class, Class::Environment, "{diag}");
    assert!(case.server.requests().is_empty(), "nothing is fetched that cannot be kept");
}
