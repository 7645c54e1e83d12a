//! Where a holder of a pipe can be reached: a datagram socket under an abstract name.
//!
//! An abstract name needs no file system, so it does not matter which directories
//! two neighbours see, and nothing is left of it when its owner is killed. The name is
//! a number that its owner publishes on the pipe, [`adverts`], once it has the
//! name: nobody else can have it then. What arrives says which gate it came from,
//! by the kernel's account.
//!
//! Names are those of a network namespace, that of the process when the gate is made;
//! afterwards it may go where it likes. For neighbours that come from different ones, as
//! a program inside a function and one outside, there is a second gate where there is a
//! directory for it: a path.
//!
//! A knock is one datagram with one end of a socket pair, over which the two
//! then speak. Datagrams, so that one socket is enough for any number of others: in
//! another network namespace no further ones could be made.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::{Errno, Result};
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, getsockname, socket_with,
};

use super::adverts::{self, Advert, fresh_nonce};
use crate::handshake::{KNOCK_LEN, Knock};
use crate::role::Role;
use crate::runtime_dir::RuntimeDir;
use crate::{peer, scm};

/// Tries to find a name that nobody has; the second is one too many.
const TRIES: usize = 8;
/// Gates of others looked at for dead owners each time one is made: nobody has to look
/// at a thousand live ones in order to start.
const SWEEP: usize = 16;

/// What a process shows of itself at a pipe.
pub(crate) struct Post {
    /// The pipe under a description of our own: locks belong to those.
    own: OwnedFd,
    gate: OwnedFd,
    nonce: u64,
    /// What is published.
    advert: Option<Advert>,
}

/// A gate that is a path, taken away with it.
pub(super) struct PathGate {
    pub socket: OwnedFd,
    path: PathBuf,
}

/// What a look at a gate found.
pub(super) enum Arrival {
    /// Somebody wants to speak with us, over the socket.
    Knock(Knock, OwnedFd),
    /// The same of another user, whose socket was not taken.
    Stranger(Knock, libc::ucred),
    /// Not worth a word.
    Noise,
}

/// What became of a knock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Done,
    /// Nobody is behind that gate; or it is in another network namespace.
    Nobody,
    /// It has not looked for a while.
    Full,
}

impl Post {
    /// Makes a gate for a holder of the pipe `own`, see there, which is the process `pid`.
    pub fn new(own: OwnedFd, pid: u32) -> Result<Post> {
        let gate = datagrams()?;
        for _ in 0..TRIES {
            let nonce = fresh_nonce(pid)?;
            match bind(&gate, &abstract_name(nonce)?) {
                Ok(()) => return Ok(Post { own, gate, nonce, advert: None }),
                Err(Errno::ADDRINUSE) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Errno::ADDRINUSE)
    }

    /// Takes a gate that another process has made.
    pub fn of(own: OwnedFd, gate: OwnedFd) -> Result<Post> {
        let bound = getsockname(&gate)?;
        let bound = SocketAddrUnix::try_from(bound).map_err(|_| Errno::INVAL)?;
        let nonce = bound.abstract_name().and_then(nonce).ok_or(Errno::INVAL)?;
        Ok(Post { own, gate, nonce, advert: None })
    }

    /// Who we are, as `role`.
    pub fn advert(&self, role: Role) -> Advert {
        Advert { nonce: self.nonce, role }
    }

    /// Lets the other holders see us. Only then may we look for them: of two that
    /// come at the same time, at least one sees the other.
    pub fn publish(&mut self, role: Role) -> Result<()> {
        let advert = self.advert(role);
        adverts::set(&self.own, advert)?;
        self.advert = Some(advert);
        Ok(())
    }

    /// Nobody is to come any more.
    pub fn withdraw(&mut self) {
        if let Some(advert) = self.advert.take() {
            let _ = adverts::clear(&self.own, advert); // else with the description
        }
    }

    /// The other holders that are to be seen.
    pub fn others(&self) -> Result<Vec<Advert>> {
        adverts::others(&self.own)
    }

    /// Whether somebody shows itself as this.
    pub fn sees(&self, advert: Advert) -> bool {
        adverts::is_there(&self.own, advert).unwrap_or(false)
    }

    /// Knocks at somebody's gate; `socket` is for him.
    pub(super) fn knock(
        &self,
        at: u64,
        role: Role,
        dir: &RuntimeDir,
        socket: Option<BorrowedFd<'_>>,
    ) -> Result<Delivery> {
        let knock = Knock { nonce: self.nonce, role, turned_away: socket.is_none() };
        let fds: &[BorrowedFd<'_>] = match &socket {
            Some(socket) => std::slice::from_ref(socket),
            None => &[],
        };
        let first = delivery(scm::send_to(&self.gate, &abstract_name(at)?, &knock.encode(), fds))?;
        match (first, dir.gate(at)) {
            (Delivery::Nobody, Some(path)) => {
                let name = SocketAddrUnix::new(&path)?;
                delivery(scm::send_to(&self.gate, &name, &knock.encode(), fds))
            }
            _ => Ok(first),
        }
    }

    /// Takes in one that knocks; `EAGAIN` when there is none. At our abstract gate only
    /// who has the name that it gives can have sent it.
    pub(super) fn answer(&self) -> Result<Arrival> {
        arrival(&self.gate, |knock, from| from == Some(&name(knock.nonce)[..]))
    }

    /// A second gate, in a directory. None where there is no directory.
    pub(super) fn path_gate(&self, dir: &RuntimeDir) -> Result<Option<PathGate>> {
        let Some(path) = dir.gate(self.nonce) else { return Ok(None) };
        dir.sweep_up_to(SWEEP);
        let socket = datagrams()?;
        // A socket has its file a moment before it can be reached, and looks like a dead one.
        let fresh = path.with_extension("new");
        let _ = rustix::fs::unlink(&fresh); // of a dead process with our number
        bind(&socket, &SocketAddrUnix::new(&fresh)?)?;
        let mut gate = PathGate { socket, path: fresh };
        rustix::fs::rename(&gate.path, &path)?;
        gate.path = path;
        Ok(Some(gate))
    }
}

impl AsFd for Post {
    /// The gate; readable when somebody knocks.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.gate.as_fd()
    }
}

impl PathGate {
    /// As [`Post::answer`]. Whoever gets here has the run of the directory, which is
    /// the user's own.
    pub fn answer(&self) -> Result<Arrival> {
        arrival(&self.socket, |_, _| true)
    }
}

impl Drop for PathGate {
    fn drop(&mut self) {
        let _ = rustix::fs::unlink(&self.path);
    }
}

fn arrival(gate: &OwnedFd, is_genuine: impl Fn(&Knock, Option<&[u8]>) -> bool) -> Result<Arrival> {
    let (_, sender) = scm::peek_sender(gate)?;
    let ours = sender.is_some_and(|sender| peer::is_ours(&sender));
    let mut bytes = [0; KNOCK_LEN + 1];
    let received = match ours {
        true => scm::recv(gate, &mut bytes),
        // What it brings stays outside.
        false => scm::recv_bytes(gate, &mut bytes),
    };
    let mut received = match received {
        Ok(received) => received,
        Err(Errno::MSGSIZE) => return Ok(Arrival::Noise),
        Err(e) => return Err(e),
    };
    let Some(knock) = Knock::decode(&bytes[..received.len]) else { return Ok(Arrival::Noise) };
    if !is_genuine(&knock, received.from.as_deref()) {
        return Ok(Arrival::Noise);
    }
    match (ours, sender, received.fds.pop()) {
        (false, Some(sender), _) => Ok(Arrival::Stranger(knock, sender)),
        (true, _, Some(socket)) if received.fds.is_empty() && !knock.turned_away => {
            Ok(Arrival::Knock(knock, socket))
        }
        _ => Ok(Arrival::Noise),
    }
}

fn delivery(sent: Result<()>) -> Result<Delivery> {
    match sent {
        Ok(()) => Ok(Delivery::Done),
        Err(Errno::CONNREFUSED | Errno::NOENT | Errno::ACCESS) => Ok(Delivery::Nobody),
        // It has a queue full, or too many descriptors are on their way.
        Err(Errno::AGAIN | Errno::NOBUFS | Errno::TOOMANYREFS) => Ok(Delivery::Full),
        Err(e) => Err(e),
    }
}

fn name(nonce: u64) -> [u8; 24] {
    let mut name = *b"shmring/0000000000000000";
    for (at, digit) in name[8..].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(nonce >> (60 - 4 * at)) as usize & 15];
    }
    name
}

/// The number of such a name.
fn nonce(name: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(name.strip_prefix(b"shmring/")?).ok()?;
    let nonce = u64::from_str_radix(digits, 16).ok()?;
    (self::name(nonce) == name).then_some(nonce)
}

fn abstract_name(nonce: u64) -> Result<SocketAddrUnix> {
    SocketAddrUnix::new_abstract_name(&name(nonce))
}

fn datagrams() -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    set_socket_passcred(&socket, true)?;
    Ok(socket)
}
