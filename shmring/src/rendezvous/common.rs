//! What all that takes part in a rendezvous needs.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Event, PIPE};
use crate::address::PipeEnd;
use crate::error::LinkError;
use crate::handshake::{Malformed, Offer, VERSION};
use crate::link::socket_pair;
use crate::region::RegionError;
use crate::role::Role;
use crate::runtime_dir::RuntimeDir;

/// The pipe, our wishes, and what is watched.
pub(super) struct Common {
    pub end: PipeEnd,
    pub dir: RuntimeDir,
    pub offer: Offer,
    pub epoll: OwnedFd,
    /// Whether a hang-up of the pipe still means that nobody will come.
    pub watch_pipe: bool,
    /// Bytes in the pipe are for the holder of this rendezvous, not an error.
    pub accept_bytes: bool,
    /// What the holder has not been told yet.
    pub events: VecDeque<Event>,
}

impl Common {
    pub fn system(&self, call: &'static str, errno: Errno) -> LinkError {
        LinkError::System { what: self.end.what().to_owned(), call, errno }
    }

    pub fn protocol(&self, why: &'static str) -> LinkError {
        LinkError::Protocol { what: self.end.what().to_owned(), why }
    }

    pub fn malformed(&self, error: Malformed) -> LinkError {
        match error {
            Malformed::Because(why) => self.protocol(why),
            Malformed::Version(theirs) => {
                LinkError::Version { what: self.end.what().to_owned(), theirs, ours: VERSION }
            }
        }
    }

    pub fn region(&self, error: RegionError) -> LinkError {
        match error {
            RegionError::Refused(why) => self.protocol(why),
            RegionError::System(call, source) => self.system(call, source),
        }
    }

    pub fn gone(&self) -> LinkError {
        LinkError::NeighbourGone { what: self.end.what().to_owned() }
    }

    pub fn add(&self, fd: impl AsFd, token: u64, interest: EventFlags) -> Result<(), LinkError> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), interest)
            .map_err(|e| self.system("epoll_ctl", e))
    }

    /// To be called before a watched descriptor is closed or becomes the link's:
    /// closing alone would leave it watched while a forked child has a copy.
    pub fn remove(&self, fd: impl AsFd) {
        // Fails only for a descriptor that is not there.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Until the first link, the pipe's own hang-up says that nobody will come,
    /// and bytes in it that its writer knows nothing of rings.
    pub fn watch_pipe(&mut self) -> Result<(), LinkError> {
        let interest = match self.end.role() {
            Role::Reader => EventFlags::IN | EventFlags::RDHUP,
            _ => EventFlags::empty(), // hang-up and error are always reported
        };
        self.add(&self.end, PIPE, interest)?;
        self.watch_pipe = true;
        Ok(())
    }

    pub fn unwatch_pipe(&mut self) {
        if std::mem::take(&mut self.watch_pipe) {
            self.remove(&self.end);
        }
    }

    pub fn pipe_event(&mut self, flags: EventFlags) -> Result<(), LinkError> {
        match flags.contains(EventFlags::IN) {
            true if self.accept_bytes => {
                self.events.push_back(Event::Bytes);
                self.unwatch_pipe();
                Ok(())
            }
            true => Err(LinkError::UnawareNeighbour { what: self.end.what().to_owned() }),
            false => Err(self.gone()),
        }
    }

    /// Two ends of a conversation.
    pub fn pair(&self) -> Result<(OwnedFd, OwnedFd), LinkError> {
        socket_pair().map_err(|e| self.system("socketpair", e))
    }

    /// The pipe could not be opened anew.
    pub fn unopened(&self, errno: Errno) -> LinkError {
        self.end.unopened(errno)
    }

    /// Takes out of the pipe what a writer put there before its HELLO. It writes
    /// no more, so the number of bytes is known; never more than the pipe holds.
    pub fn tell_leftover(&mut self) -> Result<bool, LinkError> {
        let left = rustix::io::ioctl_fionread(&self.end).unwrap_or(0) as usize;
        let mut last = vec![0; left];
        let mut len = 0;
        let mut result = Ok(());
        if left > 0 {
            let pipe = self.end.reopen(OFlags::RDONLY).map_err(|e| self.unopened(e))?;
            while len < left {
                match rustix::io::read(&pipe, &mut last[len..]) {
                    Ok(0) | Err(Errno::AGAIN) => break,
                    Ok(n) => len += n,
                    Err(Errno::INTR) => {}
                    Err(e) => {
                        result = Err(self.system("read", e));
                        break;
                    }
                }
            }
        }
        last.truncate(len);
        self.events.push_back(Event::WriterStopped(last));
        result.map(|()| len > 0)
    }
}
