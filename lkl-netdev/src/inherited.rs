//! Descriptors that a parent process left open for a device: `/dev/fd/N`.
#![allow(unsafe_code)]
// Unsafe lives here because such a descriptor is known by number only. The
// invariant: it is duplicated and marked, never closed, read or written.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::{FdFlags, Result, fcntl_dupfd_cloexec, fcntl_setfd};

/// The number in `/dev/fd/N`, the standard descriptors apart.
pub(crate) fn number(path: &str) -> Option<i32> {
    path.strip_prefix("/dev/fd/")?.parse().ok().filter(|&number| number > 2)
}

/// Duplicates it; programs that this one starts do not get it any more, or
/// they would keep the neighbour from seeing the end of the link.
pub(crate) fn take(number: i32) -> Result<OwnedFd> {
    // SAFETY: not -1 (see `number`); one that is not open makes `dup` fail.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    let own = fcntl_dupfd_cloexec(inherited, 3)?;
    fcntl_setfd(inherited, FdFlags::CLOEXEC)?;
    Ok(own)
}
