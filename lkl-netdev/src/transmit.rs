//! Frames out.

use std::ffi::c_int;

use shmring::{SendError, Tx};

use crate::buffers::Buffers;
use crate::device::Device;
use crate::say::say;

pub(crate) struct Transmit {
    /// Ways out by token; the first one is used.
    links: Vec<(u64, Tx)>,
    /// `tx` found no room, and `poll` has not reported since that there is some.
    wanted: bool,
    /// There was a link once. Before, frames wait; after, they are lost, as on
    /// a cable without a plug.
    was_up: bool,
    drops: u64,
    /// Bytes sent.
    pub bytes: u64,
}

impl Transmit {
    pub fn new() -> Transmit {
        Transmit { links: Vec::new(), wanted: false, was_up: false, drops: 0, bytes: 0 }
    }

    pub fn join(&mut self, token: u64, tx: Tx) {
        self.was_up = true;
        self.links.push((token, tx));
    }

    pub fn has(&self, token: u64) -> bool {
        self.links.iter().any(|link| link.0 == token)
    }

    /// Sends one frame. Kernel context: never waits.
    pub fn send(&mut self, device: &Device, buffers: Buffers<'_>) -> c_int {
        let len = buffers.total();
        loop {
            let Some((_, tx)) = self.links.first_mut() else {
                if !self.was_up {
                    self.wanted = true;
                    return -1;
                }
                self.drops += 1;
                return len as c_int;
            };
            match tx.reserve(len) {
                Ok(mut room) => {
                    room.fill(|bytes| buffers.gather(bytes));
                    room.stage(len);
                    tx.publish();
                    self.bytes += len as u64;
                    return len as c_int;
                }
                Err(SendError::Full) => {
                    if tx.arm() {
                        self.wanted = true;
                        return -1;
                    }
                }
                Err(SendError::TooLong { .. }) => {
                    tx.count_drop();
                    return len as c_int;
                }
                Err(error) => {
                    if error != SendError::Closed {
                        say(&device.name, format_args!("{error}, the link is closed"));
                    }
                    self.links.remove(0);
                    // The poller looks for another neighbour.
                    device.control.ring();
                }
            }
        }
    }

    /// A doorbell or a hang-up; returns whether the link is still there.
    pub fn woken(&mut self, token: u64) -> bool {
        let Some(at) = self.links.iter().position(|link| link.0 == token) else { return false };
        let tx = &mut self.links[at].1;
        let alive = tx.woken().is_ok() && !tx.is_closed();
        if !alive {
            self.links.remove(at);
        } else if matches!(tx, Tx::Stream(_)) {
            // The rest of a frame that the pipe had no room for.
            tx.arm();
        }
        alive
    }

    /// Takes note that `tx` will be called; `false` when nobody waits for that.
    pub fn take_wanted(&mut self) -> bool {
        std::mem::take(&mut self.wanted)
    }
}
