//! Who is behind a connected Unix socket, as the kernel says.
#![allow(unsafe_code)]
// Unsafe lives here for one system call: the pid may be 0 (a process that our
// pid namespace does not show), which rustix's `UCred` has no room for.

use std::os::fd::{AsRawFd, OwnedFd};

/// The process that made or connected the socket; `None` for other sockets.
fn credentials(socket: &OwnedFd) -> Option<libc::ucred> {
    let mut cred = libc::ucred { pid: 0, uid: libc::uid_t::MAX, gid: libc::gid_t::MAX };
    let mut len = size_of_val(&cred) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `cred`, and any bytes
    // are a valid `ucred`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut cred).cast(),
            &raw mut len,
        )
    };
    (result == 0 && len as usize == size_of_val(&cred)).then_some(cred)
}

/// The user behind a connected socket must be ours.
pub(crate) fn is_our_user(socket: &OwnedFd) -> bool {
    credentials(socket).is_some_and(|cred| is_ours(&cred))
}

/// Whether the sender of a message is of our user.
pub(crate) fn is_ours(sender: &libc::ucred) -> bool {
    sender.uid == rustix::process::geteuid().as_raw()
}

/// Its process id; 0 where the kernel does not tell.
pub(crate) fn pid(socket: &OwnedFd) -> i32 {
    credentials(socket).map_or(0, |cred| cred.pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_pair_is_ours_and_a_pipe_is_nobodys() {
        let (a, _b) = crate::link::socket_pair().unwrap();
        assert!(is_our_user(&a));
        assert_eq!(pid(&a), std::process::id() as i32);
        let (read, _write) = std::io::pipe().unwrap();
        assert!(!is_our_user(&read.into()));
    }
}
