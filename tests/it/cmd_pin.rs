//! `dpt pin`: later downloads must match the recorded ones.

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
fn pin_records_downloads_and_later_runs_check_them() {
    let server = Server::start(|r| match r.path.as_str() {
        "/a.txt" => Reply::ok("first"),
        // The second request gets another file.
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

    // Pins are in the key, so the files are downloaded again and checked.
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
fn pin_of_a_pipeline_without_downloads_does_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.txt", "1");
    sandbox.write("data/b.txt", "2");
    sandbox.write("x.toml", &pipeline("file:data").replace("\"a\", ", "\"a.txt\", "));
    let ran = sandbox.dpt(&["pin", "x.toml"]).code(0);
    assert_eq!(ran.stderr, "nothing to pin: this pipeline has no downloads\n");
    let ran = sandbox.dpt(&["run", "x.toml"]).code(0);
    assert!(ran.stderr.contains("x"), "{}", ran.stderr);
}
