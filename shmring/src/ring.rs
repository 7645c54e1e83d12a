//! The two ends of a ring.
//!
//! Names of the pairs of orderings (each name stands on both sides):
//!
//! - PUBLISH: the producer stores `tail` with Release after it wrote the
//!   records; the consumer loads `tail` with Acquire before it reads them.
//! - RELEASE: the consumer stores `head` with Release after its last access to
//!   the records; the producer loads `head` with Acquire before it writes there.
//! - CLOSE: a side stores its `closed` flag with Release after its last index;
//!   the other loads the flag with Acquire and then the index once more.
//! - SLEEP: a side that wants to sleep stores its `waiting` flag, fences
//!   (SeqCst), then looks at the index once more; the other stores the index,
//!   fences (SeqCst), then looks at the flag. Whatever the interleaving, one of
//!   the two sees the other's store, so no wake-up is lost. Without either
//!   fence the store may still sit in the store buffer when the load is done.
#![allow(unsafe_code)]
// Unsafe lives here to hand out `Bytes` and `BytesMut`. The invariant: a
// producer owns positions `tail .. head_seen + capacity`, a consumer owns
// `head .. tail_seen`; all four are private values that were checked when they
// were taken from shared memory.

mod resume;

use std::hint::spin_loop;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::bell::Waiter;
use crate::error::{RecvError, SendError};
use crate::layout::{SideBlock, record_len};
use crate::region::Region;
use crate::slot::{Bytes, BytesMut};
use crate::spin::Spin;
use crate::sync::{Ordering, fence};
#[cfg(not(loom))]
pub(crate) use resume::{CLOSED, Indices};

/// How far ahead of the record being looked at the next ones are fetched, in
/// bytes: further than what a neighbour's cache line takes to arrive.
const PREFETCH: usize = 512;

/// Turns of `spin_loop` between two looks of a consumer to which frames stream:
/// some hundreds of nanoseconds.
const PAUSE: u32 = if cfg!(loom) { 0 } else { 32 };

/// What one side counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames published or released.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames thrown away.
    pub drops: u64,
    /// Times this side slept because the ring was full (producer) or empty (consumer).
    pub stalls: u64,
    /// Times this side rang the doorbell.
    pub wakeups: u64,
}

/// Five numbers in the order of the fields.
impl From<[u64; 5]> for Counters {
    fn from([frames, bytes, drops, stalls, wakeups]: [u64; 5]) -> Counters {
        Counters { frames, bytes, drops, stalls, wakeups }
    }
}

impl From<Counters> for [u64; 5] {
    fn from(it: Counters) -> [u64; 5] {
        [it.frames, it.bytes, it.drops, it.stalls, it.wakeups]
    }
}

impl Counters {
    /// Counters are for observers: no order with anything is promised.
    pub(crate) fn store(&self, block: &SideBlock) {
        if cfg!(loom) {
            return; // only more schedules to look at
        }
        self.store_flow(block);
        block.drops.store(self.drops, Ordering::Relaxed);
        block.stalls.store(self.stalls, Ordering::Relaxed);
        block.wakeups.store(self.wakeups, Ordering::Relaxed);
    }

    /// What a side says that it counted.
    pub(crate) fn load(block: &SideBlock) -> Counters {
        Counters {
            frames: block.frames.load(Ordering::Relaxed),
            bytes: block.bytes.load(Ordering::Relaxed),
            drops: block.drops.load(Ordering::Relaxed),
            stalls: block.stalls.load(Ordering::Relaxed),
            wakeups: block.wakeups.load(Ordering::Relaxed),
        }
    }

    /// Only what changes with each frame: a store costs, even to a line of one's
    /// own, while those before it wait for the neighbour's lines.
    #[inline]
    fn store_flow(&self, block: &SideBlock) {
        if cfg!(loom) {
            return; // as above
        }
        block.frames.store(self.frames, Ordering::Relaxed);
        block.bytes.store(self.bytes, Ordering::Relaxed);
    }
}

/// The end that frames go into.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut left, mut right) = shmring::loopback(1 << 20, 65_600)?;
/// let mut room = left.reserve(5)?;
/// room.bytes().copy_from(0, b"frame");
/// room.commit(5);
/// let frame = right.borrow()?;
/// assert_eq!(frame.bytes().to_vec(), b"frame");
/// frame.release();
/// # Ok(())
/// # }
/// ```
pub struct Producer {
    region: Region,
    waiter: Waiter,
    spin: Spin,
    max_frame: usize,
    /// End of the staged records. Always in sync: nobody else moves it.
    tail: u64,
    /// What the shared `tail` holds.
    published: u64,
    /// The consumer's `head` as last seen; may be stale, never ahead.
    head_seen: u64,
    corrupt: Option<&'static str>,
    counters: Counters,
    /// Another process has this end: its drop closes nothing.
    left: bool,
}

impl Producer {
    pub(crate) fn new(region: Region, waiter: Waiter, max_frame: usize, label: &str) -> Self {
        region.header().producer.identify(label);
        Producer {
            region,
            waiter,
            spin: Spin::new(),
            max_frame,
            tail: 0,
            published: 0,
            head_seen: 0,
            corrupt: None,
            counters: Counters::default(),
            left: false,
        }
    }

    /// Room for a frame of up to `len` bytes, contiguous, in the ring itself.
    ///
    /// Frames staged before are published when there is no room left, so that
    /// the consumer can make some.
    ///
    /// # Errors
    /// [`SendError`]; after `Closed` and `Corrupt` the ring stays unusable.
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Reservation<'_>, SendError> {
        if len > self.max_frame {
            return Err(SendError::TooLong { len, max: self.max_frame });
        }
        if self.room() < record_len(len) {
            self.look()?;
            if self.room() < record_len(len) {
                self.publish();
                return Err(SendError::Full);
            }
        }
        // SAFETY: the record lies in `tail .. head_seen + capacity`, which the
        // consumer has released.
        let bytes = unsafe { self.region.room(self.tail, len) };
        Ok(Reservation { bytes, producer: self })
    }

    /// Longest frame in bytes.
    pub fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// Makes staged frames visible and wakes the consumer if it sleeps.
    #[inline]
    pub fn publish(&mut self) {
        if self.tail == self.published {
            return;
        }
        let header = self.region.header();
        // PUBLISH
        header.tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
        self.counters.store_flow(&header.producer);
        // SLEEP: orders the store of `tail` before the load of the flag.
        fence(Ordering::SeqCst);
        if header.consumer_waiting.load(Ordering::Relaxed) != 0 {
            // Whoever clears the flag rings, so it does no harm if this store
            // overtakes one of the consumer's.
            header.consumer_waiting.store(0, Ordering::Relaxed);
            self.counters.wakeups += 1;
            self.counters.store(&header.producer);
            self.waiter.ring();
        }
    }

    /// Counts a frame that could not be sent.
    pub fn count_drop(&mut self) {
        self.counters.drops += 1;
        self.counters.store(&self.region.header().producer);
    }

    /// What this side counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Tells the consumer how many stand in a row on this side of the ring, or what else
    /// both understand. It is told again only where it is something else: the consumer
    /// need not fetch the line.
    pub fn tell_row(&mut self, row: u32) {
        let told = &self.region.header().row;
        // Relaxed, both: a hint, in no order with frames.
        if told.load(Ordering::Relaxed) != row {
            told.store(row, Ordering::Relaxed);
        }
    }

    /// Prepares to sleep until there is room: `true` when the caller may go to
    /// sleep on [`AsFd`], `false` when there is something to do at once (room,
    /// or the end of the link).
    ///
    /// A sleeping producer is woken when half the ring is free, not at the
    /// first free byte, so that it then fills a batch.
    pub fn arm(&mut self) -> bool {
        self.publish();
        let header = self.region.header();
        header.producer_waiting.store(1, Ordering::Relaxed);
        // SLEEP: orders the store of the flag before the load of `head`.
        fence(Ordering::SeqCst);
        let sleep = self.look().is_ok() && self.room() < self.region.capacity() / 2;
        if sleep {
            self.counters.stalls += 1;
            self.counters.store(&self.region.header().producer);
        } else {
            self.region.header().producer_waiting.store(0, Ordering::Relaxed);
        }
        sleep
    }

    /// Notes what made the descriptor readable. Call it after polling [`AsFd`].
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`, which do not happen on a live descriptor.
    pub fn woken(&mut self) -> std::io::Result<()> {
        self.waiter.clear()?;
        self.region.header().producer_waiting.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Blocks until there is room, the link ends or the timeout is over.
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`, which do not happen on a live descriptor.
    pub fn wait(&mut self, timeout: Option<Duration>) -> std::io::Result<()> {
        self.publish();
        let half = self.region.capacity() / 2;
        let mut spin = self.spin;
        if spin.until(|| self.look().is_err() || self.room() >= half) {
            self.spin = spin;
            return Ok(());
        }
        if self.arm() {
            spin.sleep(|| self.waiter.sleep(timeout))?;
            self.region.header().producer_waiting.store(0, Ordering::Relaxed);
        }
        self.spin = spin;
        Ok(())
    }

    /// Whether the consumer is gone, as far as this side has looked.
    pub fn is_closed(&self) -> bool {
        // CLOSE
        self.waiter.hung_up() || self.region.header().consumer_closed.load(Ordering::Acquire) != 0
    }

    fn room(&self) -> usize {
        self.region.capacity() - self.tail.wrapping_sub(self.head_seen) as usize
    }

    /// Takes the consumer's index and state from shared memory.
    #[cold]
    fn look(&mut self) -> Result<(), SendError> {
        if let Some(why) = self.corrupt {
            return Err(SendError::Corrupt(why));
        }
        if self.is_closed() {
            return Err(SendError::Closed);
        }
        // RELEASE
        let head = self.region.header().head.load(Ordering::Acquire);
        // A head may only move forward, and not past what was published.
        if head.wrapping_sub(self.head_seen) > self.published.wrapping_sub(self.head_seen) {
            self.corrupt = Some("impossible head");
            return Err(SendError::Corrupt("impossible head"));
        }
        self.head_seen = head;
        Ok(())
    }
}

impl AsFd for Producer {
    /// Readable when it is worth calling [`Producer::woken`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiter.as_fd()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        self.publish();
        // CLOSE
        self.region.header().producer_closed.store(1, Ordering::Release);
        self.waiter.ring();
    }
}

/// Room in the ring for one frame. Dropping it leaves the ring as it was.
pub struct Reservation<'a> {
    producer: &'a mut Producer,
    bytes: BytesMut<'a>,
}

impl<'a> Reservation<'a> {
    /// The room itself.
    pub fn bytes(&mut self) -> &mut BytesMut<'a> {
        &mut self.bytes
    }

    /// Makes the first `len` bytes the next frame, visible to the consumer
    /// with the next [`Producer::publish`]: a batch costs one publication. An
    /// eighth of the ring is published without being asked for, so that both
    /// sides work at once.
    ///
    /// # Panics
    /// If `len` is more than was reserved.
    #[inline]
    pub fn stage(self, len: usize) {
        assert!(len <= self.bytes.len(), "{len} bytes staged, {} reserved", self.bytes.len());
        let producer = self.producer;
        // SAFETY: the record's header lies in the reserved range and is
        // 8-aligned, as positions are.
        unsafe { producer.region.set_length(producer.tail, len) };
        producer.tail = producer.tail.wrapping_add(record_len(len) as u64);
        producer.counters.frames += 1;
        producer.counters.bytes += len as u64;
        let staged = producer.tail.wrapping_sub(producer.published) as usize;
        if staged >= producer.region.capacity() / 8 {
            producer.publish();
        }
    }

    /// Makes the first `len` bytes the next frame and publishes it.
    ///
    /// # Panics
    /// If `len` is more than was reserved.
    #[inline]
    pub fn commit(self, len: usize) {
        let Reservation { producer, bytes } = self;
        Reservation { producer: &mut *producer, bytes }.stage(len);
        producer.publish();
    }
}

/// The end that frames come out of. See [`Producer`] for an example.
pub struct Consumer {
    region: Region,
    waiter: Waiter,
    spin: Spin,
    max_frame: usize,
    /// Begin of the next record. Always in sync: nobody else moves it.
    head: u64,
    /// What the shared `head` holds.
    released: u64,
    /// The producer's `tail` as last seen; may be stale, never ahead.
    tail_seen: u64,
    corrupt: Option<&'static str>,
    counters: Counters,
    /// `counters.frames` at the last wait.
    frames_at_wait: u64,
    /// Another process has this end: its drop closes nothing.
    left: bool,
    /// Somebody goes on with this end if this process is killed.
    kept: bool,
}

impl Consumer {
    pub(crate) fn new(region: Region, waiter: Waiter, max_frame: usize, label: &str) -> Self {
        region.header().consumer.identify(label);
        Consumer {
            region,
            waiter,
            spin: Spin::new(),
            max_frame,
            head: 0,
            released: 0,
            tail_seen: 0,
            corrupt: None,
            counters: Counters::default(),
            frames_at_wait: 0,
            left: false,
            kept: false,
        }
    }

    /// The next frame, in place. Dropping it unreleased leaves it the next one.
    ///
    /// # Errors
    /// [`RecvError`]; after `Ended` and `Corrupt` nothing more will come.
    #[inline]
    pub fn borrow(&mut self) -> Result<Frame<'_>, RecvError> {
        let (len, next) = self.record_at(self.head)?;
        // SAFETY: see `record_at`; the borrow of `self` keeps the range from being released.
        let bytes = unsafe { self.region.frame(self.head, len) };
        Ok(Frame { bytes, next, consumer: self })
    }

    /// Looks at several frames before releasing them together.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (mut left, mut right) = shmring::loopback(1 << 20, 65_600)?;
    /// for text in [b"one", b"two"] {
    ///     let mut room = left.reserve(3)?;
    ///     room.bytes().copy_from(0, text);
    ///     room.stage(3);
    /// }
    /// left.publish();
    /// let mut batch = right.batch();
    /// assert_eq!(batch.next()?.to_vec(), b"one");
    /// assert_eq!(batch.next()?.to_vec(), b"two");
    /// assert_eq!(batch.next().err(), Some(shmring::RecvError::Empty));
    /// batch.release();
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch(&mut self) -> Batch<'_> {
        Batch { next: self.head, frames: 0, bytes: 0, consumer: self }
    }

    /// Longest frame in bytes.
    pub fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// Counts a frame that was released without being delivered.
    pub fn count_drop(&mut self) {
        self.counters.drops += 1;
        self.counters.store(&self.region.header().consumer);
    }

    /// What this side counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What the producer told by [`Producer::tell_row`], whatever it may be; 0 at first.
    pub fn row(&self) -> u32 {
        self.region.header().row.load(Ordering::Relaxed) // a hint, in no order with frames
    }

    /// Prepares to sleep until there is a frame: `true` when the caller may go
    /// to sleep on [`AsFd`], `false` when there is something to do at once (a
    /// frame, or the end of the link).
    pub fn arm(&mut self) -> bool {
        self.return_room();
        let header = self.region.header();
        header.consumer_waiting.store(1, Ordering::Relaxed);
        // SLEEP: orders the store of the flag before the load of `tail`.
        fence(Ordering::SeqCst);
        let sleep = self.look() == Err(RecvError::Empty);
        if sleep {
            self.counters.stalls += 1;
            self.counters.store(&self.region.header().consumer);
        } else {
            self.region.header().consumer_waiting.store(0, Ordering::Relaxed);
        }
        sleep
    }

    /// Takes back an [`Consumer::arm`] that was followed by no sleep or by a
    /// wake-up for another reason, so that nobody rings for one who is awake.
    pub fn disarm(&mut self) {
        self.region.header().consumer_waiting.store(0, Ordering::Relaxed);
    }

    /// Notes what made the descriptor readable. Call it after polling [`AsFd`].
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`, which do not happen on a live descriptor.
    pub fn woken(&mut self) -> std::io::Result<()> {
        self.waiter.clear()?;
        self.region.header().consumer_waiting.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Blocks until there is a frame, the link ends or the timeout is over.
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`, which do not happen on a live descriptor.
    pub fn wait(&mut self, timeout: Option<Duration>) -> std::io::Result<()> {
        self.return_room();
        // Frames come one after the other, faster than they are looked for: let
        // some more come. Each look takes the line of `tail` from the producer,
        // who then waits for it with the next frame.
        if self.counters.frames.wrapping_sub(self.frames_at_wait) > 1 {
            (0..PAUSE).for_each(|_| spin_loop());
        }
        self.frames_at_wait = self.counters.frames;
        let mut spin = self.spin;
        if spin.until(|| self.look() != Err(RecvError::Empty)) {
            self.spin = spin;
            return Ok(());
        }
        if self.arm() {
            spin.sleep(|| self.waiter.sleep(timeout))?;
            self.region.header().consumer_waiting.store(0, Ordering::Relaxed);
        }
        self.spin = spin;
        Ok(())
    }

    /// Gives released room back to the producer and wakes it if it sleeps and
    /// half the ring is free. Happens by itself when the ring is found empty
    /// and after each eighth of the ring; a consumer that stops in between to
    /// wait for something else calls it.
    pub fn return_room(&mut self) {
        if self.head == self.released {
            return;
        }
        let header = self.region.header();
        // RELEASE
        header.head.store(self.head, Ordering::Release);
        self.released = self.head;
        self.counters.store_flow(&header.consumer);
        // SLEEP: orders the store of `head` before the load of the flag.
        fence(Ordering::SeqCst);
        // `tail_seen` may be stale and the ring fuller than it seems here: then
        // the producer is woken early, finds too little room and arms again.
        if header.producer_waiting.load(Ordering::Relaxed) != 0
            && self.tail_seen.wrapping_sub(self.head) as usize <= self.region.capacity() / 2
        {
            // Whoever clears the flag rings, as in `publish`.
            header.producer_waiting.store(0, Ordering::Relaxed);
            self.counters.wakeups += 1;
            self.counters.store(&header.consumer);
            self.waiter.ring();
        }
    }

    /// `Ok` when there is a frame to borrow.
    #[inline]
    pub(crate) fn ready(&mut self) -> Result<(), RecvError> {
        self.published_at(self.head)
    }

    /// `Ok` when there is a record at `position`.
    #[inline]
    fn published_at(&mut self, position: u64) -> Result<(), RecvError> {
        if position == self.tail_seen {
            self.return_room();
            self.look()?;
            if position == self.tail_seen {
                return Err(RecvError::Empty);
            }
        }
        Ok(())
    }

    /// How long the frame at `position` is, and where the next record begins.
    /// Both lie within what was published.
    #[inline]
    fn record_at(&mut self, position: u64) -> Result<(usize, u64), RecvError> {
        self.published_at(position)?;
        let available = self.tail_seen.wrapping_sub(position) as usize;
        // SAFETY: `available` is a positive multiple of 8, so the header of the
        // record is published and 8-aligned. Read once: the neighbour may
        // change it, and only this copy is used.
        let len = unsafe { self.region.length(position) };
        if len > self.max_frame as u64 || record_len(len as usize) > available {
            // Nothing behind this record can be found any more.
            self.tail_seen = position;
            return Err(self.broken("impossible frame length"));
        }
        let len = len as usize;
        if available > PREFETCH {
            self.region.prefetch(position.wrapping_add(PREFETCH as u64));
        }
        Ok((len, position.wrapping_add(record_len(len) as u64)))
    }

    fn advance(&mut self, next: u64, frames: u64, bytes: u64) {
        self.head = next;
        self.counters.frames += frames;
        self.counters.bytes += bytes;
        if self.head.wrapping_sub(self.released) as usize >= self.region.capacity() / 8 {
            self.return_room();
        }
    }

    #[cold]
    fn broken(&mut self, why: &'static str) -> RecvError {
        self.corrupt = Some(why);
        RecvError::Corrupt(why)
    }

    /// Takes the producer's index and state from shared memory; `Ok` when there
    /// is a frame behind `head`.
    fn look(&mut self) -> Result<(), RecvError> {
        if let Some(why) = self.corrupt {
            return Err(RecvError::Corrupt(why));
        }
        if self.take_tail()? {
            return Ok(());
        }
        // CLOSE: the flag first, then `tail` once more: what was published
        // before the end is still delivered.
        let ended = self.region.header().producer_closed.load(Ordering::Acquire) != 0
            || self.waiter.hung_up();
        match self.take_tail()? {
            true => Ok(()),
            false if ended => Err(RecvError::Ended),
            false => Err(RecvError::Empty),
        }
    }

    /// `true` when there is a frame behind `head`.
    fn take_tail(&mut self) -> Result<bool, RecvError> {
        // PUBLISH
        let tail = self.region.header().tail.load(Ordering::Acquire);
        let ahead = tail.wrapping_sub(self.head);
        let known = self.tail_seen.wrapping_sub(self.head);
        // A tail may only move forward, by whole records, and not past the ring.
        if ahead < known || ahead > self.region.capacity() as u64 || !ahead.is_multiple_of(8) {
            return Err(self.broken("impossible tail"));
        }
        self.tail_seen = tail;
        Ok(ahead != 0)
    }
}

impl AsFd for Consumer {
    /// Readable when it is worth calling [`Consumer::woken`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waiter.as_fd()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        self.return_room();
        // CLOSE
        self.region.header().consumer_closed.store(1, Ordering::Release);
        self.waiter.ring();
    }
}

/// One frame in the ring.
pub struct Frame<'a> {
    consumer: &'a mut Consumer,
    bytes: Bytes<'a>,
    next: u64,
}

impl<'a> Frame<'a> {
    /// The frame itself.
    pub fn bytes(&self) -> Bytes<'a> {
        self.bytes
    }

    /// It is about to be delivered: where this end is kept by somebody
    /// ([`handover`](crate::handover)), that one does not deliver it once more.
    #[inline]
    pub fn begin(&self) {
        if self.consumer.kept {
            self.consumer.takes(self.next);
        }
    }

    /// It was not delivered after all, and stays the next one.
    #[inline]
    pub fn leave(self) {
        if self.consumer.kept {
            self.consumer.takes(self.consumer.head);
        }
    }

    /// Gives the frame's room back.
    #[inline]
    pub fn release(self) {
        self.consumer.advance(self.next, 1, self.bytes.len() as u64);
    }
}

/// Frames looked at together, see [`Consumer::batch`].
pub struct Batch<'a> {
    consumer: &'a mut Consumer,
    next: u64,
    frames: u64,
    bytes: u64,
}

impl<'a> Batch<'a> {
    /// The next frame; those before it stay where they are.
    ///
    /// # Errors
    /// [`RecvError`].
    #[expect(clippy::should_implement_trait, reason = "an iterator has no errors")]
    #[inline]
    pub fn next(&mut self) -> Result<Bytes<'a>, RecvError> {
        let (len, next) = self.consumer.record_at(self.next)?;
        // SAFETY: see `record_at`; the batch borrows the consumer for `'a`, so
        // the range is not released before.
        let bytes = unsafe { self.consumer.region.frame(self.next, len) };
        self.next = next;
        self.frames += 1;
        self.bytes += len as u64;
        Ok(bytes)
    }

    /// Gives the room of all frames seen back.
    pub fn release(self) {
        self.consumer.advance(self.next, self.frames, self.bytes);
    }
}

/// How a side ends that is killed: nothing is published, the kernel closes its
/// descriptors.
#[cfg(all(loom, test))]
mod killed {
    use std::mem::ManuallyDrop;
    use std::ptr::read;

    use super::{Consumer, Ordering, Producer, Waiter};

    impl Producer {
        pub(crate) fn waiter(&self) -> &Waiter {
            &self.waiter
        }

        pub(crate) fn die(self) {
            let this = ManuallyDrop::new(self);
            // SAFETY: `this` is never used or dropped again.
            drop(unsafe { (read(&raw const this.region), read(&raw const this.waiter)) });
        }

        /// In the middle of [`Producer::publish`].
        pub(crate) fn die_after_the_store_of_tail(self) {
            self.region.header().tail.store(self.tail, Ordering::Release); // PUBLISH
            self.die();
        }
    }

    impl Consumer {
        pub(crate) fn waiter(&self) -> &Waiter {
            &self.waiter
        }

        pub(crate) fn die(self) {
            let this = ManuallyDrop::new(self);
            // SAFETY: `this` is never used or dropped again.
            drop(unsafe { (read(&raw const this.region), read(&raw const this.waiter)) });
        }
    }
}
