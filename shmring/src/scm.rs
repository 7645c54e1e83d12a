//! Messages with descriptors over Unix sockets, never blocking.
#![allow(unsafe_code)]
// Unsafe lives here for recvmsg(2): the sender's process id may be 0 (one that our
// pid namespace does not show), which rustix's `UCred` has no room for. The
// invariant: a descriptor that the kernel put into the control buffer is owned by
// exactly one `OwnedFd`.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg, sendmsg_addr,
};

/// Most descriptors in one message of ours; a neighbour that sends more loses them.
const MAX_FDS: usize = 5;
/// Bytes of the control buffer: sender and descriptors, with their headers.
const SPACE: usize = 128;

/// What arrived.
#[derive(Debug)]
pub(crate) struct Received {
    /// Bytes of the message; 0 is the end.
    pub len: usize,
    /// Descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
    /// Who sent it, as the kernel says; only where the socket asks for it
    /// (`SO_PASSCRED`).
    pub sender: Option<libc::ucred>,
    /// The abstract name that the sender is bound to.
    pub from: Option<Vec<u8>>,
}

/// Sends one message.
///
/// # Errors
/// `EAGAIN` when the neighbour does not read, `EPIPE` when it is gone.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    send_any(socket, None, bytes, fds)
}

/// Sends one datagram.
///
/// # Errors
/// `ECONNREFUSED` or `ENOENT` when nobody has that address, `EAGAIN` when it has many
/// that it has not read.
pub(crate) fn send_to(
    socket: impl AsFd,
    to: &SocketAddrUnix,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<()> {
    send_any(socket, Some(to), bytes, fds)
}

fn send_any(
    socket: impl AsFd,
    to: Option<&SocketAddrUnix>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOBIG);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let bytes_sent = match to {
        Some(to) => sendmsg_addr(socket, to, &[IoSlice::new(bytes)], &mut control, flags)?,
        None => sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)?,
    };
    if bytes_sent == bytes.len() { Ok(()) } else { Err(Errno::MSGSIZE) }
}

/// Receives one message of at most `bytes.len()` bytes.
///
/// # Errors
/// `EAGAIN` when there is none, `EMSGSIZE` when message or descriptors were cut,
/// `EMFILE` when this process may not have the descriptors.
pub(crate) fn recv(socket: impl AsFd, bytes: &mut [u8]) -> Result<Received> {
    whole(receive(socket.as_fd(), bytes, SPACE, 0)?)
}

/// As [`recv`] on a socket that asks for the sender. What another user sent is not taken.
///
/// # Errors
/// Then, `ECONNRESET`.
pub(crate) fn recv_from_our_user(socket: impl AsFd, bytes: &mut [u8]) -> Result<Received> {
    match peek_sender(&socket)? {
        // The end comes from nobody.
        (0, _) => recv(socket, bytes),
        (_, Some(sender)) if crate::peer::is_ours(&sender) => recv(socket, bytes),
        _ => Err(Errno::CONNRESET),
    }
}

/// As [`recv`], but leaves the message where it is; descriptors are copies.
pub(crate) fn peek(socket: impl AsFd, bytes: &mut [u8]) -> Result<Received> {
    whole(receive(socket.as_fd(), bytes, SPACE, libc::MSG_PEEK)?)
}

/// Up to one byte of the next message, which stays where it is, and who sent it. Its
/// descriptors are not touched: to close one may take as long as whoever made it likes.
pub(crate) fn peek_sender(socket: impl AsFd) -> Result<(usize, Option<libc::ucred>)> {
    let (seen, _) = receive(socket.as_fd(), &mut [0], ONLY_SENDER, libc::MSG_PEEK)?;
    Ok((seen.len, seen.sender))
}

/// As [`recv`], but the kernel closes the descriptors that came along.
pub(crate) fn recv_bytes(socket: impl AsFd, bytes: &mut [u8]) -> Result<Received> {
    let (received, flags) = receive(socket.as_fd(), bytes, ONLY_SENDER, 0)?;
    if flags & libc::MSG_TRUNC != 0 { Err(Errno::MSGSIZE) } else { Ok(received) }
}

/// Room for the sender alone: `CMSG_SPACE(sizeof(struct ucred))`, which is the
/// first thing that the kernel puts there (`scm_recv` of include/net/scm.h).
const ONLY_SENDER: usize = 32;

fn whole((received, flags): (Received, i32)) -> Result<Received> {
    // The kernel leaves out what finds no room in the table of descriptors.
    if flags & libc::MSG_CTRUNC != 0 && received.fds.len() < MAX_FDS {
        return Err(Errno::MFILE);
    }
    let cut = flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    if cut { Err(Errno::MSGSIZE) } else { Ok(received) }
}

#[repr(C, align(8))]
struct Control([u8; SPACE]);

fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    space: usize,
    flags: i32,
) -> Result<(Received, i32)> {
    let mut control = Control([0; SPACE]);
    let mut name = libc::sockaddr_un { sun_family: 0, sun_path: [0; 108] };
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all zeros are a valid `msghdr`.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = size_of_val(&name) as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = space.min(SPACE) as _;
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: each pointer in `message` is valid for writes of the length beside it.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let len = usize::try_from(len).map_err(|_| last_errno())?;
    let mut received = Received { len, fds: Vec::new(), sender: None, from: None };
    // SAFETY: `message` was filled in by the kernel; its control buffer is alive.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: not null, so the kernel put a header there, followed by its data.
        let (head, data) = unsafe { (header.read(), libc::CMSG_DATA(header)) };
        #[allow(clippy::unnecessary_cast, reason = "musl has a smaller type there")]
        let len = head.cmsg_len as usize - data.addr().wrapping_sub(header.addr());
        match (head.cmsg_level, head.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if len >= size_of::<libc::ucred>() => {
                // SAFETY: so many bytes are there, and any are a valid `ucred`.
                received.sender = Some(unsafe { data.cast::<libc::ucred>().read_unaligned() });
            }
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                for at in 0..len / size_of::<i32>() {
                    // SAFETY: the kernel has just opened these for us, and nobody
                    // else knows of them.
                    let fd = unsafe {
                        OwnedFd::from_raw_fd(data.cast::<i32>().add(at).read_unaligned())
                    };
                    received.fds.push(fd);
                }
            }
            _ => {}
        }
        // SAFETY: as for the first.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    let named = (message.msg_namelen as usize).saturating_sub(size_of_val(&name.sun_family));
    if let [0, abstract_name @ ..] = &name.sun_path[..named.min(name.sun_path.len())] {
        received.from = Some(abstract_name.iter().map(|&c| c as u8).collect());
    }
    Ok((received, message.msg_flags))
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::set_socket_passcred;

    fn pair() -> (OwnedFd, OwnedFd) {
        crate::link::socket_pair().unwrap()
    }

    #[test]
    fn a_message_comes_with_its_sender_and_descriptors() {
        let (a, b) = pair();
        set_socket_passcred(&b, true).unwrap();
        send(&a, b"hello", &[a.as_fd(), b.as_fd()]).unwrap();
        assert_eq!(peek_sender(&b).unwrap().1.unwrap().pid, std::process::id() as i32);
        let mut bytes = [0; 8];
        let received = recv(&b, &mut bytes).unwrap();
        assert_eq!((&bytes[..received.len], received.fds.len()), (&b"hello"[..], 2));
        assert_eq!(received.sender.unwrap().uid, rustix::process::geteuid().as_raw());
        assert_eq!(recv(&b, &mut bytes).err(), Some(Errno::AGAIN));
    }

    #[test]
    fn what_is_cut_is_an_error_and_what_is_not_taken_is_closed() {
        let (a, b) = pair();
        send(&a, b"too long", &[]).unwrap();
        assert_eq!(recv(&b, &mut [0; 4]).err(), Some(Errno::MSGSIZE));
        let (mine, theirs) = pair();
        send(&a, b"1", &[theirs.as_fd()]).unwrap();
        drop(theirs);
        assert_eq!(recv_bytes(&b, &mut [0; 4]).unwrap().len, 1);
        // The kernel closed it.
        assert_eq!(send(&mine, b"x", &[]).err(), Some(Errno::PIPE));
        send(&a, b"2", &[]).unwrap();
        let mut bytes = [0; 4];
        assert_eq!(recv(&b, &mut bytes).unwrap().len, 1);
        assert_eq!(bytes[0], b'2');
    }

    #[test]
    fn a_datagram_names_the_gate_that_it_came_from() {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
        let socket = |name: &str| {
            let flags = SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).unwrap();
            let name = format!("shmring-test-{}-{name}", std::process::id());
            let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
            bind(&socket, &address).unwrap();
            (socket, address, name.into_bytes())
        };
        let ((a, _, name), (b, address, _)) = (socket("a"), socket("b"));
        send_to(&a, &address, b"x", &[]).unwrap();
        assert_eq!(recv(&b, &mut [0; 4]).unwrap().from, Some(name));
    }
}
