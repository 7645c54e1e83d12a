//! Signals as events.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

const SIGNALS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// The signals that end a function, on a descriptor.
pub struct Signals(SignalFd);

/// A signal that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Its number.
    pub number: i32,
    /// Sent by the terminal, and so to CMD as well: both are in its foreground.
    pub from_terminal: bool,
}

/// `si_code` of a signal that the kernel (here: the terminal) sent, sigaction(2).
const SI_KERNEL: i32 = 0x80;

impl Signals {
    /// Blocks the signals in this thread and those it starts.
    ///
    /// # Errors
    /// Those of signalfd(2).
    pub fn new() -> Result<Signals> {
        let set = SigSet::from_iter(SIGNALS);
        set.thread_block().context("sigprocmask")?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Signals(SignalFd::with_flags(&set, flags).context("signalfd")?))
    }

    /// Lets them do again what they did before: those that have arrived do so now.
    ///
    /// # Errors
    /// Those of sigprocmask(2).
    pub fn release(self) -> Result<()> {
        SigSet::from_iter(SIGNALS).thread_unblock().context("sigprocmask")
    }

    /// The next signal, if one has arrived.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn next(&self) -> Result<Option<Arrived>> {
        let info = self.0.read_signal().context("signalfd")?;
        Ok(info.map(|info| Arrived {
            number: info.ssi_signo as i32,
            from_terminal: info.ssi_code == SI_KERNEL,
        }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
