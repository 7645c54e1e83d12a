//! The side that connects.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::fs::{OFlags, inotify};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::{Common, STATE, is_our_user, peer_pid};
use crate::address::Role;
use crate::bell::{LinkFds, Ringer, is_doorbell};
use crate::error::LinkError;
use crate::handshake::{Channel, Kind, LEN, Message, Offer, Reason, VERSION};
use crate::link::{Link, Medium, Peer, halves, socket_pair};
use crate::region::{Geometry, Region};
use crate::scm;

/// Sent through a pipe that is a Unix socket, with one end of a socket pair for
/// the handshake: such a pipe may be one-way, so the answer cannot come back through it.
pub(super) const THROUGH: [u8; 16] = *b"shmring socket\n\0";

/// The greeting's socket and the watch on the directory have tokens of their own.
const WATCH: u64 = STATE;
const GREETING: u64 = STATE + 1;

pub(super) struct Connecting {
    /// Watches the runtime directory until the listener is there.
    watch: Option<OwnedFd>,
    greeting: Option<Greeting>,
    /// The socket came from us, through the pipe: it is its own proof.
    through: bool,
    /// The pipe carries bytes of ours: greet only when asked to.
    held: bool,
    /// A listener turned up meanwhile.
    wanted: bool,
}

struct Greeting {
    socket: OwnedFd,
    ringer: Ringer,
}

impl Connecting {
    pub fn to_address(common: &Common) -> Result<Connecting, LinkError> {
        let mut connecting =
            Connecting { watch: None, greeting: None, through: false, held: false, wanted: false };
        // The watch first: a listener that comes after the look is an event.
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(|e| common.system("inotify_init", e))?;
        inotify::add_watch(&watch, common.dir.path(), inotify::WatchFlags::MOVED_TO)
            .map_err(|e| common.system("inotify_add_watch", e))?;
        common.add(&watch, WATCH, EventFlags::IN)?;
        connecting.watch = Some(watch);
        connecting.try_connect(common)?;
        Ok(connecting)
    }

    pub fn through_socket(common: &Common) -> Result<Connecting, LinkError> {
        let system = |call| move |e| common.system(call, e);
        let (ours, theirs) = socket_pair().map_err(system("socketpair"))?;
        let mut connecting =
            Connecting { watch: None, greeting: None, through: true, held: false, wanted: false };
        scm::send(&common.end, &THROUGH, &[theirs.as_fd()]).map_err(|e| match e {
            Errno::PIPE | Errno::CONNRESET => common.gone(),
            e => common.system("sendmsg", e),
        })?;
        connecting.greet(common, ours)?;
        Ok(connecting)
    }

    pub fn hold(&mut self) -> bool {
        self.held = self.greeting.is_none();
        self.held
    }

    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    pub fn is_greeting(&self) -> bool {
        self.greeting.is_some()
    }

    pub fn greet_held(&mut self, common: &Common) -> Result<bool, LinkError> {
        if std::mem::take(&mut self.wanted) && self.greeting.is_none() {
            self.try_connect(common)?;
        }
        Ok(self.greeting.is_some())
    }

    /// A listener is there, or may be.
    fn approach(&mut self, common: &Common) -> Result<(), LinkError> {
        match self.held {
            true => {
                self.wanted = true;
                Ok(())
            }
            false => self.try_connect(common),
        }
    }

    fn try_connect(&mut self, common: &Common) -> Result<(), LinkError> {
        let system = |call| move |e| common.system(call, e);
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .map_err(system("socket"))?;
        let path = common.dir.address(common.end.id());
        let name = SocketAddrUnix::new(&path).map_err(system("connect"))?;
        // A full backlog makes connect(2) wait; not for ever.
        let limit = Some(Duration::from_secs(1));
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, limit)
            .map_err(system("setsockopt"))?;
        match rustix::net::connect(&socket, &name) {
            Ok(()) if is_our_user(&socket) => self.greet(common, socket),
            Ok(()) => Err(common.protocol("it belongs to another user")),
            // Nobody yet, or a dead one that its successor will replace.
            Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(()),
            Err(Errno::AGAIN) => Err(common.protocol("it does not accept connections")),
            Err(e) => Err(common.system("connect", e)),
        }
    }

    /// Sends the HELLO.
    fn greet(&mut self, common: &Common, socket: OwnedFd) -> Result<(), LinkError> {
        let system = |call| move |e| common.system(call, e);
        let (ringer, hearing) = Ringer::new().map_err(system("eventfd"))?;
        let hello = Message::new(Kind::Hello, common.end.role(), &common.offer);
        let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
        if !self.through {
            fds.push(common.end.as_fd());
        }
        fds.push(hearing.as_fd());
        match scm::send(&socket, &hello.encode(), &fds) {
            Ok(()) => {}
            // It died between connect and now; its successor will come.
            Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
            Err(e) => return Err(common.system("sendmsg", e)),
        }
        common.add(&socket, GREETING, EventFlags::IN)?;
        self.greeting = Some(Greeting { socket, ringer });
        Ok(())
    }

    pub fn on_event(&mut self, common: &mut Common, token: u64) -> Result<Option<Link>, LinkError> {
        match token {
            WATCH => self.on_watch(common).map(|()| None),
            GREETING => self.on_answer(common),
            // The socket that is the pipe hung up, or carries what nobody expects.
            _ => Err(common.gone()),
        }
    }

    fn on_watch(&mut self, common: &Common) -> Result<(), LinkError> {
        let Some(watch) = &self.watch else { return Ok(()) };
        let address = common.dir.address(common.end.id());
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(watch, &mut buffer);
        let mut there = false;
        loop {
            match events.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_bytes());
                    there |= name == address.file_name().map(|n| n.as_encoded_bytes());
                    // Events were lost: look.
                    there |= event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(common.system("read(inotify)", e)),
            }
        }
        if there && self.greeting.is_none() { self.approach(common) } else { Ok(()) }
    }

    fn on_answer(&mut self, common: &mut Common) -> Result<Option<Link>, LinkError> {
        let Some(greeting) = self.greeting.take() else { return Ok(None) };
        let mut bytes = [0; LEN + 1];
        let (len, fds) = match scm::recv(&greeting.socket, &mut bytes) {
            // The listener went away: wait for its successor.
            Ok((0, _)) | Err(Errno::CONNRESET) if self.through => return Err(common.gone()),
            Ok((0, _)) | Err(Errno::CONNRESET) => {
                drop(greeting);
                self.approach(common)?;
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
            (Kind::Welcome, _) => self.accept_welcome(common, greeting, answer, fds).map(Some),
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
            _ => Err(common.protocol("an answer of the wrong kind")),
        }
    }

    /// Checks a WELCOME and everything that came with it.
    fn accept_welcome(
        &self,
        common: &Common,
        greeting: Greeting,
        welcome: Message,
        fds: Vec<OwnedFd>,
    ) -> Result<Link, LinkError> {
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
        if !self.through {
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
        scm::send(&greeting.socket, &ready.encode(), &[]).map_err(|_| common.gone())?;
        let pid = if self.through { 0 } else { peer_pid(&greeting.socket) };
        let Offer { channel, features, max_frame, .. } = *agreed;
        let peer = Peer { pid, label: agreed.label.clone() };
        let Greeting { socket, ringer } = greeting;
        common.remove(&socket);
        let fds = Arc::new(LinkFds { socket, ringer, hearing });
        let (tx, rx) = halves(tx, rx, &fds, max_frame, &common.offer.label)
            .map_err(|e| common.system("epoll_ctl", e))?;
        Ok(Link { tx, rx, peer, channel, features, max_frame })
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
