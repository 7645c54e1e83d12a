//! The keeper runs what users ask for inside the function, and sees to it
//! that nothing outlives the function.
//!
//! It is pid 1 of a pid namespace of its own. When it dies, whether because
//! the function ended, dropped it, or was killed at any instruction, the kernel
//! kills everything in that namespace, whatever forked or daemonised. It
//! stays in the terminal's foreground process group, so that Ctrl-C reaches
//! the command directly.
//!
//! A function that runs no command needs no keeper.
//!
//! Unsafe lives here for `clone(2)`, once. The invariant: the process has a
//! single thread then, so that the copy finds every lock free.
#![allow(unsafe_code)]

mod busy;
mod init;
mod names;
mod requests;
mod rest;
pub(crate) mod search;
mod view;

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::bpf;
use requests::{Request, receive_reply};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{PidfdFlags, pidfd_open};

pub(crate) use busy::children;
pub(crate) use search::search_path;

/// Bytes of stack for the keeper, which starts programs and little else; only
/// what it touches is ever allocated.
const STACK: usize = 512 * 1024;

/// What the function's programs have for themselves, besides the network: processes,
/// mounts, and the host's name, which `--setup 'hostname r1'` would change for all.
const NAMESPACES: CloneFlags =
    CloneFlags::CLONE_NEWPID.union(CloneFlags::CLONE_NEWNS).union(CloneFlags::CLONE_NEWUTS);

/// Which descriptors are links. What runs in the keeper must
/// not touch those: it reads from `/dev/null` and writes to standard error
/// instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Standard input is a link.
    pub stdin: bool,
    /// Standard output is a link.
    pub stdout: bool,
    /// Descriptors that the command inherits besides the standard ones.
    pub kept: Vec<RawFd>,
    /// Read instead of `/dev/null` where standard input is a link.
    pub input: Option<RawFd>,
    /// Device and inode of each: another descriptor of the same pipe, as after
    /// `3>&1 |`, is not passed on.
    pub pipes: Vec<(u64, u64)>,
}

/// The function's end of its keeper. Dropping it kills all that runs inside
/// and waits until all of it is gone.
///
/// As a descriptor it becomes readable when the command has ended.
#[derive(Debug)]
pub struct Keeper {
    /// Until it was waited for.
    pid: Option<Pid>,
    socket: UnixStream,
}

/// Why a command did not start.
#[derive(Debug, thiserror::Error)]
#[error("{program}: {reason}")]
pub struct NotStarted {
    program: String,
    reason: String,
    /// What a shell would exit with: 127 if there is no such program, 126 if
    /// it is there and cannot be run.
    pub exit_code: u8,
}

impl Keeper {
    /// Starts the keeper: call it right after [`enter`](super::namespace::enter),
    /// from the main thread while there is no other. The keeper has copies of
    /// no descriptor that is opened later. `dns`: name servers of the function's own.
    ///
    /// # Errors
    /// Where pid or mount namespaces are forbidden or used up.
    pub fn start(links: Links, dns: &[IpAddr]) -> Result<Self> {
        let (socket, theirs) = UnixStream::pair().context("keeper: no socket")?;
        let keeper = Box::new(move || match init::serve(&theirs, &links, dns) {
            Ok(()) => 0,
            Err(error) => {
                say::error!("keeper: {error:#}");
                1
            }
        });
        let mut stack = vec![0; STACK];
        // No exit signal: the function gets no SIGCHLD, and an ignored SIGCHLD
        // cannot free the pid before `drop` has waited for it (with __WALL).
        // SAFETY: without CLONE_VM the child has a copy of all memory, its
        // stack included, and this process has a single thread (see above).
        let pid = unsafe {
            clone(keeper, &mut stack, NAMESPACES, None)
        }
        .map_err(|errno| match errno {
            Errno::EAGAIN => "raise the limit of processes (ulimit -u)",
            Errno::ENOSPC => {
                "raise user.max_pid_namespaces, user.max_mnt_namespaces and user.max_uts_namespaces"
            }
            Errno::EPERM => {
                "pid, mount and UTS namespaces are forbidden here: in a container, run it `--privileged`"
            }
            other => other.desc(),
        })
        .map_err(|reason| anyhow::anyhow!("keeper not started: {reason}"))?;
        Ok(Self { pid: Some(pid), socket })
    }

    /// Runs `sh -c script`, its standard output on standard error, and waits
    /// for it.
    ///
    /// # Errors
    /// One line with the script and its exit status, if that is not 0.
    pub fn run_setup(&mut self, script: &str) -> Result<()> {
        self.ask(&Request::Setup(script.into()), OsStr::new("sh"))?;
        match self.status()? {
            0 => Ok(()),
            status => {
                let way_out = bpf::way_out(script);
                bail!(
                    "setup command `{}` failed with status {status}{way_out}",
                    script.escape_debug()
                )
            }
        }
    }

    /// Looks whether `program` could be started, which setup commands may have made.
    ///
    /// # Errors
    /// [`NotStarted`] if not.
    pub fn look_for(&mut self, program: &OsStr) -> Result<()> {
        self.ask(&Request::Look(program.to_owned()), program)
    }

    /// Starts the command `argv`. It has the user's working directory,
    /// environment, signal dispositions and descriptors, [`Links`] apart.
    ///
    /// # Errors
    /// [`NotStarted`] if the program cannot be run.
    pub fn spawn(&mut self, argv: &[OsString]) -> Result<()> {
        let program = argv.first().context("command: none given")?;
        self.ask(&Request::Command(argv.to_vec()), program)
    }

    /// Whether any program in here uses the processor or a disk, or would like to.
    pub fn is_busy(&self) -> bool {
        self.pid.is_some_and(|pid| busy::is_any_child(pid.as_raw()))
    }

    /// Waits for the command and returns its exit status, 128 + n after death
    /// by signal n. What it left behind is gone then, too; what setup commands
    /// left behind lives on. To be called once a command.
    ///
    /// # Errors
    /// When the keeper was killed.
    pub fn status(&mut self) -> Result<u8> {
        Ok(self.reply()? as u8)
    }

    /// Sends `signal` to the command; without effect once it has ended.
    ///
    /// # Errors
    /// When the keeper was killed.
    pub fn terminate(&mut self, signal: Signal) -> Result<()> {
        let sent = Request::Signal(signal as i32).send(&self.socket);
        sent.map_err(|error| self.gone(&error))
    }

    /// A process in the namespaces of what runs inside, and their working directory.
    ///
    /// # Errors
    /// When the keeper was killed.
    pub fn inside(&self) -> Result<[OwnedFd; 2]> {
        inside(self.pid.context("the function's keeper is gone")?.as_raw())
    }

    fn ask(&mut self, request: &Request, program: &OsStr) -> Result<()> {
        request.send(&self.socket).map_err(|error| self.gone(&error))?;
        match self.reply()? {
            0 => Ok(()),
            errno => Err(not_started(program, errno).into()),
        }
    }

    fn reply(&mut self) -> Result<i32> {
        receive_reply(&self.socket).map_err(|error| self.gone(&error))
    }

    /// Why the keeper ended. One that could not begin has said so.
    fn gone(&mut self, error: &io::Error) -> anyhow::Error {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        // It lives, and would be waited for in vain.
        if !matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) {
            return anyhow::anyhow!("the function's keeper cannot be asked: {error}");
        }
        match self.wait() {
            Some(WaitStatus::Signaled(_, signal, _)) => anyhow::anyhow!(
                "the function's keeper was killed by {signal}, as when memory runs out: start the function again"
            ),
            Some(_) => say::Said.into(),
            None => anyhow::anyhow!("the function's keeper is gone: {error}"),
        }
    }

    /// Waits for its end, once.
    fn wait(&mut self) -> Option<WaitStatus> {
        let pid = self.pid.take()?;
        loop {
            match waitpid(pid, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => {}
                ended => return ended.ok(),
            }
        }
    }
}

/// Of a function without a keeper, the same.
///
/// # Errors
/// Those of pidfd_open(2).
pub fn inside_of_this_process() -> Result<[OwnedFd; 2]> {
    inside(std::process::id() as i32)
}

fn inside(pid: i32) -> Result<[OwnedFd; 2]> {
    let process = rustix::process::Pid::from_raw(pid).context("it is gone")?;
    let process = pidfd_open(process, PidfdFlags::empty()).context("pidfd_open")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(format!("/proc/{pid}/cwd"), flags, Mode::empty());
    Ok([process, directory.context("its working directory")?])
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // It is not waited for yet, so the pid is still its own.
        if let Some(pid) = self.pid {
            let _ = kill(pid, Signal::SIGKILL);
        }
        // A pid 1 is gone only when its namespace is empty
        // (zap_pid_ns_processes in kernel/pid_namespace.c).
        self.wait();
    }
}

const NO_SUCH_PROGRAM: &str = "no such program: install it, or give its full path";

/// Why `program` did not start: an errno of exec(2).
pub(crate) fn not_started(program: &OsStr, errno: i32) -> NotStarted {
    let (reason, exit_code) = match errno {
        libc::ENOENT if search::find(program, &search::search_path()).is_ok() => (
            "may not be run: the interpreter that its first line names, or its loader, is not there"
                .to_owned(),
            126,
        ),
        libc::ENOENT if program.is_empty() => ("an empty word names no program".to_owned(), 127),
        libc::ENOENT if program.as_bytes().contains(&b'/') => {
            ("there is no such file: check the path".to_owned(), 127)
        }
        libc::ENOENT => (NO_SUCH_PROGRAM.to_owned(), 127),
        // The search met a directory in PATH that this user may not enter.
        libc::EACCES if search::is_nowhere(program) => (NO_SUCH_PROGRAM.to_owned(), 127),
        libc::EACCES => ("may not be run: it must be an executable file".to_owned(), 126),
        libc::EPERM => (
            "may not be run: rights that its file gives (getcap names them) are not to be had here; in a container `--cap-add` them".to_owned(),
            126,
        ),
        libc::ENOEXEC => ("not a program this machine can run".to_owned(), 126),
        other => (io::Error::from_raw_os_error(other).to_string(), 126),
    };
    let program = if program.is_empty() { OsStr::new("CMD") } else { program };
    NotStarted { program: program.to_string_lossy().escape_debug().to_string(), reason, exit_code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_shells() {
        for (program, errno, code) in [
            ("a\nb", libc::ENOENT, 127),
            ("", libc::ENOENT, 127),
            ("a\nb", libc::EACCES, 127),
            ("./a\nb", libc::EACCES, 126),
            ("./a\nb", libc::EPERM, 126),
            ("sh", libc::EACCES, 126),
            ("sh", libc::ENOEXEC, 126),
            ("sh", libc::ENOMEM, 126),
        ] {
            let error = not_started(OsStr::new(program), errno);
            assert_eq!(error.exit_code, code, "{program} {errno}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}
