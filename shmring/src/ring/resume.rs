//! An end of a ring that goes from one process to another.
//!
//! The giver puts its own index into shared memory ([`Producer::rest`],
//! [`Consumer::rest`]) and does not touch the ring any more; the taker begins there.
//! Between the two a message passes, so the pairs of orderings are those of two threads
//! of which one starts the other. The neighbour may move its own index meanwhile, ring
//! and sleep: the taker looks before it sleeps (SLEEP), as everybody does.

use super::{Consumer, Counters, Producer};
use crate::bell::Waiter;
use crate::region::Region;
use crate::spin::Spin;
use crate::sync::Ordering;

/// Of an end that its last owner has closed.
pub(crate) const CLOSED: &str = "it was closed";

/// Where one end of a ring stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Indices {
    /// Its own index: `tail` of a producer, `head` of a consumer.
    pub own: u64,
    /// The neighbour's, as last seen.
    pub seen: u64,
    /// What it counted.
    pub counters: Counters,
}

/// Whether the neighbour's index can be where the shared memory says, given what was
/// seen before. The ends check it again with each look.
fn is_possible(tail: u64, head: u64, capacity: usize) -> bool {
    let used = tail.wrapping_sub(head);
    used <= capacity as u64 && tail.is_multiple_of(8) && head.is_multiple_of(8)
}

impl Producer {
    /// Publishes what is staged and says where this end stands; what is broken is not
    /// handed over.
    pub(crate) fn rest(&mut self) -> Result<Indices, &'static str> {
        self.publish();
        self.corrupt.map_or(Ok(()), Err)?;
        self.region.header().producer_waiting.store(0, Ordering::Relaxed);
        Ok(Indices { own: self.tail, seen: self.head_seen, counters: self.counters })
    }

    /// Goes on where another process stopped, or by the shared memory alone where that
    /// left no word.
    pub(crate) fn resume(
        region: Region,
        waiter: Waiter,
        max_frame: usize,
        indices: Option<Indices>,
    ) -> Result<Self, &'static str> {
        let header = region.header();
        let tail = header.tail.load(Ordering::Acquire); // ours: written by this side only
        let head = header.head.load(Ordering::Acquire); // RELEASE
        let counters = || Counters::load(&header.producer);
        if indices.is_none() && header.producer_closed.load(Ordering::Acquire) != 0 {
            return Err(CLOSED);
        }
        let indices =
            indices.unwrap_or_else(|| Indices { own: tail, seen: head, counters: counters() });
        if indices.own != tail {
            return Err("another tail than this side's last");
        }
        if !is_possible(tail, indices.seen, region.capacity()) {
            return Err("impossible head");
        }
        Ok(Producer {
            region,
            waiter,
            spin: Spin::new(),
            max_frame,
            tail,
            published: tail,
            head_seen: indices.seen,
            corrupt: None,
            counters: indices.counters,
            left: false,
        })
    }

    /// Says who has this end now, and on which pipe.
    pub(crate) fn identify(&self, label: &str, pipe: (u64, u64)) {
        let header = self.region.header();
        header.producer.identify(label);
        header.pipe_dev.store(pipe.0, Ordering::Relaxed);
        header.pipe_ino.store(pipe.1, Ordering::Relaxed);
    }

    /// Another process has this end.
    pub(crate) fn leave(mut self) {
        self.left = true;
    }
}

impl Consumer {
    /// As [`Producer::rest`]: gives back the room of what was released.
    pub(crate) fn rest(&mut self) -> Result<Indices, &'static str> {
        self.return_room();
        self.corrupt.map_or(Ok(()), Err)?;
        self.disarm();
        Ok(Indices { own: self.head, seen: self.tail_seen, counters: self.counters })
    }

    /// From now on says in the shared memory with each frame that it is taken, for the one
    /// who resumes without a record. A store for each frame, to a line of its own.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
        self.takes(self.head);
    }

    /// Relaxed: read by a process that begins after this one has died, or has said so.
    #[inline]
    pub(super) fn takes(&self, next: u64) {
        self.region.header().taken.store(next, Ordering::Relaxed);
    }

    /// As [`Producer::resume`]. Without a record, what a killed process had taken is known
    /// by the memory, too, if that process was told to write it down ([`Consumer::keep`]).
    /// The frame that was being delivered when it died is not delivered again.
    pub(crate) fn resume(
        region: Region,
        waiter: Waiter,
        max_frame: usize,
        indices: Option<Indices>,
    ) -> Result<Self, &'static str> {
        let header = region.header();
        let head = header.head.load(Ordering::Acquire); // ours: written by this side only
        let (released, kept) = (head, indices.is_none());
        let indices = match indices {
            Some(indices) if indices.own != head => {
                return Err("another head than this side's last");
            }
            Some(indices) => indices,
            None if header.consumer_closed.load(Ordering::Acquire) != 0 => {
                return Err(CLOSED);
            }
            None => {
                let tail = header.tail.load(Ordering::Acquire); // PUBLISH
                let taken = header.taken.load(Ordering::Relaxed);
                let ahead = taken.wrapping_sub(head);
                let is_known = ahead <= tail.wrapping_sub(head) && ahead.is_multiple_of(8);
                let own = if is_known { taken } else { head };
                Indices { own, seen: own, counters: Counters::load(&header.consumer) }
            }
        };
        let head = indices.own;
        if !is_possible(head, released, region.capacity())
            || !is_possible(indices.seen, head, region.capacity())
        {
            return Err("impossible tail");
        }
        Ok(Consumer {
            region,
            waiter,
            spin: Spin::new(),
            max_frame,
            head,
            released,
            tail_seen: indices.seen,
            corrupt: None,
            counters: indices.counters,
            frames_at_wait: indices.counters.frames,
            left: false,
            kept,
        })
    }

    /// Says who has this end now, and on which pipe.
    pub(crate) fn identify(&self, label: &str, pipe: (u64, u64)) {
        let header = self.region.header();
        header.consumer.identify(label);
        header.pipe_dev.store(pipe.0, Ordering::Relaxed);
        header.pipe_ino.store(pipe.1, Ordering::Relaxed);
    }

    /// Another process has this end.
    pub(crate) fn leave(mut self) {
        self.left = true;
    }
}

#[cfg(not(loom))]
mod parts {
    use std::os::fd::BorrowedFd;

    use super::{Consumer, Producer};
    use crate::bell::LinkFds;

    macro_rules! parts {
        ($end:ty) => {
            impl $end {
                /// The ring's memory.
                pub(crate) fn memory(&self) -> BorrowedFd<'_> {
                    self.region.memfd()
                }

                /// Bytes of records.
                pub(crate) fn capacity(&self) -> usize {
                    self.region.capacity()
                }

                /// What the halves of the link share.
                pub(crate) fn link_fds(&self) -> &LinkFds {
                    self.waiter.fds()
                }
            }
        };
    }

    parts!(Producer);
    parts!(Consumer);
}

/// What a model does in the place of a message with descriptors.
#[cfg(all(loom, test))]
mod model {
    use super::{Consumer, Producer};

    macro_rules! hand_on {
        ($end:ty) => {
            impl $end {
                /// The same end for another thread; with `record` or by the memory alone.
                pub(crate) fn hand_on(mut self, record: bool) -> Self {
                    let indices = self.rest().unwrap();
                    let (region, waiter) = (self.region.again(), self.waiter.successor());
                    let max_frame = self.max_frame;
                    self.leave();
                    Self::resume(region, waiter, max_frame, record.then_some(indices)).unwrap()
                }
            }
        };
    }

    hand_on!(Producer);
    hand_on!(Consumer);
}
