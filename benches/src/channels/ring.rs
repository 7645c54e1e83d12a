//! The ring, used in the ways there are to use it.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::pipe::{PipeFlags, pipe_with};
use shmring::{
    Consumer, Link, Offer, PipeEnd, Producer, RecvError, Rendezvous, RuntimeDir, Rx, SendError, Tx,
};

use crate::harness::frames::{Checker, Source};
use crate::harness::{Ends, Far, Kind, Near, Receiver, Sender, Setup};

/// A batch of large frames is released earlier, for the sender to go on.
const BATCH_BYTES: usize = 64 << 10;

/// How the two ends use the ring.
#[derive(Debug, Clone, Copy)]
struct Style {
    /// Frames published and released together.
    batch: u64,
    /// The frame is made in the ring, not copied there.
    in_place: bool,
    /// The frame is copied out of the ring before it is looked at.
    copy_out: bool,
}

const PLAIN: Style = Style { batch: 1, in_place: false, copy_out: false };
const BATCHES: Style = Style { batch: 32, ..PLAIN };
const IN_PLACE: Style = Style { in_place: true, ..PLAIN };
const COPY_OUT: Style = Style { copy_out: true, ..PLAIN };

pub(super) fn kinds() -> Vec<Kind> {
    let kind = |name, near, far| Kind { name, busy_polls: false, max_frame: 1 << 20, near, far };
    vec![
        kind("ring", |setup| near(setup, PLAIN), |setup, fds| far(setup, fds, PLAIN)),
        kind("ring-batch32", |setup| near(setup, BATCHES), |setup, fds| far(setup, fds, BATCHES)),
        kind("ring-in-place", |setup| near(setup, IN_PLACE), |s, fds| far(s, fds, IN_PLACE)),
        kind("ring-copy-out", |setup| near(setup, COPY_OUT), |s, fds| far(s, fds, COPY_OUT)),
    ]
}

fn near(setup: &Setup, style: Style) -> Result<(Near, Far)> {
    near_with(setup, move |link, setup| ends(link, setup, style))
}

fn far(setup: &Setup, fds: Vec<OwnedFd>, style: Style) -> Result<Ends> {
    far_with(setup, fds, move |link, setup| ends(link, setup, style))
}

/// The near side of a link that `ends` makes use of.
pub(super) fn near_with(
    setup: &Setup,
    ends: impl FnOnce(Link, &Setup) -> Result<Ends> + Send + 'static,
) -> Result<(Near, Far)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    let setup = setup.clone();
    let near = move || ends(join(&setup, write)?, &setup);
    Ok((Box::new(near), Far::Process(vec![read])))
}

/// The far side.
pub(super) fn far_with(
    setup: &Setup,
    fds: Vec<OwnedFd>,
    ends: impl FnOnce(Link, &Setup) -> Result<Ends>,
) -> Result<Ends> {
    ends(join(setup, fds.into_iter().next().context("a descriptor")?)?, setup)
}

/// The pipe is the address; the link has a ring each way.
fn join(setup: &Setup, pipe: OwnedFd) -> Result<Link> {
    let dir = RuntimeDir::at(&setup.dir.join("r"))?;
    let end = PipeEnd::new(pipe.as_fd().try_clone_to_owned()?, "the pipe")?;
    let offer = Offer { capacity: setup.ring, max_frame: setup.max_frame, ..Offer::default() };
    Ok(Rendezvous::new(end, &dir, offer)?.wait()?)
}

fn ends(link: Link, setup: &Setup, style: Style) -> Result<Ends> {
    let (Some(Tx::Ring(tx)), Some(Rx::Ring(rx))) = (link.tx, link.rx) else {
        bail!("no ring each way");
    };
    let copy = vec![0; setup.max_frame];
    Ok(Ends {
        tx: Box::new(RingSender { tx, style }),
        rx: Box::new(RingReceiver { rx, style, copy }),
    })
}

struct RingSender {
    tx: Producer,
    style: Style,
}

impl Sender for RingSender {
    fn send(&mut self, count: u64, source: &mut Source) -> Result<()> {
        let Style { batch, in_place, .. } = self.style;
        for turn in 1..=count {
            let len = source.next_len();
            let mut room = loop {
                match self.tx.reserve(len) {
                    Ok(room) => break room,
                    Err(SendError::Full) => {}
                    Err(error) => return Err(error.into()),
                }
                self.tx.wait(None)?;
            };
            if in_place {
                source.next_in_place(room.bytes());
            } else {
                room.bytes().copy_from(0, source.next());
            }
            if batch == 1 {
                room.commit(len);
            } else {
                room.stage(len);
                if turn % batch == 0 {
                    self.tx.publish();
                }
            }
        }
        self.tx.publish();
        Ok(())
    }
}

struct RingReceiver {
    rx: Consumer,
    style: Style,
    copy: Vec<u8>,
}

impl RingReceiver {
    fn one(&mut self, checker: &mut Checker) -> Result<()> {
        let frame = loop {
            match self.rx.borrow() {
                Ok(frame) => break frame,
                Err(RecvError::Empty) => {}
                Err(error) => return Err(error.into()),
            }
            self.rx.wait(None)?;
        };
        let bytes = frame.bytes();
        if self.style.copy_out {
            let len = bytes.copy_to(0, &mut self.copy);
            checker.check(&&self.copy[..len])?;
        } else {
            checker.check(&bytes)?;
        }
        frame.release();
        Ok(())
    }

    /// Up to a batch of frames; how many there were.
    fn some(&mut self, limit: u64, checker: &mut Checker) -> Result<u64> {
        let mut batch = self.rx.batch();
        let (mut seen, mut bytes) = (0, 0);
        while seen < limit && bytes < BATCH_BYTES {
            match batch.next() {
                Ok(frame) => {
                    checker.check(&frame)?;
                    bytes += frame.len();
                }
                Err(RecvError::Empty) => break,
                Err(error) => return Err(error.into()),
            }
            seen += 1;
        }
        batch.release();
        Ok(seen)
    }
}

impl Receiver for RingReceiver {
    fn receive(&mut self, count: u64, checker: &mut Checker) -> Result<()> {
        if self.style.batch == 1 {
            for _ in 0..count {
                self.one(checker)?;
            }
            return Ok(());
        }
        let mut left = count;
        while left > 0 {
            match self.some(left.min(self.style.batch), checker)? {
                0 => self.rx.wait(None)?,
                seen => left -= seen,
            }
        }
        // What was released is the sender's again before this side turns away.
        self.rx.return_room();
        Ok(())
    }
}
