//! The side that connects.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::survivor::Survivor;
use super::watch::{TIMER, WATCH, Watch};
use super::{Common, Event, STATE};
use crate::address::Role;
use crate::bell::{LinkFds, Ringer, is_doorbell};
use crate::error::LinkError;
use crate::handshake::{Channel, Kind, LEN, Message, Offer, Reason, VERSION};
use crate::link::{Link, Medium, Peer, halves, socket_pair};
use crate::region::{Geometry, Region};
use crate::{peer, scm};

/// Sent through a pipe that is a Unix socket, with one end of a socket pair for
/// the handshake: such a pipe may be one-way, so the answer cannot come back through it.
pub(super) const THROUGH: [u8; 16] = super::PROLOGUE;

const GREETING: u64 = STATE + 1;

/// How long the first greeting waits for its answer, and how long the first
/// pause is after one that failed. Both double with each failure, up to 32 s
/// and 1 s.
///
/// A listener that never answers is worth no more than none at all: its
/// connection is dropped, and tried again in case it was only slow (a stopped
/// process, a debugger). How long to wait altogether is the caller's decision.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(1);

pub(super) struct Connecting {
    /// None where the pipe is a socket: our socket went through it, is its own
    /// proof, and waits for a reader to take it out.
    address: Option<Watch>,
    greeting: Option<Greeting>,
    failures: u32,
    /// The pipe carries bytes of ours: greet only when asked to.
    held: bool,
}

struct Greeting {
    socket: OwnedFd,
    ringer: Ringer,
}

impl Connecting {
    pub fn to_address(common: &Common) -> Result<Connecting, LinkError> {
        let mut connecting = Connecting::new(Some(Watch::new(common)?));
        connecting.try_connect(common)?;
        Ok(connecting)
    }

    pub fn through_socket(common: &Common) -> Result<Connecting, LinkError> {
        let system = |call| move |e| common.system(call, e);
        let (ours, theirs) = socket_pair().map_err(system("socketpair"))?;
        let mut connecting = Connecting::new(None);
        scm::send(&common.end, &THROUGH, &[theirs.as_fd()]).map_err(|e| match e {
            Errno::PIPE | Errno::CONNRESET => common.gone(),
            e => common.system("sendmsg", e),
        })?;
        connecting.greet(common, ours)?;
        Ok(connecting)
    }

    fn new(address: Option<Watch>) -> Connecting {
        Connecting { address, greeting: None, failures: 0, held: false }
    }

    pub fn hold(&mut self) -> bool {
        self.held = true;
        self.greeting.is_none()
    }

    pub fn greet_held(&mut self, common: &Common) -> Result<bool, LinkError> {
        if self.greeting.is_none() {
            self.try_connect(common)?;
        }
        Ok(self.greeting.is_some())
    }

    /// A listener is there, or may be.
    fn approach(&mut self, common: &mut Common) -> Result<(), LinkError> {
        match self.held {
            true => {
                common.events.push_back(Event::ReaderCame);
                Ok(())
            }
            false => self.try_connect(common),
        }
    }

    fn try_connect(&mut self, common: &Common) -> Result<(), LinkError> {
        let system = |call| move |e| common.system(call, e);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .map_err(system("socket"))?;
        let path = common.dir.address(common.end.id());
        let name = SocketAddrUnix::new(&path).map_err(system("connect"))?;
        match rustix::net::connect(&socket, &name) {
            Ok(()) if peer::is_our_user(&socket) => self.greet(common, socket),
            Ok(()) => Err(common.protocol("it belongs to another user")),
            // Nobody yet, or a dead one that its successor will replace.
            Err(Errno::NOENT | Errno::CONNREFUSED) => {
                let begun = self.address.as_mut().map_or(Ok(false), |w| w.begin(common))?;
                // It may have come before the watch began.
                if begun {
                    self.try_connect(common)
                } else {
                    self.set_timer(common, Duration::ZERO)
                }
            }
            // It has not accepted the last hundred.
            Err(Errno::AGAIN) => self.pause(common),
            Err(e) => Err(common.system("connect", e)),
        }
    }

    /// Sends the HELLO.
    fn greet(&mut self, common: &Common, socket: OwnedFd) -> Result<(), LinkError> {
        let system = |call| move |e| common.system(call, e);
        let (ringer, hearing) = Ringer::new().map_err(system("eventfd"))?;
        let hello = Message::new(Kind::Hello, common.end.role(), &common.offer);
        let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
        if self.address.is_some() {
            fds.push(common.end.as_fd());
        }
        fds.push(hearing.as_fd());
        match scm::send(&socket, &hello.encode(), &fds) {
            Ok(()) => {}
            // It closed the connection, or too many descriptors are on their way.
            Err(Errno::PIPE | Errno::CONNRESET | Errno::TOOMANYREFS) => return self.pause(common),
            Err(e) => return Err(common.system("sendmsg", e)),
        }
        common.add(&socket, GREETING, EventFlags::IN)?;
        self.greeting = Some(Greeting { socket, ringer });
        self.set_timer(common, PATIENCE * (1 << self.failures.min(5)))
    }

    /// The listener that was greeted went away, or has other things to do.
    fn retract(&mut self, common: &mut Common) -> Result<(), LinkError> {
        if self.held {
            common.events.push_back(Event::Retracted);
        }
        self.pause(common)
    }

    /// Tries again a little later.
    fn pause(&mut self, common: &Common) -> Result<(), LinkError> {
        let pause = PAUSE * (1 << self.failures.min(10));
        self.failures += 1;
        self.set_timer(common, pause)
    }

    /// Zero stops the timer.
    fn set_timer(&self, common: &Common, after: Duration) -> Result<(), LinkError> {
        self.address.as_ref().map_or(Ok(()), |watch| watch.set_timer(common, after))
    }

    /// The greeting was not answered in time, or the pause is over.
    fn on_timer(&mut self, common: &mut Common) -> Result<(), LinkError> {
        if let Some(greeting) = self.greeting.take() {
            common.remove(&greeting.socket);
            self.failures += 1;
        }
        self.approach(common)
    }

    pub fn on_event(&mut self, common: &mut Common, token: u64) -> Result<Option<Link>, LinkError> {
        match token {
            WATCH => self.on_watch(common).map(|()| None),
            GREETING => self.on_answer(common),
            TIMER => self.on_timer(common).map(|()| None),
            // The socket that is the pipe hung up, or carries what nobody expects.
            _ => Err(common.gone()),
        }
    }

    fn on_watch(&mut self, common: &mut Common) -> Result<(), LinkError> {
        let there = self.address.as_ref().map_or(Ok(false), |w| w.sees_a_listener(common))?;
        if there && self.greeting.is_none() { self.approach(common) } else { Ok(()) }
    }

    fn on_answer(&mut self, common: &mut Common) -> Result<Option<Link>, LinkError> {
        let Some(greeting) = self.greeting.take() else { return Ok(None) };
        let mut bytes = [0; LEN + 1];
        let (len, fds) = match scm::recv(&greeting.socket, &mut bytes) {
            Ok((0, _)) | Err(Errno::CONNRESET) if self.address.is_none() => {
                return Err(common.gone());
            }
            Ok((0, _)) | Err(Errno::CONNRESET) => {
                common.remove(&greeting.socket);
                self.retract(common)?;
                return Ok(None);
            }
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => {
                self.greeting = Some(greeting);
                return Ok(None);
            }
            Err(Errno::MSGSIZE) => return Err(common.protocol("a message of another length")),
            Err(e) => return Err(common.system("recvmsg", e)),
        };
        let answer = Message::decode(&bytes[..len]).map_err(|e| common.malformed(e))?;
        let what = common.end.what().to_owned();
        match (answer.kind, answer.reason) {
            (Kind::Welcome, _) => {
                let link = self.accept_welcome(common, greeting, answer, fds)?;
                if link.is_none() {
                    self.retract(common)?;
                }
                Ok(link)
            }
            (Kind::Refuse, Some(Reason::Taken)) => {
                // Readers are refused for a second reader, writers for a second writer.
                let role =
                    if common.end.role() == Role::Reader { Role::Reader } else { Role::Writer };
                Err(LinkError::Taken { what, role })
            }
            (Kind::Refuse, Some(Reason::Version)) => {
                Err(LinkError::Version { what, theirs: 0, ours: VERSION })
            }
            (Kind::Refuse, Some(Reason::NoProof)) => {
                Err(common.protocol("it does not believe that we hold the pipe"))
            }
            (Kind::Refuse, Some(Reason::Malformed)) => {
                Err(common.protocol("it finds our greeting malformed"))
            }
            (Kind::Refuse, Some(Reason::Exhausted)) => {
                Err(common.protocol("it has no memory or descriptors left"))
            }
            _ => Err(common.protocol("an answer of the wrong kind")),
        }
    }

    /// Checks a WELCOME and everything that came with it; `None` when the
    /// listener has hung up meanwhile.
    fn accept_welcome(
        &mut self,
        common: &Common,
        greeting: Greeting,
        welcome: Message,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Link>, LinkError> {
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
        if self.address.is_some() {
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
        let (forward, back) = match agreed.channel {
            Channel::Shm => {
                let mut ring = || -> Result<Medium, LinkError> {
                    let region = Region::attach(next()?, geometry);
                    region.map(Medium::Ring).map_err(|e| common.region(e))
                };
                let forward = ring()?;
                (forward, if agreed.duplex { Some(ring()?) } else { None })
            }
            Channel::Fifo => {
                let access = if i_write { OFlags::WRONLY } else { OFlags::RDONLY };
                let own = common.end.reopen(access).map_err(|e| common.system("open", e))?;
                let back = if agreed.duplex { Some(way_back(common, next()?)?) } else { None };
                (Medium::Pipe(own), back)
            }
        };
        if next().is_ok() {
            return Err(common.protocol("a descriptor too many"));
        }
        let (tx, rx) = if i_write { (Some(forward), back) } else { (back, Some(forward)) };
        let ready = Message::new(Kind::Ready, common.end.role(), agreed);
        if scm::send(&greeting.socket, &ready.encode(), &[]).is_err() {
            common.remove(&greeting.socket);
            return if self.address.is_some() { Ok(None) } else { Err(common.gone()) };
        }
        let pid = if self.address.is_none() { 0 } else { peer::pid(&greeting.socket) };
        let Offer { channel, features, max_frame, .. } = *agreed;
        let peer = Peer { pid, label: agreed.label.clone() };
        let Greeting { socket, ringer } = greeting;
        common.remove(&socket);
        let mut fds = LinkFds::new(socket, ringer, hearing);
        if let Some(watch) = self.address.take() {
            fds.survivor = Some(Survivor { dir: common.dir.clone(), id: common.end.id() });
            fds.closing = Some(watch.close(common));
        }
        let fds = Arc::new(fds);
        let (tx, rx) = halves(tx, rx, &fds, max_frame, &common.offer.label)
            .map_err(|e| common.system("epoll_ctl", e))?;
        Ok(Some(Link { tx, rx, peer, channel, features, max_frame }))
    }
}

/// The pipe for the frames against the direction of the pipe that is the
/// address. It comes from the neighbour, so it is opened anew: its own file
/// description may lose O_NONBLOCK at any moment.
fn way_back(common: &Common, fd: OwnedFd) -> Result<Medium, LinkError> {
    use crate::address::PipeEnd;
    let end = PipeEnd::new(fd, common.end.what())?;
    let access = match (end.is_socket(), end.role()) {
        (false, Role::Reader) => OFlags::RDONLY,
        (false, Role::Writer) => OFlags::WRONLY,
        _ => return Err(common.protocol("its way back is no pipe")),
    };
    let own = end.reopen(access).map_err(|e| common.system("open", e))?;
    Ok(Medium::Pipe(own))
}
