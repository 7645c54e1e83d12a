//! Where front ends come from: who connects, or who listens.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use rustix::net::SocketType;

use crate::unix::{self, Listener, Socket};

/// Between two calls of somebody who listened once.
const CALL_AGAIN: Duration = Duration::from_secs(1);

/// A place, as long as front ends may come.
pub struct Place {
    path: Option<PathBuf>,
    state: State,
    epoll: Rc<Epoll>,
    number: u64,
}

enum State {
    /// They connect.
    Listening(Listener),
    /// They listen; when they are called.
    Calling(Instant),
    /// Nobody comes.
    Shut,
}

impl Place {
    /// Front ends at a path, which come one after the other, and the first if it was
    /// there. `number` is that of the place's events.
    ///
    /// # Errors
    /// One line that names the path and the way out.
    pub fn open(path: PathBuf, epoll: &Rc<Epoll>, number: u64) -> Result<(Place, Option<OwnedFd>)> {
        let mut place =
            Place { path: Some(path), state: State::Shut, epoll: epoll.clone(), number };
        let first = place.reopen()?;
        Ok((place, first))
    }

    /// One front end, which has connected, and no other.
    pub fn of_one(epoll: &Rc<Epoll>) -> Place {
        Place { path: None, state: State::Shut, epoll: epoll.clone(), number: 0 }
    }

    /// Those who connect to a socket that has no path to be found again.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn of_listener(listener: Listener, epoll: &Rc<Epoll>, number: u64) -> Result<Place> {
        let mut place = Place { path: None, state: State::Shut, epoll: epoll.clone(), number };
        place.listen(listener)?;
        Ok(place)
    }

    fn listen(&mut self, listener: Listener) -> Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, self.number);
        self.epoll.add(&listener, event).context("epoll_ctl")?;
        self.state = State::Listening(listener);
        Ok(())
    }

    /// Lets front ends come (again).
    ///
    /// # Errors
    /// As [`Place::open`].
    pub fn reopen(&mut self) -> Result<Option<OwnedFd>> {
        let (State::Shut, Some(path)) = (&self.state, &self.path) else { return Ok(None) };
        match unix::meet(path, SocketType::STREAM)? {
            Socket::Connected(socket) => {
                self.state = State::Calling(Instant::now());
                Ok(Some(socket))
            }
            Socket::Listening(listener) => {
                self.listen(listener)?;
                Ok(None)
            }
        }
    }

    /// Lets nobody come for the time being: connecting is refused.
    pub fn shut(&mut self) {
        if self.path.is_some() {
            self.state = State::Shut;
        }
    }

    /// The last front end has gone.
    pub fn is_free(&mut self) {
        if let State::Calling(at) = &mut self.state {
            *at = Instant::now() + CALL_AGAIN;
        }
    }

    /// Whether front ends listen.
    pub fn calls(&self) -> bool {
        matches!(self.state, State::Calling(_))
    }

    /// The next front end, if there is one.
    pub fn next(&mut self) -> Option<OwnedFd> {
        match (&mut self.state, &self.path) {
            (State::Listening(listener), _) => listener.accept(),
            (State::Calling(at), Some(path)) if *at <= Instant::now() => {
                *at = Instant::now() + CALL_AGAIN;
                unix::call(path, SocketType::STREAM)
            }
            _ => None,
        }
    }

    /// When [`Place::next`] is to be called although nothing happened.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Calling(at) => Some(at),
            _ => None,
        }
    }

    /// Whether nobody can come any more.
    pub fn is_over(&self) -> bool {
        self.path.is_none() && matches!(self.state, State::Shut)
    }
}

/// Watches a front end's socket.
///
/// # Errors
/// Those of epoll_ctl(2).
pub fn watch(epoll: &Epoll, socket: impl AsFd, number: u64) -> Result<()> {
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
    epoll.add(socket, EpollEvent::new(flags, number)).context("epoll_ctl")
}
