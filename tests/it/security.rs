//! The claims of `docs/security.md`, one test for each. Archives are in `fetch_archives.rs`, damage in
//! `cache/attacks.rs`.

use std::fs;
use std::path::Path;

use crate::sandbox::Sandbox;
use crate::support::http::{Reply, Server};

const SECRET: &str = "s3cret-of-the-user";

/// Returns every file below `folder` with `what` in its name or content.
fn holding(folder: &Path, what: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let named = path.file_name().unwrap().to_string_lossy().contains(what);
        if path.is_dir() {
            found.extend(holding(&path, what));
        }
        let has = |path: &Path| fs::read(path).is_ok_and(|b| b.windows(what.len()).any(|w| w == what.as_bytes()));
        if named || (path.is_file() && has(&path)) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn command(name: &str, more: &str) -> String {
    format!("schema = 1\n[stage.{name}]\nkind = \"command\"\n{more}\n")
}

#[test]
fn command_secret_is_not_stored_or_shown() {
    let sandbox = Sandbox::new();
    let good = "shell = true\nsecrets = [\"MY_SECRET\"]\noutputs = { o = \"o.txt\" }\n\
                run = \"echo I have $MY_SECRET; echo ${#MY_SECRET} > $DPT_OUT_O\"";
    sandbox.write("good.toml", &command("a", good));
    sandbox.write("bad.toml", &command("a", &good.replace("echo ${#", "exit 3; echo ${#")));
    for (file, code) in [("good.toml", 0), ("bad.toml", 1)] {
        for mode in [&["run", file][..], &["run", file, "--json", "--force"], &["status", file]] {
            let ran = sandbox.ran(sandbox.command(mode).env("MY_SECRET", SECRET));
            assert_eq!(ran.code, if mode[0] == "status" { 0 } else { code }, "{ran:?}");
            assert!(!ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET), "{ran:?}");
        }
    }
    assert_eq!(holding(sandbox.path(), SECRET), [""; 0]);
    let results = sandbox.path().join("cache/results/good/a");
    assert_eq!(fs::read_to_string(results.join("command.log")).unwrap(), "I have [secret MY_SECRET]\n");
    assert_eq!(fs::read_to_string(results.join("o.txt")).unwrap(), format!("{}\n", SECRET.len()), "it was there");
    let failed = sandbox.ran(sandbox.command(&["run", "bad.toml"]).env("MY_SECRET", SECRET));
    assert!(failed.stderr.contains("I have [secret MY_SECRET]"), "{}", failed.stderr);
}

#[test]
fn secret_in_output_parameter_or_env_is_refused() {
    let sandbox = Sandbox::new();
    let cases = [
        ("run = \"echo $MY_SECRET > $DPT_OUT_O\"", "an output holds the value of the secret `MY_SECRET`", 1),
        ("run = \"true\"\nparams = { x = \"a s3cret-of-the-user b\" }", "`params` holds the value of the secret", 2),
        ("run = \"echo s3cret-of-the-user\"", "`run` holds the value of the secret `MY_SECRET`", 2),
        ("run = \"true\"\nenv = [\"ALSO\"]", "`env` holds the value of the secret `MY_SECRET`", 2),
        ("run = \"true\"\nenv = [\"GITHUB_TOKEN\"]", "`env` names `GITHUB_TOKEN`, whose value looks like a secret", 2),
    ];
    for (run, message, code) in cases {
        let text = format!("shell = true\nsecrets = [\"MY_SECRET\"]\noutputs = {{ o = \"o.txt\" }}\n{run}");
        let path = sandbox.write("p.toml", &command("a", &text));
        let ran = sandbox.ran(sandbox.command(&["run", "p.toml"]).env("MY_SECRET", SECRET).env("ALSO", SECRET));
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.stderr.contains(message) && !ran.stderr.contains(SECRET), "{ran:?}");
        fs::remove_file(path).unwrap();
        assert_eq!(holding(sandbox.path(), SECRET), [""; 0], "{run}");
    }
}

#[test]
fn unset_secret_is_reported_and_nothing_runs() {
    let sandbox = Sandbox::new();
    let text = "run = [\"touch\", \"{out.o}\"]\nsecrets = [\"MY_SECRET\"]\noutputs = { o = \"o.txt\" }";
    sandbox.write("p.toml", &command("a", text));
    let ran = sandbox.dpt(&["run", "p.toml"]).code(6);
    assert!(ran.stderr.contains("the secret `MY_SECRET` is not set"), "{}", ran.stderr);
    let ran = sandbox.ran(sandbox.command(&["run", "p.toml"]).env("MY_SECRET", "abc")).code(6);
    assert!(ran.stderr.contains("shorter than 6 characters"), "{}", ran.stderr);
}

#[test]
fn command_gets_only_declared_variables() {
    let sandbox = Sandbox::new();
    sandbox.write("p.toml", &command("a", "shell = true\nrun = \"env > $DPT_OUT_O\"\noutputs = { o = \"o.txt\" }"));
    sandbox.ran(sandbox.command(&["run", "p.toml"]).env("HF_TOKEN", SECRET).env("ANYTHING", SECRET)).code(0);
    assert_eq!(holding(sandbox.path(), SECRET), [""; 0]);
}

#[test]
fn download_token_is_not_shown_or_stored() {
    let server = Server::start(|_| Reply::status(404));
    let sandbox = Sandbox::new();
    let text = format!(
        "schema = 1\n[source.s]\nurl = \"{}\"\n[stage.get]\nkind = \"download\"\nsource = \"s\"\nformat = \"files\"\nfile = [\"a\"]\n",
        server.url
    );
    sandbox.write("p.toml", &text);
    for more in [&[][..], &["--json"]] {
        let args: Vec<_> = ["run", "p.toml"].iter().chain(more).copied().collect();
        let ran = sandbox.ran(sandbox.command(&args).env("HF_TOKEN", SECRET));
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(!ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET), "{ran:?}");
    }
    assert!(server.requests().iter().all(|request| request.authorization.is_none()));
    assert_eq!(holding(sandbox.path(), SECRET), [""; 0]);
}

#[test]
fn url_with_a_secret_is_refused_without_showing_it() {
    let sandbox = Sandbox::new();
    for url in [
        "https://me:s3cret-of-the-user@example.org/x",
        "https://s3cret-of-the-user@example.org/x",
        "https://example.org/x?token=s3cret-of-the-user",
        "https://example.org/x?X-Amz-Signature=s3cret-of-the-user",
        "ftp://me:s3cret-of-the-user@example.org/x",
    ] {
        let text = format!(
            "schema = 1\n[source.s]\nurl = \"{url}\"\n[stage.get]\nkind = \"download\"\nsource = \"s\"\nformat = \"files\"\nfile = [\"a\"]\n"
        );
        let path = sandbox.write("p.toml", &text);
        for args in
            [&["run", "p.toml"][..], &["check", "p.toml"], &["check", "p.toml", "--json"], &["status", "p.toml"]]
        {
            let ran = sandbox.dpt(args);
            assert_eq!(ran.code, 2, "{url}: {ran:?}");
            assert!(!ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET), "{url}: {ran:?}");
        }
        fs::remove_file(path).unwrap();
        assert_eq!(holding(sandbox.path(), SECRET), [""; 0]);
    }
}

/// Names that lead outside, or that are special to a terminal or a file system.
const EVIL: &[&str] = &["../x", "/etc/x", "a/../../x", "..", ".", "", "a\\u0000b", "a\\nb", "a\\u001b[2Jb", "a\\\\b"];

#[test]
fn names_in_a_pipeline_cannot_leave_the_store() {
    let sandbox = Sandbox::new();
    let stage = "kind = \"command\"\nrun = [\"true\"]\noutputs = { o = \"o\" }";
    let long = "x".repeat(300);
    for name in EVIL.iter().copied().chain([long.as_str()]) {
        let quoted = format!("\"{name}\"");
        let texts = [
            format!("schema = 1\n[stage.{quoted}]\n{stage}\n"),
            format!("schema = 1\n[pipeline]\nname = {quoted}\n[stage.a]\n{stage}\n"),
            format!("schema = 1\n[axes]\n{quoted} = [1]\n[stage.a]\n{stage}\n"),
            format!("schema = 1\n[stage.a]\nkind = \"command\"\nrun = [\"true\"]\noutputs = {{ o = {quoted} }}\n"),
            format!("schema = 1\n[stage.a]\nkind = \"command\"\nrun = [\"true\"]\noutputs = {{ {quoted} = \"o\" }}\n"),
            format!("schema = 1\n[source.{quoted}]\nurl = \"file:.\"\n[stage.a]\n{stage}\n"),
            format!("schema = 1\n[stage.b]\n{stage}\n[stage.a]\nneeds = {{ {quoted} = \"b\" }}\n{stage}\n"),
        ];
        for text in texts {
            sandbox.write("p.toml", &text);
            let ran = sandbox.dpt(&["run", "p.toml"]);
            assert_eq!(ran.code, 2, "{text}{ran:?}");
            assert!(!sandbox.path().join("cache").exists(), "{text}");
        }
    }
}

#[test]
fn axis_values_are_not_paths_and_may_have_slashes() {
    let sandbox = Sandbox::new();
    let text = |value: &str| {
        format!(
            "schema = 1\n[axes]\nx = [\"{value}\"]\n[stage.a]\nkind = \"command\"\naxes = [\"x\"]\n\
             run = [\"sh\", \"-c\", \"echo {{x}} > $0\", \"{{out.o}}\"]\noutputs = {{ o = \"o\" }}\n"
        )
    };
    for bad in ["", "a\\u0000b", "a\\nb", "a\\u001b[2Jb", "a\\u202eb", "a b", &"x".repeat(300)] {
        sandbox.write("p.toml", &text(bad));
        sandbox.dpt(&["run", "p.toml"]).code(2);
    }
    let before = fs::read_dir(sandbox.path()).unwrap().count();
    sandbox.write("p.toml", &text("../../../../../out"));
    sandbox.dpt(&["run", "p.toml"]).code(0);
    assert_eq!(fs::read_dir(sandbox.path()).unwrap().count(), before + 1, "the store, and nothing beside it");
    assert!(!sandbox.path().parent().unwrap().join("out").exists());
}

#[test]
fn pipeline_file_name_cannot_leave_results() {
    let sandbox = Sandbox::new();
    let text = command("a", "run = [\"touch\", \"{out.o}\"]\noutputs = { o = \"o\" }");
    for name in ["...toml", "a\u{1b}[2Jb.toml", ".hidden.toml", "with blank.toml"] {
        sandbox.write(name, &text);
        let ran = sandbox.dpt(&["run", name]).code(0);
        assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.stderr);
    }
    let mut names: Vec<_> =
        fs::read_dir(sandbox.path().join("cache/results")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a-[2Jb".replace('[', "-").as_str(), "hidden", "pipeline", "with blank"]);
}

#[test]
fn program_output_cannot_control_the_terminal() {
    let sandbox = Sandbox::new();
    let evil = "printf 'a\\033[2J\\033]0;owned\\007b\\r\\n'";
    let failing =
        format!("shell = true\nrun = \"\"\"{evil}; exit 3\"\"\"\noutputs = {{ o = \"o\" }}").replace('\\', "\\\\");
    sandbox.write("p.toml", &command("a", &failing));
    let ran = sandbox.ran(sandbox.command(&["run", "p.toml"]).env("CLICOLOR_FORCE", "1").env("TERM", "xterm"));
    assert_eq!(ran.code, 1);
    let without_colours = regex::Regex::new("\u{1b}\\[[0-9;]*m").unwrap().replace_all(&ran.stderr, "").into_owned();
    assert!(!without_colours.contains(['\u{1b}', '\u{7}', '\r']), "{without_colours:?}");
    let stray = "shell = true\nrun = \"\"\"printf x > \\\"out/a$(printf '\\\\033[2J')b\\\"; echo > $DPT_OUT_O\"\"\"\noutputs = { o = \"o\" }";
    sandbox.write("p.toml", &command("a", stray));
    let ran = sandbox.dpt(&["run", "p.toml"]).code(0);
    assert!(ran.stderr.contains("`a\\u{1b}[2Jb`") && !ran.stderr.contains('\u{1b}'), "{:?}", ran.stderr);
}

#[test]
fn outputs_must_be_plain_files() {
    let sandbox = Sandbox::new();
    sandbox.write("victim", "kept");
    for make in ["ln -s VICTIM $DPT_OUT_O", "mkfifo $DPT_OUT_O", "mkdir $DPT_OUT_O; ln -s VICTIM $DPT_OUT_O/x"] {
        let make = make.replace("VICTIM", &sandbox.path().join("victim").display().to_string());
        sandbox.write("p.toml", &command("a", &format!("shell = true\nrun = \"{make}\"\noutputs = {{ o = \"o\" }}")));
        let ran = sandbox.dpt(&["run", "p.toml"]).code(1);
        assert!(ran.stderr.contains("plain file") || ran.stderr.contains("did not make"), "{}", ran.stderr);
    }
    // A hard link to a file elsewhere is stored as a copy.
    let link = format!("ln {} $DPT_OUT_O", sandbox.path().join("victim").display());
    sandbox.write("p.toml", &command("a", &format!("shell = true\nrun = \"{link}\"\noutputs = {{ o = \"o\" }}")));
    sandbox.dpt(&["run", "p.toml"]).code(0);
    sandbox.write("victim", "changed");
    assert_eq!(fs::read_to_string(sandbox.path().join("cache/results/p/a/o")).unwrap(), "kept");
    let again = sandbox.dpt(&["run", "p.toml"]).code(0);
    assert!(!again.stderr.contains("damaged"), "{}", again.stderr);
}
