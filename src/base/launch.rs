//! [`launch`]: starts a program without a copy of this process (`fork` copies its memory map, which costs more than
//! many a program). The program is killed when the thread that started it ends. `posix_spawn`, and with it
//! `std::process::Command`, cannot ask for that without a copy: see
//! `docs/adr/0007-programs-are-started-without-fork.md`.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group, waitid, waitpid};

use super::leftovers;

/// A program to start.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The program and its arguments; not empty. A name without a `/` is looked for in the `PATH` that the program
    /// gets.
    pub arguments: &'a [String],
    /// Its whole environment.
    pub environment: &'a BTreeMap<String, OsString>,
    /// Its working folder.
    pub folder: &'a Path,
    /// A directory that only this program uses, with all that is in it: by it its descendants are recognised.
    pub room: &'a Path,
    /// Where it writes stdout and stderr. Its stdin is empty.
    pub output: BorrowedFd<'a>,
}

/// A running program, which leads its own process group. It is killed if it is dropped before it was waited for.
#[derive(Debug)]
pub struct Launched {
    process: Pid,
    /// Becomes readable when it ends. `None` if the system has no such descriptor.
    ends: Option<OwnedFd>,
    waited: bool,
}

/// Starts a program.
///
/// # Errors
/// Fails if there is no such program, or it cannot be started.
pub fn launch(launch: &Launch) -> io::Result<Launched> {
    let name = &launch.arguments[0];
    let path = match name.contains('/') {
        // From the working folder on.
        true => PathBuf::from(name),
        false => search(name, launch.environment.get("PATH").map_or(OsStr::new(""), |path| path), launch.folder)?,
    };
    let strings = |items: &mut dyn Iterator<Item = Vec<u8>>| {
        items.map(|item| CString::new(item).map_err(io::Error::from)).collect::<io::Result<Vec<_>>>()
    };
    let variable = |(name, value): (&String, &OsString)| [name.as_bytes(), b"=", value.as_bytes()].concat();
    let prepared = Prepared {
        path: CString::new(path.into_os_string().into_vec())?,
        arguments: strings(&mut launch.arguments.iter().map(|argument| argument.clone().into_bytes()))?,
        environment: strings(&mut launch.environment.iter().map(variable))?,
        folder: CString::new(launch.folder.as_os_str().as_bytes())?,
        input: File::open("/dev/null")?,
    };
    let starting = leftovers::starting();
    let process = match prepared.start(launch.output) {
        // A script without `#!` is read by the shell, as everywhere.
        Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => prepared.by_shell().start(launch.output)?,
        started => started?,
    };
    leftovers::own(process.as_raw_pid(), Some(launch.room));
    drop(starting);
    Ok(Launched { process, ends: ends(process), waited: false })
}

/// Returns the first executable file called `name` in the folders of `path`.
fn search(name: &str, path: &OsStr, folder: &Path) -> io::Result<PathBuf> {
    let mut error = io::ErrorKind::NotFound.into();
    for place in path.as_bytes().split(|byte| *byte == b':') {
        let found = folder.join(OsStr::from_bytes(place)).join(name);
        if std::fs::metadata(&found).is_ok_and(|meta| meta.is_file()) {
            match rustix::fs::access(&found, rustix::fs::Access::EXEC_OK) {
                Ok(()) => return Ok(found),
                Err(_) => error = io::ErrorKind::PermissionDenied.into(),
            }
        }
    }
    Err(error)
}

/// Everything that the new process needs, made in advance: the new process must not allocate memory.
struct Prepared {
    path: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    folder: CString,
    input: File,
}

impl Prepared {
    /// The same program as a script for the shell.
    fn by_shell(mut self) -> Self {
        self.arguments[0] = std::mem::replace(&mut self.path, c"/bin/sh".to_owned());
        self.arguments.insert(0, c"sh".to_owned());
        self
    }

    fn start(&self, output: BorrowedFd) -> io::Result<Pid> {
        let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
            strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        let mut orders = Orders {
            path: self.path.as_ptr(),
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            folder: self.folder.as_ptr(),
            input: self.input.as_raw_fd(),
            output: output.as_raw_fd(),
            parent: std::process::id() as libc::pid_t,
            error: 0,
        };
        system::start(&mut orders)
    }
}

/// The work of the new process before `exec`, and the place for its error.
struct Orders {
    path: *const libc::c_char,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
    folder: *const libc::c_char,
    input: libc::c_int,
    output: libc::c_int,
    parent: libc::pid_t,
    error: libc::c_int,
}

impl Orders {
    /// Becomes the program. Returns only if that fails, with the error's number.
    ///
    /// # Safety
    /// Only in a process that was made for it. All pointers are those of [`Prepared::start`].
    unsafe fn obey(&self) -> libc::c_int {
        // SAFETY: only system calls, and all that they read was made before this process.
        unsafe {
            let error = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
            #[cfg(target_os = "linux")]
            {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                // Killed before that was asked for: nobody waits any more.
                if libc::getppid() != self.parent {
                    libc::_exit(1);
                }
            }
            // The program does not inherit our signal handlers. It ignores what we were started to ignore; SIGPIPE is
            // ignored by every Rust program.
            for signal in [libc::SIGPIPE, libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, std::ptr::null(), &raw mut action);
                if signal == libc::SIGPIPE || action.sa_sigaction != libc::SIG_IGN {
                    action.sa_sigaction = libc::SIG_DFL;
                    libc::sigaction(signal, &raw const action, std::ptr::null_mut());
                }
            }
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            for (from, to) in [(self.input, 0), (self.output, 1), (self.output, 2)] {
                if libc::dup2(from, to) < 0 {
                    return error();
                }
            }
            if libc::setpgid(0, 0) < 0 || libc::chdir(self.folder) < 0 {
                return error();
            }
            libc::execve(self.path, self.arguments, self.environment);
            error()
        }
    }
}

/// Linux: the new process shares the memory of this one until `exec`; the thread that starts it waits until then.
#[cfg(target_os = "linux")]
mod system {
    use super::*;

    /// The size of the stack that the new process has until then.
    const STACK: usize = 64 * 1024;

    extern "C" fn begin(orders: *mut libc::c_void) -> libc::c_int {
        // SAFETY: `start` passed the pointer, and waits until `exec` or the end of this process. Nothing else uses it.
        unsafe {
            let orders = orders.cast::<Orders>();
            let error = (*orders).obey();
            (*orders).error = error;
            libc::_exit(127)
        }
    }

    pub fn start(orders: &mut Orders) -> io::Result<Pid> {
        let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
        // SAFETY: the set is plain data; signals are kept away while a handler would run on the other process's behalf.
        let before = unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            before
        };
        // SAFETY: the stack grows down from the end of memory that lives until the call returns, which CLONE_VFORK
        // holds back until the new process needs neither it nor `orders` any more.
        let process = unsafe {
            let top = stack.as_mut_ptr().add(stack.capacity());
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            libc::clone(begin, top.cast(), flags, (&raw mut *orders).cast())
        };
        let failed = io::Error::last_os_error();
        // SAFETY: the set is what the call above gave.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
        let Some(process) = Pid::from_raw(process).filter(|process| process.as_raw_pid() > 0) else {
            return Err(failed);
        };
        if orders.error != 0 {
            wait(process)?;
            return Err(io::Error::from_raw_os_error(orders.error));
        }
        Ok(process)
    }
}

/// Other systems: a copy of this process, which sends its error through a pipe.
#[cfg(not(target_os = "linux"))]
mod system {
    use super::*;
    use std::io::{Read, Write};

    pub fn start(orders: &mut Orders) -> io::Result<Pid> {
        let (mut reader, mut writer) = io::pipe()?;
        // SAFETY: the new process only makes system calls.
        let process = unsafe { libc::fork() };
        match process {
            -1 => return Err(io::Error::last_os_error()),
            0 => unsafe {
                // SAFETY: see `obey`.
                let error = orders.obey();
                let _ = writer.write_all(&error.to_ne_bytes());
                libc::_exit(127)
            },
            _ => drop(writer),
        }
        let process = Pid::from_raw(process).expect("the number of a new process");
        let mut error = [0; size_of::<libc::c_int>()];
        if reader.read_exact(&mut error).is_ok() {
            wait(process)?;
            return Err(io::Error::from_raw_os_error(libc::c_int::from_ne_bytes(error)));
        }
        Ok(process)
    }
}

fn wait(process: Pid) -> io::Result<ExitStatus> {
    loop {
        match waitpid(Some(process), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(ExitStatus::from_raw(status.as_raw())),
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(target_os = "linux")]
fn ends(process: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn ends(_: Pid) -> Option<OwnedFd> {
    None
}

impl Launched {
    /// Becomes readable when it ends, where the system has such a thing.
    pub fn ends(&self) -> Option<BorrowedFd<'_>> {
        self.ends.as_ref().map(AsFd::as_fd)
    }

    /// Returns `true` if it has ended. It can still be waited for.
    pub fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.process), options), Ok(None))
    }

    /// Sends a signal to it and to everything that it started and that stayed in its process group. It was not waited
    /// for yet, so the group cannot be another's. Does nothing if the group is gone.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.process, signal);
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the system does not know it any more.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        self.waited = true;
        let status = wait(self.process);
        leftovers::disown(self.process.as_raw_pid());
        status
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if !self.waited {
            self.signal(Signal::KILL);
            let _ = wait(self.process);
            leftovers::disown(self.process.as_raw_pid());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    /// Runs it; what it printed, and how it ended.
    fn run(arguments: &[&str], environment: &[(&str, &str)], folder: &Path) -> io::Result<(String, ExitStatus)> {
        let arguments: Vec<_> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect();
        let (mut reader, writer) = io::pipe()?;
        let order =
            Launch { arguments: &arguments, environment: &environment, folder, room: folder, output: writer.as_fd() };
        let started = launch(&order)?;
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        Ok((text, started.wait()?))
    }

    const PATH: (&str, &str) = ("PATH", "/no/such/folder:/usr/bin:/bin");

    #[test]
    fn a_program_gets_just_what_it_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let script = "pwd; cat; echo err >&2; echo \"$A\"; for a; do echo \"<$a>\"; done; env | wc -l; exit 3";
        let (text, status) = run(&["sh", "-c", script, "sh", "", "a b"], &[PATH, ("A", "x=y\n")], dir.path()).unwrap();
        // PATH, A, and PWD, SHLVL, _ or OLDPWD of the shell itself.
        let mut lines: Vec<_> = text.lines().collect();
        let variables: usize = lines.pop().unwrap().trim().parse().unwrap();
        assert!(variables < 8, "{text}");
        let here = dir.path().canonicalize().unwrap();
        assert_eq!(lines, [here.to_str().unwrap(), "err", "x=y", "", "<>", "<a b>"]);
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn what_cannot_be_started_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let fails = |program: &str| run(&[program], &[PATH], dir.path()).unwrap_err().kind();
        std::fs::write(dir.path().join("plain"), "x").unwrap();
        assert_eq!(fails("no-such-program"), io::ErrorKind::NotFound);
        assert_eq!(fails("./no-such-program"), io::ErrorKind::NotFound);
        assert_eq!(fails("./plain"), io::ErrorKind::PermissionDenied);
        assert_eq!(fails("a\0b"), io::ErrorKind::NotFound);
        assert_eq!(run(&["sh"], &[], dir.path()).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(run(&["true"], &[PATH], &dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let nul = run(&["sh", "a\0b"], &[PATH], dir.path()).unwrap_err();
        assert_eq!(nul.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_script_without_a_first_line_is_read_by_the_shell() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        std::fs::write(&script, "echo $1").unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:/bin", dir.path().display());
        for name in ["./script", "script"] {
            let (text, _) = run(&[name, "hello"], &[("PATH", &path)], dir.path()).unwrap();
            assert_eq!(text, "hello\n");
        }
    }

    #[test]
    fn signals_are_as_for_any_program_and_a_pipe_that_closes_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        // With an ignored SIGPIPE, `yes` would complain and end with status 1.
        let (text, _) = run(&["sh", "-c", "yes 2>&1 | head -n1; kill -TERM $$"], &[PATH], dir.path()).unwrap();
        assert_eq!(text, "y\n");
        let (_, status) = run(&["sh", "-c", "kill -TERM $$"], &[PATH], dir.path()).unwrap();
        assert_eq!(status.signal(), Some(libc::SIGTERM));
    }

    #[test]
    fn one_that_is_dropped_is_killed_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let arguments = ["sh", "-c", "sleep 600 & echo; sleep 600"].map(str::to_owned);
        let environment = BTreeMap::from([(PATH.0.to_owned(), OsString::from(PATH.1))]);
        let (mut reader, writer) = io::pipe().unwrap();
        let (folder, room) = (dir.path(), dir.path());
        let order = Launch { arguments: &arguments, environment: &environment, folder, room, output: writer.as_fd() };
        let started = launch(&order).unwrap();
        drop(writer);
        reader.read_exact(&mut [0]).unwrap();
        assert!(!started.has_ended());
        drop(started);
        // Both held the pipe open.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}
