//! `cargo xtask torture`: disturbs `dpt` at random for some minutes, and checks after every disturbance that nothing
//! wrong is used.
//!
//! One store, three pipelines. A round draws a disturbance (a kill, a failing write, damage, two runs and a gc at once,
//! …), then runs the pipelines without any and compares:
//!
//! - an undisturbed `dpt` ends with the exit code that is expected, and never panics or hangs;
//! - every result has the bytes of a first run in a store of its own, with the same input files;
//! - `dpt verify` finds nothing wrong after that run, and `dpt lock` can read every result;
//! - after a gc no working directory, no quarantine and no half-written file is left.
//!
//! The same seed draws the same disturbances. When they meet a process differs from run to run, so a failure may need
//! several tries.

mod bench;
mod check;
mod disturb;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::{Failed, Result, cargo, step, target};

use bench::Bench;

/// The arguments.
struct Options {
    seed: u64,
    time: Duration,
    dpt: Option<PathBuf>,
    train: bool,
}

impl Options {
    fn parse(args: &[&str]) -> Result<Self> {
        let mut options = Self { seed: 1, time: Duration::from_secs(300), dpt: None, train: true };
        let mut args = args.iter();
        while let Some(&arg) = args.next() {
            let mut value = || args.next().copied().ok_or_else(|| Failed(format!("`{arg}` needs a value")));
            let number = |text: &str| text.parse().map_err(|_| Failed(format!("`{arg}` needs a number, not `{text}`")));
            match arg {
                "--seed" => options.seed = number(value()?)?,
                "--seconds" => options.time = Duration::from_secs(number(value()?)?),
                "--dpt" => options.dpt = Some(std::path::absolute(value()?)?),
                "--no-train" => options.train = false,
                _ => return Err(Failed(format!("unknown argument `{arg}`; see `cargo xtask help`"))),
            }
        }
        Ok(options)
    }
}

/// Runs it. Fails at the first result that is wrong, and keeps the folder then.
pub fn torture(root: &Path, args: &[&str]) -> Result<ExitCode> {
    let options = Options::parse(args)?;
    let dpt = match &options.dpt {
        Some(dpt) => dpt.clone(),
        None => {
            step(cargo(root).args(["build", "--release"]))?;
            target(root).join("release/dpt")
        }
    };
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut bench = Bench::new(&dpt, options.train)?;
    println!("torture: seed {}, {} s, in {}", options.seed, options.time.as_secs(), bench.path().display());

    let start = Instant::now();
    let mut survived: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rounds = 0;
    while start.elapsed() < options.time {
        rounds += 1;
        let kinds = disturb::draw(&mut random, &bench);
        let done = kinds.iter().try_for_each(|kind| (kind.run)(&mut bench, &mut random)).and_then(|()| {
            check::settles(&mut bench)?;
            if rounds % 5 == 0 { check::tidy(&mut bench) } else { Ok(()) }
        });
        let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
        if let Err(Failed(message)) = done {
            let log = bench.keep();
            return Err(Failed(format!(
                "{message}\n  in round {rounds} ({}) of seed {}\n  kept: {}",
                names.join(", then "),
                options.seed,
                log.display()
            )));
        }
        for name in names {
            *survived.entry(name).or_default() += 1;
        }
    }
    println!("{rounds} rounds in {} s, {} processes of dpt; no wrong result", start.elapsed().as_secs(), bench.started);
    for (name, count) in survived {
        println!("{count:>5}  {name}");
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_unknown_ones_refused() {
        let options = Options::parse(&["--seed", "7", "--seconds", "20", "--no-train"]).unwrap();
        assert_eq!((options.seed, options.time.as_secs(), options.train), (7, 20, false));
        let message = |args: &[&str]| Options::parse(args).map(|_| ()).unwrap_err().0;
        assert_eq!(message(&["--seed", "x"]), "`--seed` needs a number, not `x`");
        assert_eq!(message(&["--seconds"]), "`--seconds` needs a value");
        assert!(message(&["--sede", "1"]).starts_with("unknown argument `--sede`"));
    }
}
