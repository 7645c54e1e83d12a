//! The FIFO of a target, and the cable on it.

use anyhow::{Context, Result};
use cable::{CablePlan, Fallback};
use shmring::PipeEnd;
use shmring::board::{Board, Form, Posting, Tally, Way};

use crate::filters::offer;

/// What a target's neighbour is called.
const LABEL: &str = "balance";

/// The FIFO of a target.
pub struct Fifo {
    /// `(st_dev, st_ino)`.
    pub id: (u64, u64),
    /// What `stdpkt ls` shows of its flows.
    pub tally: Tally,
}

impl Fifo {
    /// What is to be known of the target at `end`, and `stdpkt ls` to see.
    pub fn new(end: &PipeEnd) -> Result<Fifo> {
        let board = Board::of_this_process().context("memory for stdpkt ls")?;
        let tally = Tally::new(board.post(&Posting {
            form: Form::Tally,
            way: Way::Out,
            pipe: end.id(),
            medium: end.id(),
            label: LABEL.to_owned(),
            what: end.what().to_owned(),
        }));
        Ok(Fifo { id: end.id(), tally })
    }
}

/// The cable to a target.
pub fn plan(end: PipeEnd) -> CablePlan {
    CablePlan {
        end: end.into(),
        offer: offer(LABEL),
        vital: false,
        expects_both_ways: true,
        fallback: Fallback::Never,
    }
}
