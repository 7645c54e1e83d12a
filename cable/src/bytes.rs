//! Bytes of a pipe or a Unix socket, without waiting.
//!
//! A pipe is opened anew for that and does not block. A socket cannot be opened
//! anew, and to make it non-blocking would change it for all who share it.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, Result};
use rustix::net::{RecvFlags, SendFlags};

/// As read(2).
///
/// # Errors
/// Those of read(2) and recv(2), `EAGAIN` among them.
pub fn read(from: &OwnedFd, bytes: &mut [u8]) -> Result<usize> {
    match rustix::net::recv(from, &mut *bytes, RecvFlags::DONTWAIT) {
        Ok((count, _)) => Ok(count),
        Err(Errno::NOTSOCK) => rustix::io::read(from, bytes),
        Err(error) => Err(error),
    }
}

/// As write(2).
///
/// # Errors
/// Those of write(2) and send(2), `EAGAIN` among them.
pub fn write(to: &OwnedFd, bytes: &[u8]) -> Result<usize> {
    match rustix::net::send(to, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Err(Errno::NOTSOCK) => rustix::io::write(to, bytes),
        sent => sent,
    }
}
