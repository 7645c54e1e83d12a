//! The side that listens.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use rustix::event::epoll::EventFlags;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{Common, PIPE, STATE, is_our_user, peer_pid};
use crate::address::Role;
use crate::bell::{LinkFds, Ringer, is_doorbell};
use crate::error::LinkError;
use crate::handshake::{Channel, Kind, LEN, Malformed, Message, Offer, Reason};
use crate::link::{Link, Medium, Peer, halves};
use crate::region::{Geometry, Region};
use crate::scm;

/// Connections that have not finished their handshake; more push out the oldest.
const MAX_PENDING: usize = 16;
/// Addresses of others looked at for dead owners, each time one is made.
const SWEEP: usize = 16;

pub(super) struct Listening {
    /// None where the pipe is a socket: the one connection came through it.
    address: Option<Address>,
    pending: BTreeMap<u64, Pending>,
    next_token: u64,
    /// The neighbour that has the way back of this pipe, while its link lives.
    duplex_holder: Weak<LinkFds>,
    /// The neighbour whose frames go through the pipe itself, likewise.
    pipe_holder: Weak<LinkFds>,
}

/// A connection on its way to a link.
struct Pending {
    socket: OwnedFd,
    /// Present after our WELCOME: everything for the link but the READY.
    made: Option<Made>,
}

struct Made {
    tx: Option<Medium>,
    rx: Option<Medium>,
    ringer: Ringer,
    hearing: OwnedFd,
    agreed: Offer,
    label: String,
}

impl Listening {
    /// Listens at the pipe's address; `None` when a live process does so already.
    pub fn at_address(common: &Common) -> Result<Option<Listening>, LinkError> {
        let Some(address) = Address::claim(common)? else { return Ok(None) };
        common.add(&address.socket, STATE, EventFlags::IN)?;
        Ok(Some(Listening::new(Some(address))))
    }

    /// Waits for a neighbour's socket through the socket that is the pipe.
    pub fn on_socket(_common: &mut Common) -> Result<Listening, LinkError> {
        Ok(Listening::new(None))
    }

    fn new(address: Option<Address>) -> Listening {
        Listening {
            address,
            pending: BTreeMap::new(),
            next_token: STATE + 1,
            duplex_holder: Weak::new(),
            pipe_holder: Weak::new(),
        }
    }

    fn duplex_taken(&self) -> bool {
        self.duplex_holder.strong_count() > 0
    }

    pub fn on_event(&mut self, common: &mut Common, token: u64) -> Result<Option<Link>, LinkError> {
        match token {
            PIPE => self.receive_socket(common).map(|()| None),
            STATE => self.accept(common).map(|()| None),
            _ => Ok(self.on_pending(common, token)),
        }
    }

    fn accept(&mut self, common: &Common) -> Result<(), LinkError> {
        let Some(address) = &self.address else { return Ok(()) };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(&address.socket, flags) {
            Ok(socket) if is_our_user(&socket) => self.add_pending(common, socket),
            // Another user: the directory should have kept it out. Say nothing.
            Ok(_) => Ok(()),
            // The connection went away again, or descriptors ran out for a moment.
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(()),
            Err(e) => Err(common.system("accept", e)),
        }
    }

    /// ksh93 and its like: the neighbour's socket comes through the pipe.
    fn receive_socket(&mut self, common: &mut Common) -> Result<(), LinkError> {
        let mut bytes = [0; super::connect::THROUGH.len()];
        match scm::recv(&common.end, &mut bytes) {
            Ok((0, _)) => Err(common.gone()),
            Ok((_, mut fds)) if bytes == super::connect::THROUGH && fds.len() == 1 => {
                common.unwatch_pipe();
                let socket = fds.remove(0);
                if !is_our_user(&socket) {
                    return Err(common.protocol("it belongs to another user"));
                }
                self.add_pending(common, socket)
            }
            Ok(_) | Err(Errno::MSGSIZE) => {
                Err(LinkError::UnawareNeighbour { what: common.end.what().to_owned() })
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(Errno::CONNRESET) => Err(common.gone()),
            Err(e) => Err(common.system("recvmsg", e)),
        }
    }

    fn add_pending(&mut self, common: &Common, socket: OwnedFd) -> Result<(), LinkError> {
        if self.pending.len() == MAX_PENDING {
            self.pending.pop_first(); // closing it takes it out of the epoll set
        }
        common.add(&socket, self.next_token, EventFlags::IN)?;
        self.pending.insert(self.next_token, Pending { socket, made: None });
        self.next_token += 1;
        Ok(())
    }

    /// Whatever a connection does wrong costs only that connection.
    fn on_pending(&mut self, common: &mut Common, token: u64) -> Option<Link> {
        let mut pending = self.pending.remove(&token)?;
        let mut bytes = [0; LEN + 1];
        let (len, fds) = match scm::recv(&pending.socket, &mut bytes) {
            Ok((0, _)) => return None,
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => {
                self.pending.insert(token, pending);
                return None;
            }
            Err(_) => return None,
        };
        let message = match Message::decode(&bytes[..len]) {
            Ok(message) => message,
            Err(error) => {
                let version = matches!(error, Malformed::Version(_));
                let reason = if version { Reason::Version } else { Reason::Malformed };
                refuse(common, &pending.socket, reason);
                return None;
            }
        };
        match (message.kind, pending.made.take()) {
            (Kind::Hello, None) => match self.welcome(common, &pending.socket, &message, fds) {
                Ok(made) => {
                    pending.made = Some(made);
                    self.pending.insert(token, pending);
                }
                Err(reason) => refuse(common, &pending.socket, reason),
            },
            (Kind::Ready, Some(made)) if fds.is_empty() => {
                return self.finish(common, pending.socket, made);
            }
            _ => refuse(common, &pending.socket, Reason::Malformed),
        }
        None
    }

    /// Checks a HELLO and answers it.
    fn welcome(
        &mut self,
        common: &mut Common,
        socket: &OwnedFd,
        hello: &Message,
        mut fds: Vec<OwnedFd>,
    ) -> Result<Made, Reason> {
        let connector_writes = match (common.end.role(), hello.role) {
            (Role::Reader, Role::Reader) => return Err(Reason::Taken),
            (_, Role::Reader) => false,
            _ => true,
        };
        // A socket that came through the pipe is its own proof.
        let expected = if self.address.is_some() { 2 } else { 1 };
        if fds.len() != expected {
            return Err(Reason::NoProof);
        }
        let hearing = fds.pop().ok_or(Reason::NoProof)?;
        let role = if connector_writes { Role::Writer } else { Role::Reader };
        if !fds.iter().all(|proof| common.end.is_proved_by(proof, role)) {
            return Err(Reason::NoProof);
        }
        drop(fds); // a proof kept open would keep the pipe from hanging up
        if !is_doorbell(&hearing) {
            return Err(Reason::Malformed);
        }
        let mut agreed = common.offer.agree(&hello.offer);
        agreed.duplex &= !self.duplex_taken();
        let pipe_taken = self.pipe_holder.strong_count() > 0;
        if pipe_taken || (agreed.channel == Channel::Fifo && self.duplex_taken()) {
            return Err(Reason::Taken);
        }
        if common.accept_bytes && connector_writes && self.address.is_some() {
            common.save_leftover().map_err(|_| Reason::Malformed)?;
        }
        let made = self.make(common, socket, agreed, hearing, connector_writes, hello);
        made.map_err(|_| Reason::Malformed)
    }

    /// Makes the media of both directions and hands the neighbour's halves over.
    fn make(
        &self,
        common: &Common,
        socket: &OwnedFd,
        agreed: Offer,
        hearing: OwnedFd,
        connector_writes: bool,
        hello: &Message,
    ) -> Result<Made, LinkError> {
        let system = |call| move |e| common.system(call, e);
        let geometry = Geometry::new(agreed.capacity, agreed.max_frame, common.end.id());
        let ring = || Region::create(geometry).map_err(|e| common.region(e));
        let (ringer, their_hearing) = Ringer::new().map_err(system("eventfd"))?;
        let mut handed: Vec<OwnedFd> = Vec::new();
        let mut media = Vec::new();
        match agreed.channel {
            Channel::Shm => {
                for _ in 0..1 + usize::from(agreed.duplex) {
                    let region = ring()?;
                    let memfd = rustix::io::fcntl_dupfd_cloexec(region.memfd(), 0);
                    handed.push(memfd.map_err(system("dup"))?);
                    media.push(Medium::Ring(region));
                }
            }
            Channel::Fifo => {
                let access = if connector_writes { OFlags::RDONLY } else { OFlags::WRONLY };
                let own = common.end.reopen(access).map_err(system("open"))?;
                media.push(Medium::Pipe(own));
                if agreed.duplex {
                    let flags =
                        rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK;
                    let (read, write) = rustix::pipe::pipe_with(flags).map_err(system("pipe2"))?;
                    let (ours, theirs) =
                        if connector_writes { (write, read) } else { (read, write) };
                    media.push(Medium::Pipe(ours));
                    handed.push(theirs);
                }
            }
        }
        let mut media = media.into_iter();
        let (forward, back) = (media.next(), media.next());
        let (tx, rx) = if connector_writes { (back, forward) } else { (forward, back) };
        let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
        if self.address.is_some() {
            fds.push(common.end.as_fd());
        }
        fds.push(their_hearing.as_fd());
        fds.extend(handed.iter().map(AsFd::as_fd));
        let welcome = Message::new(Kind::Welcome, common.end.role(), &agreed);
        scm::send(socket, &welcome.encode(), &fds).map_err(system("sendmsg"))?;
        Ok(Made { tx, rx, ringer, hearing, agreed, label: hello.offer.label.clone() })
    }

    fn finish(&mut self, common: &Common, socket: OwnedFd, made: Made) -> Option<Link> {
        // Two writers may have been welcomed before either was ready.
        if made.agreed.duplex && self.duplex_taken() {
            return None;
        }
        common.remove(&socket);
        let peer = Peer { pid: peer_pid(&socket), label: made.label };
        let fds = Arc::new(LinkFds { socket, ringer: made.ringer, hearing: made.hearing });
        let Offer { max_frame, channel, features, duplex, .. } = made.agreed;
        let (tx, rx) = halves(made.tx, made.rx, &fds, max_frame, &common.offer.label).ok()?;
        if duplex {
            self.duplex_holder = Arc::downgrade(&fds);
        }
        if channel == Channel::Fifo {
            self.pipe_holder = Arc::downgrade(&fds);
        }
        Some(Link { tx, rx, peer, channel, features, max_frame })
    }
}

fn refuse(common: &Common, socket: &OwnedFd, reason: Reason) {
    let message = Message::refuse(common.end.role(), &common.offer, reason);
    let _ = scm::send(socket, &message.encode(), &[]);
}

/// A listening socket with a name in the runtime directory.
struct Address {
    socket: OwnedFd,
    path: PathBuf,
    inode: u64,
}

impl Address {
    /// Claims the pipe's address. Several may try at the same time; the
    /// directory is locked while a dead owner's address is replaced.
    fn claim(common: &Common) -> Result<Option<Address>, LinkError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let system = |call| move |e| common.system(call, e);
        let path = common.dir.address(common.end.id());
        // Unique among threads; unique among processes by the process id.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let fresh = path.with_extension(format!("{}.{count}", std::process::id()));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .map_err(system("socket"))?;
        let name = SocketAddrUnix::new(&fresh).map_err(system("bind"))?;
        // Before the bind: a socket that does not listen yet looks dead to others.
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let dir =
            rustix::fs::open(common.dir.path(), flags, Mode::empty()).map_err(system("open"))?;
        rustix::fs::flock(&dir, FlockOperation::LockExclusive).map_err(system("flock"))?;
        let _ = rustix::fs::unlink(&fresh); // of a dead process with our id
        rustix::net::bind(&socket, &name).map_err(system("bind"))?;
        let claimed = claim_locked(common, &socket, &fresh, &path);
        if !matches!(claimed, Ok(true)) {
            let _ = rustix::fs::unlink(&fresh);
        }
        if !claimed? {
            return Ok(None);
        }
        let inode = rustix::fs::lstat(&path).map_err(system("stat"))?.st_ino;
        Ok(Some(Address { socket, path, inode }))
    }
}

fn claim_locked(
    common: &Common,
    socket: &OwnedFd,
    fresh: &Path,
    path: &Path,
) -> Result<bool, LinkError> {
    let system = |call| move |e| common.system(call, e);
    rustix::net::listen(socket, 128).map_err(system("listen"))?;
    sweep(common.dir.path(), fresh);
    if is_dead(path) {
        let _ = rustix::fs::unlink(path);
    }
    match rustix::fs::renameat_with(CWD, fresh, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(e) => Err(common.system("rename", e)),
    }
}

/// Removes addresses whose process was killed. A few each time: nobody has to
/// look at a thousand live ones in order to start.
fn sweep(dir: &Path, own: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten().take(SWEEP) {
        if entry.path() != own && is_dead(&entry.path()) {
            let _ = rustix::fs::unlink(entry.path());
        }
    }
}

/// Whether nobody listens at an address that is there.
pub(super) fn is_dead(path: &Path) -> bool {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let Ok(socket) =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
    else {
        return false;
    };
    let Ok(name) = SocketAddrUnix::new(path) else { return false };
    rustix::net::connect(&socket, &name) == Err(Errno::CONNREFUSED)
}

impl Drop for Address {
    fn drop(&mut self) {
        // Somebody may have taken the place of what looked dead: leave theirs.
        if rustix::fs::lstat(&self.path).is_ok_and(|stat| stat.st_ino == self.inode) {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}
