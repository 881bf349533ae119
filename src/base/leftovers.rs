//! Finds and ends the processes that a program leaves running when it ends, also those in other sessions.
//!
//! This process is the subreaper of everything below it: a process whose parent ends becomes a child of this one, as a
//! child of its first thread. So whatever an ended program left is among the children of that thread, or below one of
//! them; and where that thread has no children but those that were started on purpose, nothing was left. That is one
//! read of a file.
//!
//! If other programs still run, a child may also be one of theirs. It is theirs if its environment or its working
//! directory names their room, the directory that only this program uses. A child that hides both is ended only when no
//! other program runs; until then it is unclear whether everything is gone, and the caller has to act on that.
#![allow(clippy::disallowed_methods, reason = "files of `/proc` may be gone, which is no error")]

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// How long an ended process may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

/// Held while a process is started, until it is known; and by whoever looks for those that nobody knows.
static STARTING: RwLock<()> = RwLock::new(());
/// The processes that this one started on purpose, with their rooms.
static KNOWN: Mutex<Option<HashMap<i32, Option<PathBuf>>>> = Mutex::new(None);

fn known() -> MutexGuard<'static, Option<HashMap<i32, Option<PathBuf>>>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// To be held while a process is started, until [`own`] was called for it.
pub fn starting() -> RwLockReadGuard<'static, ()> {
    static ONCE: Once = Once::new();
    #[cfg(target_os = "linux")]
    ONCE.call_once(|| {
        // Where this fails, nothing is found below, and rooms are used once only.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    });
    #[cfg(not(target_os = "linux"))]
    let _ = &ONCE;
    STARTING.read().unwrap_or_else(PoisonError::into_inner)
}

/// Records a process that was started on purpose, so that somebody waits for it. `room` is a directory that only this
/// program uses.
pub fn own(process: i32, room: Option<&Path>) {
    known().get_or_insert_default().insert(process, room.map(Path::to_owned));
}

/// Forgets a process that was waited for.
pub fn disown(process: i32) {
    if let Some(known) = known().as_mut() {
        known.remove(&process);
    }
}

/// Ends everything that the program of `room` left running. Call it after the program was waited for. Returns `false`
/// if some of its processes may still run.
pub fn end(room: &Path) -> bool {
    let late = Instant::now() + PATIENCE;
    let mut stays: Vec<i32> = Vec::new();
    loop {
        let mut killed = Vec::new();
        let mut reaped = false;
        {
            let _nobody_starts = STARTING.write().unwrap_or_else(PoisonError::into_inner);
            let Some(children) = unknown() else { return false };
            if children.is_empty() {
                return true;
            }
            let others: Vec<PathBuf> = known().iter().flatten().filter_map(|(_, room)| room.clone()).collect();
            for child in children {
                if ended(child) {
                    reaped = true;
                    stays.retain(|stay| *stay != child);
                    continue;
                }
                match owner(child, room, &others) {
                    Owner::Other => {}
                    Owner::Unclear if !others.is_empty() => stays.push(child),
                    // One that may not be ended: of another user, say.
                    _ if !kill(child) => stays.push(child),
                    _ => killed.push(child),
                }
            }
        }
        // Their own children become children of this process when they end.
        if killed.is_empty() && !reaped {
            return stays.is_empty();
        }
        for child in killed {
            let mut pause = Duration::from_micros(100);
            while !ended_meanwhile(child) {
                if Instant::now() > late {
                    return false;
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(10));
            }
        }
        if Instant::now() > late {
            return false;
        }
        stays.clear();
    }
}

/// Waits for those that have ended by themselves, so that they do not fill the system's table of processes.
pub fn reap() {
    let _nobody_starts = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    for child in unknown().unwrap_or_default() {
        ended(child);
    }
}

/// The program that a process belongs to.
enum Owner {
    /// The ended program's.
    Own,
    /// Another running program's.
    Other,
    Unclear,
}

fn owner(process: i32, room: &Path, others: &[PathBuf]) -> Owner {
    let place = PathBuf::from(format!("/proc/{process}"));
    let environment = std::fs::read(place.join("environ")).unwrap_or_default();
    let named = |room: &Path| {
        let room = room.as_os_str().as_bytes();
        environment.windows(room.len().max(1)).any(|part| part == room)
    };
    let directory = std::fs::read_link(place.join("cwd")).unwrap_or_default();
    // The system names directories without links.
    let real = |room: &Path| room.canonicalize().unwrap_or_else(|_| room.to_owned());
    let is = |room: &Path| named(room) || directory.starts_with(real(room));
    match is(room) {
        true => Owner::Own,
        false if others.iter().any(|other| is(other)) => Owner::Other,
        false => Owner::Unclear,
    }
}

/// The children that nobody started on purpose; `None` where that cannot be found out.
fn unknown() -> Option<Vec<i32>> {
    let mut children = children()?;
    if !children.is_empty()
        && let Some(known) = known().as_ref()
    {
        children.retain(|child| !known.contains_key(child));
    }
    Some(children)
}

/// The children of the first thread, or of the process if the system does not list them by thread.
#[cfg(target_os = "linux")]
fn children() -> Option<Vec<i32>> {
    static LIST: OnceLock<Option<File>> = OnceLock::new();
    let own = std::process::id();
    let list = LIST.get_or_init(|| File::open(format!("/proc/self/task/{own}/children")).ok());
    let Some(list) = list else { return by_parent(own) };
    let mut text = Vec::new();
    let mut part = [0; 4096];
    loop {
        match list.read_at(&mut part, text.len() as u64).ok()? {
            0 => break,
            read => text.extend_from_slice(&part[..read]),
        }
    }
    Some(std::str::from_utf8(&text).ok()?.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect())
}

#[cfg(not(target_os = "linux"))]
fn children() -> Option<Vec<i32>> {
    None
}

/// All processes whose parent is this one.
#[cfg(target_os = "linux")]
fn by_parent(own: u32) -> Option<Vec<i32>> {
    let mut found = Vec::new();
    for item in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(process) = item.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(item.path().join("stat")) else { continue };
        // Its name, which may have any characters, is in parentheses.
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_ascii_whitespace().nth(1)?.parse::<u32>().ok());
        if parent == Some(own) {
            found.push(process);
        }
    }
    Some(found)
}

/// Returns `true` if a child has ended. Its number is free then.
fn ended(child: i32) -> bool {
    // An error means that it is no child of this process any more.
    let Some(child) = Pid::from_raw(child) else { return true };
    !matches!(waitpid(Some(child), WaitOptions::NOHANG), Ok(None))
}

/// As [`ended`]. The list of children is complete only if none of them is waited for while it is read.
fn ended_meanwhile(child: i32) -> bool {
    let _nobody_reads = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    ended(child)
}

/// Kills a child. Returns `false` if that is not allowed. It was not waited for, so its number cannot be another's.
fn kill(child: i32) -> bool {
    Pid::from_raw(child).is_some_and(|child| kill_process(child, Signal::KILL).is_ok())
}
