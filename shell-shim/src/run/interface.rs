//! One interface: a TAP, the cables it is joined to, and the frames between.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;
use shmring::{Link, Peer, RecvError, Rendezvous, RuntimeDir, Rx, SendError, Tx};

use super::plan::{CablePlan, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, MAX_FRAME};
use crate::stack::tap::{Offloads, Tap};

/// Frames moved in one direction before the other has its turn.
const BATCH: usize = 64;
/// Staged bytes after which the neighbour is told: enough to keep small frames
/// from costing a publication each, little enough that both sides work at once.
const PUBLISH_EVERY: usize = 16 << 10;

/// An interface of a function.
pub struct Interface {
    /// Its name.
    pub name: String,
    tap: Tap,
    /// Until a read says otherwise. The TAP is watched edge-triggered.
    readable: bool,
    /// Until a write says otherwise.
    writable: bool,
    /// The pipes it is joined to.
    pub cables: Vec<Cable>,
}

/// A pipe, the rendezvous on it, and the links that came of it.
pub struct Cable {
    plan: CableParts,
    /// None while a writer's link lives.
    rendezvous: Option<Rendezvous>,
    /// Links by serial number.
    links: Vec<(u32, Joined)>,
    /// Whether there ever was a link.
    pub was_up: bool,
}

/// What is needed to make the rendezvous again.
struct CableParts {
    offer: shmring::Offer,
    vital: bool,
    what: String,
}

/// The halves of a live link.
struct Joined {
    tx: Option<Tx>,
    rx: Option<Rx>,
}

/// What a turn over the frames found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Frames were moved.
    pub busy: bool,
    /// A link came to its end.
    pub ended: bool,
}

/// Which half of a link a descriptor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Frames out.
    Tx,
    /// Frames in.
    Rx,
}

impl Interface {
    /// An interface without links.
    pub fn new(name: String, tap: Tap, cables: Vec<Cable>) -> Interface {
        Interface { name, tap, readable: true, writable: true, cables }
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
            cable.links.retain_mut(|(_, joined)| {
                let mut alive = true;
                if let Some(rx) = &mut joined.rx {
                    alive = deliver(&self.name, rx, &self.tap, &mut self.writable, &mut turn.busy);
                }
                // What came in before the neighbour closed is delivered first.
                if joined.tx.as_ref().is_some_and(Tx::is_closed) {
                    joined.tx = None;
                }
                alive &= joined.tx.is_some() || joined.rx.is_some();
                turn.ended |= !alive;
                alive
            });
        }
        if self.readable {
            let mut links = self.cables.iter_mut().flat_map(|cable| &mut cable.links);
            if let Some((_, Joined { tx, .. })) = links.find(|(_, joined)| joined.tx.is_some())
                && let Some(sender) = tx
                && !collect(&self.name, &self.tap, sender, &mut self.readable, &mut turn.busy)
            {
                *tx = None; // the rest of the link ends with the next turn
                turn.busy = true;
            }
        }
        turn
    }

    /// Before a sleep: asks every neighbour to wake us. `false` when there is
    /// something to do after all.
    pub fn arm(&mut self) -> bool {
        let mut sleep = true;
        let mut may_send = self.readable;
        for (_, joined) in self.cables.iter_mut().flat_map(|c| &mut c.links) {
            if let Some(tx) = &mut joined.tx {
                tx.publish();
                // Frames wait in the TAP only for the link they go to.
                if std::mem::take(&mut may_send) {
                    sleep &= tx.arm();
                }
            }
            if let Some(rx) = &mut joined.rx
                && self.writable
            {
                sleep &= rx.arm();
            }
        }
        sleep
    }

    /// After a sleep: nobody needs to wake us any more.
    pub fn disarm(&mut self) {
        for (_, joined) in self.cables.iter_mut().flat_map(|c| &mut c.links) {
            if let Some(rx) = &mut joined.rx {
                rx.disarm();
            }
        }
    }

    /// The descriptor of one half of a link became ready.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub fn woken(&mut self, serial: u32, half: Half) -> std::io::Result<()> {
        let found = self.cables.iter_mut().flat_map(|c| &mut c.links).find(|l| l.0 == serial);
        let Some((_, joined)) = found else { return Ok(()) };
        match half {
            Half::Tx => joined.tx.as_mut().map_or(Ok(()), |tx| {
                tx.woken()?;
                tx.publish();
                Ok(())
            }),
            Half::Rx => joined.rx.as_mut().map_or(Ok(()), Rx::woken),
        }
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
        self.cables.clear();
    }
}

/// What a neighbour with these virtio-net features takes unfinished.
fn offloads(features: u64) -> Offloads {
    let has = |bit: u32| features >> bit & 1 == 1;
    Offloads { csum: has(GUEST_CSUM), tso4: has(GUEST_TSO4), tso6: has(GUEST_TSO6) }
}

/// Frames from a link to the TAP. `false` when the link has ended.
fn deliver(name: &str, rx: &mut Rx, tap: &Tap, writable: &mut bool, busy: &mut bool) -> bool {
    for _ in 0..BATCH {
        if !*writable {
            break;
        }
        let mut frame = match rx.borrow() {
            Ok(frame) => frame,
            Err(RecvError::Empty) => break,
            Err(RecvError::Ended) => return false,
            Err(error) => {
                eprintln!("stdpkt: {name}: {error}, the link is closed");
                return false;
            }
        };
        let written = frame.bytes().write_to(tap);
        match written {
            Ok(_) => frame.release(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                *writable = false;
                break;
            }
            // Not an Ethernet frame with its header, or the interface is down:
            // a network card would throw it away, too.
            Err(_) => {
                frame.release();
                rx.count_drop();
            }
        }
        *busy = true;
    }
    rx.return_room();
    true
}

/// Frames from the TAP to a link. `false` when the link is of no use any more.
fn collect(name: &str, tap: &Tap, tx: &mut Tx, readable: &mut bool, busy: &mut bool) -> bool {
    let mut staged = 0;
    for _ in 0..BATCH {
        let mut room = match tx.reserve(MAX_FRAME) {
            Ok(room) => room,
            Err(SendError::Full) => break,
            Err(SendError::Closed) => return false,
            Err(error) => {
                eprintln!("stdpkt: {name}: {error}, the link is closed");
                return false;
            }
        };
        match room.fill(|bytes| bytes.read_from(tap)) {
            Ok(len) => {
                room.stage(len);
                staged += len;
                *busy = true;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // WouldBlock, or the interface is down: it will say when that changes.
            Err(_) => {
                *readable = false;
                break;
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

impl Cable {
    /// Starts to look for a neighbour.
    ///
    /// # Errors
    /// [`shmring::LinkError`].
    pub fn new(plan: CablePlan, dir: &RuntimeDir) -> Result<Cable> {
        let CablePlan { end, offer, vital } = plan;
        let what = end.what().to_owned();
        let rendezvous = Some(Rendezvous::new(end, dir, offer.clone())?);
        let plan = CableParts { offer, vital, what };
        Ok(Cable { plan, rendezvous, links: Vec::new(), was_up: false })
    }

    /// The pipe's name for people.
    pub fn what(&self) -> &str {
        &self.plan.what
    }

    /// Whether the function ends with this cable.
    pub fn is_vital(&self) -> bool {
        self.plan.vital
    }

    /// Whether there is a neighbour.
    pub fn is_up(&self) -> bool {
        !self.links.is_empty()
    }

    /// The descriptor of the rendezvous.
    pub fn rendezvous(&self) -> Option<&Rendezvous> {
        self.rendezvous.as_ref()
    }

    /// The rendezvous' descriptor became ready; `Some` when a link came of it.
    ///
    /// # Errors
    /// [`shmring::LinkError`].
    pub fn poll(&mut self) -> Result<Option<Link>> {
        match &mut self.rendezvous {
            Some(rendezvous) => Ok(rendezvous.poll()?),
            None => Ok(None),
        }
    }

    /// Takes a link into use; `watch` is called with its descriptors.
    ///
    /// # Errors
    /// Those of `watch`.
    pub fn join(
        &mut self,
        serial: u32,
        link: Link,
        watch: impl Fn(Half, BorrowedFd<'_>) -> Result<()>,
    ) -> Result<()> {
        if self.plan.offer.duplex && !link.is_duplex() {
            let (here, there) = match link.tx {
                Some(_) => ("to", "from"),
                None => ("from", "to"),
            };
            let Peer { label, .. } = &link.peer;
            eprintln!(
                "stdpkt: {}: one-way {here} {label}: frames {there} it need a FIFO of their own, \
                 as in --link NAME,at=RX:TX",
                self.plan.what
            );
        }
        link.tx.iter().try_for_each(|tx| watch(Half::Tx, tx.as_fd()))?;
        link.rx.iter().try_for_each(|rx| watch(Half::Rx, rx.as_fd()))?;
        self.was_up = true;
        self.links.push((serial, Joined { tx: link.tx, rx: link.rx }));
        Ok(())
    }

    /// Looks for another neighbour on a FIFO whose last one is gone. Returns
    /// whether there is a new rendezvous to watch.
    ///
    /// # Errors
    /// [`shmring::LinkError`].
    pub fn renew(&mut self, dir: &RuntimeDir) -> Result<bool> {
        let over = self.rendezvous.as_ref().is_some_and(Rendezvous::is_over);
        if self.is_up() || self.is_vital() || !over {
            return Ok(false);
        }
        if let Some(old) = self.rendezvous.take() {
            self.rendezvous = Some(Rendezvous::new(old.into_end(), dir, self.plan.offer.clone())?);
        }
        Ok(true)
    }
}
