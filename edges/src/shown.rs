//! What `stdpkt ls` shows of an edge: a row for each direction.

use anyhow::{Context, Result};
use shmring::board::{Board, Form, Meter, Posting, Way};

/// Counts one direction of the edge `what`, on which frames are written as `format`.
///
/// # Errors
/// Where there is no memory for it.
pub(crate) fn meter(what: &str, format: &str, way: Way) -> Result<Meter> {
    let board = Board::of_this_process().context("memory for stdpkt ls")?;
    let (pipe, medium) = ((0, 0), (0, 0));
    let (label, what) = (format.to_owned(), what.to_owned());
    let mut meter = Meter::default();
    meter.show(board.post(&Posting { form: Form::Edge, way, pipe, medium, label, what }));
    Ok(meter)
}
