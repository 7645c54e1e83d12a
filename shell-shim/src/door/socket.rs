//! The sockets of both sides: messages with descriptors, and who is there.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::sys::socket::{UnixCredentials, getsockopt, sockopt::PeerCredentials};
use rustix::fs::{Mode, OFlags, fchmod, open, unlink};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    recvmsg, sendmsg, socket_with,
};

/// So many may wait to be let in.
pub const BACKLOG: i32 = 8;
/// Most descriptors of one message: two halves of a link take about a dozen.
pub const MAX_FDS: usize = 24;
/// The file's name begins so, as `/proc/PID/fd` shows it.
pub const NAME: &str = ".stdpkt-door-";

/// A socket for messages.
pub fn new(flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | flags, None)
}

/// A socket that listens, and its file, which has no name any more.
///
/// # Errors
/// Where no directory for temporary files can be written.
pub fn listen() -> Result<(OwnedFd, OwnedFd)> {
    let places = [PathBuf::from("/dev/shm"), std::env::temp_dir(), "/tmp".into()];
    let mut result = Err(Errno::NOENT);
    for place in &places {
        result = listen_in(place);
        if result.is_ok() {
            break;
        }
    }
    result.with_context(|| format!("a socket in {}", places[1].display()))
}

fn listen_in(place: &Path) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let socket = new(SocketFlags::NONBLOCK)?;
    // The file gets this mode, less what umask takes away.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let path = place.join(format!("{NAME}{}-{:x}", std::process::id(), now.as_nanos()));
    rustix::net::bind(&socket, &SocketAddrUnix::new(&path)?)?;
    let file = open(&path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    unlink(&path)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok((socket, file?))
}

/// Sends one message.
///
/// # Errors
/// `EAGAIN` when the other side does not read, `EPIPE` when it is gone, `EMSGSIZE` when it
/// is too long for a message.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOBIG);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags).map(drop)
}

/// Receives one message; its length is 0 at the end.
///
/// # Errors
/// `EMSGSIZE` when bytes or descriptors had to be cut, `EAGAIN` when there is none (in time).
pub fn receive(socket: impl AsFd, bytes: &mut [u8]) -> rustix::io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let bytes = &mut [IoSliceMut::new(bytes)];
    let message = recvmsg(socket, bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    match message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        true => Err(Errno::MSGSIZE),
        false => Ok((message.bytes, fds)),
    }
}

/// Who connected, or who listens, as the kernel says.
pub fn credentials(socket: impl AsFd) -> Option<UnixCredentials> {
    getsockopt(&socket, PeerCredentials).ok()
}

/// Whether that is our user.
pub fn is_our_user(socket: impl AsFd) -> bool {
    let ours = rustix::process::geteuid().as_raw();
    credentials(socket).is_some_and(|found| found.uid() == ours)
}
