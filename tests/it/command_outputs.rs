//! Invalid outputs of commands: links, deep directories, odd names, names with secrets.

use std::fs;
use std::path::Path;

use crate::sandbox::{Ran, Sandbox};

/// Two secrets, without and with characters that messages escape.
const SECRETS: [&str; 2] = ["s3cret-of-the-user", "it's \"s3cret\"-of-the-user"];

/// A pipeline of one shell command with these outputs.
fn one(run: &str, outputs: &str) -> String {
    format!("schema = 1\n[stage.a]\nkind = \"command\"\nshell = true\nrun = '''{run}'''\noutputs = {{ {outputs} }}\n")
}

fn fails(sandbox: &Sandbox, text: &str) -> String {
    sandbox.write("p.toml", text);
    sandbox.dpt(&["run", "p.toml"]).code(1).stderr
}

#[test]
fn link_in_place_of_an_output_folder_takes_no_user_files() {
    let sandbox = Sandbox::new();
    let mine = sandbox.path().join("mine");
    let files = ["x.txt", "d/x.txt", "out/x.txt", "work/out/x.txt"];
    for file in files {
        sandbox.write(&format!("mine/{file}"), "precious");
    }
    let link = format!("ln -s {}", mine.display());
    let cases = [
        (format!("rm -rf out; {link} out"), "replaced the folder `out`"),
        (format!("rm -rf out/d; {link}/d out/d; echo > out/x.txt"), "in the place of `d/`"),
        (format!("cd ..; rm -rf work; {link} work"), "replaced the folder `work`"),
        (format!("r=$(cd ..; pwd); cd /; rm -rf $r; {link}/work $r"), "replaced the folder `room-"),
        ("rm -rf out; echo > out".to_owned(), "replaced the folder `out`"),
        ("rm -rf out".to_owned(), "removed the folder `out`"),
    ];
    for (run, message) in cases {
        let told = fails(&sandbox, &one(&run, "x = \"x.txt\", d = \"d/\""));
        assert!(told.contains(message), "{run}: {told}");
        for file in files {
            let path = mine.join(file);
            assert_eq!(fs::read_to_string(&path).ok().as_deref(), Some("precious"), "{run}: {file}");
            assert!(!fs::metadata(&path).unwrap().permissions().readonly(), "{run}: {file}");
        }
    }
}

#[test]
fn hard_link_to_a_user_file_is_copied() {
    let sandbox = Sandbox::new();
    let mine = sandbox.write("mine.txt", "precious");
    let modified = fs::metadata(&mine).unwrap().modified().unwrap();
    sandbox.write("p.toml", &one(&format!("ln {} out/d/x.txt", mine.display()), "d = \"d/\""));
    sandbox.dpt(&["run", "p.toml"]).code(0);
    let meta = fs::metadata(&mine).unwrap();
    assert!(!meta.permissions().readonly());
    assert_eq!(meta.modified().unwrap(), modified);
    fs::write(&mine, "changed").unwrap();
    assert_eq!(fs::read_to_string(sandbox.path().join("cache/results/p/a/d/x.txt")).unwrap(), "precious");
    sandbox.dpt(&["verify"]).code(0);
}

const NESTS: &str = "import os, sys
open('out/x.txt', 'w').write('x')
os.chdir(sys.argv[1])
for i in range(int(sys.argv[2])):
    os.makedirs('d', exist_ok=True)
    os.chdir('d')
open('end', 'w').write('end')
";

#[test]
fn endlessly_nested_directories_fail_only_their_node() {
    let sandbox = Sandbox::in_memory();
    sandbox.write("deep.py", NESTS);
    let run = |place: &str, levels: usize| {
        let folder = if place == "out" { ", d = \"d/\"" } else { "" };
        let text = format!(
            "schema = 1\n[stage.a]\nkind = \"command\"\nrun = [\"python3\", \"deep.py\", \"{place}\", \"{levels}\"]\n\
             code = [\"deep.py\"]\noutputs = {{ x = \"x.txt\"{folder} }}\n"
        );
        sandbox.write("p.toml", &text);
        sandbox.dpt(&["run", "p.toml", "--force"])
    };
    for place in ["../tmp", "../home", "in"] {
        run(place, 12_000).code(0);
    }
    let told = run("out", 12_000).code(1).stderr;
    assert!(told.contains("directories are nested deeper than 64 levels in `d/d/") && told.len() < 2000, "{told}");
    run("out", 65).code(1);
    run("out", 64).code(0);
    assert!(sandbox.path().join("cache/results/p/a").join("d/".repeat(64)).join("end").exists());
    // The next run uses the folder of a killed `dpt`.
    sandbox.write("deep.py", &format!("{NESTS}os.kill(os.getppid(), 9)\nopen('/dev/stdin').read(); os.abort()\n"));
    assert_eq!(run("../tmp", 12_000).code, -1);
    let left = || fs::read_dir(sandbox.path().join("cache/v1/work")).unwrap().count();
    assert_eq!(left(), 1);
    sandbox.dpt(&["run", "p.toml"]).code(-1);
    let gc = ["cache", "gc", "--keep-pipeline", "p.toml", "--grace", "0s", "--leftovers-older-than", "0s", "--yes"];
    sandbox.dpt(&gc).code(0);
    assert_eq!(left(), 0);
}

#[test]
fn output_name_that_is_not_utf_8_is_reported() {
    let sandbox = Sandbox::new();
    let told = fails(&sandbox, &one("echo > \"out/d/$(printf \"caf\\351\").txt\"", "d = \"d/\""));
    assert!(told.contains(r"the name of output `d/caf\xe9.txt` is not UTF-8"), "{told}");
    assert!(!told.contains("plain file"), "{told}");
    let told = fails(&sandbox, &one("p=\"out/d/$(printf \"caf\\351\")\"; mkdir $p; echo > $p/x.txt", "d = \"d/\""));
    assert!(told.contains(r"the name of output `d/caf\xe9/x.txt` is not UTF-8"), "{told}");
    let told = fails(&sandbox, &one("echo > \"out/d/a:b\"", "d = \"d/\""));
    assert!(told.contains("has a name that cannot be kept") && told.contains("a `\\` or a `:`"), "{told}");
    // An undeclared file with such a name is only a note.
    sandbox.write("p.toml", &one("echo > \"out/$(printf \"caf\\351\")\"; echo > out/x.txt", "x = \"x.txt\""));
    let ran = sandbox.dpt(&["run", "p.toml"]).code(0);
    assert!(ran.stderr.contains(r"does not name it: `caf\xe9`"), "{}", ran.stderr);
}

/// Returns the files below `dir` that have this text in their name or content.
fn holding(dir: &Path, what: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(items) = fs::read_dir(dir) else { continue };
        for path in items.map(|item| item.unwrap().path()) {
            let name = path.display().to_string();
            if path.is_dir() {
                open.push(path);
            } else if name.contains(what) || String::from_utf8_lossy(&fs::read(&path).unwrap()).contains(what) {
                found.push(name);
            }
        }
    }
    found
}

#[test]
fn secret_in_an_output_name_is_not_shown_or_stored() {
    let a = "a".repeat(90);
    let long = format!("echo > out/x.txt; : > \"out/{a}-$S-{a}\"");
    let runs = [
        // Undeclared, as a file and as a folder; not made; a name that is too long to be shown in full.
        ("echo > out/x.txt; : > \"out/cache-$S.txt\"; mkdir \"out/$S\"; : > \"out/$S/f\"", 0),
        (": > \"out/$S.txt\"", 1),
        (&long, 0),
        // Declared: in a folder, and not a plain file.
        ("mkdir -p \"out/d/$S\"; echo > \"out/d/$S/x\"", 1),
        ("ln -s x \"out/d/$S\"", 1),
        ("echo \"$S\"; exit 3", 1),
    ];
    for (run, code) in runs {
        for secret in SECRETS {
            let sandbox = Sandbox::new();
            let outputs = if run.contains("/d/") { "d = \"d/\"" } else { "x = \"x.txt\"" };
            sandbox.write("p.toml", &one(run, outputs).replace("outputs", "secrets = [\"S\"]\noutputs"));
            let ran = |words: &[&str]| {
                let ran: Ran = sandbox.ran(sandbox.command(words).env("S", secret));
                assert!(!ran.stdout.contains("s3cret") && !ran.stderr.contains("s3cret"), "{run}: {ran:?}");
                ran
            };
            ran(&["run", "p.toml"]).code(code);
            ran(&["run", "p.toml", "--json", "--force"]).code(code);
            ran(&["explain", "p.toml", "a"]);
            assert_eq!(holding(&sandbox.path().join("cache"), "s3cret"), [""; 0], "{run}");
        }
    }
}

#[test]
fn secret_as_axis_value_is_refused() {
    let sandbox = Sandbox::new();
    let text =
        one("echo > out/x.txt", "x = \"x.txt\"").replace("outputs", "axes = [\"n\"]\nsecrets = [\"S\"]\noutputs");
    sandbox.write("p.toml", &text.replace("[stage.a]", "[axes]\nn = [\"one\", \"s3cret-of-the-user\"]\n[stage.a]"));
    let ran = sandbox.ran(sandbox.command(&["run", "p.toml"]).env("S", SECRETS[0])).code(2);
    assert!(ran.stderr.contains("a value of the axis `n` holds the value of the secret `S`"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("s3cret"), "{}", ran.stderr);
    assert_eq!(holding(&sandbox.path().join("cache"), "s3cret"), [""; 0]);
}
