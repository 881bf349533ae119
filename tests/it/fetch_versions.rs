//! Parts of two versions of a file are never put together, whatever a server answers; and what is kept between two runs
//! is checked before it is continued.

use crate::fetch::{Case, body};
use crate::support::http::{Reply, Request};

const OLD: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
const NEW: &str = "Thu, 22 Oct 2015 07:28:00 GMT";

/// The new version of the file: as long as the old one, and different in every byte.
fn newer() -> Vec<u8> {
    body().iter().map(|b| !b).collect()
}

/// The rest of `body` from where `request` asks for it, with no other header than `Content-Range`.
fn rest(request: &Request, body: &[u8]) -> Reply {
    let from = request.from.unwrap() as usize;
    let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
    Reply { status: 206, body: body[from..].to_vec(), ..Reply::default() }.header("Content-Range", range)
}

fn with(reply: Reply, headers: &[(&str, &str)]) -> Reply {
    headers.iter().fold(reply, |reply, (name, value)| reply.header(name, *value))
}

/// The old version breaks off after 500,000 bytes; then the server has the new one, knows no `If-Range`, and answers a
/// range with `answer`.
fn after_a_change(first: &[(&'static str, &'static str)], answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
    let first = first.to_vec();
    let case = Case::new(move |r| match (r.number, r.from) {
        (0, _) => with(Reply::ok(body()), &first).cut_at(500_000),
        (_, Some(_)) => answer(r),
        (_, None) => Reply::ok(newer()).header("ETag", "\"new\""),
    });
    case.brings(&newer());
}

#[test]
fn rest_of_another_version_is_discarded() {
    let tag = ("ETag", "\"old\"");
    let same_tag = |r: &Request| rest(r, &newer()).header("ETag", "\"old\"");
    // The date, the ETag or the size is another; or the 206 has not the validator that the first answer had.
    after_a_change(&[("Last-Modified", OLD)], |r| rest(r, &newer()).header("Last-Modified", NEW));
    after_a_change(&[("Last-Modified", OLD)], |r| rest(r, &newer()));
    after_a_change(&[tag], |r| rest(r, &newer()).header("ETag", "\"new\""));
    after_a_change(&[tag], |r| rest(r, &newer()));
    after_a_change(&[tag], |r| rest(r, &newer()).header("Last-Modified", OLD));
    after_a_change(&[tag, ("Last-Modified", OLD)], move |r| same_tag(r).header("Last-Modified", NEW));
    after_a_change(&[tag, ("Last-Modified", OLD)], |r| rest(r, &newer()).header("Last-Modified", OLD));
    after_a_change(&[tag], |r| rest(r, &[newer(), vec![0; 4]].concat()).header("ETag", "\"old\""));
    after_a_change(&[tag], |r| rest(r, &newer()[..1_100_000]).header("ETag", "\"old\""));
}

#[test]
fn weak_validator_does_not_resume() {
    let weak = ("ETag", "W/\"old\"");
    after_a_change(&[weak], |r| rest(r, &newer()).header("ETag", "W/\"old\""));
    after_a_change(&[weak, ("Last-Modified", OLD)], |r| {
        rest(r, &newer()).header("ETag", "W/\"old\"").header("Last-Modified", OLD)
    });
    // A date within the second in which the answer was made.
    after_a_change(&[("Last-Modified", OLD), ("Date", OLD)], |r| rest(r, &newer()).header("Last-Modified", OLD));
}

#[test]
fn malformed_part_is_discarded() {
    let tag = ("ETag", "\"old\"");
    let same = |reply: Reply| reply.header("ETag", "\"old\"");
    let whole = body().len();
    after_a_change(&[tag], move |r| same(rest(r, &newer())).header("Content-Type", "multipart/byteranges; boundary=x"));
    after_a_change(&[tag], move |r| same(Reply { status: 206, body: newer(), ..Reply::file(r, &newer(), "") }));
    after_a_change(&[tag], move |r| same(rest(r, &newer())).header("Content-Encoding", "gzip"));
    for range in [
        format!("bytes 0-{}/{whole}", whole - 1),
        format!("bytes 500000-{}/{whole}", whole + 5),
        format!("bytes 500000-600000/{whole}"),
        format!("bytes */{whole}"),
        "bytes 500000-".to_owned(),
    ] {
        after_a_change(&[tag], move |r| {
            let mut reply = same(rest(r, &newer()));
            reply.headers.retain(|(name, _)| name != "Content-Range");
            reply.header("Content-Range", range.clone())
        });
    }
}

#[test]
fn equal_validator_resumes_the_file() {
    for headers in
        [vec![("ETag", "\"1\"")], vec![("Last-Modified", OLD)], vec![("ETag", "\"1\""), ("Last-Modified", OLD)]]
    {
        let known = headers[0].1;
        let case = Case::new(move |r| match r.number {
            0 => with(Reply::ok(body()), &headers).cut_at(500_000),
            _ => with(rest(r, &body()), &headers),
        });
        case.brings(&body());
        assert_eq!(case.starts(), [None, Some(500_000)]);
        assert_eq!(case.server.requests()[1].if_range.as_deref(), Some(known));
    }
}

#[test]
fn date_of_another_mirror_does_not_resume() {
    let case = |headers: &'static [(&'static str, &'static str)]| {
        Case::new(move |r| match (r.path.as_str(), r.from) {
            ("/one", _) => with(Reply::ok(body()), headers).cut_at(500_000),
            ("/two", Some(_)) => with(rest(r, &newer()), headers),
            ("/two", None) => with(Reply::ok(newer()), headers),
            _ if r.number == 0 => Reply::status(302).header("Location", "/one"),
            _ => Reply::status(302).header("Location", "/two"),
        })
    };
    case(&[("Last-Modified", OLD)]).brings(&newer());
    // One strong ETag at both says that both have the same bytes.
    let case = Case::new(|r| match r.path.as_str() {
        "/one" => Reply::file(r, &body(), "\"1\"").cut_at(500_000),
        "/two" => Reply::file(r, &body(), "\"1\""),
        _ if r.number == 0 => Reply::status(302).header("Location", "/one"),
        _ => Reply::status(302).header("Location", "/two"),
    });
    case.brings(&body());
    assert_eq!(case.starts().last(), Some(&Some(500_000)));
}

#[test]
fn shorter_new_version_does_not_complete_a_part() {
    // The new file has just as many bytes as were kept of the old one.
    let case = Case::new(|r| match (r.number, r.from) {
        (0, _) => Reply::file(r, &body(), "\"old\"").cut_at(500_000),
        (_, Some(_)) => Reply::status(416).header("Content-Range", "bytes */500000"),
        _ => Reply::ok(&newer()[..500_000]).header("ETag", "\"new\""),
    });
    case.brings(&newer()[..500_000]);
    // A file that was whole, and of which the server says another ETag in the next run.
    let case = Case::new(|r| match (r.number, r.from) {
        (0, _) => Reply::file(r, &body(), "\"old\""),
        (_, Some(from)) => {
            Reply::status(416).header("Content-Range", format!("bytes */{from}")).header("ETag", "\"new\"")
        }
        _ => Reply::ok(newer()).header("ETag", "\"new\""),
    });
    case.brings(&body());
    case.brings(&newer());
}

#[test]
fn unrequested_part_is_refused() {
    let case = Case::new(|r| match r.number {
        0 => Reply { status: 206, body: newer(), ..Reply::default() }
            .header("Content-Range", format!("bytes 0-{}/{}", newer().len() - 1, newer().len())),
        _ => Reply::file(r, &body(), "\"1\""),
    });
    case.brings(&body());
    assert_eq!(case.starts(), [None, None]);
}

#[test]
fn short_response_is_followed_by_another_request() {
    let case = Case::new(|r| match r.from {
        None => Reply::file(r, &body(), "\"1\"").cut_at(500_000),
        Some(from) => {
            let (from, end) = (from as usize, (from as usize + 300_000).min(body().len()));
            let range = format!("bytes {from}-{}/{}", end - 1, body().len());
            Reply { status: 206, body: body()[from..end].to_vec(), ..Reply::default() }
                .header("Content-Range", range)
                .header("ETag", "\"1\"")
        }
    });
    case.brings(&body());
    assert_eq!(case.starts(), [None, Some(500_000), Some(800_000), Some(1_100_000)]);
}

#[test]
fn server_that_stops_at_the_same_byte_fails() {
    let case = Case::new(|r| match r.from {
        None => Reply::file(r, &body(), "\"1\"").cut_at(500_000),
        Some(_) => rest(r, &newer()).header("ETag", "\"2\""),
    });
    case.fetch().unwrap_err();
    assert_eq!(case.server.requests().len(), 3);
}

#[test]
fn changed_byte_of_a_kept_part_is_detected() {
    for pinned in [false, true] {
        let case = Case::new(|r| match r.number {
            0 => Reply::file(r, &body(), "\"1\"").cut_at(500_000),
            1 | 2 => Reply::status(500),
            _ => Reply::file(r, &body(), "\"1\""),
        });
        let case = if pinned { case.pinned(&body()) } else { case };
        let diag = case.fetch().unwrap_err();
        assert_eq!(diag.notes[2], "500.0 kB are kept: the next run goes on from there");
        let mut kept = std::fs::read(case.to()).unwrap();
        kept[1234] ^= 1;
        std::fs::write(case.to(), kept).unwrap();
        case.brings(&body());
        assert_eq!(case.starts()[3..], [None], "all of it is fetched anew");
        let notes = case.listener.notes.lock().unwrap();
        assert!(notes.iter().any(|note| note.contains("kept has changed since")), "{notes:?}");
    }
}

#[test]
fn bytes_after_the_counted_ones_are_cut_off() {
    // As a process that is killed leaves it: more bytes than its last note counts.
    let case = Case::new(|r| match r.number {
        0 => Reply::file(r, &body(), "\"1\"").cut_at(500_000),
        1 | 2 => Reply::status(500),
        _ => Reply::file(r, &body(), "\"1\""),
    });
    case.fetch().unwrap_err();
    let kept = std::fs::read(case.to()).unwrap();
    std::fs::write(case.to(), [kept, b"torn".to_vec()].concat()).unwrap();
    case.brings(&body());
    assert_eq!(case.starts()[3..], [Some(500_000)]);
    // Fewer bytes than it counts: nothing of it can be trusted.
    let case = Case::new(|r| match r.number {
        0 => Reply::file(r, &body(), "\"1\"").cut_at(500_000),
        1 | 2 => Reply::status(500),
        _ => Reply::file(r, &body(), "\"1\""),
    });
    case.fetch().unwrap_err();
    std::fs::write(case.to(), &body()[..1000]).unwrap();
    case.brings(&body());
    assert_eq!(case.starts()[3..], [None]);
}

#[test]
fn part_that_cannot_resume_is_not_reported_as_kept() {
    let lost = "the next run begins anew: the server gives no way to continue what has arrived";
    for headers in [vec![], vec![("ETag", "W/\"1\"")], vec![("ETag", "\"1\""), ("Accept-Ranges", "none")]] {
        let case = Case::new(move |r| match r.number {
            0 => with(Reply::ok(body()), &headers).cut_at(500_000),
            _ => Reply::status(502),
        });
        assert_eq!(case.fetch().unwrap_err().notes[2], lost);
        assert_eq!(case.starts(), [None; 3]);
    }
    // It was asked for the rest, and sent the whole of the same version: it knows no ranges.
    let case = Case::new(|r| match r.number {
        0 | 1 => Reply::ok(body()).header("ETag", "\"1\"").cut_at(500_000),
        _ => Reply::status(502),
    });
    assert_eq!(case.fetch().unwrap_err().notes[2], lost);
    // With a pin, any beginning can be continued.
    let case = Case::new(|r| match r.number {
        0 => Reply::ok(body()).cut_at(500_000),
        _ => Reply::status(502),
    });
    let case = case.pinned(&body());
    assert_eq!(case.fetch().unwrap_err().notes[2], "500.0 kB are kept: the next run goes on from there");
}

#[test]
fn part_of_a_file_of_unknown_size_is_not_complete() {
    let case = Case::new(|r| match (r.number, r.from) {
        (0, _) => Reply { unsized_body: true, ..Reply::ok([b"a000\r\n", &body()[..0xa000]].concat()) }
            .header("Transfer-Encoding", "chunked")
            .header("ETag", "\"1\""),
        (_, Some(from)) => Reply { status: 206, body: body()[from as usize..600_000].to_vec(), ..Reply::default() }
            .header("Content-Range", format!("bytes {from}-599999/*"))
            .header("ETag", "\"1\""),
        _ => Reply::ok(body()).header("ETag", "\"1\""),
    });
    case.brings(&body());
}
