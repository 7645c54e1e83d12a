//! Frames out.

use std::ffi::c_int;

use cable::{Joined, Sender};
use frames::recorded;
use shmring::SendError;

use crate::Key;
use crate::buffers::Buffers;
use crate::control::Control;

pub(crate) struct Transmit {
    /// Ways out; the newest one is used, see [`cable::Cable::way_out`].
    links: Vec<(Key, Sender)>,
    /// Those that are of no use any more, until their cables hear of it.
    ended: Vec<(Key, Sender, SendError)>,
    /// The way out is with its cable for a moment.
    pub away: bool,
    /// `tx` was called in that moment.
    pub missed: bool,
    /// `tx` found no room, and `poll` has not reported since that there is some.
    wanted: bool,
    /// There was a link once. Before, frames wait; after, they are lost, as on
    /// a cable without a plug.
    was_up: bool,
    /// Bytes sent.
    pub bytes: u64,
}

impl Transmit {
    pub fn new() -> Transmit {
        Transmit {
            links: Vec::new(),
            ended: Vec::new(),
            away: false,
            missed: false,
            wanted: false,
            was_up: false,
            bytes: 0,
        }
    }

    /// Puts the sending half of a link in its place.
    pub fn give_back(&mut self, name: &str, key: Key, joined: &mut Joined) {
        if let Some(at) = self.links.iter().position(|link| link.0 == key) {
            joined.tx = Some(self.links.remove(at).1);
        }
        if let Some(at) = self.ended.iter().position(|link| link.0 == key) {
            let (_, tx, error) = self.ended.remove(at);
            joined.tx = Some(tx);
            joined.end_tx(name, &error);
        }
    }

    /// Takes it into use.
    pub fn take(&mut self, key: Key, joined: &mut Joined) {
        let Some(mut tx) = joined.tx.take() else { return };
        if !matches!(tx, Sender::Ring(_)) {
            tx.arm(); // writes the rest of what there was no room for
        }
        self.was_up = true;
        self.links.push((key, tx));
    }

    /// Sends one frame. Kernel context: never waits.
    pub fn send(&mut self, control: &Control, buffers: Buffers<'_>) -> c_int {
        let len = buffers.total();
        loop {
            let Some((_, tx)) = self.links.last_mut() else {
                if self.away || !self.was_up {
                    self.missed = self.away;
                    self.wanted = true;
                    return -1;
                }
                return len as c_int;
            };
            let sent = tx.put(len, |room| {
                buffers.gather(room);
                // LKL leaves there what was in its memory where buffers do not merge, and
                // a function would hold the frame back for that long.
                room.copy_from(recorded::AT.start, &[0; recorded::AT.end - recorded::AT.start]);
                Ok::<_, ()>(len)
            });
            match sent {
                Ok(_) => {
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
                    let Some((key, tx)) = self.links.pop() else { continue };
                    self.ended.push((key, tx, error));
                    // Its cable looks for another neighbour.
                    control.ring();
                }
            }
        }
    }

    /// Takes note that `tx` will be called; `false` when nobody waits for that.
    pub fn take_wanted(&mut self) -> bool {
        std::mem::take(&mut self.wanted)
    }
}
