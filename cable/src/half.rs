//! The halves of a link, whatever is at the other end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use shmring::{Bytes, BytesMut, RecvError, Rx, SendError, Tx};

use super::stream_rx::StreamRx;
use super::stream_tx::StreamTx;

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

/// Where frames come from: first a byte stream, if there is one, then a link.
pub struct Receiver {
    pub(super) stream: Option<Box<StreamRx>>,
    pub(super) rx: Option<Rx>,
}

impl Receiver {
    /// Frames of a link.
    pub fn link(rx: Rx) -> Receiver {
        Receiver { stream: None, rx: Some(rx) }
    }

    /// Frames of a byte stream.
    pub fn stream(stream: StreamRx) -> Receiver {
        Receiver { stream: Some(Box::new(stream)), rx: None }
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
        if let Some(stream) = &mut self.stream {
            match stream.borrow() {
                Ok(bytes) => {
                    let (done, result) = take(bytes);
                    if done {
                        stream.release();
                    }
                    return Ok(result);
                }
                Err(RecvError::Ended) if self.rx.is_some() => self.end_stream(),
                Err(error) => return Err(error),
            }
        }
        let rx = self.rx.as_mut().ok_or(RecvError::Ended)?;
        let mut frame = rx.borrow()?;
        let (done, result) = take(frame.bytes());
        if done {
            frame.release();
        }
        Ok(result)
    }

    /// The stream is done with and the link takes over.
    fn end_stream(&mut self) {
        if let Some(error) = self.stream.take().as_ref().and_then(|stream| stream.error()) {
            say::error!("{error}");
        }
    }

    /// The byte stream, as long as there is one.
    pub fn as_stream(&self) -> Option<&StreamRx> {
        self.stream.as_deref()
    }

    /// Gives room back that the neighbour may wait for.
    pub fn return_room(&mut self) {
        if let Some(rx) = &mut self.rx {
            rx.return_room();
        }
    }

    /// Prepares to sleep until there is a frame: `false` when there is something to do.
    pub fn arm(&mut self) -> bool {
        match (&mut self.stream, &mut self.rx) {
            (Some(stream), _) => stream.arm(),
            (None, Some(rx)) => rx.arm(),
            (None, None) => false,
        }
    }

    /// Nobody needs to wake us any more.
    pub fn disarm(&mut self) {
        if let Some(rx) = &mut self.rx {
            rx.disarm();
        }
    }

    /// The descriptor became ready.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub fn woken(&mut self) -> io::Result<()> {
        if let Some(stream) = &mut self.stream {
            stream.woken();
        }
        self.rx.as_mut().map_or(Ok(()), Rx::woken)
    }

    /// Counts a frame that was not delivered.
    pub fn count_drop(&mut self) {
        match (&mut self.stream, &mut self.rx) {
            (Some(stream), _) => stream.count_drop(),
            (None, Some(rx)) => rx.count_drop(),
            (None, None) => {}
        }
    }
}
