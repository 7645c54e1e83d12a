//! A side of a link in the keeping of a process that does not use it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::record::{HalfRecord, Message, Record};
use super::{Handed, HandoverError, fds};
use crate::channel::{Rx, Tx};
use crate::link::Peer;

/// A side of a link as descriptors and nothing else, for as long as another process uses it.
pub struct Kept {
    record: Record,
    fds: Vec<OwnedFd>,
}

impl Kept {
    /// Of the halves of a link that this process uses and goes on to use. From now on the
    /// receiving one writes down what it takes. `None` where frames go through a pipe.
    ///
    /// # Errors
    /// Those of duplicating descriptors.
    pub fn of(
        tx: Option<&Tx>,
        mut rx: Option<&mut Rx>,
        peer: &Peer,
        features: u64,
        pipe: (u64, u64),
    ) -> Result<Option<Kept>, Errno> {
        let mut record =
            Record { pipe, max_frame: 0, features, peer: peer.clone(), tx: None, rx: None };
        let half = |capacity| Some(HalfRecord { capacity, indices: None });
        match tx {
            Some(Tx::Stream(_)) => return Ok(None),
            Some(Tx::Ring(tx)) => {
                (record.tx, record.max_frame) = (half(tx.capacity()), tx.max_frame());
            }
            None => {}
        }
        match rx.as_deref_mut() {
            Some(Rx::Stream(_)) => return Ok(None),
            Some(Rx::Ring(rx)) => {
                (record.rx, record.max_frame) = (half(rx.capacity()), rx.max_frame());
                rx.keep();
            }
            None => {}
        }
        let fds = fds(tx, rx.as_deref());
        if fds.is_empty() {
            return Ok(None);
        }
        Ok(Some(Kept { record, fds: copies(fds.into_iter())? }))
    }

    /// Another one of the same.
    ///
    /// # Errors
    /// Those of duplicating descriptors.
    pub fn again(&self) -> Result<Kept, Errno> {
        let fds = copies(self.fds.iter().map(AsFd::as_fd))?;
        Ok(Kept { record: self.record.clone(), fds })
    }

    /// A message that says all of it, to be sent with [`Kept::fds`] over a socket that keeps
    /// messages apart.
    pub fn message(&self) -> Vec<u8> {
        Message::Link(self.record.clone()).encode().to_vec()
    }

    /// What goes with the message.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.fds.iter().map(AsFd::as_fd).collect()
    }

    /// What came with a message. Descriptors are looked at by [`Kept::adopt`].
    ///
    /// # Errors
    /// [`HandoverError::Broken`] if it is none of these.
    pub fn receive(bytes: &[u8], fds: Vec<OwnedFd>) -> Result<Kept, HandoverError> {
        match Message::decode(bytes).map_err(HandoverError::Broken)? {
            Message::Link(record) if !fds.is_empty() => Ok(Kept { record, fds }),
            _ => Err(HandoverError::Broken("no link")),
        }
    }

    /// Whether the neighbour has let go of it.
    pub fn is_over(&self) -> bool {
        let Some(socket) = self.fds.first() else { return true };
        let mut fds = [PollFd::new(socket, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|count| count > 0)
    }

    /// Makes it a link again, of this process, once the other one does not use it any more: it
    /// has died, or has said so after [`Handed::let_go`].
    ///
    /// # Errors
    /// [`HandoverError`]: it was closed, or what lies in the memory is impossible.
    pub fn adopt(self) -> Result<Handed, HandoverError> {
        let handed = Handed::adopt(&self.record, self.fds)?;
        handed.announce();
        Ok(handed)
    }
}

/// Its descriptor hangs up when the neighbour lets go of the link. There is nothing to be read.
impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fds[0].as_fd()
    }
}

fn copies<'a>(fds: impl Iterator<Item = BorrowedFd<'a>>) -> Result<Vec<OwnedFd>, Errno> {
    fds.map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3)).collect()
}
