//! Copies for whoever reads a FIFO.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use shmring::{Bytes, PipeEnd, RuntimeDir, SendError};

use crate::filters::offer;
use cable::{Cable, CablePlan, Fallback};

/// Between two looks whether somebody reads.
const RETRY: Duration = Duration::from_millis(50);
/// Between two tries to hand waiting frames over.
const PUMP: Duration = Duration::from_millis(5);
/// Frames wait this long for a first reader, who may be about to start.
const FIRST: Duration = Duration::from_secs(1);
/// Bytes of frames that wait for a reader which is there.
const QUEUE: usize = 8 << 20;

/// A FIFO, which is open as long as somebody reads it.
pub(super) struct Fifo {
    dir: RuntimeDir,
    cable: Option<Cable>,
    next_try: Instant,
    /// Until then a first reader may turn up.
    first: Option<Instant>,
    queue: VecDeque<Vec<u8>>,
    queued: usize,
}

impl Fifo {
    pub fn new() -> Result<Fifo> {
        Ok(Fifo {
            dir: RuntimeDir::for_user()?,
            cable: None,
            next_try: Instant::now(),
            first: Some(Instant::now() + FIRST),
            queue: VecDeque::new(),
            queued: 0,
        })
    }

    /// Keeps a frame until it can be handed over; `false` if it cannot.
    pub fn take(&mut self, bytes: &Bytes<'_>, path: &Path) -> bool {
        self.look(path);
        if !self.may_be_read() || self.queued + bytes.len() > QUEUE {
            return false;
        }
        self.queued += bytes.len();
        self.queue.push_back(bytes.to_vec());
        true
    }

    /// When [`Fifo::pump`] wants to be called again.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.queue.is_empty()).then(|| Instant::now() + PUMP)
    }

    /// Hands over what is left, until `until`; returns how many frames remain.
    pub fn finish(&mut self, path: &Path, until: Instant) -> u64 {
        let mut missed = 0;
        while !self.queue.is_empty() && Instant::now() < until {
            missed += self.pump(path);
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(cable) = &mut self.cable {
            while Instant::now() < until && !cable.is_flushed() {
                std::thread::sleep(Duration::from_millis(1));
                cable.refresh();
            }
        }
        missed + self.queue.len() as u64
    }

    /// Looks whether somebody reads by now.
    fn look(&mut self, path: &Path) {
        let now = Instant::now();
        if self.cable.is_some() || now < self.next_try {
            return;
        }
        self.next_try = now + RETRY;
        // Fails while nobody reads. Each reader gets a capture of its own, since
        // the pipe is empty when its last reader and we have gone.
        let mut options = OpenOptions::new();
        let Ok(fifo) = options.write(true).custom_flags(libc::O_NONBLOCK).open(path) else {
            return;
        };
        let Ok(end) = PipeEnd::new(fifo, &path.display().to_string()) else { return };
        let plan = CablePlan {
            end: end.into(),
            offer: shmring::Offer { duplex: false, ..offer("mirror") },
            vital: true,
            expects_both_ways: false,
            fallback: Fallback::AtOnce,
        };
        self.cable = Cable::new(plan, &self.dir).ok();
        self.first = None;
    }

    fn may_be_read(&self) -> bool {
        self.cable.is_some() || self.first.is_some_and(|until| Instant::now() < until)
    }

    fn give_up(&mut self) -> u64 {
        self.cable = None;
        self.queued = 0;
        std::mem::take(&mut self.queue).len() as u64
    }

    /// Returns how many frames the reader that went away did not get.
    pub fn pump(&mut self, path: &Path) -> u64 {
        if !self.queue.is_empty() {
            self.look(path);
        }
        if !self.may_be_read() {
            return self.give_up();
        }
        let Some(cable) = &mut self.cable else { return 0 };
        match Self::hand_over(cable, &mut self.queue, &mut self.queued) {
            true => 0,
            false => self.give_up(),
        }
    }

    /// `false` when the reader is gone.
    fn hand_over(cable: &mut Cable, queue: &mut VecDeque<Vec<u8>>, queued: &mut usize) -> bool {
        // Nobody sleeps on these descriptors: they are looked at with each pump.
        let mut wake = |_, _, _: std::os::fd::BorrowedFd<'_>, _| Ok(());
        if cable.on_rendezvous(&mut wake).is_err() || cable.on_time(&mut wake).is_err() {
            return false;
        }
        cable.refresh();
        let gone = cable.was_up && cable.sender().is_none_or(|tx| tx.is_closed());
        let Some(tx) = cable.sender().filter(|_| !gone) else { return !gone };
        while let Some(frame) = queue.front() {
            let sent = tx.put(frame.len(), |room| {
                room.copy_from(0, frame);
                Ok::<_, ()>(frame.len())
            });
            match sent {
                Err(SendError::Full) => break,
                Err(SendError::Closed | SendError::Corrupt(_)) => return false,
                Ok(_) | Err(SendError::TooLong { .. }) => {
                    *queued -= frame.len();
                    queue.pop_front();
                }
            }
        }
        tx.publish();
        true
    }
}
