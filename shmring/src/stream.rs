//! What carries frames and is no ring: the seam for formats on byte streams.

use std::any::Any;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::board::Meter;
use crate::error::{RecvError, SendError};
use crate::slot::{Bytes, BytesMut};

/// A byte stream, in either direction. None of the methods waits. The descriptor is
/// readable when it is worth calling [`ByteStream::woken`].
pub trait ByteStream: AsFd + Any + Send {
    /// See [`Tx::arm`](crate::Tx::arm) and [`Rx::arm`](crate::Rx::arm).
    fn arm(&mut self) -> bool;

    /// See [`Tx::woken`](crate::Tx::woken) and [`Rx::woken`](crate::Rx::woken).
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`.
    fn woken(&mut self) -> io::Result<()>;

    /// What passed.
    fn meter(&self) -> &Meter;

    /// The same, to count what did not, and to be shown to whoever looks.
    fn meter_mut(&mut self) -> &mut Meter;

    /// What the bytes go into or come from.
    fn pipe(&self) -> BorrowedFd<'_>;
}

/// A byte stream that frames go into.
pub trait StreamOut: ByteStream {
    /// Makes sure of room for a frame of up to `len` bytes.
    ///
    /// # Errors
    /// [`SendError`].
    fn reserve(&mut self, len: usize) -> Result<(), SendError>;

    /// The first `len` bytes of the room that was reserved.
    fn room(&mut self, len: usize) -> BytesMut<'_>;

    /// Sends the first `len` bytes of the room.
    fn commit(&mut self, len: usize);

    /// Whether the neighbour gets all that was sent even if this side ends now, or
    /// does not want it any more.
    fn is_flushed(&mut self) -> bool;

    /// Whether the neighbour is gone, as far as this side has looked.
    fn is_closed(&self) -> bool;

    /// Longest frame in bytes.
    fn max_frame(&self) -> usize;
}

/// A byte stream that frames come out of.
pub trait StreamIn: ByteStream {
    /// Length of the next frame, in bytes.
    ///
    /// # Errors
    /// [`RecvError`].
    fn next_len(&mut self) -> Result<usize, RecvError>;

    /// That frame.
    fn frame(&self) -> Bytes<'_>;

    /// Done with it.
    fn release(&mut self);
}
