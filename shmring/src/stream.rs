//! What carries frames and is no ring: the seam for formats on byte streams.

use std::any::Any;
use std::io;
use std::os::fd::AsFd;

use crate::board::Entry;
use crate::error::{RecvError, SendError};
use crate::ring::Counters;
use crate::slot::{Bytes, BytesMut};

/// A byte stream that frames go into. None of the methods waits. The descriptor is
/// readable when it is worth calling [`StreamOut::woken`].
pub trait StreamOut: AsFd + Any + Send {
    /// Makes sure of room for a frame of up to `len` bytes.
    ///
    /// # Errors
    /// [`SendError`].
    fn reserve(&mut self, len: usize) -> Result<(), SendError>;

    /// The first `len` bytes of the room that was reserved.
    fn room(&mut self, len: usize) -> BytesMut<'_>;

    /// Sends the first `len` bytes of the room.
    fn commit(&mut self, len: usize);

    /// See [`Tx::arm`](crate::Tx::arm).
    fn arm(&mut self) -> bool;

    /// See [`Tx::woken`](crate::Tx::woken).
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`.
    fn woken(&mut self) -> io::Result<()>;

    /// Whether the neighbour gets all that was sent even if this side ends now, or
    /// does not want it any more.
    fn is_flushed(&mut self) -> bool;

    /// Whether the neighbour is gone, as far as this side has looked.
    fn is_closed(&self) -> bool;

    /// Longest frame in bytes.
    fn max_frame(&self) -> usize;

    /// Counts a frame that could not be sent.
    fn count_drop(&mut self);

    /// What was counted.
    fn counters(&self) -> Counters;

    /// Shows what it counts to whoever looks at this process.
    fn show(&mut self, entry: Entry);

    /// `(st_dev, st_ino)` of what the bytes go into.
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    fn medium(&self) -> io::Result<(u64, u64)>;
}

/// A byte stream that frames come out of, as [`StreamOut`].
pub trait StreamIn: AsFd + Any + Send {
    /// Length of the next frame, in bytes.
    ///
    /// # Errors
    /// [`RecvError`].
    fn next_len(&mut self) -> Result<usize, RecvError>;

    /// That frame.
    fn frame(&self) -> Bytes<'_>;

    /// Done with it.
    fn release(&mut self);

    /// See [`Rx::arm`](crate::Rx::arm).
    fn arm(&mut self) -> bool;

    /// See [`Rx::woken`](crate::Rx::woken).
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`.
    fn woken(&mut self) -> io::Result<()>;

    /// Counts a frame that was released without being delivered.
    fn count_drop(&mut self);

    /// What was counted.
    fn counters(&self) -> Counters;

    /// Shows what it counts to whoever looks at this process.
    fn show(&mut self, entry: Entry);

    /// `(st_dev, st_ino)` of where the bytes come from.
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    fn medium(&self) -> io::Result<(u64, u64)>;
}
