//! Messages with descriptors over a Unix socket, never blocking.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Most descriptors in one message of ours; a neighbour that sends more loses them.
const MAX_FDS: usize = 5;

/// Sends one message.
///
/// # Errors
/// `EAGAIN` when the neighbour does not read, `EPIPE` when it is gone.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOBIG);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)? {
        n if n == bytes.len() => Ok(()),
        _ => Err(Errno::MSGSIZE),
    }
}

/// Receives one message of at most `bytes.len()` bytes; its length is 0 at the end.
///
/// # Errors
/// `EAGAIN` when there is none, `EMSGSIZE` when message or descriptors were cut,
/// `EMFILE` when this process may not have the descriptors.
pub(crate) fn recv(socket: impl AsFd, bytes: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    receive(socket, bytes, RecvFlags::empty())
}

/// As [`recv`], but leaves the message where it is; descriptors are copies.
pub(crate) fn peek(socket: impl AsFd, bytes: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    receive(socket, bytes, RecvFlags::PEEK)
}

fn receive(socket: impl AsFd, bytes: &mut [u8], flags: RecvFlags) -> Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags)?;
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    // The kernel leaves out what finds no room in the table of descriptors.
    if message.flags.contains(ReturnFlags::CTRUNC) && fds.len() < MAX_FDS {
        return Err(Errno::MFILE);
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    Ok((message.bytes, fds))
}
