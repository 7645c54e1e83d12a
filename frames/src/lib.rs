//! What a frame is: a virtio-net header and an Ethernet frame.
//!
//! No I/O and no unsafe code: bytes come in, bytes go out. Whoever wrote them, the
//! worst is an error.

pub mod capture;
mod congestion;
mod ethernet;
pub mod flow;
mod framing;
mod ip;
mod packets;
mod pieces;
pub mod recorded;
mod segment;
mod tcp;
mod train;
mod vnet;

pub use congestion::{MARK_LEN, mark};
pub use ethernet::mac_of;
pub use framing::{Framing, FramingError, Unframer, begins, not_ethernet};
pub use packets::{PacketError, Packets};
pub use pieces::{Piece, Pieces};
pub use segment::{SEGMENT_LEN, Segment};
pub use train::Train;
pub use vnet::{VnetHeader, push_frame};

/// Bytes of the virtio-net header before each Ethernet frame
/// (`struct virtio_net_hdr_v1`, virtio 1.2, section 5.1.6).
pub const VNET_LEN: usize = 12;
/// Bytes of an Ethernet header without tags.
pub const ETHERNET_LEN: usize = 14;

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
