//! A program whose standard input and output carry frames, or that is there for them.
//!
//! Unsafe lives here to do something between fork(2) and exec(2). The invariant: that is one
//! system call, without memory that a thread may hold a lock of.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

/// A program that was started. As a descriptor it is readable when it has ended.
pub struct Program {
    child: Child,
    pidfd: OwnedFd,
}

/// A program that was started, and its pipes.
pub struct Started {
    /// The program.
    pub program: Program,
    /// Its name.
    pub what: String,
    /// What it writes.
    pub input: OwnedFd,
    /// What it reads.
    pub output: OwnedFd,
}

impl Program {
    /// Starts `command` with a pipe each way. Its standard error stays what it is.
    ///
    /// # Errors
    /// Those of pipe(2) and pidfd_open(2); the inner one is the program's own: there
    /// is none, or it cannot be run.
    pub fn start(mut command: Command) -> Result<std::io::Result<Started>> {
        let (theirs_in, ours_out) = std::io::pipe().context("pipe")?;
        let (ours_in, theirs_out) = std::io::pipe().context("pipe")?;
        let what = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::from(theirs_in)).stdout(Stdio::from(theirs_out));
        let program = match Program::spawn(command)? {
            Ok(program) => program,
            Err(error) => return Ok(Err(error)),
        };
        let (input, output) = (own(ours_in.into())?, own(ours_out.into())?);
        Ok(Ok(Started { program, what, input, output }))
    }

    /// Starts `command` as it is; its descriptors are closed here.
    ///
    /// # Errors
    /// As [`Program::start`].
    pub fn spawn(mut command: Command) -> Result<std::io::Result<Program>> {
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Err(error)),
        };
        let pid = Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open")?;
        Ok(Ok(Program { child, pidfd }))
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        self.child.id() as i32
    }

    /// The same for one that does not see that its frames have come to an end: it is
    /// told to end when this process is killed.
    ///
    /// # Errors
    /// As [`Program::start`].
    pub fn spawn_bound(mut command: Command) -> Result<std::io::Result<Program>> {
        let tell = || Ok(rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?);
        // SAFETY: prctl(2) and nothing else.
        unsafe { command.pre_exec(tell) };
        Program::spawn(command)
    }

    /// Its exit status if it has ended, 128 + n after signal n.
    ///
    /// # Errors
    /// Those of waitpid(2).
    pub fn status(&mut self) -> Result<Option<u8>> {
        let status = self.child.try_wait().context("waitpid")?;
        Ok(status.map(|status| {
            let number = status.code().unwrap_or(128 + status.signal().unwrap_or(0));
            number as u8
        }))
    }

    /// Sends it a signal; without effect once it has ended.
    pub fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }
}

/// Whether `fd` becomes readable, or comes to its end, within `limit`.
///
/// # Errors
/// Those of poll(2).
pub fn is_readable(fd: impl AsFd, limit: Duration) -> Result<bool> {
    let limit = Timespec::try_from(limit).context("poll")?;
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    Ok(rustix::event::poll(&mut fds, Some(&limit)).context("poll")? > 0)
}

/// Our end of a pipe: it never blocks, and is as large as this user may have it.
fn own(pipe: OwnedFd) -> Result<OwnedFd> {
    let flags = rustix::fs::fcntl_getfl(&pipe).context("fcntl")?;
    rustix::fs::fcntl_setfl(&pipe, flags | OFlags::NONBLOCK).context("fcntl")?;
    let _ = shmring::enlarge(&pipe); // a smaller one is slower, and does as well
    Ok(pipe)
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}
