//! The halves of a link, whatever is at the other end.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use shmring::{Bytes, BytesMut, RecvError, Rx, SendError, Tx};

use super::stream_rx::StreamRx;
use super::stream_tx::StreamTx;

/// The halves of a live link.
pub struct Joined {
    /// Frames out.
    pub tx: Option<Sender>,
    /// Frames in.
    pub rx: Option<Receiver>,
    /// The neighbour wrote what it may not.
    broken: bool,
}

impl Joined {
    /// Of a link that has just come up.
    pub fn new(tx: Option<Sender>, rx: Option<Receiver>) -> Joined {
        Joined { tx, rx, broken: false }
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
        self.tx.is_some() || self.rx.is_some()
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

/// Where frames go.
pub enum Sender {
    /// To a neighbour that knows of rings.
    Link(Tx),
    /// To one that reads captures.
    Stream(Box<StreamTx>),
}

impl Sender {
    /// Gives `fill` room for a frame of up to `len` bytes and sends what it says
    /// it filled; sends nothing when it fails.
    ///
    /// # Errors
    /// [`SendError`].
    #[inline]
    pub fn send<E>(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut BytesMut<'_>) -> Result<usize, E>,
    ) -> Result<Result<(), E>, SendError> {
        match self {
            Sender::Link(tx) => {
                let mut room = tx.reserve(len)?;
                Ok(room.fill(fill).map(|filled| room.stage(filled)))
            }
            Sender::Stream(stream) => stream.send(len, fill),
        }
    }

    /// Shows the neighbour what was sent.
    pub fn publish(&mut self) {
        if let Sender::Link(tx) = self {
            tx.publish();
        }
    }

    /// Whether the neighbour gets all that was sent and published even if this side
    /// ends now, or does not want it any more.
    pub fn is_flushed(&mut self) -> bool {
        match self {
            Sender::Link(tx) => tx.is_flushed(),
            Sender::Stream(stream) => stream.is_flushed(),
        }
    }

    /// Prepares to sleep until there is room: `false` when there is something to do.
    pub fn arm(&mut self) -> bool {
        match self {
            Sender::Link(tx) => tx.arm(),
            Sender::Stream(stream) => stream.arm(),
        }
    }

    /// The descriptor became ready.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub fn woken(&mut self) -> io::Result<()> {
        match self {
            Sender::Link(tx) => {
                tx.woken()?;
                tx.publish();
            }
            Sender::Stream(stream) => stream.woken(),
        }
        Ok(())
    }

    /// Whether the neighbour is gone.
    pub fn is_closed(&self) -> bool {
        match self {
            Sender::Link(tx) => tx.is_closed(),
            Sender::Stream(stream) => stream.is_closed(),
        }
    }

    /// Counts a frame that could not be sent.
    pub fn count_drop(&mut self) {
        match self {
            Sender::Link(tx) => tx.count_drop(),
            Sender::Stream(stream) => stream.count_drop(),
        }
    }
}

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Sender::Link(tx) => tx.as_fd(),
            Sender::Stream(stream) => stream.as_fd(),
        }
    }
}

/// Where frames come from: one source after the other, each to its end.
pub struct Receiver {
    source: Source,
    /// What comes after it.
    next: VecDeque<Source>,
}

/// One source of frames.
pub(crate) enum Source {
    /// A neighbour that knows of rings.
    Link(Rx),
    /// One that writes captures.
    Stream(Box<StreamRx>),
}

impl Receiver {
    /// Frames of a link.
    pub fn link(rx: Rx) -> Receiver {
        Receiver { source: Source::Link(rx), next: VecDeque::new() }
    }

    /// Frames of a byte stream.
    pub fn stream(stream: StreamRx) -> Receiver {
        Receiver { source: Source::Stream(Box::new(stream)), next: VecDeque::new() }
    }

    /// First the frames of this one, then those of another.
    pub fn then(mut self, other: Receiver) -> Receiver {
        self.next.push_back(other.source);
        self.next.extend(other.next);
        self
    }

    /// Shows `take` the next frame, which is gone if it returns `true` and
    /// stays the next one otherwise.
    ///
    /// # Errors
    /// [`RecvError`].
    #[inline]
    pub fn receive<T>(
        &mut self,
        take: impl FnOnce(Bytes<'_>) -> (bool, T),
    ) -> Result<T, RecvError> {
        loop {
            let ended = match &mut self.source {
                Source::Link(rx) => match rx.borrow() {
                    Ok(mut frame) => {
                        let (done, result) = take(frame.bytes());
                        if done {
                            frame.release();
                        }
                        return Ok(result);
                    }
                    Err(error) => error,
                },
                Source::Stream(stream) => match stream.borrow() {
                    Ok(bytes) => {
                        let (done, result) = take(bytes);
                        if done {
                            stream.release();
                        }
                        return Ok(result);
                    }
                    Err(error) => error,
                },
            };
            if ended == RecvError::Empty || !self.advance() {
                return Err(ended);
            }
        }
    }

    /// Whether there is a frame to be taken, now.
    pub fn has_frame(&mut self) -> bool {
        self.receive(|_| (false, ())).is_ok()
    }

    /// The source is at its end and the next one takes over, if there is one.
    #[cold]
    fn advance(&mut self) -> bool {
        let Some(next) = self.next.pop_front() else { return false };
        self.source = next;
        true
    }

    /// The byte stream, as long as there is one.
    pub fn as_stream(&self) -> Option<&StreamRx> {
        match &self.source {
            Source::Stream(stream) => Some(stream),
            Source::Link(_) => None,
        }
    }

    pub(crate) fn as_stream_mut(&mut self) -> Option<&mut StreamRx> {
        match &mut self.source {
            Source::Stream(stream) => Some(stream),
            Source::Link(_) => None,
        }
    }

    /// Whether this is a byte stream and nothing after it.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.source, Source::Stream(_)) && self.next.is_empty()
    }

    pub(crate) fn sources(&mut self) -> impl Iterator<Item = &mut Source> {
        std::iter::once(&mut self.source).chain(&mut self.next)
    }

    /// Gives room back that the neighbour may wait for.
    pub fn return_room(&mut self) {
        if let Source::Link(rx) = &mut self.source {
            rx.return_room();
        }
    }

    /// Prepares to sleep until there is a frame: `false` when there is something to do.
    pub fn arm(&mut self) -> bool {
        match &mut self.source {
            Source::Link(rx) => rx.arm(),
            Source::Stream(stream) => stream.arm(),
        }
    }

    /// Nobody needs to wake us any more.
    pub fn disarm(&mut self) {
        if let Source::Link(rx) = &mut self.source {
            rx.disarm();
        }
    }

    /// A descriptor became ready.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub fn woken(&mut self) -> io::Result<()> {
        self.sources().try_for_each(|source| match source {
            Source::Link(rx) => rx.woken(),
            Source::Stream(stream) => {
                stream.woken();
                Ok(())
            }
        })
    }

    /// Counts a frame that was not delivered.
    pub fn count_drop(&mut self) {
        match &mut self.source {
            Source::Link(rx) => rx.count_drop(),
            Source::Stream(stream) => stream.count_drop(),
        }
    }
}

impl AsFd for Receiver {
    /// Of the last source: no more will come into those before it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.next.back().unwrap_or(&self.source) {
            Source::Link(rx) => rx.as_fd(),
            Source::Stream(stream) => stream.as_fd(),
        }
    }
}
