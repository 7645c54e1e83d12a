//! Descriptors for a child process, by number.
#![allow(unsafe_code)]
// Unsafe lives here to take ownership of descriptors that the parent process
// left open for us and named on our command line.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Result, bail};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Lets children inherit these.
pub(crate) fn leave_open(fds: Vec<OwnedFd>) -> Result<Vec<OwnedFd>> {
    for fd in &fds {
        fcntl_setfd(fd, FdFlags::empty())?;
    }
    Ok(fds)
}

/// For the child's command line.
pub(crate) fn numbers(fds: &[OwnedFd]) -> String {
    let numbers: Vec<String> = fds.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    numbers.join(",")
}

/// In the child: what the parent left open.
pub(crate) fn take(numbers: &str) -> Result<Vec<OwnedFd>> {
    let mut fds = Vec::new();
    for number in numbers.split(',').filter(|number| !number.is_empty()) {
        let number: RawFd = number.parse()?;
        if number < 3 {
            bail!("{number} is a standard descriptor");
        }
        // SAFETY: the parent left this descriptor open for us alone; nothing
        // else in this process knows it, and each is taken once.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        let flags = fcntl_getfd(&fd)?;
        fcntl_setfd(&fd, flags | FdFlags::CLOEXEC)?;
        fds.push(fd);
    }
    Ok(fds)
}
