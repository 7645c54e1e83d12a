//! The address of a listener that was killed. It cannot take its address
//! away; whoever was linked to it does.

use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::listen::{is_dead, lock};
use crate::runtime_dir::RuntimeDir;

/// How long the kernel may take from one closed socket of a dying process to
/// the next; they come in no particular order.
pub(crate) const DYING: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// One that was linked to the listener of a pipe.
pub(crate) struct Survivor {
    pub dir: RuntimeDir,
    pub id: (u64, u64),
}

impl Survivor {
    /// Removes the address unless somebody listens there.
    pub fn bury(&self) {
        let path = self.dir.address(self.id);
        // A listener that ended in order took it away before it hung up.
        if rustix::fs::lstat(&path).is_err() {
            return;
        }
        wait_for_hang_up(&path);
        let Ok(_lock) = lock(self.dir.path()) else { return };
        if is_dead(&path) {
            let _ = rustix::fs::unlink(&path);
        }
    }
}

/// Returns at once where nobody listens, and after [`DYING`] where somebody
/// stays.
fn wait_for_hang_up(path: &Path) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let (Ok(socket), Ok(name)) = (socket, SocketAddrUnix::new(path)) else { return };
    if rustix::net::connect(&socket, &name).is_ok() {
        let _ = poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&DYING));
    }
}
