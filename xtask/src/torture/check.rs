//! The checks after each disturbance.

use crate::{Failed, Result};

use super::bench::{Bench, paths_below};

/// Runs every pipeline without a disturbance, and compares all results with those of undisturbed stores.
pub fn settles(bench: &mut Bench) -> Result {
    for pipeline in bench.pipelines.clone() {
        bench.dpt(&["run", pipeline])?.code(&[0])?;
        bench.compare(pipeline)?;
        bench.dpt(&["run", pipeline, "--check"])?.code(&[0])?;
    }
    Ok(())
}

/// The whole store is sound, every result can be read by who needs its manifest, and a gc leaves nothing over.
pub fn tidy(bench: &mut Bench) -> Result {
    // What the last disturbance damaged and no pipeline reads is set aside now.
    bench.dpt(&["verify"])?.code(&[0, 4, 5])?;
    settles(bench)?;
    for pipeline in bench.pipelines.clone() {
        bench.dpt(&["verify", pipeline])?.code(&[0])?;
        bench.dpt(&["lock", pipeline])?.code(&[0])?;
        bench.dpt(&["run", pipeline, "--locked"])?.code(&[0])?;
    }
    // A journal that was damaged keeps gc from removing anything, and a person has to decide.
    const GC: &[&str] = &["cache", "gc", "-y", "--grace", "0s", "--leftovers-older-than", "0s"];
    let mut gc = bench.dpt(GC)?;
    while let Some(journal) = gc.unreadable_journal() {
        std::fs::remove_file(bench.path().join(journal))?;
        gc = bench.dpt(GC)?;
    }
    gc.code(&[0])?;
    for folder in ["work", "quarantine"] {
        let left = paths_below(&bench.store().join(folder));
        if let Some(path) = left.first() {
            return Err(Failed(format!("a gc leaves {} files in `{folder}`, such as {}", left.len(), path.display())));
        }
    }
    if let Some(path) =
        paths_below(&bench.path().join("cache")).iter().find(|path| path.to_string_lossy().contains(".tmp-"))
    {
        return Err(Failed(format!("a gc leaves the half-written file {}", path.display())));
    }
    // What the pipelines need is still there.
    for pipeline in bench.pipelines.clone() {
        bench.dpt(&["run", pipeline, "--check"])?.code(&[0])?;
    }
    Ok(())
}
