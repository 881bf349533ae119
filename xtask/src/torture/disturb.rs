//! The disturbances: a table of names and functions. Each leaves the bench in whatever state it comes to.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use fastrand::Rng;

use crate::Result;

use super::bench::{Bench, Started, VERSIONS, paths_below};

/// A kind of disturbance.
pub struct Disturbance {
    /// Its name, for people.
    pub name: &'static str,
    /// Does it.
    pub run: fn(&mut Bench, &mut Rng) -> Result,
}

/// Every kind.
const KINDS: &[Disturbance] = &[
    Disturbance { name: "a run is killed (SIGKILL)", run: kill_run },
    Disturbance { name: "a run is interrupted (SIGINT, SIGTERM)", run: interrupt_run },
    Disturbance { name: "a write step is killed", run: |b, r| fault(b, r, &["kill"]) },
    Disturbance {
        name: "a write step fails (full, read-only, broken disk)",
        run: |b, r| fault(b, r, &["full", "read-only", "broken"]),
    },
    Disturbance { name: "several runs, a gc and an export at once, some killed", run: crowd },
    Disturbance { name: "a gc is killed", run: kill_gc },
    Disturbance { name: "input files are edited while they are read", run: edit_while_running },
    Disturbance { name: "a file of the store is damaged", run: damage },
    Disturbance { name: "a file of the store is removed", run: remove },
    Disturbance { name: "the clock jumps (file times in the past and future)", run: clock },
    Disturbance { name: "a training is killed, and perhaps its checkpoint damaged", run: kill_training },
];

/// One to three of them, of those that this bench can have.
pub fn draw(random: &mut Rng, bench: &Bench) -> Vec<&'static Disturbance> {
    let trains = bench.pipelines.len() > 2;
    let kinds = if trains { KINDS } else { &KINDS[..KINDS.len() - 1] };
    (0..random.usize(1..=3)).map(|_| &kinds[random.usize(..kinds.len())]).collect()
}

fn pause(random: &mut Rng, longest_ms: u64) {
    // Short times are drawn more often: most happens early.
    let share = random.f64();
    std::thread::sleep(Duration::from_micros((share * share * longest_ms as f64 * 1000.0) as u64));
}

fn new_version(bench: &mut Bench, random: &mut Rng) -> Result {
    bench.write_version(random.u32(..VERSIONS))
}

fn start_run(bench: &mut Bench, random: &mut Rng) -> Result<Started> {
    let pipeline = ["a.toml", "b.toml"][random.usize(..2)];
    let mut command = bench.command(&["run", pipeline, "-j", ["1", "2", "4"][random.usize(..3)]]);
    bench.start(&mut command)
}

fn kill_run(bench: &mut Bench, random: &mut Rng) -> Result {
    new_version(bench, random)?;
    let mut run = start_run(bench, random)?;
    pause(random, 700);
    run.child.kill()?;
    run.wait()?.no_bug().map(drop)
}

fn interrupt_run(bench: &mut Bench, random: &mut Rng) -> Result {
    new_version(bench, random)?;
    let run = start_run(bench, random)?;
    pause(random, 700);
    run.signal(["INT", "TERM"][random.usize(..2)])?;
    // Before its handler is there, the signal ends it as it would any program.
    let ended = run.wait()?;
    match ended.code {
        Err(2 | 15) => Ok(()),
        _ => ended.code(&[0, 130]).map(drop),
    }
}

/// Points at which a write step can fail, as `src/base/fault.rs` lists them.
fn points(bench: &mut Bench) -> Result<Vec<String>> {
    let log = bench.path().join("points");
    let mut command = bench.command(&["run", "a.toml", "--cache", "points-cache"]);
    let _ = fs::remove_dir_all(bench.path().join("points-cache"));
    command.env("DPT_FAULT_LOG", &log);
    bench.start(&mut command)?.wait()?.code(&[0])?;
    let text = fs::read_to_string(&log)?;
    fs::remove_file(&log)?;
    let mut names: Vec<_> = text.lines().map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn fault(bench: &mut Bench, random: &mut Rng, actions: &[&str]) -> Result {
    new_version(bench, random)?;
    let points = points(bench)?;
    let point = &points[random.usize(..points.len())];
    let fault = format!("{point}@{}={}", random.u32(1..12), actions[random.usize(..actions.len())]);
    let mut command = bench.command(&["run", ["a.toml", "b.toml"][random.usize(..2)]]);
    command.env("DPT_FAULT", fault);
    bench.start(&mut command)?.wait()?.no_bug().map(drop)
}

fn crowd(bench: &mut Bench, random: &mut Rng) -> Result {
    new_version(bench, random)?;
    let others: [&[&str]; 4] = [
        &["cache", "gc", "-y", "--wait", "--grace", "0s"],
        &["cache", "export", "all.tar", "--all"],
        &["verify"],
        &["status", "a.toml"],
    ];
    let mut started = vec![start_run(bench, random)?, start_run(bench, random)?];
    pause(random, 100);
    for _ in 0..random.usize(1..3) {
        let mut command = bench.command(others[random.usize(..others.len())]);
        started.push(bench.start(&mut command)?);
    }
    started.push(start_run(bench, random)?);
    pause(random, 400);
    let killed = random.usize(..started.len() + 1);
    if let Some(started) = started.get_mut(killed) {
        started.child.kill()?;
    }
    started.into_iter().try_for_each(|started| started.wait()?.no_bug().map(drop))
}

fn kill_gc(bench: &mut Bench, random: &mut Rng) -> Result {
    let keep: &[&str] = if random.bool() { &["--keep-runs", "1"] } else { &["--keep-pipeline", "b.toml"] };
    let mut command = bench.command(&[&["cache", "gc", "-y", "--wait", "--grace", "0s"], keep].concat());
    if random.bool() {
        let point = ["gc.entry", "gc.folder", "gc.object", "gc.leftover", "index.rename"][random.usize(..5)];
        command.env("DPT_FAULT", format!("{point}@{}=kill", random.u32(1..6)));
    }
    let mut gc = bench.start(&mut command)?;
    pause(random, 60);
    if random.bool() {
        gc.child.kill()?;
    }
    gc.wait()?.no_bug().map(drop)
}

fn edit_while_running(bench: &mut Bench, random: &mut Rng) -> Result {
    new_version(bench, random)?;
    let run = start_run(bench, random)?;
    for _ in 0..random.usize(1..30) {
        pause(random, 40);
        new_version(bench, random)?;
    }
    // A file that never keeps still may fail its node.
    run.wait()?.no_bug()?.code(&[0, 1, 6]).map(drop)
}

/// A file of the store, of any kind but its locks.
fn victim(bench: &Bench, random: &mut Rng) -> Option<PathBuf> {
    let folder = ["objects", "entries", "runs", "."][random.usize(..4)];
    let mut paths = paths_below(&bench.store().join(folder));
    paths.retain(|path| !["in-use", "making"].iter().any(|name| path.ends_with(name)));
    (!paths.is_empty()).then(|| paths[random.usize(..paths.len())].clone())
}

fn damage(bench: &mut Bench, random: &mut Rng) -> Result {
    for _ in 0..random.usize(1..4) {
        let Some(path) = victim(bench, random) else { return Ok(()) };
        damage_file(&path, random)?;
    }
    Ok(())
}

fn damage_file(path: &std::path::Path, random: &mut Rng) -> Result {
    let (meta, mut bytes) = (fs::metadata(path)?, fs::read(path)?);
    if bytes.is_empty() {
        return Ok(());
    }
    let at = random.usize(..bytes.len());
    match random.u8(..4) {
        0 => bytes[at] ^= 1 << random.u8(..8),
        1 => bytes.truncate(at),
        2 => bytes[at..].fill(0),
        _ => bytes.extend_from_slice(b"more"),
    }
    // Also as a bad copy would: by another inode, with the old times.
    fs::remove_file(path)?;
    fs::write(path, bytes)?;
    if random.bool() {
        fs::File::options().write(true).open(path)?.set_modified(meta.modified()?)?;
    }
    Ok(fs::set_permissions(path, meta.permissions())?)
}

fn remove(bench: &mut Bench, random: &mut Rng) -> Result {
    for _ in 0..random.usize(1..4) {
        if let Some(path) = victim(bench, random) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn clock(bench: &mut Bench, random: &mut Rng) -> Result {
    new_version(bench, random)?;
    let mut paths = paths_below(&bench.path().join("data"));
    paths.extend(paths_below(&bench.path().join("scripts")));
    for path in paths {
        let seconds = Duration::from_secs(random.u64(..100_000_000));
        let now = SystemTime::now();
        let time = if random.bool() { now - seconds } else { now + seconds };
        fs::File::options().write(true).open(path)?.set_modified(time)?;
    }
    start_run(bench, random)?.wait()?.code(&[0]).map(drop)
}

fn kill_training(bench: &mut Bench, random: &mut Rng) -> Result {
    // Made again under its old keys.
    let mut command = bench.command(&["run", "train.toml", "--force"]);
    let mut run = bench.start(&mut command)?;
    std::thread::sleep(Duration::from_millis(random.u64(300..4000)));
    run.child.kill()?;
    run.wait()?.no_bug()?;
    if random.bool() {
        let mut paths = paths_below(&bench.store().join("work"));
        paths.retain(|path| path.to_string_lossy().contains("/scratch/"));
        if !paths.is_empty() {
            damage_file(&paths[random.usize(..paths.len())], random)?;
        }
    }
    Ok(())
}
