//! `dpt pin`: what was fetched once must be fetched again.

use dpt::fetch::hash::Sha256;

use crate::sandbox::Sandbox;
use crate::support::http::{Reply, Server};

fn pipeline(url: &str) -> String {
    format!(
        "schema = 1\n[pipeline]\nname = \"x\"\ntargets = [\"data\"]\n\
         [source.web]\nurl = \"{url}\"\nfiles = {{ a = \"a.txt\" }}\n\
         [stage.data]\nkind = \"download\"\nsource = \"web\"\nformat = \"files\"\nfile = [\"a\", \"b.txt\"]\n"
    )
}

#[test]
fn what_was_fetched_is_recorded_and_held() {
    let server = Server::start(|r| match r.path.as_str() {
        "/a.txt" => Reply::ok("first"),
        // The second time it is another file.
        "/b.txt" if r.number < 4 => Reply::ok("second"),
        _ => Reply::ok("other!"),
    });
    let sandbox = Sandbox::new();
    sandbox.write("x.toml", &pipeline(&server.url));
    let ran = sandbox.dpt(&["pin", "x.toml"]).code(0);
    let (a, b) = (Sha256::of(b"first"), Sha256::of(b"second"));
    assert_eq!(ran.stdout, format!("pinned web a: 5 bytes, sha256 {a}\npinned web b.txt: 6 bytes, sha256 {b}\n"));
    let pins = std::fs::read_to_string(sandbox.path().join("x.pins.toml")).unwrap();
    assert!(pins.contains(&a.to_string()) && pins.contains(&b.to_string()), "{pins}");

    // The pins are in the key: fetched once more, and checked.
    sandbox.dpt(&["run", "x.toml"]).code(0);
    assert_eq!(server.requests().len(), 4);
    let again = sandbox.dpt(&["pin", "x.toml"]).code(0);
    assert!(again.stdout.is_empty() && again.stderr.ends_with("all files are pinned already\n"), "{}", again.stderr);
    assert_eq!(server.requests().len(), 4);

    let ran = sandbox.dpt(&["run", "x.toml", "--force"]).code(1);
    assert!(ran.stderr.contains("`b.txt` is not what source `web` pins"), "{}", ran.stderr);
    let ran = sandbox.dpt(&["pin", "x.toml", "--force"]).code(0);
    assert_eq!(ran.stdout, format!("changed web b.txt: 6 bytes, sha256 {}\n", Sha256::of(b"other!")));
    sandbox.dpt(&["run", "x.toml"]).code(0);
}

#[test]
fn a_pipeline_that_downloads_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.txt", "1");
    sandbox.write("data/b.txt", "2");
    sandbox.write("x.toml", &pipeline("file:data").replace("\"a\", ", "\"a.txt\", "));
    let ran = sandbox.dpt(&["pin", "x.toml"]).code(0);
    assert_eq!(ran.stderr, "nothing to pin: this pipeline has no downloads\n");
    let ran = sandbox.dpt(&["run", "x.toml"]).code(0);
    assert!(ran.stderr.contains("x"), "{}", ran.stderr);
}
