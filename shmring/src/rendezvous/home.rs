//! In which network namespace doors are.
//!
//! Abstract names belong to one, so neighbours have to agree. That of the process is
//! right where a chain is started in one place. Who may enter that of the first process
//! goes there: so `ip netns exec` makes no difference. And whoever moves another
//! program to a namespace of its own hands it doors from outside: [`spare_door`].
#![allow(unsafe_code)]
// Unsafe lives here because a door that was handed over is known by number only. The
// invariant: it is looked at, duplicated and marked, never closed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::{FdFlags, Result};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, getsockname, socket_with, sockopt,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The environment variable with the numbers of doors that were handed over, one for each
/// pipe, commas between.
pub const DOORS: &str = "SHMRING_DOORS";

/// A door for another program, which gets it by inheritance and its number by [`DOORS`].
///
/// # Errors
/// Those of `socket(2)`.
pub fn spare_door() -> std::io::Result<OwnedFd> {
    let door = outside()?;
    rustix::io::fcntl_setfd(&door, FdFlags::empty())?;
    Ok(door)
}

/// A datagram socket without a name.
pub(super) fn door() -> Result<OwnedFd> {
    static HANDED: OnceLock<Mutex<Vec<OwnedFd>>> = OnceLock::new();
    let handed = HANDED.get_or_init(|| Mutex::new(handed_over()));
    let door = handed.lock().unwrap_or_else(PoisonError::into_inner).pop();
    door.map_or_else(outside, Ok)
}

fn outside() -> Result<OwnedFd> {
    let id = |path: &str| rustix::fs::stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino));
    // Most users may not see it, and mostly there is no other.
    let first = id("/proc/1/ns/net");
    if first.is_none() || first == id("/proc/thread-self/ns/net") {
        return socket();
    }
    // In a thread that ends: this one stays where it is whatever happens.
    let there = std::thread::Builder::new().spawn(|| {
        let first = rustix::fs::open("/proc/1/ns/net", OFlags::CLOEXEC, Mode::empty())?;
        move_into_link_name_space(first.as_fd(), Some(LinkNameSpaceType::Network))?;
        socket()
    });
    match there.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(socket))) => Ok(socket),
        _ => socket(),
    }
}

fn socket() -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)
}

/// The environment may be older than the descriptors: what is no door is left alone.
fn handed_over() -> Vec<OwnedFd> {
    let numbers = std::env::var(DOORS).unwrap_or_default();
    let numbers = numbers.split(',').filter_map(|number| number.parse::<i32>().ok());
    numbers.filter(|&number| number > 2).filter_map(|number| take(number).ok().flatten()).collect()
}

fn take(number: i32) -> Result<Option<OwnedFd>> {
    // SAFETY: not -1; one that is not open makes the first call fail.
    let door = unsafe { BorrowedFd::borrow_raw(number) };
    let is_door = sockopt::socket_domain(door)? == AddressFamily::UNIX
        && sockopt::socket_type(door)? == SocketType::DGRAM
        && SocketAddrUnix::try_from(getsockname(door)?)?.path().is_none();
    if !is_door {
        return Ok(None);
    }
    let own = rustix::io::fcntl_dupfd_cloexec(door, 3)?;
    // Programs that this one starts are not to get it.
    rustix::io::fcntl_setfd(door, FdFlags::CLOEXEC)?;
    Ok(Some(own))
}
