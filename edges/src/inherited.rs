//! Sockets that were passed by number.
//!
//! Unsafe lives here to borrow a descriptor by its number. The invariant: it is only
//! asked what it is and duplicated, both of which fail for one that is not open.
#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, OwnedFd};

use anyhow::{Result, anyhow, bail};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

/// A copy of the socket `number`, which has to be of `kind`.
///
/// # Errors
/// One line that says what is there instead.
pub fn socket(number: i32, kind: SocketType) -> Result<OwnedFd> {
    if number < 0 {
        bail!("fd:{number} is no descriptor");
    }
    // SAFETY: not negative; a descriptor that is not open gets an error below.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    let found = match sockopt::socket_type(fd) {
        Ok(found) => found,
        Err(Errno::BADF) => bail!("fd:{number} is not open: pass a socket, as by {number}<>..."),
        Err(Errno::NOTSOCK) => {
            bail!("fd:{number} is no socket: frames go both ways, so that a pipe is not enough")
        }
        Err(errno) => bail!("fd:{number}: {errno}"),
    };
    let unix = sockopt::socket_domain(fd) == Ok(AddressFamily::UNIX);
    let keeps_messages_apart = matches!(found, SocketType::SEQPACKET | SocketType::DGRAM) && unix;
    match kind {
        SocketType::STREAM if found != SocketType::STREAM => {
            bail!("fd:{number} keeps messages apart: take packet:fd:{number}")
        }
        SocketType::SEQPACKET if !keeps_messages_apart => bail!(
            "fd:{number} is a byte stream: take frames, qemu or vde, as whoever is at its other end does"
        ),
        _ => {}
    }
    rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|errno| anyhow!("fd:{number}: {errno}"))
}

/// As [`socket`], and programs that this one starts do not get it any more.
///
/// # Errors
/// As [`socket`].
pub fn take(number: i32, kind: SocketType) -> Result<OwnedFd> {
    let own = socket(number, kind)?;
    // SAFETY: open, since it has just been duplicated.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(inherited, FdFlags::CLOEXEC)?;
    Ok(own)
}
