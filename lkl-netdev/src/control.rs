//! How kernel context reaches the thread that is in `poll`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Result;

/// A bell and the order to end.
pub(crate) struct Control {
    bell: OwnedFd,
    /// Set once, by `poll_hup`.
    removed: AtomicBool,
}

impl Control {
    pub fn new() -> Result<Control> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Control { bell, removed: AtomicBool::new(false) })
    }

    /// Makes `poll` look around.
    pub fn ring(&self) {
        // Cannot block and cannot fail before 2^64 rings.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Makes `poll` return for good.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::Release);
        self.ring();
    }

    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    pub fn clear(&self) {
        // EAGAIN where nobody rang.
        let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
