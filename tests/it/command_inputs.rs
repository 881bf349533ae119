//! Invalid inputs of commands: files that a producer does not have, and arguments that are too long.

use crate::sandbox::Sandbox;

const MAKE: &str = "schema = 1
[stage.make]
kind = \"command\"
run = [\"sh\", \"-c\", \"echo 1 > $0; echo 2 > $1; echo 3 > $2/three.txt\", \"{out.one}\", \"{out.two}\", \"{out.d}\"]
outputs = { one = \"one.txt\", two = \"sub/two.txt\", d = \"d/\" }
";

fn reads(file: &str) -> String {
    let read = "[stage.read]\nkind = \"command\"\nneeds = { made = \"make\" }\nrun = [\"cp\", \"{in.made/FILE}\", \"{out.t}\"]\n\
                outputs = { t = \"t.txt\" }\n";
    format!("{MAKE}{}", read.replace("FILE", file))
}

#[test]
fn check_reports_a_file_that_the_producer_never_makes() {
    let sandbox = Sandbox::new();
    let wrong =
        [("tow.txt", "sub/two.txt"), ("two.txt", "sub/two.txt"), ("d2/three.txt", "d/three.txt"), ("x.png", "d/x.png")];
    for (file, meant) in wrong {
        sandbox.write("p.toml", &reads(file));
        for words in [&["check", "p.toml"][..], &["run", "p.toml"]] {
            let told = sandbox.dpt(words).code(2).stderr;
            let message = format!("`run` of stage `read` names `{{in.made/{file}}}`, which `make` does not make");
            assert!(told.contains(&message) && told.contains("`one.txt`, `sub/two.txt`"), "{told}");
            assert!(told.contains(&format!("did you mean `{meant}`?")), "{told}");
        }
        let entries = std::fs::read_dir(sandbox.path().join("cache/v1/entries"));
        assert_eq!(entries.map_or(0, |entries| entries.count()), 0, "nothing ran");
    }
    for file in ["one.txt", "*.txt", "sub/*", "d/three.txt", "d/*", "command.log"] {
        sandbox.write("p.toml", &reads(file));
        sandbox.dpt(&["check", "p.toml"]).code(0);
    }
}

#[test]
fn missing_file_of_a_folder_is_reported_with_the_existing_ones() {
    let sandbox = Sandbox::new();
    sandbox.write("p.toml", &reads("d/tree.txt"));
    let told = sandbox.dpt(&["run", "p.toml"]).code(1).stderr;
    assert!(told.contains("role `made` has no file `d/tree.txt`"), "{told}");
    assert!(told.contains("`make` has `d/three.txt`, `one.txt`, `sub/two.txt`"), "{told}");
    assert!(told.contains("did you mean `d/three.txt`?"), "{told}");
}

#[test]
fn file_of_a_download_is_found_by_its_name() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.txt", "a");
    let text = "schema = 1\n[source.s]\nurl = \"file:data\"\n[stage.d]\nkind = \"download\"\nsource = \"s\"\nformat = \"files\"\n\
                [stage.read]\nkind = \"command\"\nneeds = { d = \"d\" }\nrun = [\"cp\", \"{in.d/FILE}\", \"{out.t}\"]\n\
                outputs = { t = \"t.txt\" }\n";
    sandbox.write("p.toml", &text.replace("FILE", "a.txt"));
    let told = sandbox.dpt(&["check", "p.toml"]).code(2).stderr;
    assert!(told.contains("did you mean `files/a.txt`?"), "{told}");
    sandbox.write("p.toml", &text.replace("FILE", "files/b.txt"));
    let told = sandbox.dpt(&["run", "p.toml"]).code(1).stderr;
    assert!(told.contains("`d` has `fetched.json`, `files/a.txt`"), "{told}");
    sandbox.write("p.toml", &text.replace("FILE", "files/a.txt"));
    sandbox.dpt(&["run", "p.toml"]).code(0);
}

#[test]
fn too_long_arguments_are_refused_with_length_and_help() {
    let sandbox = Sandbox::new();
    let word = "word ".repeat(40_000);
    let stage = |name: &str, more: &str| {
        format!("[stage.{name}]\nkind = \"command\"\noutputs = {{ t = \"t.txt\" }}\n{more}\n").replace("WORD", &word)
    };
    let many = "mkdir -p out/d; cd out/d; i=0; while [ $i -lt 1300 ]; do : > long-name-$P-$i; i=$((i+1)); done";
    let many = many.replace("$P", &"x".repeat(200));
    let parts = [
        stage("argument", "run = [\"cp\", \"{out.t}\", \"WORD\"]"),
        stage("variable", "run = [\"touch\", \"{out.t}\"]\nparams = { text = \"WORD\" }"),
        stage("shell", "run = \"# WORD\"\nshell = true"),
        stage("many", &format!("run = '''{many}'''\nshell = true").replace("t.txt", "d/")).replace("t.txt", "d/"),
        stage("gather", "needs = { runs = \"many\" }\nrun = [\"cat\", \"{in.runs/d/*}\"]"),
        // The advice of the messages works.
        stage(
            "list",
            "run = [\"sh\", \"-c\", \"wc -c < $1 > $0\", \"{out.t}\", \"{params}\"]\nparams = { text = [\"WORD\"] }",
        ),
        stage("listed", "needs = { runs = \"many\" }\nrun = [\"cp\", \"{in.runs.manifest}\", \"{out.t}\"]"),
    ];
    sandbox.write("p.toml", &format!("schema = 1\n{}", parts.concat()));
    // The limit of arguments is a quarter of the stack limit.
    let mut limited = std::process::Command::new("sh");
    let start = format!("ulimit -s 1024; exec {} run p.toml -k", env!("CARGO_BIN_EXE_dpt"));
    limited.args(["-c", &start]).current_dir(sandbox.path());
    let ran = sandbox.ran(&mut limited).code(6);
    let told = ran.stderr.replace("\n           ", " ");
    let argument = "the argument `word word word word word word word word …` of `run` is too long: 200,000 bytes";
    assert!(told.contains(argument), "{told}");
    assert!(
        told.contains("the parameter `text`, which is the variable `DPT_PARAM_TEXT`, is too long: 200,015 bytes"),
        "{told}"
    );
    assert!(told.contains("the text of `run` is too long: 200,002 bytes"), "{told}");
    assert!(told.contains("`{in.runs/d/*}` became 1,300 arguments"), "{told}");
    for advice in ["`{in.runs.manifest}`", "`{params}`", "a script that `code` names"] {
        assert!(told.contains(advice), "{advice}: {told}");
    }
    assert!(told.contains("done list") && told.contains("done listed"), "{told}");
}
