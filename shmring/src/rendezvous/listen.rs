//! The side that listens.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::{Common, Event, PIPE, STATE};
use crate::address::Role;
use crate::bell::{LinkFds, Ringer, is_doorbell};
use crate::error::LinkError;
use crate::handshake::{Channel, Kind, LEN, Malformed, Message, Offer, Reason};
use crate::link::{Link, Medium, Peer, halves};
use crate::region::{Geometry, Region};
use crate::sync::{AtomicU32, Ordering};
use crate::{peer, scm};

/// Connections that have not finished their handshake; more push out the oldest.
const MAX_PENDING: usize = 16;
/// Addresses of others looked at for dead owners, each time one is made.
const SWEEP: usize = 16;
/// How long a promise waits for its READY once somebody else asks.
const PROMISE: Duration = Duration::from_secs(1);
/// Longest wait for the lock on the directory.
const LOCK_LIMIT: Duration = Duration::from_secs(1);

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

impl Pending {
    fn is_stale(&self) -> bool {
        self.made.as_ref().is_some_and(|made| made.since.elapsed() > PROMISE)
    }
}

struct Made {
    tx: Option<Medium>,
    rx: Option<Medium>,
    ringer: Ringer,
    hearing: OwnedFd,
    agreed: Offer,
    label: String,
    since: Instant,
}

/// What becomes of a connection that had something to say.
enum Step {
    Wait,
    Drop,
    Refuse(Reason),
    Finish(Made),
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

    /// Whether a neighbour was welcomed that is not ready yet.
    fn is_welcoming(&self) -> bool {
        self.pending.values().any(|pending| pending.made.is_some())
    }

    /// Who was promised the way back has it, READY or not.
    fn duplex_taken(&self) -> bool {
        self.duplex_holder.strong_count() > 0 || self.promised(|agreed| agreed.duplex)
    }

    fn pipe_taken(&self) -> bool {
        self.pipe_holder.strong_count() > 0
            || self.promised(|agreed| agreed.channel == Channel::Fifo)
    }

    fn promised(&self, what: impl Fn(&Offer) -> bool) -> bool {
        self.pending.values().filter_map(|p| p.made.as_ref()).any(|made| what(&made.agreed))
    }

    pub fn on_event(&mut self, common: &mut Common, token: u64) -> Result<Option<Link>, LinkError> {
        let was_welcoming = self.is_welcoming();
        let link = match token {
            PIPE => self.receive_socket(common).map(|()| None),
            STATE => self.accept(common).map(|()| None),
            _ => Ok(self.on_pending(common, token)),
        }?;
        let stopped =
            was_welcoming || matches!(common.events.back(), Some(Event::WriterStopped(_)));
        if common.accept_bytes && stopped && !self.is_welcoming() && link.is_none() {
            common.events.push_back(Event::Retracted);
        }
        Ok(link)
    }

    fn accept(&mut self, common: &Common) -> Result<(), LinkError> {
        let Some(address) = &self.address else { return Ok(()) };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(&address.socket, flags) {
            Ok(socket) if peer::is_our_user(&socket) => self.add_pending(common, socket),
            // Another user: the directory should have kept it out. Say nothing.
            Ok(_) => Ok(()),
            // The connection went away again. Want of descriptors is an error:
            // the socket would stay readable, and the caller try for ever.
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(()),
            Err(e) => Err(common.system("accept", e)),
        }
    }

    /// ksh93 and its like: the neighbour's socket comes through the pipe.
    fn receive_socket(&mut self, common: &mut Common) -> Result<(), LinkError> {
        const LEN: usize = super::PROLOGUE.len();
        // One more: no message goes on behind a descriptor, so a longer one is none
        // of ours. A look goes on to the descriptors of the next one, though.
        let mut bytes = [0; LEN + 1];
        let is_ours = |bytes: &[u8], fds: &[OwnedFd]| bytes == super::PROLOGUE && fds.len() == 1;
        // A look first: bytes of a neighbour that knows nothing of this are not
        // ours to take. It may well begin with the same ones.
        match scm::peek(&common.end, &mut bytes) {
            Ok((len, fds)) if len > 0 && !is_ours(&bytes[..len], &fds) => {
                if !common.accept_bytes {
                    return Err(LinkError::UnawareNeighbour { what: common.end.what().to_owned() });
                }
                common.events.push_back(Event::Bytes);
                common.unwatch_pipe();
                return Ok(());
            }
            _ => {} // whatever else it is, the same comes out below
        }
        match scm::recv(&common.end, &mut bytes) {
            Ok((0, _)) => Err(common.gone()),
            Ok((len, mut fds)) if is_ours(&bytes[..len], &fds) => {
                common.unwatch_pipe();
                let socket = fds.remove(0);
                if !peer::is_our_user(&socket) {
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
        if self.pending.len() == MAX_PENDING
            && let Some((_, oldest)) = self.pending.pop_first()
        {
            common.remove(&oldest.socket);
        }
        common.add(&socket, self.next_token, EventFlags::IN)?;
        self.pending.insert(self.next_token, Pending { socket, made: None });
        self.next_token += 1;
        Ok(())
    }

    /// Whatever a connection does wrong costs only that connection.
    fn on_pending(&mut self, common: &mut Common, token: u64) -> Option<Link> {
        let mut pending = self.pending.remove(&token)?;
        for (_, stale) in self.pending.extract_if(.., |_, other| other.is_stale()) {
            common.remove(&stale.socket);
        }
        match self.step(common, &mut pending) {
            Step::Wait => {
                self.pending.insert(token, pending);
                None
            }
            Step::Drop => {
                common.remove(&pending.socket);
                None
            }
            Step::Refuse(reason) => {
                refuse(common, &pending.socket, reason);
                common.remove(&pending.socket);
                None
            }
            Step::Finish(made) => {
                common.remove(&pending.socket);
                self.finish(common, pending.socket, made)
            }
        }
    }

    fn step(&self, common: &mut Common, pending: &mut Pending) -> Step {
        let mut bytes = [0; LEN + 1];
        let (len, fds) = match scm::recv(&pending.socket, &mut bytes) {
            Ok((0, _)) => return Step::Drop,
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Step::Wait,
            Err(_) => return Step::Drop,
        };
        let message = match Message::decode(&bytes[..len]) {
            Ok(message) => message,
            Err(Malformed::Version(_)) => return Step::Refuse(Reason::Version),
            Err(Malformed::Because(_)) => return Step::Refuse(Reason::Malformed),
        };
        match (message.kind, pending.made.take()) {
            (Kind::Hello, None) => match self.welcome(common, &pending.socket, &message, fds) {
                Ok(made) => {
                    pending.made = Some(made);
                    Step::Wait
                }
                Err(reason) => Step::Refuse(reason),
            },
            (Kind::Ready, Some(made)) if fds.is_empty() => Step::Finish(made),
            _ => Step::Refuse(Reason::Malformed),
        }
    }

    /// Checks a HELLO and answers it.
    fn welcome(
        &self,
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
        if self.pipe_taken() || (agreed.channel == Channel::Fifo && self.duplex_taken()) {
            return Err(Reason::Taken);
        }
        if common.accept_bytes && connector_writes && self.address.is_some() {
            common.tell_leftover().map_err(|_| Reason::Exhausted)?;
        }
        let made = self.make(common, socket, agreed, hearing, connector_writes, hello);
        made.map_err(|_| Reason::Exhausted)
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
        let label = hello.offer.label.clone();
        Ok(Made { tx, rx, ringer, hearing, agreed, label, since: Instant::now() })
    }

    fn finish(&mut self, common: &Common, socket: OwnedFd, made: Made) -> Option<Link> {
        let peer = Peer { pid: peer::pid(&socket), label: made.label };
        let fds = Arc::new(LinkFds::new(socket, made.ringer, made.hearing));
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
    /// Claims the pipe's address. Several may try at the same time, and a
    /// socket that is bound but does not listen yet looks like a dead one: so
    /// the directory is locked from before the bind until the rename.
    fn claim(common: &Common) -> Result<Option<Address>, LinkError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let system = |call| move |e| common.system(call, e);
        let _lock = lock(common.dir.path()).map_err(|errno| match errno {
            Errno::WOULDBLOCK => LinkError::RuntimeDir {
                path: common.dir.path().display().to_string(),
                why: "another process keeps it locked; end that process".into(),
            },
            errno => common.system("flock", errno),
        })?;
        let path = common.dir.address(common.end.id());
        // Unique among threads; unique among processes by the process id.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let fresh = path.with_extension(format!("{}.{count}", std::process::id()));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .map_err(system("socket"))?;
        let name = SocketAddrUnix::new(&fresh).map_err(system("bind"))?;
        sweep(common.dir.path());
        let _ = rustix::fs::unlink(&fresh); // of a dead process with our id
        rustix::net::bind(&socket, &name).map_err(system("bind"))?;
        rustix::net::listen(&socket, 128).map_err(system("listen"))?;
        if is_dead(&path) {
            let _ = rustix::fs::unlink(&path);
        }
        match rustix::fs::renameat_with(CWD, &fresh, CWD, &path, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(error) => {
                let _ = rustix::fs::unlink(&fresh);
                return match error {
                    Errno::EXIST => Ok(None),
                    error => Err(common.system("rename", error)),
                };
            }
        }
        let inode = rustix::fs::lstat(&path).map_err(system("stat"))?.st_ino;
        Ok(Some(Address { socket, path, inode }))
    }
}

/// Locks the directory until dropped: nobody else claims or removes an address.
/// Its holders need it for microseconds; one that keeps it means no good, or is
/// stopped: `EWOULDBLOCK` after [`LOCK_LIMIT`].
pub(super) fn lock(dir: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    let start = Instant::now();
    loop {
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(dir),
            Err(Errno::WOULDBLOCK) if start.elapsed() < LOCK_LIMIT => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Removes addresses whose process was killed. A few each time: nobody has to
/// look at a thousand live ones in order to start.
fn sweep(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten().take(SWEEP) {
        if is_dead(&entry.path()) {
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
