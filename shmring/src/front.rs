//! The front door: a link in one call, frames in one call each.
//!
//! Everything here waits. Whoever has an event loop takes [`Rendezvous`], [`Tx`]
//! and [`Rx`] as they are; all of them have a descriptor to poll.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use crate::address::PipeEnd;
use crate::channel::{Borrowed, Rx, Tx};
use crate::error::{LinkError, RecvError, SendError};
use crate::handshake::Offer;
use crate::link::Link;
use crate::rendezvous::Rendezvous;
use crate::role::Role;
use crate::runtime_dir::RuntimeDir;
use crate::slot::Bytes;

/// Waits for the neighbour on a pipe that this process has inherited, such as
/// `std::io::stdin()` or `std::io::stdout()`.
///
/// The link has frames both ways if both sides come here, whichever end of the
/// pipe each holds. Nothing is written into the pipe. It waits as long as somebody holds
/// the other end, even one that does not know of rings and only reads.
///
/// # Errors
/// [`LinkError`]: what is there is no pipe, its other end is gone or carries
/// bytes of a program that does not know of rings.
pub fn on(fd: impl AsFd) -> Result<Link, LinkError> {
    let fd = fd.as_fd();
    let (what, role) = match fd.as_raw_fd() {
        0 => ("standard input".to_owned(), Some(Role::Reader)),
        1 => ("standard output".to_owned(), Some(Role::Writer)),
        other => (format!("descriptor {other}"), None),
    };
    let own = rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|errno| LinkError::System {
        what: what.clone(),
        call: "fcntl(F_DUPFD_CLOEXEC)",
        errno,
    })?;
    let end = PipeEnd::new(own, &what)?;
    meet(match role {
        Some(role) if end.role() == Role::Either => end.with_role(role),
        _ => end,
    })
}

/// Waits for whoever comes to the FIFO at `path` by the same call.
///
/// # Errors
/// [`LinkError`], among others when there is no FIFO.
pub fn at(path: impl AsRef<Path>) -> Result<Link, LinkError> {
    meet(PipeEnd::open(path.as_ref(), Role::Either)?)
}

fn meet(end: PipeEnd) -> Result<Link, LinkError> {
    Rendezvous::new(end, &RuntimeDir::for_user()?, Offer::default())?.wait()
}

impl Link {
    /// [`Tx::send`] on [`Link::tx`].
    ///
    /// # Errors
    /// Those of [`Tx::send`]; `Unsupported` where frames only come in.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.tx.as_mut().ok_or_else(|| one_way("send"))?.send(frame)
    }

    /// [`Rx::recv`] on [`Link::rx`].
    ///
    /// # Errors
    /// Those of [`Rx::recv`]; `Unsupported` where frames only go out.
    pub fn recv(&mut self) -> io::Result<Option<Received<'_>>> {
        self.rx.as_mut().ok_or_else(|| one_way("receive"))?.recv()
    }

    /// The two halves, to have a frame in hand while another is sent, or for a
    /// thread each.
    ///
    /// # Errors
    /// `Unsupported` for a one-way link.
    pub fn split(self) -> io::Result<(Tx, Rx)> {
        let tx = self.tx.ok_or_else(|| one_way("send"))?;
        Ok((tx, self.rx.ok_or_else(|| one_way("receive"))?))
    }
}

fn one_way(what: &str) -> io::Error {
    let why = format!("nothing to {what} on: the neighbour wants frames one way only");
    io::Error::new(io::ErrorKind::Unsupported, why)
}

impl Tx {
    /// Sends one frame; waits while there is no room. The neighbour sees it at once.
    ///
    /// # Errors
    /// `BrokenPipe` when the neighbour is gone, `InvalidInput` for a frame longer
    /// than [`Tx::max_frame`], `InvalidData` when the neighbour broke the ring.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stage(frame)?;
        self.publish();
        Ok(())
    }

    /// Sends several frames for the price of one doorbell.
    ///
    /// # Errors
    /// Those of [`Tx::send`]; frames before the one that failed are sent.
    pub fn send_all<'a>(&mut self, frames: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
        let result = frames.into_iter().try_for_each(|frame| self.stage(frame));
        self.publish();
        result
    }

    fn stage(&mut self, frame: &[u8]) -> io::Result<()> {
        loop {
            match self.reserve(frame.len()) {
                Ok(mut room) => {
                    room.fill(|bytes| bytes.copy_from(0, frame));
                    room.stage(frame.len());
                    return Ok(());
                }
                Err(SendError::Full) => self.wait(None)?,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Rx {
    /// The next frame; waits until there is one. `None` at the end of the link.
    ///
    /// # Errors
    /// `InvalidData` when the neighbour broke the ring.
    #[inline]
    pub fn recv(&mut self) -> io::Result<Option<Received<'_>>> {
        if !self.wait_for_frame()? {
            return Ok(None);
        }
        match self.borrow() {
            Ok(frame) => Ok(Some(Received(Some(frame)))),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until there is a frame, then shows `each` all that are there. Returns
    /// how many there were: none only at the end of the link.
    ///
    /// # Errors
    /// Those of [`Rx::recv`].
    pub fn recv_all(&mut self, mut each: impl FnMut(Bytes<'_>)) -> io::Result<usize> {
        let mut count = 0;
        if self.wait_for_frame()? {
            while let Ok(mut frame) = self.borrow() {
                each(frame.bytes());
                frame.release();
                count += 1;
            }
        }
        self.return_room();
        Ok(count)
    }

    /// `false` at the end of the link.
    #[inline]
    fn wait_for_frame(&mut self) -> io::Result<bool> {
        loop {
            let ready = match self {
                Rx::Ring(consumer) => consumer.ready(),
                Rx::Stream(stream) => stream.next_len().map(|_| ()),
            };
            match ready {
                Ok(()) => return Ok(true),
                Err(RecvError::Empty) => self.wait(None)?,
                Err(RecvError::Ended) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A frame in the place where it arrived, which is given back when this is dropped.
pub struct Received<'a>(Option<Borrowed<'a>>);

impl Received<'_> {
    /// The frame. Its bytes lie in memory that the neighbour can write, too:
    /// copy them before you judge them.
    pub fn bytes(&mut self) -> Bytes<'_> {
        self.0.as_mut().map_or(Bytes::of_slice(&[]), Borrowed::bytes)
    }

    /// A copy.
    pub fn to_vec(&mut self) -> Vec<u8> {
        self.bytes().to_vec()
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        if let Some(frame) = self.0.take() {
            frame.release();
        }
    }
}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> io::Error {
        let kind = match error {
            SendError::Full => io::ErrorKind::WouldBlock,
            SendError::TooLong { .. } => io::ErrorKind::InvalidInput,
            SendError::Closed => io::ErrorKind::BrokenPipe,
            SendError::Corrupt(_) => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

impl From<RecvError> for io::Error {
    fn from(error: RecvError) -> io::Error {
        let kind = match error {
            RecvError::Empty => io::ErrorKind::WouldBlock,
            RecvError::Ended => io::ErrorKind::UnexpectedEof,
            RecvError::Corrupt(_) => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}
