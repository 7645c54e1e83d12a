//! Frames out.

use std::ffi::c_int;

use cable::{Joined, Sender};
use shmring::SendError;

use crate::Key;
use crate::buffers::{Buffers, MAX_CHAIN};
use crate::control::Control;
use crate::guest::own;
use crate::whose;

/// A frame of TCP's of less bytes carries no data: there is nothing to make larger.
const LEAST: usize = 128;
/// So many data frames between two waits of the program are not held back: requests and
/// answers.
const BURST: u32 = 2;
/// Where the vnet header says that a checksum is to be filled in, and where TCP has it.
const CSUM_OFFSET: usize = 8;
const TCP_CHECKSUM: [u8; 2] = 16u16.to_le_bytes();

pub(crate) struct Transmit {
    /// Ways out; the newest one is used, see [`cable::Cable::way_out`].
    links: Vec<(Key, Sender)>,
    /// Those that are of no use any more, until their cables hear of it.
    ended: Vec<(Key, Sender, SendError)>,
    /// The way out is with its cable for a moment.
    pub away: bool,
    /// `tx` took no frame, and LKL has not been told since that it may.
    wanted: bool,
    /// The poll thread is awake or dozes: it looks by itself whether there is room.
    near: bool,
    /// Data frames since the program waited, up to `BURST`.
    burst: u32,
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
            wanted: false,
            near: true,
            burst: 0,
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

    /// Sends one frame; returns what LKL is to count of it. Kernel context: never waits.
    pub fn send(&mut self, control: &Control, buffers: Buffers<'_>) -> c_int {
        let len = buffers.total();
        let taken = len.min(MAX_CHAIN) as c_int;
        if self.holds_back(len, buffers) {
            self.wanted = true;
            return -1;
        }
        loop {
            let Some((_, tx)) = self.links.last_mut() else {
                if self.away || !self.was_up {
                    self.wanted = true;
                    return -1;
                }
                return taken;
            };
            let sent = tx.put(len, |room| {
                buffers.gather(room);
                Ok::<_, ()>(len)
            });
            match sent {
                Ok(_) => {
                    tx.publish();
                    self.bytes += len as u64;
                    return taken;
                }
                Err(SendError::Full) => {
                    if self.near && matches!(tx, Sender::Ring(_)) || tx.arm() {
                        self.wanted = true;
                        return -1;
                    }
                }
                Err(SendError::TooLong { .. }) => {
                    tx.count_drop();
                    return taken;
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

    /// Whether a frame stays with LKL for a moment. A program that writes little at a time
    /// and does not wait would send a frame for each write, and each costs more than the
    /// write does. With one held back, TCP gathers what comes next into the frame after
    /// it. It goes out when the program waits, when a thread looks in passing, or when
    /// the poll thread does.
    fn holds_back(&mut self, len: usize, buffers: Buffers<'_>) -> bool {
        let kind = || {
            let mut offset = [0; 2];
            buffers.peek(CSUM_OFFSET, &mut offset);
            offset == TCP_CHECKSUM
        };
        let ring = matches!(self.links.first(), Some((_, Sender::Ring(_))));
        if !(self.near
            && ring
            && len >= LEAST
            && own::taken().is_some()
            && whose::is_passing()
            && kind())
        {
            return false;
        }
        let full = self.burst == BURST;
        self.burst = (self.burst + 1).min(BURST);
        full
    }

    /// The program waits: what it sent is all there is.
    pub fn waits(&mut self) {
        self.burst = 0;
    }

    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether LKL waits for room, and there is some.
    pub fn is_ready(&mut self) -> bool {
        self.wanted
            && !self.away
            && match self.links.first_mut() {
                Some((_, tx)) => !matches!(tx.reserve(tx.max_frame()), Err(SendError::Full)),
                None => self.was_up,
            }
    }

    /// Whether LKL is to be told that frames can go out; it is the caller who tells it.
    pub fn take_ready(&mut self) -> bool {
        let ready = self.is_ready();
        self.wanted &= !ready;
        ready
    }

    /// The poll thread wakes, or dozes.
    pub fn comes_near(&mut self) {
        self.near = true;
    }

    /// The poll thread wants to sleep until a bell rings; `false` when there is room.
    pub fn sleep(&mut self) -> bool {
        self.near = false;
        self.left_alone()
    }

    /// Nobody looks any more; `false` when there is room.
    pub fn left_alone(&mut self) -> bool {
        !self.wanted || self.links.first_mut().is_none_or(|(_, tx)| tx.arm())
    }
}
