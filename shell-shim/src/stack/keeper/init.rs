//! The keeper itself: pid 1 of the function's processes.
//!
//! As pid 1 it is deaf to every signal it has no handler for, from inside and
//! from a terminal alike, SIGKILL and SIGSTOP from the function apart
//! (`sig_task_ignored` in `kernel/signal.c`), so it need not ignore any, and
//! what it starts inherits the user's dispositions.
//!
//! Unsafe lives here to close descriptors that others own, to reset one signal
//! and to act between fork and exec. The invariant: nothing after that uses a
//! descriptor that was open before, but the socket and those of the user.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdin, dup2_stdout};

use rustix::io::FdFlags;

use super::requests::{Request, send_reply};
use super::rest::Before;
use super::{Links, names, search, view};
use crate::run::function::audience;
use crate::run::held;
use crate::succession::heir;

/// A program for whose end the function waits.
struct Awaited {
    pid: Pid,
    /// Of a command: it has ended when all that came with it has.
    before: Option<Before>,
    status: Option<i32>,
}

impl Awaited {
    fn setup(pid: Pid) -> Awaited {
        Awaited { pid, before: None, status: None }
    }

    fn command(pid: Pid, before: Before) -> Awaited {
        Awaited { pid, before: Some(before), status: None }
    }
}

/// Serves the function at the other end of `socket` until it is gone.
///
/// # Errors
/// When the keeper cannot begin, or the function says what it cannot.
pub(super) fn serve(socket: &UnixStream, links: &Links, dns: &[IpAddr]) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL).context("death signal")?;
    // A function that died before that line is noticed by the end of file on
    // the socket. (getppid(2) tells nothing: the parent has no pid here.)
    let _ = prctl::set_name(c"stdpkt-keeper");
    let_go(socket, links).context("descriptors")?;
    let mounts_are_own = view::mount_own();
    if !dns.is_empty() {
        names::ask(dns, mounts_are_own)?;
    }
    let (children, mask) = child_signals().context("signals")?;

    let mut awaited: Option<Awaited> = None;
    loop {
        let mut fds =
            [socket.as_fd(), children.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            done => done.context("poll")?,
        };
        let [asked, ended] = fds.map(|fd| fd.any() == Some(true));
        if ended {
            while children.read_signal().context("signals")?.is_some() {}
            reap(socket, &mut awaited)?;
        }
        if asked {
            match Request::receive(socket) {
                Ok(Request::Setup(script)) => {
                    let mut shell = Command::new("sh");
                    shell.arg("-c").arg(script).stdin(Stdio::null()).stdout(io::stderr());
                    awaited = start(socket, shell, mask)?.map(Awaited::setup);
                }
                Ok(Request::Command(argv)) => {
                    let mut argv = argv.into_iter();
                    let mut command = Command::new(argv.next().unwrap_or_default());
                    command.args(argv);
                    let before = Before::now();
                    let pid = start(socket, command, mask)?;
                    awaited = pid.map(|pid| Awaited::command(pid, before));
                }
                Ok(Request::Look(program)) => {
                    let found = search::find(&program, &search::search_path());
                    let errno = found.map_or_else(|errno| errno.raw_os_error(), |_| 0);
                    send_reply(socket, errno).context("reply")?;
                }
                // It is not reaped yet, so the pid is still its own.
                Ok(Request::Signal(number)) => {
                    if let (Some(Awaited { pid, status: None, .. }), Ok(signal)) =
                        (&awaited, Signal::try_from(number))
                    {
                        let _ = kill(*pid, signal);
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                    ) =>
                {
                    return Ok(());
                }
                Err(error) => return Err(error).context("request"),
            }
        }
    }
}

/// Closes every descriptor but the socket, what CMD is to inherit, and those of
/// the user that are not links: a copy here would keep a neighbour from seeing the link's end.
fn let_go(socket: &UnixStream, links: &Links) -> Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").context("/dev/null")?;
    if links.stdout {
        dup2_stdout(io::stderr())?;
    }
    if let Some(input) = links.input {
        // SAFETY: open in this process, a copy of the function's half, until below.
        dup2_stdin(unsafe { BorrowedFd::borrow_raw(input) })?;
    } else if links.stdin {
        dup2_stdin(&null)?;
    }
    std::mem::forget(null); // closed below
    let open = std::fs::read_dir("/proc/self/fd").context("/proc/self/fd")?;
    let open = open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for fd in open.collect::<Vec<RawFd>>() {
        let keeps = fd == socket.as_raw_fd() || links.kept.contains(&fd);
        if fd > 2 && !keeps && !is_users(fd, links) {
            // SAFETY: what is closed belongs to objects of the function's half,
            // which this process never uses or drops (it ends by _exit).
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

/// Whether a descriptor was passed by the user, as the shell's `<(...)` is. What
/// stdpkt opens closes with exec, what it got does not.
fn is_users(fd: RawFd, links: &Links) -> bool {
    // SAFETY: two questions; one that is closed meanwhile gets no answer.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let passed = rustix::io::fcntl_getfd(fd).is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC));
    let id = rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    passed && id.is_ok_and(|id| !links.pipes.contains(&id))
}

/// SIGCHLD, as something to poll, and the signal mask of before.
fn child_signals() -> Result<(SignalFd, SigSet), Errno> {
    // SAFETY: the default disposition runs no handler. An inherited SIG_IGN
    // would hide how children end.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl)? };
    let children = SigSet::from(Signal::SIGCHLD);
    let before = children.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok((SignalFd::with_flags(&children, flags)?, before))
}

/// Starts `command` with the signal mask `mask` and answers with the errno.
fn start(socket: &UnixStream, mut command: Command, mask: SigSet) -> Result<Option<Pid>> {
    command.env("PATH", search::search_path());
    for variable in [heir::VARIABLE, held::VARIABLE, audience::VARIABLE] {
        command.env_remove(variable);
    }
    // SAFETY: between fork and exec this makes one async-signal-safe call.
    unsafe { command.pre_exec(move || Ok(mask.thread_set_mask()?)) };
    let (pid, errno) = match command.spawn() {
        Ok(child) => (Some(Pid::from_raw(child.id() as i32)), 0),
        Err(error) => (None, error.raw_os_error().unwrap_or(libc::EINVAL)),
    };
    send_reply(socket, errno).context("reply")?;
    Ok(pid)
}

/// Buries the dead, strangers' orphans among them, and tells how the awaited
/// one ended.
fn reap(socket: &UnixStream, awaited: &mut Option<Awaited>) -> Result<()> {
    loop {
        let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
            Ok(_) => continue,
            Err(errno) => return Err(errno).context("wait"),
        };
        if let Some(it) = awaited.as_mut().filter(|it| it.pid == pid) {
            it.status = Some(status);
        }
    }
    if let Some(Awaited { before, status: Some(status), .. }) = awaited
        && before.as_ref().is_none_or(Before::kill_the_rest)
    {
        send_reply(socket, *status).context("reply")?;
        *awaited = None;
    }
    Ok(())
}
