//! What is left of a function that has handed its links over.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use super::heir;
use crate::door::socket;

/// The socket to the function that has the links now.
static HEIR: OnceLock<OwnedFd> = OnceLock::new();
/// The socket to a neighbour of this function, which was taken out from between, and this side of
/// the pipe to the other neighbour, who would take its end for that of the link.
static LEFT: OnceLock<(OwnedFd, Option<OwnedFd>)> = OnceLock::new();

/// Another function has the links; this is the socket to it.
pub fn give_to(heir: OwnedFd) {
    let _ = HEIR.set(heir);
}

/// A neighbour goes on without this function; this is the socket to it, and the end of the pipe
/// on which the other one is.
pub fn leave_to(neighbour: OwnedFd, far: Option<OwnedFd>) {
    let _ = LEFT.set((neighbour, far));
}

/// Whether this process has handed its links over.
pub fn is_given() -> bool {
    HEIR.get().is_some()
}

/// Keeps the place of this process where the shell has it, as long as the function lives
/// that has the links; returns its status. One that had only taken another's place ends.
///
/// # Errors
/// Where signals or the socket cannot be waited for.
pub fn keep() -> Result<Option<u8>> {
    // Nobody waits for one that was put between two.
    if heir::between().is_some() {
        return Ok(None);
    }
    match (HEIR.get(), LEFT.get()) {
        // Another one keeps it already.
        (Some(_), _) if heir::place().is_some() => Ok(None),
        (Some(heir), _) => keep_for(heir, None).map(Some),
        (None, Some((neighbour, _))) => stay(neighbour).map(Some),
        (None, None) => Ok(None),
    }
}

/// Keeps it for the process at the other end of a socket, which is this one if that is known already.
///
/// # Errors
/// As [`keep`].
pub fn keep_for(heir: &OwnedFd, mut process: Option<OwnedFd>) -> Result<u8> {
    let signals = rest()?;
    loop {
        let known = if process.is_some() { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut fds =
            [PollFd::new(heir.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), known)];
        let _ = poll(&mut fds, PollTimeout::NONE);
        if fds[0].any().unwrap_or(false)
            && let Some(status) = hear(heir, &mut process)
        {
            return Ok(status);
        }
        // Signals wait until it is known who is to get them.
        while let Some(process) = &process
            && let Ok(Some(info)) = signals.read_signal()
        {
            if let Ok(signal) = Signal::try_from(info.ssi_signo as i32) {
                pass_on(signal, process);
            }
        }
    }
}

/// Lets go of standard input and output, and hears of signals from then on.
fn rest() -> Result<SignalFd> {
    // A copy of an end of a pipe would look as if somebody were there.
    let nothing = File::options().read(true).write(true).open("/dev/null").context("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing).context("dup2")?;
    rustix::stdio::dup2_stdout(&nothing).context("dup2")?;
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGTSTP,
    ] {
        set.add(signal);
    }
    set.thread_block().context("sigprocmask")?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    SignalFd::with_flags(&set, flags).context("signalfd")
}

/// Until the chain ends of which this was a part, or somebody ends this process.
fn stay(neighbour: &OwnedFd) -> Result<u8> {
    let signals = rest()?;
    loop {
        let mut fds =
            [neighbour.as_fd(), signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let _ = poll(&mut fds, PollTimeout::NONE);
        if fds[0].any().unwrap_or(false) {
            return Ok(0);
        }
        if let Some(signal) = signals.read_signal().context("signalfd")? {
            match signal.ssi_signo as i32 {
                libc::SIGTSTP => drop(raise(Signal::SIGSTOP)),
                number => return Ok(128 + number as u8),
            }
        }
    }
}

/// What the function that has the links says; its status at the end.
fn hear(heir: &OwnedFd, process: &mut Option<OwnedFd>) -> Option<u8> {
    /// Of one that was killed.
    const KILLED: u8 = 128 + libc::SIGKILL as u8;
    let mut bytes = [0; 64];
    let (len, _) = match socket::receive(heir, &mut bytes) {
        Ok(received) => received,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return None,
        Err(_) => return Some(KILLED),
    };
    let said = std::str::from_utf8(&bytes[..len]).unwrap_or_default();
    match said.split_once(' ') {
        Some(("pid", pid)) => {
            *process = self::process(pid);
            None
        }
        Some(("end", status)) => Some(status.parse().unwrap_or(KILLED)),
        _ => Some(KILLED),
    }
}

/// The process of that number.
pub fn process(pid: &str) -> Option<OwnedFd> {
    let pid = pid.parse().ok().and_then(Pid::from_raw)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// As if it had been sent there. A stop takes both.
fn pass_on(signal: Signal, process: &OwnedFd) {
    let send = |signal: Signal| {
        let signal = rustix::process::Signal::from_named_raw(signal as i32);
        let _ = signal.map(|signal| pidfd_send_signal(process, signal));
    };
    match signal {
        Signal::SIGTSTP => {
            send(Signal::SIGSTOP);
            let _ = raise(Signal::SIGSTOP);
            send(Signal::SIGCONT); // somebody has continued us
        }
        signal => send(signal),
    }
}
