//! Sockets that were passed by number.
//!
//! Unsafe lives here to borrow a descriptor by its number. The invariant: it is only
//! asked what it is, marked and duplicated, both of which fail for one that is not open.
#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, OwnedFd};

use anyhow::{Result, anyhow, bail};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

/// A copy of the socket `number`, which has to be of `kind`. Programs that this one starts do not
/// get it any more.
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
            bail!(
                "fd:{number} is no socket, as messages and both directions on one descriptor need: take frames:stdio for two pipes"
            )
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
    let own =
        rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|errno| anyhow!("fd:{number}: {errno}"))?;
    if number > 2 {
        // What this process starts is not to have it: the other end would wait for that, too.
        let _ = fcntl_setfd(fd, FdFlags::CLOEXEC);
    }
    Ok(own)
}

/// The number of the socket that a service manager has passed under this name, as
/// sd_listen_fds_with_names(3) tells.
///
/// # Errors
/// One line that says which there are.
pub fn number(name: &str) -> Result<i32> {
    /// `SD_LISTEN_FDS_START`.
    const FIRST: i32 = 3;
    let get = |variable| std::env::var(variable).unwrap_or_default();
    // A process that holds this one hands on what was passed to it.
    let ours = [std::process::id(), std::os::unix::process::parent_id()];
    let is_ours = get("LISTEN_PID").parse().is_ok_and(|pid| ours.contains(&pid));
    let count = get("LISTEN_FDS").parse().unwrap_or(0);
    if !is_ours || count == 0 {
        bail!(
            "fd:{name}: no service manager has passed anything (LISTEN_FDS, LISTEN_PID): write its number, as in fd:3"
        );
    }
    let mut names = get("LISTEN_FDNAMES");
    if names.is_empty() {
        names = vec!["unknown"; count].join(":"); // as sd_listen_fds_with_names(3) calls them
    }
    let mut numbers = (FIRST..).zip(names.split(':')).take(count);
    match numbers.find(|(_, found)| *found == name) {
        Some((number, _)) => Ok(number),
        None => {
            bail!("fd:{name}: the service manager has passed {names}, and nothing of that name")
        }
    }
}
