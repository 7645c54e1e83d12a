//! One face for all that carries frames, so that a function need not know which it has.

use std::any::Any;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::error::{RecvError, SendError};
use crate::ring::{Consumer, Counters, Frame, Producer, Reservation};
use crate::slot::{Bytes, BytesMut};
use crate::stream::{StreamIn, StreamOut};

/// The sending half of a link.
pub enum Tx {
    /// A ring: [`Channel::Shm`](crate::Channel::Shm).
    Ring(Producer),
    /// A byte stream: [`Channel::Fifo`](crate::Channel::Fifo), or another format.
    Stream(Box<dyn StreamOut>),
}

/// Calls the same method of whichever it is.
macro_rules! either {
    ($kind:ident, $self:expr, $half:ident => $call:expr) => {
        match $self {
            $kind::Ring($half) => $call,
            $kind::Stream($half) => $call,
        }
    };
}

impl Tx {
    /// The byte stream, if it is one of this kind.
    pub fn stream<T: StreamOut>(&self) -> Option<&T> {
        let Tx::Stream(stream) = self else { return None };
        let any: &dyn Any = &**stream;
        any.downcast_ref()
    }

    /// Likewise, to change it.
    pub fn stream_mut<T: StreamOut>(&mut self) -> Option<&mut T> {
        let Tx::Stream(stream) = self else { return None };
        let any: &mut dyn Any = &mut **stream;
        any.downcast_mut()
    }

    /// Gives `fill` room for a frame of up to `len` bytes and sends what it says it
    /// filled, without waiting; sends nothing when it fails. A ring shows frames with
    /// the next [`Tx::publish`].
    ///
    /// # Errors
    /// [`SendError`].
    #[inline]
    pub fn put<E>(
        &mut self,
        len: usize,
        fill: impl FnOnce(&mut BytesMut<'_>) -> Result<usize, E>,
    ) -> Result<Result<(), E>, SendError> {
        let mut room = self.reserve(len)?;
        Ok(room.fill(fill).map(|filled| room.stage(filled)))
    }

    /// See [`Producer::reserve`].
    ///
    /// # Errors
    /// [`SendError`].
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Room<'_>, SendError> {
        match self {
            Tx::Ring(producer) => producer.reserve(len).map(Room::Ring),
            Tx::Stream(stream) => {
                stream.reserve(len)?;
                Ok(Room::Stream { stream: &mut **stream, len })
            }
        }
    }

    /// See [`Producer::publish`]; a byte stream's frames are visible at once.
    #[inline]
    pub fn publish(&mut self) {
        if let Tx::Ring(producer) = self {
            producer.publish();
        }
    }

    /// Whether the neighbour gets all that was sent and published even if this side
    /// ends now. A pipe may not have had room for the last frame yet.
    pub fn is_flushed(&mut self) -> bool {
        match self {
            Tx::Ring(_) => true,
            Tx::Stream(stream) => stream.is_flushed(),
        }
    }

    /// See [`Producer::arm`].
    pub fn arm(&mut self) -> bool {
        either!(Tx, self, half => half.arm())
    }

    /// See [`Producer::woken`].
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`.
    pub fn woken(&mut self) -> io::Result<()> {
        either!(Tx, self, half => half.woken())
    }

    /// See [`Producer::wait`].
    ///
    /// # Errors
    /// Those of `poll(2)`.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Tx::Ring(producer) => producer.wait(timeout),
            Tx::Stream(stream) => {
                if stream.arm() {
                    poll(stream.as_fd(), timeout)?;
                }
                stream.woken()
            }
        }
    }

    /// Whether the neighbour is gone, as far as this side has looked.
    pub fn is_closed(&self) -> bool {
        either!(Tx, self, half => half.is_closed())
    }

    /// Longest frame in bytes.
    pub fn max_frame(&self) -> usize {
        either!(Tx, self, half => half.max_frame())
    }

    /// Inode of the ring's memory, if it is one: as [`observe`](crate::observe) sees it.
    pub fn ring(&self) -> Option<u64> {
        let Tx::Ring(producer) = self else { return None };
        rustix::fs::fstat(producer.memory()).ok().map(|stat| stat.st_ino)
    }

    /// See [`Producer::tell_row`]; a byte stream tells nothing.
    pub fn tell_row(&mut self, row: u32) {
        if let Tx::Ring(producer) = self {
            producer.tell_row(row);
        }
    }

    /// Counts a frame that could not be sent.
    pub fn count_drop(&mut self) {
        match self {
            Tx::Ring(half) => half.count_drop(),
            Tx::Stream(stream) => stream.meter_mut().dropped(),
        }
    }

    /// What this side counted.
    pub fn counters(&self) -> Counters {
        match self {
            Tx::Ring(half) => half.counters(),
            Tx::Stream(stream) => stream.meter().counters(),
        }
    }
}

impl AsFd for Tx {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(Tx, self, half => half.as_fd())
    }
}

/// Room for one frame. Dropping it sends nothing.
pub enum Room<'a> {
    /// In the ring.
    Ring(Reservation<'a>),
    /// In the buffer before a byte stream.
    Stream {
        /// Where it will go.
        stream: &'a mut dyn StreamOut,
        /// Bytes reserved.
        len: usize,
    },
}

impl Room<'_> {
    /// Fills the room: `fill` gets the bytes and returns what it likes.
    #[inline]
    pub fn fill<T>(&mut self, fill: impl FnOnce(&mut BytesMut<'_>) -> T) -> T {
        match self {
            Room::Ring(reservation) => fill(reservation.bytes()),
            Room::Stream { stream, len } => fill(&mut stream.room(*len)),
        }
    }

    /// Sends the first `len` bytes; a ring shows them with the next [`Tx::publish`].
    ///
    /// # Panics
    /// If `len` is more than was reserved.
    #[inline]
    pub fn stage(self, len: usize) {
        match self {
            Room::Ring(reservation) => reservation.stage(len),
            Room::Stream { stream, len: reserved } => {
                assert!(len <= reserved, "{len} bytes staged, {reserved} reserved");
                stream.commit(len);
            }
        }
    }
}

/// The receiving half of a link.
pub enum Rx {
    /// A ring: [`Channel::Shm`](crate::Channel::Shm).
    Ring(Consumer),
    /// A byte stream: [`Channel::Fifo`](crate::Channel::Fifo), or another format.
    Stream(Box<dyn StreamIn>),
}

impl Rx {
    /// The byte stream, if it is one of this kind.
    pub fn stream<T: StreamIn>(&self) -> Option<&T> {
        let Rx::Stream(stream) = self else { return None };
        let any: &dyn Any = &**stream;
        any.downcast_ref()
    }

    /// Likewise, to change it.
    pub fn stream_mut<T: StreamIn>(&mut self) -> Option<&mut T> {
        let Rx::Stream(stream) = self else { return None };
        let any: &mut dyn Any = &mut **stream;
        any.downcast_mut()
    }

    /// Shows `take` the next frame, without waiting; it is gone if that returns `true`
    /// and stays the next one otherwise.
    ///
    /// # Errors
    /// [`RecvError`].
    #[inline]
    pub fn take<T>(&mut self, take: impl FnOnce(Bytes<'_>) -> (bool, T)) -> Result<T, RecvError> {
        Ok(self.borrow()?.give(take))
    }

    /// See [`Consumer::borrow`].
    ///
    /// # Errors
    /// [`RecvError`].
    #[inline]
    pub fn borrow(&mut self) -> Result<Borrowed<'_>, RecvError> {
        match self {
            Rx::Ring(consumer) => consumer.borrow().map(Borrowed::Ring),
            Rx::Stream(stream) => {
                stream.next_len()?;
                Ok(Borrowed::Stream(&mut **stream))
            }
        }
    }

    /// See [`Consumer::return_room`].
    #[inline]
    pub fn return_room(&mut self) {
        if let Rx::Ring(consumer) = self {
            consumer.return_room();
        }
    }

    /// See [`Consumer::arm`].
    pub fn arm(&mut self) -> bool {
        either!(Rx, self, half => half.arm())
    }

    /// See [`Consumer::disarm`].
    pub fn disarm(&mut self) {
        if let Rx::Ring(consumer) = self {
            consumer.disarm();
        }
    }

    /// See [`Consumer::woken`].
    ///
    /// # Errors
    /// Those of `epoll_wait(2)`.
    pub fn woken(&mut self) -> io::Result<()> {
        either!(Rx, self, half => half.woken())
    }

    /// See [`Consumer::wait`].
    ///
    /// # Errors
    /// Those of `poll(2)`.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Rx::Ring(consumer) => consumer.wait(timeout),
            Rx::Stream(stream) => {
                if stream.arm() {
                    poll(stream.as_fd(), timeout)?;
                }
                stream.woken()
            }
        }
    }

    /// As [`Tx::ring`].
    pub fn ring(&self) -> Option<u64> {
        let Rx::Ring(consumer) = self else { return None };
        rustix::fs::fstat(consumer.memory()).ok().map(|stat| stat.st_ino)
    }

    /// See [`Consumer::row`]; nothing comes by a byte stream.
    pub fn row(&self) -> Option<u32> {
        let Rx::Ring(consumer) = self else { return None };
        Some(consumer.row())
    }

    /// Counts a frame that was released without being delivered.
    pub fn count_drop(&mut self) {
        match self {
            Rx::Ring(half) => half.count_drop(),
            Rx::Stream(stream) => stream.meter_mut().dropped(),
        }
    }

    /// What this side counted.
    pub fn counters(&self) -> Counters {
        match self {
            Rx::Ring(half) => half.counters(),
            Rx::Stream(stream) => stream.meter().counters(),
        }
    }
}

impl AsFd for Rx {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(Rx, self, half => half.as_fd())
    }
}

/// One frame that has arrived. Dropping it unreleased leaves it the next one.
pub enum Borrowed<'a> {
    /// In the ring.
    Ring(Frame<'a>),
    /// In the buffer behind a byte stream.
    Stream(&'a mut dyn StreamIn),
}

impl Borrowed<'_> {
    /// The frame itself.
    #[inline]
    pub fn bytes(&mut self) -> Bytes<'_> {
        match self {
            Borrowed::Ring(frame) => frame.bytes(),
            Borrowed::Stream(stream) => stream.frame(),
        }
    }

    /// Shows it to `take`, and gives its room back if that returns `true`.
    #[inline]
    pub fn give<T>(mut self, take: impl FnOnce(Bytes<'_>) -> (bool, T)) -> T {
        if let Borrowed::Ring(frame) = &self {
            frame.begin();
        }
        let (done, result) = take(self.bytes());
        match self {
            _ if done => self.release(),
            Borrowed::Ring(frame) => frame.leave(),
            Borrowed::Stream(_) => {}
        }
        result
    }

    /// Gives the frame's room back.
    #[inline]
    pub fn release(self) {
        match self {
            Borrowed::Ring(frame) => frame.release(),
            Borrowed::Stream(stream) => stream.release(),
        }
    }
}

fn poll(fd: impl AsFd, timeout: Option<Duration>) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
