//! Doorbells: how a side that went to sleep is woken, and how it learns that
//! its neighbour is gone.
//!
//! A side rings by writing to an eventfd which never leaves its process. What
//! it hands to the neighbour is an epoll instance that watches this eventfd,
//! edge-triggered. So the hearer can wait, and can neither block the ringer (by
//! filling the counter of a shared eventfd and clearing its `O_NONBLOCK`) nor be
//! blocked: all it ever does with the descriptor is to poll it. Nobody reads
//! the eventfd, each write is an edge of its own, so a wake-up costs one system
//! call on each side.
//!
//! The second thing a sleeper waits for is the hang-up of the Unix socket over
//! which the link was agreed; the kernel reports it however the neighbour ended.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::{Errno, Result};

use crate::handshake::ALIVE;
use crate::scm;

/// The end that rings.
pub(crate) struct Ringer(OwnedFd);

impl Ringer {
    /// A ringer and the descriptor for the neighbour to listen on.
    pub fn new() -> Result<(Ringer, OwnedFd)> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let hearing = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&hearing, &bell, EventData::new_u64(0), EventFlags::IN | EventFlags::ET)?;
        Ok((Ringer(bell), hearing))
    }

    pub fn ring(&self) {
        // Cannot block (private and non-blocking) and cannot fail before 2^64 rings.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// What the two halves of a link (or the one of a one-way link) share.
pub(crate) struct LinkFds {
    /// The handshake's socket; its hang-up is the neighbour's death.
    pub socket: OwnedFd,
    pub ringer: Ringer,
    /// The neighbour's doorbell.
    pub hearing: OwnedFd,
}

/// Questions answered at once; who asks more than that has something else in mind.
const QUESTIONS: usize = 16;

impl LinkFds {
    pub fn new(socket: OwnedFd, ringer: Ringer, hearing: OwnedFd) -> LinkFds {
        LinkFds { socket, ringer, hearing }
    }

    /// Something happened to the socket: whether the neighbour is gone. All that it may
    /// send is the question whether we live, see [`ALIVE`].
    fn has_ended(&self) -> bool {
        let mut bytes = [0; ALIVE.len() + 1];
        for _ in 0..QUESTIONS {
            match scm::recv(&self.socket, &mut bytes) {
                Ok(asked) if bytes[..asked.len] == ALIVE && asked.fds.len() == 1 => {
                    // Who does not wait for the answer is not owed one.
                    let _ = scm::send(&asked.fds[0], &ALIVE, &[]);
                }
                // The other half of this link was faster.
                Err(Errno::AGAIN) => return false,
                Err(Errno::INTR) => {}
                _ => return true,
            }
        }
        true
    }
}

/// Where one half of a link sleeps.
pub(crate) struct Waiter {
    link: Arc<LinkFds>,
    epoll: OwnedFd,
    hung_up: bool,
}

const BELL: u64 = 0;
const SOCKET: u64 = 1;

impl Waiter {
    /// # Errors
    /// `ELOOP` or `EINVAL` where the neighbour's doorbell is not one.
    pub fn new(link: Arc<LinkFds>) -> Result<Waiter> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &link.hearing,
            EventData::new_u64(BELL),
            EventFlags::IN | EventFlags::ET,
        )?;
        epoll::add(
            &epoll,
            &link.socket,
            EventData::new_u64(SOCKET),
            EventFlags::IN | EventFlags::RDHUP | EventFlags::ET,
        )?;
        Ok(Waiter { link, epoll, hung_up: false })
    }

    pub fn ring(&self) {
        self.link.ringer.ring();
    }

    /// Whether the neighbour's process is known to be gone.
    pub fn hung_up(&self) -> bool {
        self.hung_up
    }

    /// Sleeps until the doorbell, the hang-up or the timeout. May wake for
    /// nothing. A signal handler's return counts as a wake-up.
    pub fn sleep(&mut self, timeout: Option<Duration>) -> Result<()> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: t.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        let mut events = Vec::with_capacity(2);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        let touched = events.iter().any(|event| event.data.u64() == SOCKET);
        self.hung_up |= touched && self.link.has_ended();
        Ok(())
    }

    /// Takes note of what happened without sleeping, so that the descriptor
    /// is no longer readable.
    pub fn clear(&mut self) -> Result<()> {
        self.sleep(Some(Duration::ZERO))
    }
}

impl AsFd for Waiter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Whether a descriptor from the neighbour can serve as its doorbell: an epoll
/// instance, on which nothing but polling is possible.
pub(crate) fn is_doorbell(fd: &OwnedFd) -> bool {
    let mut events = Vec::with_capacity(1);
    epoll::wait(fd, spare_capacity(&mut events), Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Waiter, Waiter) {
        let (a, b) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let (ring_a, hear_a) = Ringer::new().unwrap();
        let (ring_b, hear_b) = Ringer::new().unwrap();
        let a = LinkFds::new(a, ring_a, hear_b);
        let b = LinkFds::new(b, ring_b, hear_a);
        (Waiter::new(Arc::new(a)).unwrap(), Waiter::new(Arc::new(b)).unwrap())
    }

    fn readable(fd: impl AsFd) -> bool {
        let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&now)).unwrap() == 1
    }

    #[test]
    fn each_ring_is_heard_until_it_is_cleared() {
        let (a, mut b) = pair();
        for _ in 0..3 {
            assert!(!readable(&b));
            a.ring();
            assert!(readable(&b));
            b.sleep(None).unwrap();
        }
        assert!(!b.hung_up());
        assert!(!readable(&a));
    }

    #[test]
    fn two_halves_hear_the_same_bell() {
        let (a, mut b) = pair();
        let mut half = Waiter::new(b.link.clone()).unwrap();
        a.ring();
        b.clear().unwrap();
        assert!(readable(&half), "the other half's clear took the ring away");
        half.clear().unwrap();
        a.ring();
        assert!(readable(&half) && readable(&b));
    }

    #[test]
    fn the_neighbours_end_is_a_hang_up() {
        let (a, mut b) = pair();
        drop(a);
        b.sleep(None).unwrap();
        assert!(b.hung_up());
    }

    #[test]
    fn who_asks_whether_we_live_is_answered_and_nothing_else_may_be_sent() {
        let (a, mut b) = pair();
        let mut half = Waiter::new(b.link.clone()).unwrap();
        let (ours, theirs) = crate::link::socket_pair().unwrap();
        for _ in 0..3 {
            scm::send(&a.link.socket, &ALIVE, &[theirs.as_fd()]).unwrap();
        }
        b.sleep(None).unwrap();
        half.clear().unwrap();
        assert!(!b.hung_up() && !half.hung_up() && !readable(&b) && !readable(&half));
        let mut bytes = [0; 16];
        for _ in 0..3 {
            assert_eq!(scm::recv(&ours, &mut bytes).unwrap().len, ALIVE.len());
        }
        scm::send(&a.link.socket, b"x", &[]).unwrap();
        b.sleep(None).unwrap();
        assert!(b.hung_up());
    }

    #[test]
    fn only_an_epoll_instance_is_a_doorbell() {
        let (_, good) = Ringer::new().unwrap();
        assert!(is_doorbell(&good));
        let (read, write) = rustix::pipe::pipe().unwrap();
        assert!(!is_doorbell(&read) && !is_doorbell(&write));
        assert!(!is_doorbell(&eventfd(1, EventfdFlags::CLOEXEC).unwrap()));
    }
}
