//! The door: how a running function or element is asked to do something.
//!
//! A process that serves has a listening socket, and is found by it as `stdpkt ls` finds
//! boards: in `/proc/PID/fd`. The socket's file is made somewhere, held by an `O_PATH`
//! descriptor and removed at once; whoever may look into `/proc/PID/fd` connects to
//! `/proc/PID/fd/N`, which the kernel follows to the file itself. So there is no name that
//! somebody else could take, none that is left behind, and none that another mount or
//! network namespace does not have. That much only the same user may do, and root; the
//! server then takes requests of its own user only (`SO_PEERCRED`), and the client speaks
//! only to the process that it meant.
//!
//! [`Door`] is the serving side, for an event loop; [`ask`] is the asking one. What
//! they say to each other is in [`messages`].

mod client;
pub mod messages;
pub(crate) mod socket;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustix::net::SocketFlags;

pub use client::{Answer, Asked, Connection, ask, connect, is_at};
use messages::{Reply, Request};

/// Callers that have not said anything yet; the oldest makes room for the next.
const GUESTS: usize = 8;
/// What an event says of the socket that listens; guests have numbers from 1 on.
const LISTENER: u64 = 0;

/// The serving side. As a descriptor it is readable when there is something to do.
pub struct Door {
    epoll: Epoll,
    listener: OwnedFd,
    /// By it the socket is found.
    _file: OwnedFd,
    guests: VecDeque<(u64, OwnedFd)>,
    /// Of the newest guest.
    serial: u64,
}

/// What somebody asks for.
pub struct Call {
    /// The request.
    pub request: Request,
    /// What came with it.
    pub fds: Vec<OwnedFd>,
    /// Who waits for an answer.
    pub caller: Caller,
}

/// Somebody of our user who waits for an answer. Dropped without one, it hears that this
/// process has ended.
pub struct Caller {
    socket: OwnedFd,
}

impl Caller {
    /// Answers, once. One that does not listen any more hears nothing.
    pub fn answer(self, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        self.tell(reply, fds);
    }

    /// Answers one who then has more to say, see [`Caller::into_socket`].
    pub fn tell(&self, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        let _ = socket::send(&self.socket, &messages::encode(reply), fds);
    }

    /// The connection, for those who have more to say to each other.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

impl Call {
    /// Answers what `result` says.
    pub fn answer(self, result: Result<Reply>) {
        let reply = result.unwrap_or_else(|error| Reply::Refused { why: format!("{error:#}") });
        self.caller.answer(&reply, &[]);
    }

    /// Answers with descriptors.
    pub fn answer_with<const N: usize>(self, result: Result<[OwnedFd; N]>) {
        match result {
            Ok(fds) => self.caller.answer(&Reply::Done, &fds.each_ref().map(AsFd::as_fd)),
            Err(error) => self.answer(Err(error)),
        }
    }
}

impl Door {
    /// The door of this process. Where there can be none, it serves all the same, and `-v`
    /// tells.
    pub fn open() -> Option<Door> {
        let door = Door::new();
        door.inspect_err(|error| {
            say::detail!("it cannot be asked for anything while it runs: {error:#}");
        })
        .ok()
    }

    fn new() -> Result<Door> {
        let (listener, file) = socket::listen()?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        // By edges: one that cannot be let in, for want of descriptors, does not keep the
        // loop awake.
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, LISTENER);
        epoll.add(&listener, event).context("epoll_ctl")?;
        Ok(Door { epoll, listener, _file: file, guests: VecDeque::new(), serial: LISTENER })
    }

    /// What is asked now. Never waits, and does little at a time: whoever has more to ask
    /// has to call again.
    pub fn calls(&mut self) -> Vec<Call> {
        let mut events = [EpollEvent::empty(); GUESTS + 1];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        let mut calls = Vec::new();
        for event in &events[..count] {
            match event.data() {
                LISTENER => self.let_in(),
                guest => calls.extend(self.hear(guest)),
            }
        }
        calls
    }

    /// Takes all that wait, which are no more than the socket's backlog.
    fn let_in(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        for _ in 0..=socket::BACKLOG {
            let Ok(guest) = rustix::net::accept_with(&self.listener, flags) else { return };
            self.serial += 1;
            if self.guests.len() == GUESTS {
                self.guests.pop_front();
            }
            // What it has said already is an event, too.
            if self.epoll.add(&guest, EpollEvent::new(EpollFlags::EPOLLIN, self.serial)).is_ok() {
                self.guests.push_back((self.serial, guest));
            }
        }
    }

    /// Takes the one request of a guest, which then is none any more.
    fn hear(&mut self, guest: u64) -> Option<Call> {
        let at = self.guests.iter().position(|(serial, _)| *serial == guest)?;
        let (_, socket) = self.guests.remove(at)?;
        let _ = self.epoll.delete(&socket);
        let mut bytes = vec![0; messages::LONGEST];
        let received = socket::receive(&socket, &mut bytes);
        let caller = Caller { socket };
        let request = match received {
            // It has gone, or has said nothing yet.
            Ok((0, _)) => return None,
            _ if !socket::is_our_user(&caller.socket) => {
                Err("this is another user's: only that user may ask it".to_owned())
            }
            Err(errno) => Err(format!("the request did not arrive: {errno}")),
            Ok((len, fds)) => {
                messages::decode::<Request>(&bytes[..len]).map(|request| (request, fds))
            }
        };
        match request {
            Ok((request, fds)) => Some(Call { request, fds, caller }),
            Err(why) => {
                caller.answer(&Reply::Refused { why }, &[]);
                None
            }
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

#[cfg(test)]
mod tests;
