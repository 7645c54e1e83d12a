//! What the programs of a joint start and do not wait for ends with them, as in a function.
//! There the kernel sees to it. Here programs are in the user's own pid namespace, where ssh
//! and nsenter look for what is: orphans fall to this process, which ends them.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::stack::keeper::children;

/// All that descends from programs that are started after this was made. As a descriptor it
/// is readable when one of them may have ended.
pub struct Descendants {
    /// Children from before, as of a shell that became this process.
    others: HashSet<i32>,
    ended: SignalFd,
}

impl Descendants {
    /// From now on orphans fall to this process.
    ///
    /// # Errors
    /// Those of prctl(2) and signalfd(2).
    pub fn adopt() -> Result<Descendants> {
        prctl::set_child_subreaper(true).context("prctl")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        // Readable only once the signal is blocked, which programs are not to inherit.
        let ended = SignalFd::with_flags(&SigSet::from(Signal::SIGCHLD), flags);
        Ok(Descendants { others: ours().collect(), ended: ended.context("signalfd")? })
    }

    /// The programs have started: tells from now on when one of the rest may have ended.
    ///
    /// # Errors
    /// Those of sigprocmask(2).
    pub fn listen(&self) -> Result<()> {
        SigSet::from(Signal::SIGCHLD).thread_block().context("sigprocmask")
    }

    /// Buries the dead but `programs`, for whom somebody else waits.
    pub fn bury(&self, programs: &[i32]) {
        while let Ok(Some(_)) = self.ended.read_signal() {}
        for pid in self.rest(programs) {
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
        }
    }

    /// Ends all, once the programs have ended. With each that ends its children become ours.
    pub fn end(&self) {
        loop {
            let rest: Vec<Pid> = self.rest(&[]).collect();
            if rest.is_empty() {
                return;
            }
            for pid in rest {
                let _ = kill(pid, Signal::SIGKILL);
                let _ = waitpid(pid, None);
            }
        }
    }

    fn rest(&self, programs: &[i32]) -> impl Iterator<Item = Pid> {
        let rest = ours().filter(|pid| !self.others.contains(pid) && !programs.contains(pid));
        rest.map(Pid::from_raw)
    }
}

fn ours() -> impl Iterator<Item = i32> {
    children(std::process::id() as i32).into_iter()
}

impl Drop for Descendants {
    /// The programs have ended, or been ended.
    fn drop(&mut self) {
        self.end();
    }
}

impl AsFd for Descendants {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}
