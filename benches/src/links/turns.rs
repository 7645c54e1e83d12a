//! An event loop over the ends of many rings.

use std::io;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use shmring::{Consumer, Producer, RecvError, SendError, Spin};

use crate::harness::frames::{Checker, Source};

/// Frames that one end moves before the next has its turn.
const BATCH: u64 = 32;
/// Bytes after which its turn is over sooner.
const BATCH_BYTES: usize = 64 << 10;

/// The end of a ring, and what it has to do.
pub(super) trait End: AsFd {
    /// Moves some frames; `false` when there were none to move.
    fn turn(&mut self) -> Result<bool>;
    fn is_done(&self) -> bool;
    /// Before a sleep; `false` when there is something to do after all.
    fn arm(&mut self) -> bool;
    /// After a sleep.
    fn disarm(&mut self) {}
    /// It was this end for which the sleep was over.
    fn woken(&mut self) -> io::Result<()>;
}

/// Turns until all ends are done. Sleeps where there is nothing to do; ends that
/// are done are still listened to.
pub(super) fn run(ends: &mut [impl End]) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (number, end) in ends.iter().enumerate() {
        epoll.add(end, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
    }
    let mut events = [EpollEvent::empty(); 64];
    let mut spin = Spin::new();
    loop {
        let mut busy = false;
        for end in &mut *ends {
            busy |= end.turn()?;
        }
        if ends.iter().all(End::is_done) {
            return Ok(());
        }
        if busy {
            spin.found();
        } else if spin.again() {
            // Whoever we wait for may need this core.
            std::thread::yield_now();
        } else {
            let sleep = ends.iter_mut().all(End::arm);
            let timeout = if sleep { EpollTimeout::NONE } else { EpollTimeout::ZERO };
            let woken = match spin.sleep(|| epoll.wait(&mut events, timeout)) {
                Err(Errno::EINTR) => 0,
                woken => woken.context("epoll_wait")?,
            };
            ends.iter_mut().for_each(End::disarm);
            for event in &events[..woken] {
                ends[event.data() as usize].woken()?;
            }
        }
    }
}

/// Sends `left` more frames.
pub(super) struct Outgoing<'a> {
    pub tx: &'a mut Producer,
    pub source: Source,
    pub left: u64,
}

impl End for Outgoing<'_> {
    fn turn(&mut self) -> Result<bool> {
        let (before, mut bytes) = (self.left, 0);
        while self.left > 0 && before - self.left < BATCH && bytes < BATCH_BYTES {
            let len = self.source.next_len();
            match self.tx.reserve(len) {
                Ok(mut room) => {
                    room.bytes().copy_from(0, self.source.next());
                    room.stage(len);
                }
                Err(SendError::Full) => break,
                Err(error) => return Err(error.into()),
            }
            self.left -= 1;
            bytes += len;
        }
        self.tx.publish();
        Ok(self.left < before)
    }

    fn is_done(&self) -> bool {
        self.left == 0
    }

    fn arm(&mut self) -> bool {
        self.is_done() || self.tx.arm()
    }

    fn woken(&mut self) -> io::Result<()> {
        self.tx.woken()
    }
}

impl AsFd for Outgoing<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.tx.as_fd()
    }
}

/// Checks `left` more frames; one more than that is an error.
pub(super) struct Incoming<'a> {
    pub rx: &'a mut Consumer,
    pub checker: Checker,
    pub left: u64,
}

impl End for Incoming<'_> {
    fn turn(&mut self) -> Result<bool> {
        let mut batch = self.rx.batch();
        let (mut seen, mut bytes) = (0, 0);
        while seen < BATCH && bytes < BATCH_BYTES {
            match batch.next() {
                Ok(frame) => {
                    self.checker.check(&frame)?;
                    bytes += frame.len();
                }
                Err(RecvError::Empty) => break,
                Err(error) => return Err(error.into()),
            }
            seen += 1;
        }
        batch.release();
        self.left = self.left.checked_sub(seen).context("more frames than were sent")?;
        Ok(seen > 0)
    }

    fn is_done(&self) -> bool {
        self.left == 0
    }

    fn arm(&mut self) -> bool {
        self.rx.arm()
    }

    fn disarm(&mut self) {
        self.rx.disarm();
    }

    fn woken(&mut self) -> io::Result<()> {
        self.rx.woken()
    }
}

impl AsFd for Incoming<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.rx.as_fd()
    }
}
