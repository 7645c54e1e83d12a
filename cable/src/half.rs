//! The halves of a link, whatever is at the other end.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use shmring::{Bytes, Link, Peer, RecvError, Rx, SendError, Tx};

use super::stream_rx::StreamRx;

/// Where frames go: to a neighbour that knows of rings, or to one that reads captures.
pub type Sender = Tx;

/// The halves of a live link.
pub struct Joined {
    /// Frames out.
    pub tx: Option<Sender>,
    /// Frames in.
    pub rx: Option<Receiver>,
    /// Frames out, later: nothing is sent meanwhile.
    pub(crate) held: Option<Sender>,
    /// The neighbour wrote what it may not.
    broken: bool,
    /// Of a link that came of a rendezvous: who is there, and the features both sides have.
    pub(crate) agreed: Option<(Peer, u64)>,
    /// Another process has its descriptors, too.
    pub(crate) is_kept: bool,
    /// See [`Link::aside`].
    pub(crate) aside: Option<OwnedFd>,
}

impl Joined {
    /// Of what has just come up.
    pub fn new(tx: Option<Sender>, rx: Option<Receiver>) -> Joined {
        Joined { tx, rx, held: None, broken: false, agreed: None, is_kept: false, aside: None }
    }

    /// Of a link.
    pub fn link(link: Link) -> Joined {
        let agreed = Some((link.peer, link.features));
        let rx = link.rx.map(Receiver::new);
        Joined { agreed, aside: link.aside, ..Joined::new(link.tx, rx) }
    }

    /// Whether the neighbour wrote what it may not.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// No more frames come in: says why, if there is something to say. Of captures
    /// they say it themselves.
    pub fn end_rx(&mut self, error: &RecvError) {
        let Some(rx) = self.rx.take() else { return };
        if *error != RecvError::Ended {
            say::error!("{error}, the link is closed");
            self.broken = true;
        }
        self.broken |= rx.as_stream().is_some_and(|stream| stream.error().is_some());
    }

    /// No more frames can be sent.
    pub fn end_tx(&mut self, name: &str, error: &SendError) {
        self.tx = None;
        if *error != SendError::Closed {
            say::error!("{name}: {error}, the link is closed");
            self.broken = true;
        }
    }

    /// Takes out the sending half if the neighbour takes no more.
    pub fn drop_closed(&mut self) {
        self.tx.take_if(|tx| tx.is_closed());
    }

    /// Whether there is a half left.
    pub fn is_alive(&self) -> bool {
        self.tx.is_some() || self.rx.is_some() || self.held.is_some()
    }
}

/// Which half of a link a descriptor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Frames out.
    Tx,
    /// Frames in.
    Rx,
}

/// Where frames come from: one source after the other, each to its end.
pub struct Receiver {
    source: Rx,
    /// What comes after it.
    next: VecDeque<Rx>,
}

impl Receiver {
    /// Frames of one source.
    pub fn new(rx: Rx) -> Receiver {
        Receiver { source: rx, next: VecDeque::new() }
    }

    /// Those of a capture.
    pub fn capture(stream: StreamRx) -> Receiver {
        Receiver::new(Rx::Stream(Box::new(stream)))
    }

    /// First the frames of this one, then those of another.
    pub fn then(mut self, other: Receiver) -> Receiver {
        self.next.push_back(other.source);
        self.next.extend(other.next);
        self
    }

    /// See [`Rx::take`].
    ///
    /// # Errors
    /// [`RecvError`].
    #[inline]
    pub fn receive<T>(
        &mut self,
        take: impl FnOnce(Bytes<'_>) -> (bool, T),
    ) -> Result<T, RecvError> {
        loop {
            match self.source.borrow() {
                Ok(frame) => return Ok(frame.give(take)),
                Err(RecvError::Empty) => return Err(RecvError::Empty),
                Err(end) => self.advance(end)?,
            }
        }
    }

    /// Whether frames come by a ring, where a look costs no system call.
    pub fn is_ring(&self) -> bool {
        matches!(self.source, Rx::Ring(_))
    }

    /// See [`Rx::ring`]: of the source that frames come from.
    pub fn ring(&self) -> Option<u64> {
        self.source.ring()
    }

    /// See [`Rx::row`].
    pub(crate) fn row(&self) -> Option<u32> {
        self.source.row()
    }

    /// Whether there is a frame to be taken, now.
    pub fn has_frame(&mut self) -> bool {
        self.receive(|_| (false, ())).is_ok()
    }

    /// The source is at its end and the next one takes over, if there is one.
    #[cold]
    fn advance(&mut self, end: RecvError) -> Result<(), RecvError> {
        self.source = self.next.pop_front().ok_or(end)?;
        Ok(())
    }

    /// The capture that frames come from, as long as they do.
    pub fn as_stream(&self) -> Option<&StreamRx> {
        self.source.stream()
    }

    pub(crate) fn as_stream_mut(&mut self) -> Option<&mut StreamRx> {
        self.source.stream_mut()
    }

    /// Whether this is a capture and nothing after it.
    pub(crate) fn is_stream(&self) -> bool {
        self.as_stream().is_some() && self.next.is_empty()
    }

    /// The one source that there is.
    pub(crate) fn into_only(self) -> Result<Rx, Box<Receiver>> {
        if self.next.is_empty() { Ok(self.source) } else { Err(Box::new(self)) }
    }

    /// Whether other sources come after the one that frames come from.
    pub(crate) fn has_next(&self) -> bool {
        !self.next.is_empty()
    }

    /// What frames come from in the end.
    pub(crate) fn last(&mut self) -> &mut Rx {
        self.next.back_mut().unwrap_or(&mut self.source)
    }

    pub(crate) fn sources(&mut self) -> impl Iterator<Item = &mut Rx> {
        std::iter::once(&mut self.source).chain(&mut self.next)
    }

    /// Gives room back that the neighbour may wait for.
    pub fn return_room(&mut self) {
        self.source.return_room();
    }

    /// Prepares to sleep until there is a frame: `false` when there is something to do.
    pub fn arm(&mut self) -> bool {
        self.source.arm()
    }

    /// Nobody needs to wake us any more.
    pub fn disarm(&mut self) {
        self.source.disarm();
    }

    /// A descriptor became ready.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub fn woken(&mut self) -> io::Result<()> {
        self.sources().try_for_each(Rx::woken)
    }

    /// Counts a frame that was not delivered.
    pub fn count_drop(&mut self) {
        self.source.count_drop();
    }
}

impl AsFd for Receiver {
    /// Of the last source. More may come into those before it only where they are
    /// waited for already.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.next.back().unwrap_or(&self.source).as_fd()
    }
}
