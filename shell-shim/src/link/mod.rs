//! A function's side of its links: cables, the halves of links, and streams
//! for neighbours that do not know of rings.

mod bytes;
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

/// Frames with partial checksums can be taken. This and the next two are
/// virtio-net feature numbers (virtio 1.2, section 5.1.3).
pub const GUEST_CSUM: u32 = 1;
/// TCP segments of up to 64 KiB over IPv4 can be taken.
pub const GUEST_TSO4: u32 = 7;
/// The same over IPv6.
pub const GUEST_TSO6: u32 = 8;
/// What a function with the host kernel's stack can take.
pub const FEATURES: u64 = 1 << GUEST_CSUM | 1 << GUEST_TSO4 | 1 << GUEST_TSO6;

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
