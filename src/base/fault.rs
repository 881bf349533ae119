//! Faults on purpose: a named point at every step by which something is written. A test names one in `DPT_FAULT`, and
//! the process kills itself there, or the step fails as it would on a full or read-only disk. The points are in every
//! build, so that what ships is what was tested; where nothing is asked for, one costs a look at a static.
//!
//! `DPT_FAULT=POINT=ACTION` or `POINT@N=ACTION`: at the N-th time (counted from 1) that the point is reached. With
//! `DPT_FAULT_LOG=FILE` the name of every point that is reached is added to that file.

use std::io;

/// Every point, with the step that follows it. `tests/it/faults.rs` walks this table.
pub const POINTS: &[(&str, &str)] = &[
    ("store.create", "a folder of a new store is made"),
    ("store.use", "the lock that says that a run uses the store is taken"),
    ("lock.take", "the lock of a key is taken"),
    ("lock.release", "that lock is released"),
    ("work.create", "the folder that a stage works in is made"),
    ("work.reuse", "such a folder, done with, is given to another node"),
    ("work.remove", "that folder is removed, or put by for the next node"),
    ("object.prepare", "a stage's file is made read-only and dated back"),
    ("object.sync", "its bytes are synced"),
    ("object.rename", "it takes its place among the objects"),
    ("object.folder", "the folder of the object is synced"),
    ("entry.write", "a manifest is written beside its place"),
    ("entry.sync", "the manifest is synced"),
    ("entry.rename", "the manifest takes its place: now the result is there"),
    ("entry.folder", "the manifest's folder is synced"),
    ("index.lock", "the index is locked"),
    ("index.folder", "a folder of manifests is dated back, so that a later change shows"),
    ("index.write", "the index is written beside its place"),
    ("index.rename", "the index takes its place"),
    ("quarantine.rename", "a damaged file is set aside"),
    ("journal.create", "the journal of a run is begun"),
    ("journal.write", "an event is added to it"),
    ("copy.write", "a result is copied out of the store"),
    ("copy.rename", "the copy takes its place"),
    ("copy.sync", "the copies of a result are synced"),
    ("file.write", "another file is written beside its place"),
    ("file.sync", "it is synced"),
    ("file.rename", "it takes its place"),
    ("file.folder", "its folder is synced"),
    ("gc.index", "gc takes out of the index what is to go"),
    ("gc.entry", "gc removes a manifest"),
    ("gc.folder", "gc syncs the folder of removed manifests"),
    ("gc.object", "gc removes an object"),
    ("gc.work", "gc removes the working folder of a dead run"),
    ("gc.leftover", "gc removes a file that was set aside, or that a killed writer left"),
    ("pack.write", "an archive is written beside its place"),
    ("pack.rename", "the archive takes its place"),
    ("import.unpack", "a member of an archive is unpacked"),
    ("import.object", "an object of an archive is made ready to take its place"),
];

/// The points of the steps that replace a file as a whole.
#[derive(Debug)]
pub struct Steps {
    /// Before it is written beside.
    pub write: &'static str,
    /// Before it is synced.
    pub sync: &'static str,
    /// Before it is renamed.
    pub rename: &'static str,
    /// Before its folder is synced.
    pub folder: &'static str,
}

/// Any file.
pub const FILE: Steps = Steps { write: "file.write", sync: "file.sync", rename: "file.rename", folder: "file.folder" };
/// A manifest.
pub const ENTRY: Steps =
    Steps { write: "entry.write", sync: "entry.sync", rename: "entry.rename", folder: "entry.folder" };
/// The index; it is not synced.
pub const INDEX: Steps =
    Steps { write: "index.write", sync: "file.sync", rename: "index.rename", folder: "file.folder" };

/// Call this before the step `name`.
///
/// # Errors
/// The error that a test asked for at this point.
pub fn point(name: &'static str) -> io::Result<()> {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Fault {
        point: String,
        at: u32,
        action: String,
        log: Option<std::path::PathBuf>,
    }
    static FAULT: LazyLock<Option<Fault>> = LazyLock::new(|| {
        let log = crate::base::env::var_os("DPT_FAULT_LOG").map(Into::into);
        let fault = crate::base::env::var("DPT_FAULT").unwrap_or_default();
        if fault.is_empty() && log.is_none() {
            return None;
        }
        let (point, action) = fault.split_once('=').unwrap_or(("", ""));
        let (point, at) = point.split_once('@').unwrap_or((point, "1"));
        let known = point.is_empty() || POINTS.iter().any(|(name, _)| *name == point);
        assert!(known, "`DPT_FAULT` names `{point}`, which is no point");
        let at = at.parse().expect("`DPT_FAULT` counts from 1");
        Some(Fault { point: point.to_owned(), at, action: action.to_owned(), log })
    });
    static REACHED: AtomicU32 = AtomicU32::new(0);

    debug_assert!(POINTS.iter().any(|(known, _)| *known == name), "`{name}` has no row in POINTS");
    let Some(fault) = FAULT.as_ref() else { return Ok(()) };
    if let Some(log) = &fault.log {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        io::Write::write_all(&mut file, format!("{name}\n").as_bytes())?;
    }
    if fault.point != name || REACHED.fetch_add(1, Ordering::SeqCst) + 1 != fault.at {
        return Ok(());
    }
    match fault.action.as_str() {
        "kill" => {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            loop {
                std::thread::park();
            }
        }
        "full" => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
        "read-only" => Err(io::Error::from_raw_os_error(libc::EROFS)),
        "broken" => Err(io::Error::from_raw_os_error(libc::EIO)),
        other => panic!("`DPT_FAULT` asks for `{other}`: there are kill, full, read-only and broken"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_have_names_of_their_own_and_say_what_comes() {
        for (i, (name, what)) in POINTS.iter().enumerate() {
            assert!(POINTS[..i].iter().all(|(other, _)| other != name), "`{name}` twice");
            assert!(name.contains('.') && what.len() > 10, "`{name}`: {what}");
        }
        assert!(point("entry.rename").is_ok());
    }
}
