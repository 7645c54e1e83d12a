//! The other side of the protocol, byte by byte, so that each can be wrong.
#![allow(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::epoll;
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

pub const LEN: usize = 88;
pub const HELLO: u32 = 1;
pub const WELCOME: u32 = 2;
pub const READY: u32 = 3;
pub const REFUSE: u32 = 4;
pub const COME: u32 = 5;
const KNOCK: u32 = 6;
pub const READER: u32 = 1;
pub const WRITER: u32 = 2;

/// A correct message, of a duplex link over rings of 64 KiB and frames of 2000 bytes.
pub fn message(kind: u32, role: u32) -> [u8; LEN] {
    let mut out = [0; LEN];
    out[..8].copy_from_slice(b"shmring\n");
    for (at, value) in [(8, 2), (12, kind), (16, role), (24, 1), (28, 2000)] {
        put(&mut out, at, value);
    }
    out[32..40].copy_from_slice(&(64u64 << 10).to_le_bytes());
    out
}

pub fn put(message: &mut [u8], at: usize, value: u32) {
    message[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub fn get(message: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(message[at..at + 4].try_into().unwrap())
}

/// A datagram socket without a name.
pub fn socket() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).unwrap()
}

/// A holder of a pipe that has published itself there and has a gate.
pub struct Neighbour {
    /// Has the lock.
    own: OwnedFd,
    gate: OwnedFd,
    pub nonce: u64,
    pub role: u32,
}

impl Neighbour {
    pub fn reader(pipe: impl AsFd) -> Neighbour {
        Neighbour::new(pipe, READER)
    }

    pub fn writer(pipe: impl AsFd) -> Neighbour {
        Neighbour::new(pipe, WRITER)
    }

    fn new(pipe: impl AsFd, role: u32) -> Neighbour {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let nonce = u64::from(std::process::id()) << 40 | COUNT.fetch_add(4, Ordering::Relaxed);
        let path = format!("/proc/self/fd/{}", pipe.as_fd().as_raw_fd());
        let access = rustix::fs::fcntl_getfl(&pipe).unwrap() & OFlags::RWMODE;
        let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let own = rustix::fs::open(path, flags, Mode::empty()).unwrap();
        let gate = socket();
        rustix::net::bind(&gate, &name(nonce)).unwrap();
        let kind = if role == READER { libc::F_RDLCK } else { libc::F_WRLCK };
        assert_eq!(lock(&own, libc::F_OFD_SETLK, kind, nonce, role.into()).l_start, nonce as i64);
        Neighbour { own, gate, nonce, role }
    }

    /// The nonce of somebody else at the pipe.
    pub fn victim(&self) -> u64 {
        for (begin, len) in [(0, self.nonce), (self.nonce + 4, 0)] {
            let found = lock(&self.own, libc::F_OFD_GETLK, libc::F_WRLCK, begin, len);
            if i32::from(found.l_type) != libc::F_UNLCK {
                return found.l_start as u64;
            }
        }
        panic!("nobody is at the pipe");
    }

    /// Knocks at the gate of whoever else is at the pipe.
    pub fn connect(&self) -> OwnedFd {
        let (ours, theirs) = pair();
        assert!(self.knock_at(self.victim(), self.nonce, &[theirs.as_fd()]), "nobody there");
        ours
    }

    /// Knocks with whatever nonce and descriptors; `false` where there is no room.
    pub fn knock_at(&self, gate: u64, nonce: u64, fds: &[BorrowedFd<'_>]) -> bool {
        let mut knock = [0; 32];
        knock[..8].copy_from_slice(b"shmring\n");
        for (at, value) in [(8, 2), (12, KNOCK), (16, self.role)] {
            put(&mut knock, at, value);
        }
        knock[24..].copy_from_slice(&nonce.to_le_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(250))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
        let flags = SendFlags::DONTWAIT;
        let parts = [IoSlice::new(&knock)];
        rustix::net::sendmsg_addr(&self.gate, &name(gate), &parts, &mut control, flags).is_ok()
    }

    /// Takes in a victim that has knocked, as the maker of its rings.
    pub fn accept(&self) -> OwnedFd {
        let (knock, mut fds) = recv(&self.gate).expect("a knock");
        assert_eq!((knock.len(), get(&knock, 12), fds.len()), (32, KNOCK, 1));
        let socket = fds.pop().unwrap();
        assert!(send(&socket, &message(COME, READER), &[]));
        socket
    }
}

pub fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

fn name(nonce: u64) -> SocketAddrUnix {
    SocketAddrUnix::new_abstract_name(format!("shmring/{nonce:016x}").as_bytes()).unwrap()
}

/// Locks all there is of a pipe, until it is dropped.
pub fn lock_all(pipe: impl AsFd) -> OwnedFd {
    let path = format!("/proc/self/fd/{}", pipe.as_fd().as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let own = rustix::fs::open(path, flags, Mode::empty()).unwrap();
    lock(&own, libc::F_OFD_SETLK, libc::F_WRLCK, 0, 0);
    own
}

fn lock(own: &OwnedFd, command: i32, kind: i32, begin: u64, len: u64) -> libc::flock64 {
    // SAFETY: all zeros are a valid `flock64`.
    let mut lock: libc::flock64 = unsafe { std::mem::zeroed() };
    (lock.l_type, lock.l_start, lock.l_len) = (kind as _, begin as i64, len as i64);
    // SAFETY: these commands read and write one `flock64`.
    assert_eq!(unsafe { libc::fcntl(own.as_raw_fd(), command, &raw mut lock) }, 0);
    lock
}

/// Sends; an error is the victim's business.
pub fn send(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(250))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).is_ok()
}

/// Receives, waiting; `None` at the end. That we may greet is no news.
pub fn recv(socket: &OwnedFd) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
    loop {
        let received = recv_any(socket)?;
        if received.0.len() != LEN || get(&received.0, 12) != COME {
            return Some(received);
        }
    }
}

fn recv_any(socket: &OwnedFd) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = [0; 256];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(socket, &mut parts, &mut control, flags).ok()?;
    let fds = control.drain().filter_map(|part| match part {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let fds = fds.flatten().collect();
    (received.bytes > 0).then(|| (bytes[..received.bytes].to_vec(), fds))
}

pub fn doorbell() -> OwnedFd {
    epoll::create(epoll::CreateFlags::CLOEXEC).unwrap()
}

/// What a correct connector has after the handshake.
pub struct Joined {
    pub socket: OwnedFd,
    /// The victim's doorbell, kept so that the kernel does.
    pub _hearing: OwnedFd,
    /// The ring in the pipe's direction, then the one back.
    pub memfds: Vec<OwnedFd>,
}

/// Joins a victim that reads as its writer, by the book.
pub fn join(proof: impl AsFd, hearing: &OwnedFd) -> Joined {
    let neighbour = Neighbour::writer(&proof);
    let socket = neighbour.connect();
    assert!(send(&socket, &message(HELLO, WRITER), &[proof.as_fd(), hearing.as_fd()]));
    let (answer, mut fds) = recv(&socket).expect("an answer");
    assert_eq!(get(&answer, 12), WELCOME);
    let memfds = fds.split_off(2);
    let hearing = fds.pop().unwrap();
    assert!(send(&socket, &message(READY, WRITER), &[]));
    Joined { socket, _hearing: hearing, memfds }
}
