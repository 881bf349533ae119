//! Fetching over HTTP against a server that misbehaves, and unpacking archives that mean harm.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dpt::base::diag::{Class, Diag};
use dpt::fetch::archive::{self, Limits};
use dpt::fetch::hash::{Sha256, Summary};
use dpt::fetch::http::{Bounds, Client, Policy, Wanted};
use dpt::fetch::source::Pin;
use dpt::fetch::{Watch, local};
use tempfile::TempDir;
use url::Url;

use crate::support::http::{Reply, Request, Server};
use crate::support::pack;

/// Keeps what it is told, and ends the work on request.
#[derive(Default)]
pub struct Listener {
    pub notes: Mutex<Vec<String>>,
    last: Mutex<Option<(String, u64, Option<u64>)>>,
    /// Ends at the first progress of so many bytes.
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

/// As patient as the real one, but in milliseconds.
fn policy() -> Policy {
    let ms = Duration::from_millis;
    Policy { tries: 3, first_delay: ms(1), longest_delay: ms(4), connect: ms(5000), silence: ms(5000) }
}

/// One file to be fetched from a server, and all that came of it.
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

    fn by<T>(&self, fetch: impl Fn(&Client, &Wanted) -> Result<T, Diag>) -> Result<T, Diag> {
        let url = Url::parse(&format!("{}/v2/{}", self.server.url, self.name)).unwrap();
        let client = Client::new(self.policy, Some("hf_secret".to_owned())).bounded(self.bounds);
        fetch(&client, &Wanted { url: &url, label: self.name, source: "s", to: &self.to(), pin: self.pin })
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

    /// Where each request began.
    pub fn starts(&self) -> Vec<Option<u64>> {
        self.server.requests().iter().map(|r| r.from).collect()
    }
}

pub fn body() -> Vec<u8> {
    (0..300_000u32).flat_map(|i| i.to_le_bytes()).collect()
}

#[test]
fn a_file_comes_in_one_request() {
    let case = Case::new(|r| Reply::file(r, &body(), "\"1\""));
    case.brings(&body());
    assert_eq!(case.starts(), [None]);
    let size = body().len() as u64;
    assert_eq!(*case.listener.last.lock().unwrap(), Some(("downloading f.bin".to_owned(), size, Some(size))));
    assert!(case.listener.notes.lock().unwrap().is_empty());
}

#[test]
fn a_broken_connection_goes_on_where_it_broke() {
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
fn an_interrupted_download_goes_on_in_the_next_run() {
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
fn a_file_that_changed_meanwhile_is_fetched_whole() {
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
fn a_server_that_knows_no_ranges_sends_all_again() {
    let case = Case::new(|r| {
        let reply = Reply::ok(body()).header("ETag", "\"1\"");
        if r.number == 0 { reply.cut_at(500_000) } else { reply }
    });
    case.brings(&body());
    assert_eq!(case.starts(), [None, Some(500_000)]);
}

#[test]
fn a_server_that_sends_another_range_is_asked_again() {
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
fn what_could_be_of_another_file_is_not_continued() {
    // Neither ETag nor date nor pin: the beginning proves nothing.
    let case = Case::new(|r| if r.number == 0 { Reply::ok(body()).cut_at(500_000) } else { Reply::ok(body()) });
    case.brings(&body());
    assert_eq!(case.starts(), [None, None]);
}

#[test]
fn a_pin_makes_any_beginning_safe() {
    let no_etag = |r: &Request, body: &[u8]| {
        let mut reply = Reply::file(r, body, "");
        reply.headers.retain(|(name, _)| name != "ETag");
        reply
    };
    let cut = move |r: &Request| if r.number == 0 { no_etag(r, &body()).cut_at(500_000) } else { no_etag(r, &body()) };
    let case = Case::new(cut).pinned(&body());
    case.brings(&body());
    assert_eq!(case.starts(), [None, Some(500_000)]);

    // The beginning was of another file: found by the digest at the end, and fetched whole once more.
    let mixed = move |r: &Request| match r.number {
        0 => no_etag(r, &vec![0; body().len()]).cut_at(500_000),
        _ => no_etag(r, &body()),
    };
    let case = Case::new(mixed).pinned(&body());
    case.brings(&body());
    assert_eq!(case.starts(), [None, Some(500_000), None]);
}

#[test]
fn what_is_all_there_is_not_fetched_again() {
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
fn a_busy_server_is_asked_again() {
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
fn a_server_that_stays_busy_is_given_up() {
    let case = Case::new(|_| Reply::status(500));
    let diag = case.fetch().unwrap_err();
    assert_eq!(diag.class, Class::Environment);
    assert_eq!(diag.message, "cannot fetch `f.bin`: the server says 500 (Internal Server Error)");
    assert_eq!(diag.notes, [format!("from {}/v2/f.bin", case.server.url), "tried 3 times".to_owned()]);
    assert_eq!(diag.help.unwrap(), "run again later, or take a local copy with `--mirror s=DIR`");
    assert_eq!(case.server.requests().len(), 3);
}

#[test]
fn what_is_kept_is_told_when_a_download_is_given_up() {
    let case = Case::new(|r| match r.number {
        0 => Reply::file(r, &body(), "\"1\"").cut_at(500_000),
        _ => Reply::status(502),
    });
    let diag = case.fetch().unwrap_err();
    assert_eq!(diag.notes[2], "500.0 kB are kept: the next run goes on from there");
}

#[test]
fn a_file_that_is_not_there() {
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
fn a_file_that_may_not_be_read_and_no_token_for_strangers() {
    let case = Case::new(|_| Reply::status(401));
    let diag = case.fetch().unwrap_err();
    assert_eq!(diag.message, "cannot fetch `f.bin`: the server says 401 (Unauthorized)");
    assert!(diag.help.unwrap().contains("no credentials are sent to this server"));
    assert_eq!(case.server.requests().len(), 1);
    assert_eq!(case.server.requests()[0].authorization, None);
}

#[test]
fn an_announced_size_that_differs_ends_it_before_anything_is_read() {
    let case = Case::new(|r| Reply::file(r, &body(), "\"1\"")).pinned(b"something small");
    let diag = case.fetch().unwrap_err();
    assert_eq!(diag.message, "`f.bin` has not the size that source `s` pins");
    assert_eq!(diag.notes, ["15 bytes wanted, 1200000 bytes found (15 bytes and 1.2 MB)"]);
    assert_eq!(std::fs::metadata(case.to()).unwrap().len(), 0);
}

#[test]
fn other_content_is_refused_and_not_kept() {
    let case = Case::new(|r| Reply::file(r, &vec![1; body().len()], "\"1\"")).pinned(&body());
    let diag = case.fetch().unwrap_err();
    assert_eq!((diag.class, diag.message.as_str()), (Class::Stage, "`f.bin` is not what source `s` pins"));
    assert_eq!(diag.notes[0], format!("sha256 wanted {}", Sha256::of(&body())));
    assert!(!case.to().exists());
    assert_eq!(case.server.requests().len(), 1, "it would not get better");
}

#[test]
fn a_body_without_end_is_cut_at_the_pinned_size() {
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
fn a_silent_server_does_not_keep_an_interruption_waiting() {
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
fn a_server_that_falls_silent_is_asked_again() {
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
fn a_server_without_tls_is_no_secure_server() {
    let case = Case::new(|_| Reply::ok(body()));
    let url = Url::parse(&case.server.url.replace("http://", "https://")).unwrap();
    let to = case.dir.path().join("x");
    let wanted = Wanted { url: &url, label: "x", source: "s", to: &to, pin: Pin::default() };
    let diag = Client::new(policy(), None).fetch(&wanted, &case.listener).unwrap_err();
    assert_eq!(diag.class, Class::Environment, "{diag}");
    assert!(diag.message.starts_with("cannot fetch `x`: "), "{diag}");
}

#[test]
fn nobody_listens() {
    let case = Case::new(|_| Reply::status(200));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("http://{free}/x")).unwrap();
    let to = case.dir.path().join("x");
    let wanted = Wanted { url: &url, label: "x", source: "s", to: &to, pin: Pin::default() };
    let diag = Client::new(policy(), None).fetch(&wanted, &case.listener).unwrap_err();
    assert_eq!(diag.message, "cannot fetch `x`: the server refuses the connection");
}

#[test]
fn a_full_disk_and_a_place_that_cannot_be_written() {
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
    let wanted = Wanted { url: &url, label: "x", source: "s", to, pin: Pin::default() };
    let diag = Client::new(policy(), None).fetch(&wanted, &case.listener).unwrap_err();
    assert_eq!(diag.class, Class::Environment, "{diag}");
    assert!(case.server.requests().is_empty(), "nothing is fetched that cannot be kept");
}

// Archives.

/// Unpacks all of an archive of these bytes.
fn unpack(name: &str, bytes: &[u8], limits: &Limits) -> (TempDir, Result<Vec<String>, Diag>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let into = dir.path().join("in/side");
    std::fs::create_dir_all(&into).unwrap();
    let names = archive::unpack(&path, &into, limits, &|_| true, &Listener::default());
    (dir, names)
}

/// The message of an archive that is refused; nothing was written outside.
fn refused(name: &str, bytes: &[u8]) -> String {
    let (dir, names) = unpack(name, bytes, &Limits::default());
    let mut outside: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    outside.sort();
    assert_eq!(outside.len(), 2, "{outside:?}");
    assert_eq!(std::fs::read_dir(dir.path().join("in")).unwrap().count(), 1);
    names.unwrap_err().message
}

#[test]
fn every_format_gives_its_files() {
    let files: &[(&str, &[u8])] = &[("a/x.txt", b"one"), ("a/b/y.txt", b""), ("z", b"three")];
    let (zip, tar) = (pack::zip(files), pack::tar(files));
    for (name, bytes) in
        [("f.zip", zip.clone()), ("f.tar", tar.clone()), ("f.tar.gz", pack::gz(&tar)), ("misnamed", zip)]
    {
        let (dir, names) = unpack(name, &bytes, &Limits::default());
        assert_eq!(names.unwrap(), ["a/x.txt", "a/b/y.txt", "z"], "{name}");
        assert_eq!(std::fs::read(dir.path().join("in/side/a/x.txt")).unwrap(), b"one");
    }
    let (dir, names) = unpack("train.jsonl.gz", &pack::gz(b"{}\n"), &Limits::default());
    assert_eq!(names.unwrap(), ["train.jsonl"]);
    assert_eq!(std::fs::read(dir.path().join("in/side/train.jsonl")).unwrap(), b"{}\n");
    let (_dir, names) = unpack("f.tar", &pack::tar(&[("./a/./x", b"1")]), &Limits::default());
    assert_eq!(names.unwrap(), ["a/x"]);
}

#[test]
fn members_that_would_lie_outside() {
    let evil: &[(&str, &[u8])] = &[("good", b"1"), ("../evil", b"2")];
    let message = "archive `f.zip` is refused: its member `../evil` would lie outside its folder";
    assert_eq!(refused("f.zip", &pack::zip(evil)), message);
    assert_eq!(refused("f.tar", &pack::tar(evil)), message.replace(".zip", ".tar"));
    assert_eq!(refused("f.tgz", &pack::gz(&pack::tar(evil))), message.replace(".zip", ".tgz"));
    for bad in ["/etc/evil", "a/../../evil", "a\\..\\evil", "c:evil", "a//b"] {
        let message = refused("f.tar", &pack::tar(&[(bad, b"2")]));
        assert!(message.contains("would lie outside its folder"), "{bad}: {message}");
    }
}

#[test]
fn links_that_lead_outside() {
    use tar::EntryType::{Char, Link, Symlink};
    for (target, kind) in [("../../etc", Symlink), ("/etc/passwd", Symlink), ("../x", Link), ("b/../../../x", Symlink)]
    {
        let message = refused("f.tar", &pack::tar_link("a/link", target, kind));
        assert_eq!(message, format!("archive `f.tar` is refused: its link `a/link` leads outside, to `{target}`"));
    }
    // One that stays inside is no harm, but it is no file either.
    let inside = pack::tar_link("a/link", "../b", Symlink);
    let message = "archive `f.tar` is refused: its member `a/link` is a link or a device, not a file";
    assert_eq!(refused("f.tar", &inside), message);
    assert_eq!(refused("f.tar", &pack::tar_link("a/link", "", Char)), message);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f.tar"), inside).unwrap();
    let names =
        archive::unpack(&dir.path().join("f.tar"), dir.path(), &Limits::default(), &|_| false, &Listener::default());
    assert!(names.unwrap().is_empty());
}

#[test]
fn archives_that_are_cut_short() {
    let noise: Vec<u8> = (0..50_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    let files: &[(&str, &[u8])] = &[("a", &noise), ("b", &noise)];
    let (zip, tar) = (pack::zip(files), pack::tar(files));
    let tgz = pack::gz(&tar);
    for (name, bytes) in [("f.zip", zip), ("f.tar", tar), ("f.tar.gz", tgz)] {
        for keep in [bytes.len() * 9 / 10, bytes.len() / 2] {
            let (_dir, names) = unpack(name, &bytes[..keep], &Limits::default());
            let diag = names.unwrap_err();
            assert!(diag.message.starts_with(&format!("archive `{name}` is cut short or damaged")), "{diag}");
            assert_eq!(diag.help.as_deref(), Some("nothing of it was used; get it again"));
        }
    }
}

#[test]
fn a_flipped_byte_is_seen() {
    let files: &[(&str, &[u8])] = &[("a", &[7; 5000])];
    let mut tgz = pack::gz(&pack::tar(files));
    let at = tgz.len() - 6;
    tgz[at] ^= 1;
    assert!(refused("f.tar.gz", &tgz).contains("cut short or damaged"));
    let mut zip = pack::zip(&[("a", &[7; 5000])]);
    let at = zip.windows(4).position(|w| w == b"PK\x01\x02").unwrap() + 16;
    zip[at] ^= 1;
    assert!(refused("f.zip", &zip).contains("cut short or damaged"));
}

#[test]
fn archives_that_would_fill_the_disk() {
    let small = Limits { members: 100, bytes: 1 << 20, file: 1 << 20, ratio: 1000, small: 1 << 20 };
    let zeros = vec![0u8; 2 << 20];
    let files: &[(&str, &[u8])] = &[("a", &zeros)];
    let too_large = "is refused: it would unpack to 2.1 MB or more, the limit for its size is 1.0 MB";
    for (name, bytes) in
        [("f.zip", pack::zip(files)), ("f.tar", pack::tar(files)), ("f.tgz", pack::gz(&pack::tar(files)))]
    {
        let (dir, names) = unpack(name, &bytes, &small);
        assert_eq!(names.unwrap_err().message, format!("archive `{name}` {too_large}"));
        assert!(!dir.path().join("in/side/a").exists(), "announced, so refused before it is written");
    }
    // Not announced, or announced wrong: refused on the way.
    let (_dir, names) = unpack("f.gz", &pack::gz(&zeros), &small);
    assert!(names.unwrap_err().message.contains("is refused: it would unpack to"));
    let mut liar = pack::zip(files);
    for (mark, at) in [(b"PK\x01\x02", 24), (b"PK\x03\x04", 22)] {
        let at = liar.windows(4).position(|w| w == mark).unwrap() + at;
        liar[at..at + 4].copy_from_slice(&10u32.to_le_bytes());
    }
    let (dir, names) = unpack("f.zip", &liar, &small);
    names.unwrap_err();
    assert!(std::fs::metadata(dir.path().join("in/side/a")).map_or(0, |m| m.len()) <= 1 << 20);
    // 300 times its own size is more than data and weights ever pack by.
    let (_dir, names) = unpack("f.gz", &pack::gz(&zeros), &Limits { small: 0, ratio: 300, ..Limits::default() });
    assert!(names.unwrap_err().message.contains("the limit for its size is"));
}

#[test]
fn a_size_that_cannot_be() {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&pack::tar_header("a", 1 << 32, tar::EntryType::Regular), &b"x"[..]).unwrap();
    let message = refused("f.tar", &builder.into_inner().unwrap());
    assert_eq!(
        message,
        "archive `f.tar` is refused: it would unpack to 4.3 GB or more, the limit for its size is 268.4 MB"
    );
}

#[test]
fn too_many_members_and_members_that_come_twice() {
    let names: Vec<String> = (0..20).map(|i| format!("f{i}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &b""[..])).collect();
    let few = Limits { members: 10, ..Limits::default() };
    for (name, bytes) in [("f.zip", pack::zip(&files)), ("f.tar", pack::tar(&files))] {
        let (_dir, result) = unpack(name, &bytes, &few);
        assert!(result.unwrap_err().message.contains("it has more members than"));
    }
    assert_eq!(
        refused("f.tar", &pack::tar(&[("a", b"1"), ("a", b"2")])),
        "archive `f.tar` is refused: `a` is in it twice"
    );
    assert_eq!(
        refused("f.zip", &pack::zip(&[("d/A", b"1"), ("d/a", b"2")])),
        "archive `f.zip` is refused: `d/A` and `d/a` differ in upper and lower case alone"
    );
}

#[test]
fn names_are_compared_over_all_members_wanted_or_not() {
    let message = |name: &str, bytes: &[u8]| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let result = archive::unpack(&path, dir.path(), &Limits::default(), &|n| n == "good", &Listener::default());
        result.map(|names| names.join(" ")).map_err(|diag| diag.message).unwrap_or_else(|message| message)
    };
    let files: &[(&str, &[u8])] = &[("good", b"1"), ("x", b"2"), ("X", b"3")];
    let differ = "is refused: `x` and `X` differ in upper and lower case alone";
    assert_eq!(message("f.zip", &pack::zip(files)), format!("archive `f.zip` {differ}"));
    assert_eq!(message("f.tar", &pack::tar(files)), format!("archive `f.tar` {differ}"));
    // The zip library writes no name twice: the second is renamed to the first, in its header and in the directory.
    let mut zip = pack::zip(&[("good", b"1"), ("x", b"2"), ("y", b"3")]);
    for mark in [&b"PK\x03\x04"[..], &b"PK\x01\x02"[..]] {
        let last = zip.windows(4).rposition(|w| w == mark).unwrap();
        let at = last + if mark[2] == 3 { 30 } else { 46 };
        assert_eq!(zip[at], b'y');
        zip[at] = b'x';
    }
    assert_eq!(message("f.zip", &zip), "archive `f.zip` is refused: `x` is in it twice");
    assert_eq!(
        message("f.tar", &pack::tar(&[("good", b"1"), ("x", b"2"), ("./x", b"3")])),
        "archive `f.tar` is refused: `x` is in it twice"
    );
    for bytes in [pack::zip(&[("x", b"1"), ("x/y", b"2")]), pack::tar(&[("x/y", b"1"), ("x", b"2")])] {
        assert!(message("f", &bytes).contains("`x` is in it as a file and as a folder"));
    }
    assert_eq!(message("f.zip", &pack::zip(&[("good", b"1"), ("x", b"2")])), "good x");
}

#[test]
fn a_member_with_two_names_is_refused() {
    // Programs that read a zip archive from its beginning see another name than those that read its directory.
    let mut zip = pack::zip(&[("train", b"1"), ("other", b"2")]);
    let at = zip.windows(4).position(|w| w == b"PK\x03\x04").unwrap() + 30;
    zip[at..at + 5].copy_from_slice(b"trick");
    assert_eq!(
        refused("f.zip", &zip),
        "archive `f.zip` is refused: its member `train` is called `trick` where its bytes begin"
    );
}

#[test]
fn a_zip_archive_that_is_not_read_is_reported_for_what_it_is() {
    /// Sets two bytes of every header (the first offset) and of every record of the directory (the second one).
    fn patched(zip: &[u8], (header, record): (usize, usize), value: u16) -> Vec<u8> {
        let mut zip = zip.to_vec();
        for (mark, at) in [(b"PK\x03\x04", header), (b"PK\x01\x02", record)] {
            let starts: Vec<_> = (0..zip.len() - 4).filter(|i| zip[*i..].starts_with(mark)).collect();
            for start in starts {
                zip[start + at..start + at + 2].copy_from_slice(&value.to_le_bytes());
            }
        }
        zip
    }
    let zip = pack::zip(&[("RTE/train.jsonl", b"{}")]);
    let diag = |bytes: &[u8]| unpack("RTE.zip", bytes, &Limits::default()).1.unwrap_err();
    for (method, name) in [(12, "bzip2"), (14, "lzma"), (9, "deflate64"), (93, "zstd"), (95, "xz"), (77, "method 77")] {
        let diag = diag(&patched(&zip, (8, 10), method));
        let what = format!("its member `RTE/train.jsonl` is packed by {name}, which is not read");
        assert_eq!(diag.message, format!("archive `RTE.zip` cannot be read: {what}"));
        assert!(diag.help.unwrap().contains("pack it again by deflate"));
    }
    let encrypted = diag(&patched(&zip, (6, 8), 1));
    assert_eq!(encrypted.message, "archive `RTE.zip` cannot be read: its member `RTE/train.jsonl` is encrypted");
    assert!(encrypted.help.unwrap().contains("without one"));
    // What is not wanted may be packed as it likes.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.zip");
    std::fs::write(&path, patched(&zip, (8, 10), 12)).unwrap();
    let names = archive::unpack(&path, dir.path(), &Limits::default(), &|_| false, &Listener::default());
    assert_eq!(names.unwrap(), ["RTE/train.jsonl"]);
    // Names as some Windows programs write them.
    let zip = pack::zip(&[("RTE/train.jsonl", b"{}")]);
    let backslash: Vec<u8> = zip.iter().map(|b| if *b == b'/' { b'\\' } else { *b }).collect();
    let diag = diag(&backslash);
    assert_eq!(
        diag.message,
        "archive `RTE.zip` is refused: its names are divided by `\\`, as some Windows programs write them: \
         `RTE\\train.jsonl`"
    );
    assert!(diag.help.unwrap().contains("divides names by `/`"));
}

#[test]
fn one_member_that_is_too_large() {
    let files: &[(&str, &[u8])] = &[("a", &[1; 100]), ("b", &[2; 5000])];
    let small = Limits { file: 1000, ..Limits::default() };
    for (name, bytes) in [("f.zip", pack::zip(files)), ("f.tar", pack::tar(files))] {
        let (dir, names) = unpack(name, &bytes, &small);
        let message = names.unwrap_err().message;
        assert_eq!(
            message,
            format!(
                "archive `{name}` is refused: its member `b` would be 5.0 kB or more, the limit for one file is 1.0 kB"
            )
        );
        assert!(!dir.path().join("in/side/b").exists());
    }
    // Not announced.
    let (_dir, names) = unpack("f.gz", &pack::gz(&[0; 5000]), &small);
    assert!(names.unwrap_err().message.contains("its member `f` would be 5.0 kB or more"));
}

#[test]
fn who_knows_an_archive_may_allow_it_more() {
    let zeros = vec![0u8; 300 << 20];
    let packed = pack::gz(&zeros);
    assert!(unpack("f.gz", &packed, &Limits::default()).1.unwrap_err().help.unwrap().contains("`unpack_limit`"));
    let (dir, names) = unpack("f.gz", &packed, &Limits::allowing(Some(300 << 20)));
    assert_eq!(names.unwrap(), ["f"]);
    assert_eq!(std::fs::metadata(dir.path().join("in/side/f")).unwrap().len(), 300 << 20);
    assert!(unpack("f.gz", &packed, &Limits::allowing(Some((300 << 20) - 1))).1.is_err());
}

#[test]
fn what_is_no_archive_is_told_by_what_it_is() {
    let notes = |bytes: &[u8]| {
        let diag = unpack("BoolQ.zip", bytes, &Limits::default()).1.unwrap_err();
        assert_eq!(diag.message, "`BoolQ.zip` is not an archive (.zip, .tar, .tar.gz or .gz)");
        diag.notes[1].clone()
    };
    assert_eq!(notes(b"\n<!DOCTYPE html><html>"), "it is a web page, perhaps of a login or an error");
    assert_eq!(notes(b""), "it is empty");
    assert!(notes(b"version https://git-lfs.github.com/spec/v1\n").starts_with("it is a Git LFS pointer"));
    assert_eq!(notes(b"Rar!"), "it begins with [52, 61, 72, 21]");
    for (start, what) in [
        (&b"Rar!\x1a\x07\x01"[..], "it is a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "it is a 7-Zip archive"),
        (b"\xfd7zXZ\0", "it is packed by xz"),
        (b"BZh91AY", "it is packed by bzip2"),
        (b"\x28\xb5\x2f\xfd", "it is packed by zstd"),
    ] {
        assert!(notes(start).starts_with(what), "{what}");
    }
}
