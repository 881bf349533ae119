//! Tests of the loop: which nodes run, which need not, which fail, and which share a result.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, mpsc};
use std::time::Duration;

use super::*;
use crate::base::diag::Class;
use crate::engine::freshness::{Freshness, status};
use crate::engine::journal;
use crate::stages::stage::Identity;

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
fn first_run_makes_all_second_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (graph, _) = Plan::chain(3);
    let (summary, lines) = touched(&graph, &store, options());
    assert_eq!((summary.totals.made, summary.totals.fresh), (3, 0));
    let first = ["queue n0: never made before", "done n0", "queue n1: never made before", "done n1"];
    assert_eq!(lines[..4], first);
    for store in [store, open(dir.path())] {
        let (summary, lines) = touched(&graph, &store, options());
        assert_eq!((summary.totals.made, summary.totals.fresh), (0, 3));
        assert_eq!(lines, ["Fresh n0", "Fresh n1", "Fresh n2"]);
        assert!(summary.results.iter().all(Option::is_some));
    }
}

#[test]
fn run_with_nothing_to_do_opens_no_manifest_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (graph, _) = Plan::chain(3);
    touched(&graph, &open(dir.path()), options());
    let root = dir.path().join("cache/v1");
    // Unreadable now: whoever opens one says so.
    files(&root.join("entries")).iter().for_each(|path| std::fs::write(path, "no manifest").unwrap());
    let signed = |path: PathBuf| (crate::cache::stat::Signature::at(&path).unwrap(), path);
    let written = || {
        let all = ["index", "objects", "runs", "work"].iter().flat_map(|name| files(&root.join(name)));
        all.map(signed).collect::<Vec<_>>()
    };
    let before = written();
    let (summary, lines) = touched(&graph, &open(dir.path()), options());
    assert_eq!((summary.totals.fresh, lines), (3, ["Fresh n0", "Fresh n1", "Fresh n2"].map(String::from).to_vec()));
    assert_eq!(
        status(&graph, &open(dir.path()), &options(), &Stub(|job: &Job, _: &dyn Progress, _: &Cancel| touch(job)))
            .len(),
        3
    );
    assert_eq!(written(), before);
}

/// All files below a folder, or the file itself, sorted.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(items) = std::fs::read_dir(path) else { return vec![path.to_owned()] };
    let mut all: Vec<_> = items.flat_map(|item| files(&item.unwrap().path())).collect();
    all.sort();
    all
}

#[test]
fn fast_path_needs_the_results_of_all_producers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (graph, ids) = Plan::chain(3);
    touched(&graph, &store, options());
    let forced = || RunOptions { force: vec![ids[0]], ..options() };
    let (_, lines) = touched(&graph, &store, forced());
    assert_eq!(lines, ["queue n0: forced", "done n0", "CutOff n1", "Fresh n2"]);
    // Another result under the same key: its consumers run again.
    let other = |job: &Job, _: &dyn Progress, _: &Cancel| {
        let text = if job.node == "n0" { "other" } else { "same" };
        json::write(&job.out.join("out.json"), &text)?;
        Ok(Outcome::default())
    };
    let (_, lines) = ran(&graph, &store, forced(), other);
    assert_eq!(lines[..3], ["queue n0: forced", "done n0", lines[2].as_str()].map(String::from));
    assert!(lines[2].starts_with("queue n1: ") && lines[3..].contains(&"done n1".to_owned()), "{lines:?}");
}

#[test]
fn lost_index_loses_no_result() {
    let dir = tempfile::tempdir().unwrap();
    let (graph, _) = Plan::chain(3);
    touched(&graph, &open(dir.path()), options());
    std::fs::remove_file(dir.path().join("cache/v1/index")).unwrap();
    assert_eq!(touched(&graph, &open(dir.path()), options()).0.totals.fresh, 3);
}

#[test]
fn change_reruns_its_consumers_with_reasons() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let graph = |rate: f64| {
        let mut plan = Plan::default();
        let data = plan.node("data", &[], &[text("d")]);
        for seed in ["1", "2"] {
            let rate = Value::Float(if seed == "1" { rate } else { 0.3 });
            let train = plan.node("train", &[("seed", seed)], &[("rate", rate), text(seed)]);
            plan.edge(data, train);
        }
        plan.0
    };
    touched(&graph(0.3), &store, options());
    let (_, lines) = touched(&graph(0.5), &store, options());
    assert_eq!(
        sorted(lines),
        ["Fresh data", "Fresh train[seed=2]", "done train[seed=1]", "queue train[seed=1]: rate 0.3 -> 0.5"]
    );
    // And back: the old result is still there.
    assert_eq!(touched(&graph(0.3), &store, options()).0.totals.fresh, 3);
}

#[test]
fn equal_output_cuts_off() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let graph = |rate: f64| {
        let (mut plan, mut ids) = (Plan::default(), Vec::new());
        ids.push(plan.node("a", &[], &[text("a"), ("rate", Value::Float(rate))]));
        ids.push(plan.node("b", &[], &[text("b")]));
        ids.push(plan.node("c", &[], &[text("c")]));
        ids.windows(2).for_each(|w| plan.edge(w[0], w[1]));
        plan.0
    };
    touched(&graph(0.1), &store, options());
    // `touch` does not write its rate.
    let (_, lines) = touched(&graph(0.2), &store, options());
    assert_eq!(lines, ["queue a: rate 0.1 -> 0.2", "done a", "CutOff b", "Fresh c"]);
}

#[test]
fn failure_skips_only_dependents_with_keep_going() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = Plan::default();
    let [bad, below, other] = ["bad", "below", "other"].map(|n| plan.node(n, &[], &[text(n)]));
    let last = plan.node("last", &[], &[]);
    plan.edge(bad, below);
    plan.edge(below, last);
    plan.edge(other, last);
    let stage = |job: &Job, _: &dyn Progress, _: &Cancel| match job.node.as_str() {
        "bad" => Err(Diag::error(Class::Stage, "no luck")),
        _ => touch(job),
    };
    let keep = RunOptions { keep_going: true, jobs: 1, ..options() };
    let (summary, lines) = ran(&plan.0, &open(&dir.path().join("1")), keep, stage);
    assert_eq!(
        sorted(lines),
        [
            "done other",
            "failed bad: no luck",
            "queue bad: never made before",
            "queue other: never made before",
            "skipped below: bad",
            "skipped last: bad"
        ]
    );
    assert_eq!((summary.failed.len(), summary.totals.skipped), (1, 2));
    let stop = RunOptions { jobs: 1, ..options() };
    let (_, lines) = ran(&plan.0, &open(&dir.path().join("2")), stop, stage);
    assert!(lines.contains(&"skipped other: `bad` failed".to_owned()), "{lines:?}");
}

#[test]
fn failures_are_not_cached_and_retries_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut plan = Plan::default();
    plan.node("a", &[], &[]);
    let flaky = |fails: usize| {
        let tries = AtomicUsize::new(0);
        move |job: &Job, _: &dyn Progress, _: &Cancel| {
            assert_eq!(std::fs::read_dir(&job.out).unwrap().count(), 0, "a try begins in an empty folder");
            touch(job)?;
            std::fs::write(job.scratch.join("checkpoint"), "x").unwrap();
            match tries.fetch_add(1, Ordering::SeqCst) < fails {
                true => Err(Diag::error(Class::Stage, "flaky")),
                false => Ok(Outcome::default()),
            }
        }
    };
    assert_eq!(ran(&plan.0, &store, options(), flaky(1)).0.totals.failed, 1);
    let mut graph = Graph::new();
    let mut node = plan.0.node(plan.0.ids().next().unwrap()).clone();
    (node.resources.retries, node.resources.backoff) = (1, 0);
    graph.add(node);
    let (summary, lines) = ran(&graph, &store, options(), flaky(1));
    assert_eq!(lines, ["queue a: never made before", "retry a after 1: flaky", "done a"]);
    assert_eq!(summary.totals.made, 1);
    assert_eq!(std::fs::read_dir(store.root().join("work")).unwrap().count(), 0);
}

#[test]
fn scratch_outlives_a_failed_try_and_is_emptied_on_success() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut plan = Plan::default();
    plan.node("a", &[], &[]);
    let stage = |job: &Job, _: &dyn Progress, _: &Cancel| {
        let checkpoint = job.scratch.join("checkpoint");
        if !checkpoint.exists() {
            std::fs::write(&checkpoint, "step 500").unwrap();
            return Err(Diag::error(Class::Stage, "killed"));
        }
        touch(job)
    };
    assert_eq!(ran(&plan.0, &store, options(), stage).0.totals.failed, 1);
    assert_eq!(ran(&plan.0, &store, options(), stage).0.totals.made, 1);
    assert_eq!(std::fs::read_dir(store.root().join("work")).unwrap().count(), 0);
}

#[test]
fn panic_fails_only_its_node_as_a_bug() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut plan = Plan::default();
    plan.node("a", &[], &[text("a")]);
    plan.node("b", &[], &[text("b")]);
    let keep = RunOptions { keep_going: true, ..options() };
    let (summary, _) = ran(&plan.0, &store, keep, |job, _, _| match job.node.as_str() {
        "a" => panic!("index out of bounds"),
        _ => touch(job),
    });
    assert_eq!((summary.totals.made, summary.totals.failed), (1, 1));
    let error = &summary.failed[0].1;
    assert_eq!((error.class, error.message.as_str()), (Class::Bug, "stage `touch` panicked: index out of bounds"));
    assert_eq!(touched(&plan.0, &store, options()).0.totals.made, 1);
}

#[test]
fn outputs_must_be_those_declared() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut plan = Plan::default();
    plan.node("a", &[], &[]);
    let failure = |stage: fn(&Job)| {
        let (summary, _) = ran(&plan.0, &store, options(), |job, _, _| {
            stage(job);
            Ok(Outcome::default())
        });
        summary.failed[0].1.message.clone()
    };
    let write = |job: &Job, name: &str| std::fs::write(job.out.join(name), "1").unwrap();
    assert_eq!(failure(|_| ()), "stage `touch` ended without its output `out.json`");
    let both: fn(&Job) = |job| {
        std::fs::write(job.out.join("out.json"), "1").unwrap();
        std::fs::write(job.out.join("x.bin"), "1").unwrap();
    };
    assert_eq!(failure(both), "stage `touch` wrote `x.bin`, which it does not declare");
    let broken: fn(&Job) = |job| std::fs::write(job.out.join("out.json"), "{").unwrap();
    assert!(failure(broken).contains("out.json` is not JSON"));
    let link: fn(&Job) = |job| std::os::unix::fs::symlink("/etc/passwd", job.out.join("out.json")).unwrap();
    assert_eq!(failure(link), "output `out.json` is no plain file");
    assert_eq!(std::fs::read_dir(store.root().join("entries")).unwrap().count(), 0);
    let (summary, _) = ran(&plan.0, &store, options(), |job, _, _| {
        write(job, "out.json");
        write(job, "more-1.txt");
        Ok(Outcome::default())
    });
    assert_eq!(summary.totals.made, 1);
}

#[test]
fn targets_run_with_what_they_need_only() {
    let dir = tempfile::tempdir().unwrap();
    let (graph, ids) = Plan::chain(4);
    let (summary, _) = touched(&graph, &open(dir.path()), RunOptions { targets: vec![ids[1]], ..options() });
    assert_eq!((summary.totals.nodes, summary.totals.made), (2, 2));
}

#[test]
fn forced_node_with_an_equal_result_keeps_its_consumers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (graph, ids) = Plan::chain(2);
    touched(&graph, &store, options());
    let (_, lines) = touched(&graph, &store, RunOptions { force: vec![ids[0]], ..options() });
    assert_eq!(lines, ["queue n0: forced", "done n0", "CutOff n1"]);
}

#[test]
fn nodes_of_one_key_are_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = Plan::default();
    for name in ["a", "b", "c"] {
        plan.node(name, &[], &[text("same")]);
    }
    let (summary, lines) = touched(&plan.0, &open(dir.path()), options());
    assert_eq!((summary.totals.made, summary.totals.shared), (1, 2), "{lines:?}");
}

#[test]
fn node_waits_for_another_maker_and_shares_its_result() {
    let dir = tempfile::tempdir().unwrap();
    let (graph, _) = Plan::chain(1);
    // The first run's stage ends when the second run has been told to wait.
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    struct Opens(Arc<(Mutex<bool>, Condvar)>, Heard);
    impl Sink for Opens {
        fn event(&self, event: &Event) {
            if matches!(event, Event::NodeElsewhere { .. }) {
                *self.0.0.lock().unwrap() = true;
                self.0.1.notify_all();
            }
            self.1.event(event);
        }
    }
    let (began, begun) = std::sync::mpsc::channel();
    let sink = Opens(gate.clone(), Heard::default());
    std::thread::scope(|s| {
        s.spawn(|| {
            let began = Mutex::new(began);
            ran(&graph, &open(dir.path()), options(), |job, _, _| {
                began.lock().unwrap().send(()).unwrap();
                let mut is_open = gate.0.lock().unwrap();
                while !*is_open {
                    is_open = gate.1.wait(is_open).unwrap();
                }
                touch(job)
            })
        });
        begun.recv().unwrap();
        let stub = Stub(|_: &Job, _: &dyn Progress, _: &Cancel| -> StageResult { panic!("must not run twice") });
        let summary = run(&graph, &open(dir.path()), options(), &stub, &sink, &Cancel::new());
        assert_eq!((summary.totals.shared, summary.totals.made), (1, 0));
    });
    assert_eq!(sink.1.lines(), ["queue n0: never made before", "elsewhere n0", "Shared n0"]);
}

#[test]
fn cancel_ends_running_nodes_and_skips_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (graph, _) = Plan::chain(2);
    let all = Cancel::new();
    let heard = Heard::default();
    let stub = Stub(|job: &Job, _: &dyn Progress, cancel: &Cancel| {
        all.ask();
        while !cancel.asked() {
            std::thread::yield_now();
        }
        Err(Diag::error(Class::Interrupted, format!("`{}` was interrupted", job.node)))
    });
    let summary = run(&graph, &store, options(), &stub, &heard, &all);
    assert!(summary.totals.interrupted && summary.failed.is_empty());
    assert_eq!(heard.lines()[1..], ["skipped n0: the run was interrupted", "skipped n1: the run was interrupted"]);
    assert_eq!(touched(&graph, &store, options()).0.totals.made, 2);
}

#[test]
fn timeout_ends_the_node_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut graph = Graph::new();
    let mut plan = Plan::default();
    let id = plan.node("a", &[], &[]);
    let mut node = plan.0.node(id).clone();
    node.resources.timeout = Some(0);
    graph.add(node);
    let (summary, _) = ran(&graph, &open(dir.path()), options(), |_, _, cancel| {
        while !cancel.asked() {
            std::thread::yield_now();
        }
        Err(Diag::error(Class::Interrupted, "ended"))
    });
    assert_eq!(summary.failed[0].1.message, "`a` ran longer than its timeout of 0 s");
}

/// A stage of this process cannot be ended from outside.
#[test]
fn stage_that_ignores_its_timeout_is_reported_and_its_result_counts() {
    struct Noted(mpsc::Sender<String>);
    impl Sink for Noted {
        fn event(&self, event: &Event) {
            if let Event::NodeNote { text, .. } = event {
                self.0.send(text.clone()).unwrap();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut plan = Plan::default();
    let id = plan.node("a", &[], &[]);
    let mut node = plan.0.node(id).clone();
    node.resources.timeout = Some(0);
    let mut graph = Graph::new();
    graph.add(node);
    let (sender, notes) = mpsc::channel();
    let notes = Mutex::new(notes);
    let told = Mutex::new(String::new());
    let stub = Stub(|job: &Job, _: &dyn Progress, _: &Cancel| {
        *told.lock().unwrap() = notes.lock().unwrap().recv().unwrap();
        touch(job)
    });
    let summary = run(&graph, &open(dir.path()), options(), &stub, &Noted(sender), &Cancel::new());
    assert_eq!(summary.totals.made, 1);
    assert!(told.lock().unwrap().starts_with("its timeout of 0 s has passed, and it was asked to end"));
}

#[test]
fn status_runs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (graph, ids) = Plan::chain(3);
    touched(&graph, &store, RunOptions { targets: vec![ids[0]], ..options() });
    let executor = Stub(|_: &Job, _: &dyn Progress, _: &Cancel| -> StageResult { panic!("looked only") });
    let all = status(&graph, &store, &options(), &executor);
    assert!(matches!(all[0].freshness, Freshness::Fresh { .. }));
    assert!(
        matches!(&all[1].freshness, Freshness::Stale { reasons, .. } if reasons[0].to_string() == "never made before")
    );
    assert!(matches!(&all[2].freshness, Freshness::Blocked { by } if *by == [ids[1]]));
    let dry = RunOptions { dry_run: true, ..options() };
    let (summary, lines) = ran(&graph, &store, dry, |_, _, _| panic!("told only"));
    assert_eq!(lines, ["Fresh n0", "would run n1: never made before", "may run n2: n1"]);
    assert_eq!((summary.totals.would_run, summary.totals.may_run), (1, 1));
    assert_eq!(std::fs::read_dir(store.runs()).unwrap().count(), 1);
}

#[test]
fn flipped_byte_is_reported_set_aside_and_made_again() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (graph, _) = Plan::chain(2);
    let (summary, _) = touched(&graph, &store, options());
    let object = store.paths(summary.results[0].as_ref().unwrap())["out.json"].clone();
    let bytes = std::fs::read(&object).unwrap();
    let mut flipped = bytes.clone();
    flipped[3] ^= 1;
    std::fs::set_permissions(&object, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&object, flipped).unwrap();
    let damaged = "`out.json` is not what was stored";
    let (_, lines) = touched(&graph, &store, options());
    let queued = format!("queue n0: damaged: {damaged}");
    assert_eq!(lines, [queued, format!("damaged n0: {damaged}"), "done n0".into(), "CutOff n1".into()]);
    assert_eq!(std::fs::read(&object).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(store.root().join("quarantine")).unwrap().count(), 1);
    assert_eq!(touched(&graph, &store, options()).0.totals.fresh, 2);
}

#[test]
fn numerics_count_as_accept_says() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (graph, _) = Plan::chain(1);
    // `Stub` says of itself: device cpu, threads 1.
    let made_on = |threads: &'static str, device: &'static str, accept: Accept| {
        let options = RunOptions { accept: Some(accept), ..options() };
        ran(&graph, &store, options, move |job, _, _| {
            let numerics = [("device".to_owned(), device.to_owned()), ("threads".to_owned(), threads.to_owned())];
            touch(job).map(|outcome| Outcome { numerics: numerics.into(), ..outcome })
        })
        .1
    };
    assert_eq!(made_on("2", "cpu", Accept::Any)[1], "done n0");
    assert_eq!(made_on("1", "cpu", Accept::Any), ["Fresh n0"]);
    assert_eq!(made_on("1", "cpu", Accept::SameDevice), ["Fresh n0"]);
    assert_eq!(made_on("1", "cpu", Accept::Exact)[0], "queue n0: made with threads 2, now 1");
    assert_eq!(made_on("1", "cpu", Accept::Exact), ["Fresh n0"]);
    // Both makings are kept; the first is what any will do with.
    assert_eq!(made_on("1", "cpu", Accept::Any), ["Fresh n0"]);
}

fn outside_identity(params: &Params, outside: &crate::stages::stage::Outside) -> Result<Identity, Diag> {
    let path = outside.base.join(params["text"].as_str().unwrap());
    Ok(Identity { params: vec![("text", None)], files: vec![("source".into(), path)] })
}

#[test]
fn source_files_count_by_content() {
    const READER: StageKind = StageKind { name: "reader", identity: Some(outside_identity), ..TOUCH };
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut plan = Plan::default();
    plan.of(&READER, "read", &[], &[text("data.txt")]);
    let base = dir.path().join("here");
    std::fs::create_dir(&base).unwrap();
    let lines = |base: &Path| {
        let mut options = options();
        options.outside.base = base.to_owned();
        touched(&plan.0, &store, options).1
    };
    let missing = lines(&base);
    assert!(missing[0].starts_with("failed read: cannot read") && missing[0].contains("data.txt"), "{missing:?}");
    let file = base.join("data.txt");
    std::fs::write(&file, "one").unwrap();
    assert_eq!(lines(&base)[0], "queue read: never made before");
    assert_eq!(lines(&base), ["Fresh read"]);
    // Touched, rewritten alike, moved: the same.
    std::fs::write(&file, "one").unwrap();
    std::fs::File::open(&file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(lines(&base), ["Fresh read"]);
    let moved = dir.path().join("there");
    std::fs::rename(&base, &moved).unwrap();
    assert_eq!(lines(&moved), ["Fresh read"]);
    std::fs::write(moved.join("data.txt"), "two").unwrap();
    assert!(lines(&moved)[0].starts_with("queue read: file source b3:"));
}

#[test]
fn only_a_run_that_did_something_leaves_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (graph, _) = Plan::chain(2);
    let (first, lines) = touched(&graph, &store, options());
    let journal = journal::read(&store.runs().join(format!("{}.jsonl", first.run))).unwrap();
    let read: Vec<_> = journal.iter().filter_map(|l| super::line(&l.event)).collect();
    assert_eq!(read, lines);
    assert!(matches!(&journal.last().unwrap().event, Event::RunEnded { summary } if *summary == first.totals));
    touched(&graph, &store, options());
    assert_eq!(std::fs::read_dir(store.runs()).unwrap().count(), 1);
}

#[test]
fn journal_has_fresh_nodes_in_one_line_for_history_and_gc() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let with = |last: &str| {
        let mut plan = Plan::default();
        for stage in ["a", "b"] {
            plan.node(stage, &[("x", "1")], &[text("same")]);
        }
        plan.node("c", &[], &[text("not made before")]);
        plan.node("d", &[], &[text(last)]);
        plan.0
    };
    touched(&with("one"), &store, options());
    let graph = with("two");
    let (second, lines) = touched(&graph, &store, options());
    assert_eq!(sorted(lines)[..3], ["Fresh a[x=1]", "Fresh b[x=1]", "Fresh c"]);
    let path = store.runs().join(format!("{}.jsonl", second.run));
    let hits = journal::read(&path).unwrap();
    assert_eq!(hits.iter().filter(|line| matches!(line.event, Event::NodesHit { .. })).count(), 1);
    let run = crate::engine::history::PastRun::read(&path).unwrap();
    let keys: Vec<_> = second.results.iter().map(|stored| stored.as_ref().unwrap().key).collect();
    let seen: Vec<_> = graph.ids().map(|id| run.nodes[&graph.node(id).to_string()].key.unwrap()).collect();
    assert_eq!(seen, keys);
    let reached = &crate::engine::gc_roots::runs(&store.runs()).unwrap();
    let reached = reached.iter().find(|run| run.run == second.run).unwrap();
    assert_eq!((&*reached.pipeline, &reached.keys), ("test", &keys.into_iter().collect()));
}

#[test]
fn prefetch_covers_one_pipeline_file_and_overlooks_no_damage() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (graph, _) = Plan::chain(3);
    let mut others = Plan::default();
    for n in 0..20 {
        others.node("other", &[("n", &n.to_string())], &[text(&n.to_string())]);
    }
    let open_for = |file: &str| open(dir.path()).for_pipeline(&dir.path().join(file));
    let (summary, _) = touched(&graph, &open_for("test.toml"), options());
    touched(&others.0, &open_for("another.toml"), options());
    let store = open_for("test.toml");
    let prefetch = store.prefetch();
    assert_eq!((prefetch.len(), store.prefetch().len()), (3, 3));
    prefetch.work();
    assert_eq!(touched(&graph, &store, options()).1, ["Fresh n0", "Fresh n1", "Fresh n2"]);
    assert_eq!((open_for("another.toml").prefetch().len(), open_for("other.toml").prefetch().len()), (20, 0));
    assert_eq!(open(dir.path()).prefetch().len(), 0);

    let object = store.paths(summary.results[1].as_ref().unwrap())["out.json"].clone();
    std::fs::set_permissions(&object, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&object, "damaged").unwrap();
    for asked in [false, true] {
        let store = open_for("test.toml");
        let prefetch = store.prefetch();
        if asked {
            prefetch.work();
        }
        let options = RunOptions { dry_run: true, ..options() };
        let (_, lines) = touched(&graph, &store, options);
        assert_eq!((&*lines[0], lines[1].starts_with("would run n1: damaged")), ("Fresh n0", true), "{lines:?}");
    }
}

#[test]
fn prefetch_before_a_gc_does_not_count_after_it() {
    use crate::cache::gc::{self, GcLimits};
    let dir = tempfile::tempdir().unwrap();
    let (graph, _) = Plan::chain(3);
    let file = dir.path().join("test.toml");
    touched(&graph, &open(dir.path()).for_pipeline(&file), options());
    for waits in [false, true] {
        let early = open(dir.path()).for_pipeline(&file);
        let prefetch = early.prefetch();
        assert_eq!(prefetch.len(), 3);
        prefetch.work();
        let gc = open(dir.path());
        let alone = gc.alone().unwrap().expect("nobody uses the store");
        let limits = GcLimits { grace: Duration::ZERO, ..GcLimits::default() };
        let sweep = |alone| {
            let plan = gc::plan(&gc, &|_| false, limits).unwrap();
            assert_eq!(gc::sweep(&gc, &plan, &|_| false, limits, &alone).unwrap().entries.len(), 3);
        };
        let run = || touched(&graph, &early, options()).1;
        let lines = std::thread::scope(|scope| {
            if waits {
                let run = scope.spawn(run);
                std::thread::sleep(Duration::from_millis(100));
                sweep(alone);
                run.join().unwrap()
            } else {
                sweep(alone);
                run()
            }
        });
        assert!(lines.iter().all(|line| !line.starts_with("Fresh")), "{lines:?}");
    }
}
