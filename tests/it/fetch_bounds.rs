//! A download has a limit: without a pin, without an announced size, and where the server packs it unasked.

use dpt::base::diag::Class;
use dpt::fetch::http::Bounds;

use crate::fetch::{Case, body};
use crate::support::http::Reply;
use crate::support::pack;

const USUAL: fn() -> Bounds = Bounds::default;

#[test]
fn file_is_requested_without_compression() {
    let case = Case::new(|r| Reply::file(r, &body(), "\"1\""));
    case.brings(&body());
    assert_eq!(case.server.requests()[0].accept_encoding.as_deref(), Some("identity"));
}

#[test]
fn gzip_response_is_unpacked() {
    let packed = |r: &crate::support::http::Request| match r.number {
        0 => Reply::ok(pack::gz(&body())).header("Content-Encoding", "gzip").header("ETag", "\"1\"").cut_at(5000),
        _ => Reply::ok(pack::gz(&body())).header("Content-Encoding", "GZip").header("ETag", "\"1\""),
    };
    let case = Case::new(packed);
    case.brings(&body());
    assert_eq!(case.starts(), [None, None], "a part of the packed form is no part of the file");
    // The pinned size is that of the file, not that of the packed answer.
    Case::new(packed).pinned(&body()).brings(&body());
    Case::new(|_| Reply::ok(*b"").header("Content-Encoding", "gzip")).brings(b"");
}

#[test]
fn damaged_gzip_response_is_refused() {
    for wrong in [pack::gz(&body())[..100_000].to_vec(), [pack::gz(b"abc"), b"tail".to_vec()].concat(), b"abc".to_vec()]
    {
        let case = Case::new(move |r| match r.number {
            0 => Reply::ok(wrong.clone()).header("Content-Encoding", "gzip"),
            _ => Reply::ok(body()),
        });
        case.brings(&body());
        assert_eq!(case.starts(), [None, None]);
    }
}

#[test]
fn gzip_bomb_is_refused() {
    let zeros = pack::gz(&vec![0; 100_000_000]);
    assert!(zeros.len() < 100_000);
    let bomb = zeros.clone();
    let case = Case::new(move |_| Reply::ok(bomb.clone()).header("Content-Encoding", "gzip"));
    let diag = case.fetch().unwrap_err();
    assert_eq!(diag.class, Class::Stage);
    assert!(diag.message.starts_with("`f.bin` has "), "{diag}");
    assert!(diag.help.unwrap().contains("`download_limit`"));
    assert_eq!(case.server.requests().len(), 1, "it would not get better");
    assert!(!case.to().exists());
    // What is pinned ends at the pinned size.
    let bomb = zeros.clone();
    let case = Case::new(move |_| Reply::ok(bomb.clone()).header("Content-Encoding", "gzip")).pinned(b"small");
    assert_eq!(case.fetch().unwrap_err().message, "cannot fetch `f.bin`: the server sent more than the whole file");
    // Who knows the file may allow it.
    let case = Case::new(move |_| Reply::ok(zeros.clone()).header("Content-Encoding", "gzip"));
    let case = case.bounded(Bounds::allowing(Some(100_000_000)));
    assert_eq!(case.fetch().unwrap().bytes, 100_000_000);
}

#[test]
fn other_encodings_are_refused_and_gz_files_kept() {
    let case = Case::new(|_| Reply::ok(body()).header("Content-Encoding", "br"));
    assert_eq!(
        case.fetch().unwrap_err().message,
        "cannot fetch `f.bin`: the server packs it by `br`, though it was asked for the file as it is"
    );
    assert_eq!(case.server.requests().len(), 1);
    // Many servers say `gzip` of a file that is a gzip file itself.
    let mut case = Case::new(|_| Reply::ok(pack::gz(&body())).header("Content-Encoding", "x-gzip"));
    case.name = "f.tar.gz";
    case.brings(&pack::gz(&body()));
}

#[test]
fn unpinned_file_has_a_size_limit() {
    // Announced: refused before anything is read. The connection stays open, and nobody waits for it.
    let bounds = Bounds { announced: 1_000_000, open: 100_000, ..USUAL() };
    let case = Case::new(|_| Reply::ok(body())).bounded(bounds);
    let diag = case.fetch().unwrap_err();
    assert_eq!(diag.message, "`f.bin` has 1.2 MB or more, the limit for its download is 1.0 MB");
    assert!(!case.to().exists());
    Case::new(|_| Reply::ok(body())).pinned(&body()).bounded(bounds).brings(&body());
    // Not announced.
    let endless = |_: &crate::support::http::Request| Reply { unsized_body: true, ..Reply::ok(body()) };
    let case = Case::new(endless).bounded(bounds);
    let diag = case.fetch().unwrap_err();
    assert!(diag.message.ends_with("or more, the limit for its download is 100.0 kB"), "{diag}");
    assert_eq!(case.server.requests().len(), 1);
    assert!(!case.to().exists());
    Case::new(endless).bounded(Bounds { open: 1_200_000, ..bounds }).brings(&body());
}

#[test]
fn download_of_unknown_size_leaves_free_space() {
    let long = vec![7; 40 << 20];
    let served = long.clone();
    let case = Case::new(move |_| Reply { unsized_body: true, ..Reply::ok(served.clone()) });
    let case = case.bounded(Bounds { reserve: u64::MAX, ..USUAL() });
    let diag = case.fetch().unwrap_err();
    assert_eq!(diag.class, Class::Environment);
    assert!(diag.message.starts_with("no room for `f.bin`: it needs "), "{diag}");
    assert!(std::fs::metadata(case.to()).unwrap().len() < 20 << 20);
}

#[test]
fn file_larger_than_the_disk_is_refused() {
    let case = Case::new(|_| Reply::ok(body()).header("Content-Length", (1u64 << 60).to_string()));
    let case = case.bounded(Bounds { announced: u64::MAX, ..USUAL() });
    let diag = case.fetch().unwrap_err();
    assert_eq!(diag.class, Class::Environment);
    assert!(diag.message.starts_with("no room for `f.bin`: it needs 1152921.5 TB free"), "{diag}");
}
