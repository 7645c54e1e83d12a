//! A function's side of its links: cables, the halves of links, and streams
//! for neighbours that do not know of rings.

mod bytes;
pub mod cable;
pub mod half;
pub mod lane;
mod neighbour;
mod notice;
pub mod stream_rx;
pub mod stream_tx;

pub use cable::{Cable, CablePlan, Fallback, Half, Joined, Wake};
pub use half::{Receiver, Sender};

/// Frames moved in one direction before another has its turn.
pub const BATCH: usize = 64;
/// Staged bytes after which the neighbour is told: enough to keep small frames
/// from costing a publication each, little enough that both sides work at once.
pub const PUBLISH_EVERY: usize = 16 << 10;

/// What a turn over the frames found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Frames were moved.
    pub busy: bool,
    /// A link came to its end.
    pub ended: bool,
}
