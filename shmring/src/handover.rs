//! A side of a link goes from one process to another, and the neighbour notices nothing
//! but who it is.
//!
//! All that a side of a link consists of are descriptors: the memory of its rings, the
//! bell that it rings (an eventfd; the epoll instance over it is with the neighbour, and
//! stays registered), the neighbour's bell, and the socket whose hang-up is its life. A
//! small [record](self) of where this side stands goes with them; it is compared with the
//! memory, which the neighbour can write, too, and a difference ends the hand-over.
//!
//! [`Giving`] sends any number of links at once, [`Taking`] receives them:
//!
//! | step | giver | taker |
//! |---|---|---|
//! | 1 | publishes, gives room back, touches the rings no more | |
//! | 2 | `LINK` for each link, with its descriptors, then `ALL` | maps, compares |
//! | 3 | | `TAKEN`: from now on it owns them, all or none |
//! | 4 | forgets them | says who it is: in the memory, for `stdpkt ls`, and over the link's socket, where the kernel tells the neighbour its user (`SCM_CREDENTIALS`): a link that goes to another user is closed |
//!
//! Exactly one of the two owns the links, whenever either is killed: they are the
//! taker's as soon as `TAKEN` lies in the giver's socket, or the giver is dead. A giver
//! that does not want to wait any longer first shuts its socket for receiving
//! ([`Giving::withdraw`]), after which no `TAKEN` can get there, and then looks whether one has.
//! A taker whose `TAKEN` finds the socket shut waits for `WITHDRAWN`, or for the end of
//! the giver, after which the links are its own.
//!
//! What was reserved and not staged is lost. Everything else is delivered once, in order.
//!
//! # Of a process that may be killed
//!
//! [`Kept`] is a side of a link as descriptors and nothing else, which a process can keep for
//! another one: after its death it is made a link again ([`Kept::adopt`]) for the next. There is no
//! record then; the indices come from the memory. A consumer that is kept writes down
//! there what it takes before it delivers it, so that nothing is delivered twice; what it was delivering
//! when it was killed may be lost, and so is what was staged and not published.

mod give;
mod keep;
mod record;
mod take;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use crate::bell::{LinkFds, Ringer, Waiter, is_doorbell};
use crate::channel::{Rx, Tx};
use crate::error::LinkError;
use crate::handshake::Channel;
use crate::link::Link;
use crate::peer;
use crate::region::{Geometry, Region, RegionError};
use crate::ring::{CLOSED, Consumer, Producer};
pub use give::{Giving, Outcome};
pub use keep::Kept;
use record::{HalfRecord, Record};
pub use take::Taking;

/// A link and where it came up.
pub struct Handed {
    /// This side of it.
    pub link: Link,
    /// `(st_dev, st_ino)` of the pipe.
    pub pipe: (u64, u64),
}

impl Handed {
    /// Whether it can be handed over.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn is_possible(&self) -> Result<(), &'static str> {
        match (&self.link.tx, &self.link.rx) {
            (None, None) => Err("its link is over"),
            (Some(Tx::Stream(_)), _) | (_, Some(Rx::Stream(_))) => {
                Err("its frames go through the pipe itself, and what is under way cannot be moved")
            }
            _ => Ok(()),
        }
    }

    /// Comes to rest and says where it stands.
    fn record(&mut self) -> Result<Record, &'static str> {
        self.is_possible()?;
        let mut record = Record {
            pipe: self.pipe,
            max_frame: self.link.max_frame,
            features: self.link.features,
            peer: self.link.peer.clone(),
            tx: None,
            rx: None,
        };
        if let Some(Tx::Ring(tx)) = &mut self.link.tx {
            let indices = tx.rest()?;
            record.tx = Some(HalfRecord { capacity: tx.capacity(), indices: Some(indices) });
        }
        if let Some(Rx::Ring(rx)) = &mut self.link.rx {
            let indices = rx.rest()?;
            record.rx = Some(HalfRecord { capacity: rx.capacity(), indices: Some(indices) });
        }
        Ok(record)
    }

    /// Tells the neighbour, so that it can see that it has the same user.
    fn announce(&self) {
        match (&self.link.tx, &self.link.rx) {
            (Some(Tx::Ring(tx)), _) => tx.link_fds().announce(),
            (_, Some(Rx::Ring(rx))) => rx.link_fds().announce(),
            _ => {}
        }
    }

    /// What goes along with the record.
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        fds(self.link.tx.as_ref(), self.link.rx.as_ref())
    }

    /// Touches it no more, and does not close it: whoever keeps it ([`Kept`]) has it now.
    pub fn let_go(mut self) {
        if self.record().is_ok() {
            self.leave();
        }
    }

    /// Makes a link again of what came.
    fn adopt(record: &Record, fds: Vec<OwnedFd>) -> Result<Handed, HandoverError> {
        let broken = HandoverError::Broken;
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or(broken("a descriptor is missing"));
        let (socket, bell, hearing) = (next()?, next()?, next()?);
        if !peer::is_our_user(&socket) {
            return Err(broken("the neighbour is of another user"));
        }
        if !is_doorbell(&hearing) {
            return Err(broken("the neighbour's doorbell is none"));
        }
        let ringer = Ringer::again(bell).ok_or(broken("the doorbell is none"))?;
        let shared = Arc::new(LinkFds::new(socket, ringer, hearing));
        let max_frame = record.max_frame;
        let mut end = |half: &HalfRecord| -> Result<(Region, Waiter), HandoverError> {
            let geometry = Geometry { capacity: half.capacity, max_frame, pipe: record.pipe };
            let region = Region::attach(next()?, geometry).map_err(|error| match error {
                RegionError::Refused(why) => broken(why),
                RegionError::System(call, errno) => HandoverError::System(call, errno),
            })?;
            let waiter = Waiter::new(shared.clone());
            Ok((region, waiter.map_err(|e| HandoverError::System("epoll_ctl", e))?))
        };
        let tx = record.tx.as_ref().map(|half| {
            let (region, waiter) = end(half)?;
            open(Producer::resume(region, waiter, max_frame, half.indices))
        });
        let rx = record.rx.as_ref().map(|half| {
            let (region, waiter) = end(half)?;
            open(Consumer::resume(region, waiter, max_frame, half.indices))
        });
        let (tx, rx) = match (tx.transpose(), rx.transpose()) {
            (Ok(tx), Ok(rx)) => (tx.flatten(), rx.flatten()),
            (tx, rx) => {
                // They are the giver's still: a drop would close them.
                let error = tx.map(|tx| tx.flatten().map(Producer::leave)).err();
                let error = error.or(rx.map(|rx| rx.flatten().map(Consumer::leave)).err());
                return Err(error.unwrap_or(broken("")));
            }
        };
        if tx.is_none() && rx.is_none() {
            return Err(broken(CLOSED));
        }
        let link = Link {
            tx: tx.map(Tx::Ring),
            rx: rx.map(Rx::Ring),
            peer: record.peer.clone(),
            channel: Channel::Shm,
            features: record.features,
            max_frame,
            aside: None,
        };
        Ok(Handed { link, pipe: record.pipe })
    }

    /// Another process owns it.
    fn leave(self) {
        if let Some(Tx::Ring(tx)) = self.link.tx {
            tx.leave();
        }
        if let Some(Rx::Ring(rx)) = self.link.rx {
            rx.leave();
        }
    }

    /// Says in the memory who has this side now, what its end is called, and on which pipe.
    pub fn identify(&self, label: &str) {
        if let Some(Tx::Ring(tx)) = &self.link.tx {
            tx.identify(label, self.pipe);
        }
        if let Some(Rx::Ring(rx)) = &self.link.rx {
            rx.identify(label, self.pipe);
        }
    }
}

/// One half, if its last owner has not closed it: the other one may be open.
fn open<T>(half: Result<T, &'static str>) -> Result<Option<T>, HandoverError> {
    match half {
        Err(CLOSED) => Ok(None),
        half => half.map(Some).map_err(HandoverError::Broken),
    }
}

/// The descriptors of a side of a link.
fn fds<'a>(tx: Option<&'a Tx>, rx: Option<&'a Rx>) -> Vec<BorrowedFd<'a>> {
    let tx = tx.and_then(|tx| if let Tx::Ring(tx) = tx { Some(tx) } else { None });
    let rx = rx.and_then(|rx| if let Rx::Ring(rx) = rx { Some(rx) } else { None });
    let shared = tx.map(Producer::link_fds).or(rx.map(Consumer::link_fds));
    let shared = shared.map(|it| [it.socket.as_fd(), it.ringer.as_fd(), it.hearing.as_fd()]);
    let memory = tx.map(Producer::memory).into_iter().chain(rx.map(Consumer::memory));
    shared.into_iter().flatten().chain(memory).collect()
}

/// Why links did not change hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// The other process wants it otherwise.
    #[error("the other process took its links back")]
    Withdrawn,
    /// It ended before it had said all.
    #[error("the other process ended")]
    Ended,
    /// Nothing came in time.
    #[error("the other process does not answer")]
    Silent,
    /// What came is not what it should be; why.
    #[error("the other process handed over what it may not ({0})")]
    Broken(&'static str),
    /// A system call failed; its name and the error.
    #[error("{0}: {1}")]
    System(&'static str, Errno),
}

/// A socket pair for a giver and a taker.
///
/// # Errors
/// Those of socketpair(2).
pub fn socket_pair() -> Result<(OwnedFd, OwnedFd), LinkError> {
    crate::link::socket_pair().map_err(|errno| LinkError::System {
        what: "a hand-over".to_owned(),
        call: "socketpair",
        errno,
    })
}
