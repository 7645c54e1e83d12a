//! Where in a chain a `join` with one edge stands whose standard input and output are both pipes.
//!
//! The output of a whole pipeline may be one, before `tee log`, in `$(...)`, in CI, and so may its
//! input. The link is where a function is.

use std::time::{Duration, Instant};

use cable::neighbour::{Kind, neighbour};
use shmring::{PipeEnd, Role};

/// A shell starts the parts of a pipeline one after the other: each has so long to become what it
/// will be, and is looked at so often.
const BOUND: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);

/// A side of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Standard input.
    Left,
    /// Standard output.
    Right,
}

/// The one of two pipes that is a link; `None` where both are, or none is known to be.
pub fn only_link(stdin: &PipeEnd, stdout: &PipeEnd) -> Option<Side> {
    let start = Instant::now();
    loop {
        let writer = neighbour(stdin.id(), Role::Reader).kind;
        let reader = neighbour(stdout.id(), Role::Writer).kind;
        match (writer, reader, start.elapsed() >= BOUND) {
            (Kind::Aware, Kind::Aware, _) => return None,
            (Kind::Aware, Kind::Other, _) | (Kind::Aware, _, true) => return Some(Side::Left),
            (Kind::Other, Kind::Aware, _) | (_, Kind::Aware, true) => return Some(Side::Right),
            (_, _, true) => return None,
            _ => std::thread::sleep(PAUSE),
        }
    }
}
