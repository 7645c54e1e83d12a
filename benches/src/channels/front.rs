//! The ring by the calls of the front door: one a frame, waiting inside.

use anyhow::{Context, Result};
use shmring::{Link, Rx, Tx};

use super::ring::{far_with, near_with};
use crate::harness::frames::{Checker, Source};
use crate::harness::{Ends, Kind, Receiver, Sender, Setup};

pub(super) fn kind() -> Kind {
    Kind {
        name: "ring-send-recv",
        busy_polls: false,
        max_frame: 1 << 20,
        near: |setup| near_with(setup, ends),
        far: |setup, fds| far_with(setup, fds, ends),
    }
}

fn ends(link: Link, _: &Setup) -> Result<Ends> {
    let (tx, rx) = link.split()?;
    Ok(Ends { tx: Box::new(Front(tx)), rx: Box::new(Front(rx)) })
}

struct Front<Half>(Half);

impl Sender for Front<Tx> {
    fn send(&mut self, count: u64, source: &mut Source) -> Result<()> {
        for _ in 0..count {
            self.0.send(source.next())?;
        }
        Ok(())
    }
}

impl Receiver for Front<Rx> {
    fn receive(&mut self, count: u64, checker: &mut Checker) -> Result<()> {
        for _ in 0..count {
            let mut frame = self.0.recv()?.context("the link ended early")?;
            checker.check(&frame.bytes())?;
        }
        Ok(())
    }
}
