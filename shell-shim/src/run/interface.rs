//! One interface: a TAP, the cables it is joined to, and the frames between.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::Result;
use shmring::{RecvError, SendError};

use crate::stack::tap::{Offloads, Tap};
use cable::{BATCH, Cable, Half, PUBLISH_EVERY, Receiver, Sender, Turn, lane::say_why};
use frames::{GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, MAX_FRAME};

/// How long a stream of small frames is left to itself before the next look.
/// As long as frames wait, more come, and one look and one doorbell serve them
/// all; their acknowledgements come later, too, and what the program writes
/// until then goes into larger frames. Taken at once, each small write would
/// cross the chain as a frame of its own.
const GATHER: Duration = Duration::from_micros(20);

/// An interface of a function.
pub struct Interface {
    /// Its name.
    pub name: String,
    tap: Tap,
    /// Until a read says otherwise. The TAP is watched edge-triggered.
    readable: bool,
    /// Until a write says otherwise.
    writable: bool,
    /// Frames gather in the TAP until then.
    gathers_until: Option<Instant>,
    /// The pipes it is joined to.
    pub cables: Vec<Cable>,
    /// CMD is about to start: captures are not played yet.
    pub hold_captures: bool,
}

impl Interface {
    /// An interface without links.
    pub fn new(name: String, tap: Tap, cables: Vec<Cable>) -> Interface {
        Interface {
            name,
            tap,
            readable: true,
            writable: true,
            gathers_until: None,
            cables,
            hold_captures: false,
        }
    }

    /// Whether a capture is played.
    pub fn plays_capture(&mut self) -> bool {
        let mut receivers = self.cables.iter_mut().flat_map(Cable::links);
        receivers.any(|it| it.rx.as_ref().is_some_and(|rx| rx.as_stream().is_some()))
    }

    /// The TAP.
    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    /// The TAP's descriptor became ready for something.
    pub fn tap_ready(&mut self) {
        self.readable = true;
        self.writable = true;
    }

    /// Moves some frames both ways.
    pub fn turn(&mut self) -> Turn {
        let mut turn = Turn::default();
        for cable in &mut self.cables {
            cable.retain(|joined| {
                let mut alive = true;
                if let Some(rx) = &mut joined.rx
                    && !(self.hold_captures && rx.as_stream().is_some())
                {
                    alive = deliver(rx, &self.tap, &mut self.writable, &mut turn.busy);
                }
                // What came in before the neighbour closed is delivered first.
                if joined.tx.as_ref().is_some_and(Sender::is_closed) {
                    joined.tx = None;
                }
                alive &= joined.tx.is_some() || joined.rx.is_some();
                turn.ended |= !alive;
                alive
            });
        }
        self.gathers_until.take_if(|until| Instant::now() >= *until);
        if self.readable && self.gathers_until.is_none() {
            let mut burst = Burst::default();
            let mut links = self.cables.iter_mut().flat_map(Cable::links);
            if let Some(joined) = links.find(|joined| joined.tx.is_some())
                && let Some(sender) = &mut joined.tx
                && !collect(&self.name, &self.tap, sender, &mut self.readable, &mut burst)
            {
                joined.tx = None; // the rest of the link ends with the next turn
                turn.busy = true;
            }
            turn.busy |= burst.frames > 0;
            self.gathers_until = burst.may_grow().then(|| Instant::now() + GATHER);
        }
        turn
    }

    /// Before a sleep: asks every neighbour to wake us. `false` when there is
    /// something to do after all.
    pub fn arm(&mut self) -> bool {
        let mut sleep = self.gathers_until.is_none();
        let mut may_send = self.readable;
        for joined in self.cables.iter_mut().flat_map(Cable::links) {
            if let Some(tx) = &mut joined.tx {
                tx.publish();
                // Frames wait in the TAP only for the link they go to.
                if std::mem::take(&mut may_send) {
                    sleep &= tx.arm();
                }
            }
            if let Some(rx) = &mut joined.rx
                && self.writable
                && !(self.hold_captures && rx.as_stream().is_some())
            {
                sleep &= rx.arm();
            }
        }
        self.cables.iter_mut().for_each(Cable::arm);
        sleep
    }

    /// After a sleep: nobody needs to wake us any more.
    pub fn disarm(&mut self) {
        self.cables.iter_mut().for_each(Cable::disarm);
    }

    /// The descriptor of one half of a link became ready.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub fn woken(&mut self, serial: u32, half: Half) -> std::io::Result<()> {
        self.cables.iter_mut().try_for_each(|cable| cable.woken(serial, half))
    }

    /// A link came up: frames may leave as its neighbour can take them, and
    /// whoever looks at the interface sees a cable.
    ///
    /// # Errors
    /// Those of the TAP's ioctls.
    pub fn plugged(&self, features: u64) -> Result<()> {
        self.tap.set_offload(offloads(features))?;
        self.tap.set_carrier(true)
    }

    /// After links ended: without any, the interface shows that it has no
    /// carrier, until a new neighbour comes.
    ///
    /// # Errors
    /// Those of the TAP's ioctls.
    pub fn unplugged(&self) -> Result<()> {
        if self.cables.iter().any(Cable::is_up) { Ok(()) } else { self.tap.set_carrier(false) }
    }

    /// Closes every link; neighbours still get what was sent.
    pub fn close(&mut self) {
        self.cables.iter_mut().for_each(Cable::finish);
        self.cables.clear();
    }
}

/// Frames that came from the TAP one after the other.
#[derive(Default)]
struct Burst {
    frames: usize,
    bytes: usize,
}

impl Burst {
    /// Whether it is a stream of small frames with something in them: one frame
    /// alone may be a question to which the answer is waited for, large ones
    /// are full, and acknowledgements stay as small as they are.
    fn may_grow(&self) -> bool {
        self.frames > 1 && (256..16 << 10).contains(&(self.bytes / self.frames))
    }
}

/// What a neighbour with these virtio-net features takes unfinished.
fn offloads(features: u64) -> Offloads {
    let has = |bit: u32| features >> bit & 1 == 1;
    Offloads { csum: has(GUEST_CSUM), tso4: has(GUEST_TSO4), tso6: has(GUEST_TSO6) }
}

/// Frames from a link to the TAP. `false` when the link has ended.
fn deliver(rx: &mut Receiver, tap: &Tap, writable: &mut bool, busy: &mut bool) -> bool {
    for _ in 0..BATCH {
        if !*writable {
            break;
        }
        let written = rx.receive(|bytes| match bytes.write_to(tap) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => (false, Err(error)),
            written => (true, written),
        });
        match written {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => {
                *writable = false;
                break;
            }
            // Not an Ethernet frame with its header, or the interface is down:
            // a network card would throw it away, too.
            Ok(Err(_)) => rx.count_drop(),
            Err(RecvError::Empty) => break,
            Err(error) => {
                say_why(&error, rx);
                return false;
            }
        }
        *busy = true;
    }
    rx.return_room();
    true
}

/// Frames from the TAP to a link. `false` when the link is of no use any more.
fn collect(name: &str, tap: &Tap, tx: &mut Sender, readable: &mut bool, burst: &mut Burst) -> bool {
    let mut staged = 0;
    for _ in 0..BATCH {
        let mut len = 0;
        let read = tx.send(MAX_FRAME, |room| {
            len = room.read_from(tap)?;
            Ok::<_, std::io::Error>(len)
        });
        match read {
            Ok(Ok(())) => {
                staged += len;
                burst.frames += 1;
                burst.bytes += len;
            }
            Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
            // WouldBlock, or the interface is down: it will say when that changes.
            Ok(Err(_)) => {
                *readable = false;
                break;
            }
            Err(SendError::Full) => break,
            Err(SendError::Closed) => return false,
            Err(error) => {
                say::error!("{name}: {error}, the link is closed");
                return false;
            }
        }
        if staged >= PUBLISH_EVERY {
            tx.publish();
            staged = 0;
        }
    }
    tx.publish();
    true
}
