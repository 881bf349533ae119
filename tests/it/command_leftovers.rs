//! Commands that leave processes behind.

use std::fs;
use std::path::Path;

use crate::sandbox::Sandbox;

/// A pipeline of one shell command after another, each with the output `x`.
fn chain(commands: &[&str]) -> String {
    let mut text = "schema = 1\n".to_owned();
    for (number, command) in commands.iter().enumerate() {
        let needs = if number == 0 { String::new() } else { format!("needs = {{ f = \"s{}\" }}\n", number - 1) };
        text += &format!(
            "[stage.s{number}]\nkind = \"command\"\nshell = true\n{needs}run = '''{command}'''\noutputs = {{ x = \"x.txt\" }}\n"
        );
    }
    text
}

/// Returns `true` if the process whose id is in this file is gone soon.
fn gone(file: &Path) -> bool {
    let pid = fs::read_to_string(file).unwrap();
    let place = Path::new("/proc").join(pid.trim());
    (0..100).any(|_| {
        let there = place.exists();
        if there {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        !there
    })
}

#[test]
fn process_in_its_own_session_ends_with_its_command() {
    let sandbox = Sandbox::new();
    let pid = sandbox.path().join("pid");
    // It writes to its folder, wherever that is, and again to its own output.
    let writes = "i=0; while [ $i -lt 100 ]; do echo WRONG > out/x.txt; sleep 0.02; i=$((i+1)); done";
    // It has cleared its environment, and its parent has ended.
    let leaves = format!(
        "(env -i PATH=$PATH setsid sh -c 'echo $$ > {}; {writes}' > /dev/null 2>&1 &) ; while [ ! -s {} ]; do sleep 0.01; done; \
         exec 3> out/x.txt; echo right > out/x.txt",
        pid.display(),
        pid.display()
    );
    sandbox.write("p.toml", &chain(&[&leaves, "echo right > out/x.txt; sleep 0.3", "cat in/f/x.txt > out/x.txt"]));
    for jobs in ["1", "4"] {
        sandbox.dpt(&["run", "p.toml", "-j", jobs, "--force"]).code(0);
        assert!(gone(&pid));
        let last = fs::read_to_string(sandbox.path().join("cache/results/p/s2/x.txt")).unwrap();
        assert_eq!(last, "right\n");
        sandbox.dpt(&["verify"]).code(0);
        let _ = fs::remove_file(&pid);
    }
}

#[test]
fn leftover_process_does_not_disturb_another_command() {
    let sandbox = Sandbox::new();
    let text = r#"
schema = 1
# Ends many times while `long` runs, and leaves something each time.
[axes]
n = ["1", "2", "3", "4", "5", "6"]
[stage.short]
kind = "command"
axes = ["n"]
shell = true
run = "setsid sh -c 'echo $$ > PIDS/$DPT_PARAM_N; exec sleep 60' > /dev/null 2>&1 & while [ ! -s PIDS/$DPT_PARAM_N ]; do sleep 0.01; done; echo $DPT_PARAM_N > out/x.txt"
params = { n = "{n}" }
outputs = { x = "x.txt" }
# Its helper lives in a session of its own, and answers after the others have ended.
[stage.long]
kind = "command"
shell = true
run = "setsid sh -c 'sleep 1; echo answer > helper.txt' > /dev/null 2>&1 & i=0; while [ ! -s helper.txt ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; cp helper.txt out/x.txt"
outputs = { x = "x.txt" }
"#;
    let pids = sandbox.path().join("pids");
    fs::create_dir(&pids).unwrap();
    sandbox.write("p.toml", &text.replace("PIDS", &pids.display().to_string()));
    sandbox.dpt(&["run", "p.toml", "-j", "3"]).code(0);
    assert_eq!(fs::read_to_string(sandbox.path().join("cache/results/p/long/x.txt")).unwrap(), "answer\n");
    // No process of the commands survives the run.
    let left: Vec<_> = fs::read_dir(&pids).unwrap().map(|item| item.unwrap().path()).collect();
    assert_eq!(left.len(), 6);
    assert!(left.iter().all(|pid| gone(pid)));
}
