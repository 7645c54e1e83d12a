//! vmsplice: the pipe refers to the sender's pages, and nothing is copied until
//! the reader reads. The sender may not touch a frame again before that.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::fcntl::{SpliceFFlags, vmsplice};
use rustix::pipe::{PipeFlags, pipe_with};

use super::stream::Buffered;
use crate::harness::frames::Source;
use crate::harness::{Ends, Far, Kind, Sender, Setup};

/// Pages a pipe of 64 KiB refers to at most.
const SLOTS: usize = 16;
const PAGE: usize = 4096;

pub(super) fn kinds() -> Vec<Kind> {
    vec![Kind {
        name: "vmsplice",
        busy_polls: false,
        max_frame: usize::MAX,
        near: |setup| {
            let (far_rx, near_tx) = pipe_with(PipeFlags::CLOEXEC)?;
            let (near_rx, far_tx) = pipe_with(PipeFlags::CLOEXEC)?;
            let setup = setup.clone();
            let near = move || Ok(ends(&setup, near_rx, near_tx));
            Ok((Box::new(near), Far::Process(vec![far_rx, far_tx])))
        },
        far: |setup, fds| {
            let [rx, tx] = fds.try_into().ok().context("two descriptors")?;
            Ok(ends(setup, rx, tx))
        },
    }]
}

fn ends(setup: &Setup, rx: OwnedFd, tx: OwnedFd) -> Ends {
    Ends { tx: Box::new(Splicer::new(tx, setup.max_frame)), rx: Box::new(Buffered::new(rx)) }
}

struct Splicer {
    pipe: OwnedFd,
    /// A frame is not written again before more frames than the pipe can refer
    /// to were sent after it, each on pages of its own.
    frames: Vec<u8>,
    stride: usize,
    next: usize,
}

impl Splicer {
    fn new(pipe: OwnedFd, max_frame: usize) -> Splicer {
        let stride = max_frame.next_multiple_of(PAGE);
        // One more page, to begin at a page's begin.
        Splicer { pipe, frames: vec![0; stride * (SLOTS + 2) + PAGE], stride, next: 0 }
    }
}

impl Sender for Splicer {
    fn send(&mut self, count: u64, source: &mut Source) -> Result<()> {
        let start = self.frames.as_ptr().align_offset(PAGE);
        for _ in 0..count {
            let from = start + self.next * self.stride;
            self.next = (self.next + 1) % (SLOTS + 2);
            let frame = source.next();
            let room = &mut self.frames[from..from + frame.len()];
            room.copy_from_slice(frame);
            let mut sent = 0;
            while sent < room.len() {
                let part = [IoSlice::new(&room[sent..])];
                sent += vmsplice(self.pipe.as_fd(), &part, SpliceFFlags::empty())?;
            }
        }
        Ok(())
    }
}
