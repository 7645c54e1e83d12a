//! The greeter's part: HELLO, and what the maker answers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{SocketType, sockopt::socket_type};

use super::clock::{Alarm, PATIENCE};
use super::common::Common;
use super::meeting::Channel;
use super::talk::Talk;
use super::{Event, PROLOGUE, Rendezvous};
use crate::address::PipeEnd;
use crate::bell::{LinkFds, Ringer, is_doorbell};
use crate::error::LinkError;
use crate::handshake::{Channel as Crossing, Kind, Message, Offer, Reason, VERSION};
use crate::link::{Link, Medium, Peer, halves};
use crate::region::{Geometry, Region};
use crate::role::Role;
use crate::scm;

impl Rendezvous {
    /// Knocks at the other end of a socket that is the pipe.
    pub(super) fn knock_through(&mut self) -> Result<(), LinkError> {
        let common = &self.common;
        let (ours, theirs) = common.pair()?;
        scm::send(&common.end, &PROLOGUE, &[theirs.as_fd()]).map_err(|e| match e {
            Errno::PIPE | Errno::CONNRESET => common.gone(),
            e => common.system("sendmsg", e),
        })?;
        let channel = self.meeting.brought();
        self.talk(channel, ours, false, 0)
    }

    /// Sends the HELLO.
    pub(super) fn hello(&mut self, channel: Channel) -> Result<(), LinkError> {
        let common = &self.common;
        let Some(talk) = self.talks.get_mut(&channel) else { return Ok(()) };
        let (ringer, hearing) = Ringer::new().map_err(|e| common.system("eventfd", e))?;
        let hello = Message::new(Kind::Hello, common.end.role(), &common.offer);
        let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
        if !common.end.is_socket() {
            fds.push(common.end.as_fd());
        }
        fds.push(hearing.as_fd());
        match scm::send(&talk.socket, &hello.encode(), &fds) {
            Ok(()) => {
                talk.ringer = Some(ringer);
                if self.meeting.is_held() {
                    let patience = PATIENCE * (1 << self.disappointments.min(5));
                    self.clock.set(Alarm::Patience, Some(Instant::now() + patience));
                }
                Ok(())
            }
            // It has hung up, which will be heard next.
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            // Too many descriptors are on their way.
            Err(Errno::TOOMANYREFS) => {
                self.lose(channel);
                Ok(())
            }
            Err(e) => Err(self.common.system("sendmsg", e)),
        }
    }

    /// A reader can be greeted, and the caller wants to be asked first.
    pub(super) fn tell_who_came(&mut self) {
        if self.meeting.is_wanted() {
            self.common.events.push_back(Event::ReaderCame);
        }
    }

    /// Something ended; `greeted`: somebody had been greeted before.
    pub(super) fn retract_if(&mut self, greeted: bool) {
        if greeted && self.meeting.is_held() && !self.meeting.is_greeting() {
            self.common.events.push_back(Event::Retracted);
            self.tell_who_came();
        }
    }

    /// The maker turned us down.
    pub(super) fn refused(&self, channel: Channel, answer: &Message) -> LinkError {
        let what = self.common.end.what().to_owned();
        match answer.reason {
            Some(Reason::Taken) => {
                // Readers are refused for a second reader, writers for a second writer.
                let role = self.common.end.role();
                let pid = self.talks.get(&channel).map_or(0, |talk| talk.pid.unsigned_abs());
                LinkError::Taken { what, role, by: crate::holders::name(pid) }
            }
            Some(Reason::Version) => LinkError::Version { what, theirs: 0, ours: VERSION },
            Some(Reason::NoProof) => {
                self.common.protocol("it does not believe that we hold the pipe")
            }
            Some(Reason::Exhausted) => self.common.protocol("it has no memory or descriptors left"),
            Some(Reason::Malformed) | None => {
                self.common.protocol("it finds our greeting malformed")
            }
        }
    }

    /// The maker's WELCOME: a link, unless it hung up meanwhile.
    pub(super) fn welcomed(
        &mut self,
        channel: Channel,
        welcome: Message,
        fds: Vec<OwnedFd>,
    ) -> Result<(), LinkError> {
        let Some(mut talk) = self.talks.remove(&channel) else { return Ok(()) };
        let Some(ringer) = talk.ringer.take() else {
            return Err(self.common.protocol("an answer of the wrong kind"));
        };
        let accepted = accept(&self.common, &welcome, fds)?;
        self.common.remove(&talk.socket);
        let ready = Message::new(Kind::Ready, self.common.end.role(), &welcome.offer);
        if scm::send(&talk.socket, &ready.encode(), &[]).is_err() {
            drop(talk);
            self.lose(channel);
            return Ok(());
        }
        let link = accepted.into_link(&self.common, talk, ringer, welcome.offer)?;
        self.meeting.linked(channel);
        self.retire();
        self.common.events.push_back(Event::Link(link));
        Ok(())
    }

    /// A greeter has its link and wants no other: nobody is to knock any more.
    fn retire(&mut self) {
        self.over = true;
        self.clock = Default::default();
        self.close_path_gate();
        if let Some(post) = self.common.end.post_mut() {
            post.withdraw();
        }
        if let Some(post) = self.common.end.post() {
            self.common.remove(post);
        }
    }
}

/// What came with a WELCOME, checked.
struct Accepted {
    hearing: OwnedFd,
    tx: Option<Medium>,
    rx: Option<Medium>,
    aside: Option<OwnedFd>,
}

/// Checks a WELCOME and everything that came with it.
fn accept(common: &Common, welcome: &Message, fds: Vec<OwnedFd>) -> Result<Accepted, LinkError> {
    let agreed = &welcome.offer;
    if !common.offer.allows(agreed) {
        return Err(common.protocol("it agreed to what was not offered"));
    }
    let i_write = match (common.end.role(), welcome.role) {
        (Role::Reader, Role::Reader) | (Role::Writer, Role::Writer) => {
            return Err(common.protocol("it holds the same end of the pipe"));
        }
        (Role::Reader, _) => false,
        _ => true,
    };
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(|| common.protocol("a descriptor is missing"));
    if !common.end.is_socket() {
        let role = if i_write { Role::Reader } else { Role::Writer };
        if !common.end.is_proved_by(&next()?, role) {
            return Err(common.protocol("it does not hold the pipe"));
        }
    }
    let hearing = next()?;
    if !is_doorbell(&hearing) {
        return Err(common.protocol("its doorbell is none"));
    }
    let geometry = Geometry::new(agreed.capacity, agreed.max_frame, common.end.id());
    let mut aside = None;
    let (forward, back) = match agreed.channel {
        Crossing::Shm => {
            let mut ring = || -> Result<Medium, LinkError> {
                let region = Region::attach(next()?, geometry);
                region.map(Medium::Ring).map_err(|e| common.region(e))
            };
            let forward = ring()?;
            (forward, if agreed.duplex { Some(ring()?) } else { None })
        }
        Crossing::Fifo => {
            let access = if i_write { OFlags::WRONLY } else { OFlags::RDONLY };
            let own = common.end.reopen(access).map_err(|e| common.unopened(e))?;
            let back = if agreed.duplex { Some(way_back(common, next()?)?) } else { None };
            (Medium::Pipe(own), back)
        }
        Crossing::Aside => {
            let socket = next()?;
            if !matches!(socket_type(&socket), Ok(SocketType::SEQPACKET)) {
                return Err(common.protocol("its socket is none"));
            }
            aside = Some(socket);
            (Medium::Aside, Some(Medium::Aside))
        }
    };
    if next().is_ok() {
        return Err(common.protocol("a descriptor too many"));
    }
    let (tx, rx) = if i_write { (Some(forward), back) } else { (back, Some(forward)) };
    Ok(Accepted { hearing, tx, rx, aside })
}

impl Accepted {
    fn into_link(
        self,
        common: &Common,
        talk: Talk,
        ringer: Ringer,
        agreed: Offer,
    ) -> Result<Link, LinkError> {
        let Offer { channel, features, max_frame, label, .. } = agreed;
        let fds = Arc::new(LinkFds::new(talk.socket, ringer, self.hearing));
        let (tx, rx) = halves(self.tx, self.rx, &fds, max_frame, &common.offer.label)
            .map_err(|e| common.system("epoll_ctl", e))?;
        let peer = Peer { pid: talk.pid, label };
        Ok(Link { tx, rx, peer, channel, features, max_frame, aside: self.aside })
    }
}

/// The pipe for the frames against the direction of the pipe that is the
/// address. It comes from the neighbour, so it is opened anew: its own file
/// description may lose O_NONBLOCK at any moment.
fn way_back(common: &Common, fd: OwnedFd) -> Result<Medium, LinkError> {
    let end = PipeEnd::without_post(fd, common.end.what())?;
    let access = match (end.is_socket(), end.role()) {
        (false, Role::Reader) => OFlags::RDONLY,
        (false, Role::Writer) => OFlags::WRONLY,
        _ => return Err(common.protocol("its way back is no pipe")),
    };
    let own = end.reopen(access).map_err(|e| common.system("open", e))?;
    Ok(Medium::Pipe(own))
}
