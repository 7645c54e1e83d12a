//! A function's side of its links: cables, the halves of links, and streams
//! for neighbours that do not know of rings.

pub mod cable;
pub mod forward;
pub mod half;
mod reader_of;
pub mod stream_rx;
pub mod stream_tx;

pub use cable::{Cable, CablePlan, Fallback, Half, Joined, Wake};
pub use half::{Receiver, Sender};

/// The longest frame: a virtio-net header (12 bytes), an Ethernet header (14),
/// two VLAN tags (8) and the largest IP packet (65 535), rounded up.
pub const MAX_FRAME: usize = 65_600;

/// Offloads a function can take frames with, by virtio-net feature number
/// (virtio 1.2, section 5.1.3): GUEST_CSUM 1, GUEST_TSO4 7, GUEST_TSO6 8.
pub const FEATURES: u64 = 1 << 1 | 1 << 7 | 1 << 8;

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
