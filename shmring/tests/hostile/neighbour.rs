//! The other side of the protocol, byte by byte, so that each can be wrong.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::epoll;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

pub const LEN: usize = 88;
pub const HELLO: u32 = 1;
pub const WELCOME: u32 = 2;
pub const READY: u32 = 3;
pub const REFUSE: u32 = 4;
pub const READER: u32 = 1;
pub const WRITER: u32 = 2;

/// A correct message, of a duplex link over rings of 64 KiB and frames of 2000 bytes.
pub fn message(kind: u32, role: u32) -> [u8; LEN] {
    let mut out = [0; LEN];
    out[..8].copy_from_slice(b"shmring\n");
    for (at, value) in [(8, 1), (12, kind), (16, role), (24, 1), (28, 2000)] {
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

pub fn socket() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

pub fn connect(address: &Path) -> OwnedFd {
    let socket = socket();
    rustix::net::connect(&socket, &SocketAddrUnix::new(address).unwrap()).unwrap();
    socket
}

/// Listens where a reader of the pipe would.
pub fn listen(address: &Path, backlog: i32) -> OwnedFd {
    let socket = socket();
    let fresh = address.with_extension("hostile");
    rustix::net::bind(&socket, &SocketAddrUnix::new(&fresh).unwrap()).unwrap();
    rustix::net::listen(&socket, backlog).unwrap();
    std::fs::rename(fresh, address).unwrap();
    socket
}

pub fn accept(listener: &OwnedFd) -> OwnedFd {
    rustix::net::accept_with(listener, SocketFlags::CLOEXEC).unwrap()
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

/// Receives, waiting; `None` at the end.
pub fn recv(socket: &OwnedFd) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
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

/// Joins a listening victim as its writer, by the book.
pub fn join(address: &Path, proof: impl AsFd, hearing: &OwnedFd) -> Joined {
    let socket = connect(address);
    assert!(send(&socket, &message(HELLO, WRITER), &[proof.as_fd(), hearing.as_fd()]));
    let (answer, mut fds) = recv(&socket).expect("an answer");
    assert_eq!(get(&answer, 12), WELCOME);
    let memfds = fds.split_off(2);
    let hearing = fds.pop().unwrap();
    assert!(send(&socket, &message(READY, WRITER), &[]));
    Joined { socket, _hearing: hearing, memfds }
}
