//! What happens to this process, as something to poll.
//!
//! By handlers and not by a signal mask: children would inherit the mask, and
//! Ctrl-C would not end what they run.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// This signal ended the demo.
#[derive(Debug, thiserror::Error)]
#[error("ended by signal {0}")]
pub struct Interrupted(pub u8);

/// The signals that end the demo, and the end of children.
pub struct Watch {
    /// Never read: once readable, it stays so.
    interrupts: UnixStream,
    number: Arc<AtomicUsize>,
    children: UnixStream,
}

impl Watch {
    /// Installs the handlers, and has orphans of children become children, so
    /// that they can be found and ended too.
    ///
    /// # Errors
    /// Those of sigaction(2) and prctl(2).
    pub fn new() -> Result<Watch> {
        nix::sys::prctl::set_child_subreaper(true).context("prctl")?;
        let (interrupts, interrupted) = UnixStream::pair().context("signals")?;
        let (children, child_ended) = UnixStream::pair().context("signals")?;
        children.set_nonblocking(true).context("signals")?;
        let number = Arc::new(AtomicUsize::new(0));
        let ignored = ignored();
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            // Under nohup(1), say, it stays ignored.
            if ignored >> (signal - 1) & 1 == 0 {
                flag::register_usize(signal, Arc::clone(&number), signal as usize)
                    .context("signals")?;
                pipe::register(signal, interrupted.try_clone()?).context("signals")?;
            }
        }
        pipe::register(SIGCHLD, child_ended).context("signals")?;
        Ok(Watch { interrupts, number, children })
    }

    /// Waits until one of `fds` is readable or hung up, a child ended, or
    /// `limit` is over; says which of `fds` it is.
    ///
    /// # Errors
    /// [`Interrupted`], or those of poll(2).
    pub fn wait<const N: usize>(
        &self,
        fds: [Option<BorrowedFd<'_>>; N],
        limit: Duration,
    ) -> Result<[bool; N]> {
        let own = [self.interrupts.as_fd(), self.children.as_fd()];
        let mut polled: Vec<_> = own
            .into_iter()
            .chain(fds.iter().flatten().copied())
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        // Rounded up, so as not to wake a moment too early.
        let limit = limit + Duration::from_millis(1);
        match poll(&mut polled, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => return self.wait(fds, limit),
            Err(errno) => return Err(errno).context("poll"),
        }
        let mut ready = polled.iter().map(|fd| fd.any() == Some(true));
        if ready.next() == Some(true) {
            return Err(Interrupted(self.number.load(Ordering::SeqCst) as u8).into());
        }
        if ready.next() == Some(true) {
            self.forget_children();
        }
        Ok(fds.map(|fd| fd.is_some() && ready.next() == Some(true)))
    }

    /// Waits until a child ends or `limit` is over, whatever else happens.
    pub fn wait_for_child(&self, limit: Duration) {
        let mut polled = [PollFd::new(self.children.as_fd(), PollFlags::POLLIN)];
        let limit = limit + Duration::from_millis(1);
        // Woken for nothing, the caller looks and comes back.
        let _ = poll(&mut polled, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
        self.forget_children();
    }

    fn forget_children(&self) {
        let mut bytes = [0; 64];
        while (&self.children).read(&mut bytes).is_ok_and(|n| n == bytes.len()) {}
    }
}

/// The set of ignored signals, proc_pid_status(5).
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}
