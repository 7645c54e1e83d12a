//! Descriptors that come and go behind one epoll instance, and those who wait to be the
//! next at the other end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::unix::Listener;

/// The listener's number.
const NEXT: u64 = u64::MAX;
/// Descriptors of an edge: two of a connection and the listener.
const MOST: usize = 3;

/// One connection after the other, or the only one.
pub(crate) struct Guests {
    epoll: Epoll,
    listener: Option<Listener>,
}

/// Something became ready.
pub(crate) enum News {
    /// The descriptor with this number.
    Ready(u64, EpollFlags),
    /// Somebody would like to be the next.
    Next,
}

impl Guests {
    /// With `listener` there may be another one after each.
    ///
    /// # Errors
    /// Those of epoll_create1(2) and epoll_ctl(2).
    pub fn new(listener: Option<Listener>) -> Result<Guests> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        if let Some(listener) = &listener {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, NEXT);
            epoll.add(listener, event).context("epoll_ctl")?;
        }
        Ok(Guests { epoll, listener })
    }

    /// Waits for a descriptor, edge-triggered, until it is closed.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn watch(&self, fd: &OwnedFd, flags: EpollFlags, number: u64) -> Result<()> {
        match self.epoll.add(fd, EpollEvent::new(flags | EpollFlags::EPOLLET, number)) {
            // A plain file is always ready.
            Ok(()) | Err(Errno::EPERM) => Ok(()),
            Err(errno) => Err(errno).context("epoll_ctl"),
        }
    }

    /// What became ready since the last time.
    pub fn news(&self) -> impl Iterator<Item = News> + use<> {
        let mut events = [EpollEvent::empty(); MOST];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        events.into_iter().take(count).map(|event| match event.data() {
            NEXT => News::Next,
            number => News::Ready(number, event.events()),
        })
    }

    /// Who has come to be the next, if anybody has.
    pub fn next(&self) -> Option<OwnedFd> {
        self.listener.as_ref()?.accept()
    }

    /// Whether nobody can come any more.
    pub fn is_last(&self) -> bool {
        self.listener.is_none()
    }
}

impl AsFd for Guests {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}
