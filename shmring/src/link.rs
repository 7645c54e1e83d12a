//! What a rendezvous comes to: the two halves that join two processes.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::{Errno, Result};

use crate::aside::Aside;
use crate::bell::{LinkFds, Ringer, Waiter};
use crate::channel::{Rx, Tx};
use crate::framed::{FramedRx, FramedTx};
use crate::handshake::Channel;
use crate::region::{Geometry, Region, RegionError};
use crate::ring::{Consumer, Producer};

/// The process at the other end, as the kernel (`pid`) and it itself (`label`) say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its process id when it connected; 0 where the kernel does not tell.
    pub pid: i32,
    /// Its name for its end.
    pub label: String,
}

/// A link to a neighbour: frames out, frames in, or both.
pub struct Link {
    /// Where frames go out; `None` on the reading end of a one-way link.
    pub tx: Option<Tx>,
    /// Where frames come in; `None` on the writing end of a one-way link.
    pub rx: Option<Rx>,
    /// Who is there.
    pub peer: Peer,
    /// How frames cross.
    pub channel: Channel,
    /// Features both sides have.
    pub features: u64,
    /// Longest frame in bytes, both ways.
    pub max_frame: usize,
    /// Of [`Channel::Aside`]: one end of a socket pair, for messages. The other is the
    /// neighbour's.
    pub aside: Option<OwnedFd>,
}

impl Link {
    /// Whether frames go both ways.
    pub fn is_duplex(&self) -> bool {
        self.tx.is_some() && self.rx.is_some()
    }
}

/// The medium of one direction, before it is known what is behind it.
pub(crate) enum Medium {
    Ring(Region),
    Pipe(OwnedFd),
    Aside,
}

/// Makes the halves of a link from what the handshake handed over.
pub(crate) fn halves(
    tx: Option<Medium>,
    rx: Option<Medium>,
    fds: &Arc<LinkFds>,
    max_frame: usize,
    label: &str,
) -> Result<(Option<Tx>, Option<Rx>)> {
    let waiter = || Waiter::new(fds.clone());
    let tx = match tx {
        None => None,
        Some(Medium::Ring(region)) => {
            Some(Tx::Ring(Producer::new(region, waiter()?, max_frame, label)))
        }
        Some(Medium::Pipe(pipe)) => {
            Some(Tx::Stream(Box::new(FramedTx::new(pipe, waiter()?, max_frame)?)))
        }
        Some(Medium::Aside) => Some(Tx::Stream(Box::new(Aside::new(waiter()?, max_frame)))),
    };
    let rx = match rx {
        None => None,
        Some(Medium::Ring(region)) => {
            Some(Rx::Ring(Consumer::new(region, waiter()?, max_frame, label)))
        }
        Some(Medium::Pipe(pipe)) => {
            Some(Rx::Stream(Box::new(FramedRx::new(pipe, waiter()?, max_frame)?)))
        }
        Some(Medium::Aside) => Some(Rx::Stream(Box::new(Aside::new(waiter()?, max_frame)))),
    };
    Ok((tx, rx))
}

/// A ring whose two ends are in this process, for tests, benchmarks and threads.
///
/// `capacity` is a wish in bytes, rounded up to a power of two that holds two
/// frames of `max_frame` bytes.
///
/// # Errors
/// Those of `memfd_create(2)`, `mmap(2)`, `eventfd(2)`, `epoll_create1(2)`.
pub fn loopback(capacity: usize, max_frame: usize) -> std::io::Result<(Producer, Consumer)> {
    Ok(one_way(capacity, max_frame, ["loopback"; 2])?)
}

/// A link whose two ends are in this process: each is named for `stdpkt ls` by what is
/// joined there. Both sides have `features`; for the rest see [`loopback`].
///
/// # Errors
/// As [`loopback`].
pub fn pair(
    capacity: usize,
    max_frame: usize,
    features: u64,
    labels: [&str; 2],
) -> std::io::Result<(Link, Link)> {
    let geometry = Geometry::new(capacity, max_frame, (0, 0));
    let max_frame = geometry.max_frame;
    let there = Region::create(geometry).map_err(errno)?;
    let back = Region::create(geometry).map_err(errno)?;
    let others = (again(&there, geometry)?, again(&back, geometry)?);
    let (left, right) = sides()?;
    let side = |fds, (tx, rx), [label, neighbour]: [&str; 2]| {
        let (tx, rx) = (Some(Medium::Ring(tx)), Some(Medium::Ring(rx)));
        let (tx, rx) = halves(tx, rx, &Arc::new(fds), max_frame, label)?;
        let peer = Peer { pid: std::process::id() as i32, label: neighbour.to_owned() };
        Ok::<_, Errno>(Link {
            tx,
            rx,
            peer,
            channel: Channel::Shm,
            features,
            max_frame,
            aside: None,
        })
    };
    let [here, far] = labels;
    let link = side(left, (there, back), [here, far])?;
    Ok((link, side(right, (others.1, others.0), [far, here])?))
}

fn one_way(capacity: usize, max_frame: usize, labels: [&str; 2]) -> Result<(Producer, Consumer)> {
    let geometry = Geometry::new(capacity, max_frame, (0, 0));
    let region = Region::create(geometry).map_err(errno)?;
    let other = again(&region, geometry)?;
    ends(region, other, geometry.max_frame, labels)
}

/// Two loopbacks of which one end each is left out: the ends and, in the place
/// of each one's neighbour, the memory.
#[cfg(any(test, fuzzing))]
pub(crate) fn loopback_with_memory(
    capacity: usize,
    max_frame: usize,
) -> std::io::Result<(Producer, Consumer, Region, Region)> {
    let geometry = Geometry::new(capacity, max_frame, (0, 0));
    let (left, right) = (Region::create(geometry), Region::create(geometry));
    let (left, right) = (left.map_err(errno)?, right.map_err(errno)?);
    let (tx, rx) = ends(
        again(&left, geometry)?,
        again(&right, geometry)?,
        geometry.max_frame,
        ["loopback"; 2],
    )?;
    Ok((tx, rx, left, right))
}

/// A second mapping of a ring.
fn again(region: &Region, geometry: Geometry) -> Result<Region> {
    let memfd = rustix::io::fcntl_dupfd_cloexec(region.memfd(), 0)?;
    Region::attach(memfd, geometry).map_err(errno)
}

fn ends(
    region: Region,
    other: Region,
    max_frame: usize,
    labels: [&str; 2],
) -> Result<(Producer, Consumer)> {
    let (left, right) = sides()?;
    let producer = Producer::new(region, Waiter::new(Arc::new(left))?, max_frame, labels[0]);
    let consumer = Consumer::new(other, Waiter::new(Arc::new(right))?, max_frame, labels[1]);
    Ok((producer, consumer))
}

/// What the two sides of a link have besides memory.
fn sides() -> Result<(LinkFds, LinkFds)> {
    let (left, right) = socket_pair()?;
    let (left_bell, left_hearing) = Ringer::new()?;
    let (right_bell, right_hearing) = Ringer::new()?;
    let there = LinkFds::new(left, left_bell, right_hearing);
    Ok((there, LinkFds::new(right, right_bell, left_hearing)))
}

fn errno(error: RegionError) -> Errno {
    match error {
        RegionError::System(_, errno) => errno,
        RegionError::Refused(_) => Errno::INVAL,
    }
}

pub(crate) fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
}
