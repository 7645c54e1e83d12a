//! What this network namespace still has to send for programs that have ended.
//!
//! A program's end is not that of its connections: the kernel goes on sending
//! what they hold, as `close(2)` promises. Nor is a datagram on its way when
//! `sendto(2)` returns: it may wait for the hardware address of its next hop, or
//! in a queueing discipline.

mod census;
mod queues;
mod sockets;

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use queues::Queues;
use sockets::Sockets;

/// What is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// TCP connections that no program has any more, and whose peer has not
    /// acknowledged all of it, the end included.
    pub connections: u64,
    /// Bytes of theirs that the peer has not acknowledged.
    pub bytes: u64,
    /// Next hops whose hardware address is being asked for; packets wait for each.
    pub unresolved: u64,
    /// Packets in queueing disciplines.
    pub queued: u64,
}

impl Left {
    /// Whether all has left.
    pub fn is_none(&self) -> bool {
        *self == Left::default()
    }

    /// One number for all of it: it is less when something has left.
    pub fn total(&self) -> u64 {
        self.connections + self.bytes + self.unresolved + self.queued
    }
}

/// Asks the kernel what is left, and hears when that may have changed.
///
/// As a descriptor it becomes readable then: a socket is gone for good, or a next
/// hop's hardware address became known. A queueing discipline tells nobody that it
/// is empty; what was in it comes out of the interface.
pub struct Backlog {
    sockets: Sockets,
    queues: Queues,
    news: Epoll,
}

impl Backlog {
    /// Listens from now on.
    ///
    /// # Errors
    /// Where the kernel has no sock_diag(7).
    pub fn new() -> Result<Backlog> {
        let (sockets, queues) = (Sockets::new()?, Queues::new()?);
        let news = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        for fd in [sockets.news(), queues.news()] {
            news.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0)).context("epoll_ctl")?;
        }
        Ok(Backlog { sockets, queues, news })
    }

    /// Looks what is left. Connections from one of the addresses `cut_off` do not
    /// count: nothing of theirs can leave any more.
    ///
    /// # Errors
    /// Those of netlink(7).
    pub fn look(&mut self, cut_off: &[IpAddr]) -> Result<Left> {
        // First of all, so that no news is missed that comes while we look.
        self.sockets.forget_news();
        self.queues.forget_news();
        let mut left = Left::default();
        self.sockets.add_unsent(&mut left, cut_off)?;
        self.queues.add(&mut left)?;
        Ok(left)
    }

    /// Bytes, and connections not accepted yet, that arrived at one of these
    /// addresses, or at a socket for any, and that no program has taken.
    ///
    /// # Errors
    /// Those of netlink(7).
    pub fn unread(&mut self, at: &[IpAddr]) -> Result<u64> {
        self.sockets.unread(at)
    }
}

impl AsFd for Backlog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.0.as_fd()
    }
}
