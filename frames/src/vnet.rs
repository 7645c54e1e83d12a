//! The header before each Ethernet frame.

use crate::VNET_LEN;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
pub(crate) const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`.
pub(crate) const DATA_VALID: u8 = 2;
/// That and `VIRTIO_NET_HDR_F_RSC_INFO`.
const OTHER_FLAGS: u8 = DATA_VALID | 4;
/// None of virtio's: see [`recorded`](crate::recorded).
pub(crate) const RECORDED: u8 = 0x80;
/// `VIRTIO_NET_HDR_GSO_*`; [`GSO_ECN`] is a flag beside the type.
pub(crate) const GSO_NONE: u8 = 0;
pub(crate) const GSO_TCPV4: u8 = 1;
pub(crate) const GSO_TCPV6: u8 = 4;
const GSO_UDP: u8 = 3;
const GSO_UDP_L4: u8 = 5;
pub(crate) const GSO_ECN: u8 = 0x80;

/// `virtio_net_hdr_v1`, little-endian: flags, gso_type (a byte each), hdr_len,
/// gso_size, csum_start, csum_offset, num_buffers (two bytes each).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// `VIRTIO_NET_HDR_F_*`, and one of this project's.
    pub flags: u8,
    /// `VIRTIO_NET_HDR_GSO_*`.
    pub gso_type: u8,
    /// A hint: bytes of headers.
    pub hdr_len: u16,
    /// Payload bytes of each segment but the last.
    pub gso_size: u16,
    /// Where summing starts, from the Ethernet header on.
    pub csum_start: u16,
    /// Where the sum goes, from `csum_start` on.
    pub csum_offset: u16,
    /// Unused on a TAP; see [`recorded`](crate::recorded).
    pub num_buffers: u16,
}

impl VnetHeader {
    /// Reads the first 12 bytes of a frame.
    pub fn parse(bytes: &[u8; VNET_LEN]) -> VnetHeader {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        VnetHeader {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: word(2),
            gso_size: word(4),
            csum_start: word(6),
            csum_offset: word(8),
            num_buffers: word(10),
        }
    }

    /// Whether this can be what stands before a packet of `len` bytes: flags and
    /// types that there are, and places inside of the packet.
    pub fn fits(&self, len: usize) -> bool {
        let places = [usize::from(self.csum_start), usize::from(self.csum_offset) + 2];
        let checksum = match self.flags & NEEDS_CSUM {
            0 => self.flags & OTHER_FLAGS != 0 || (self.csum_start, self.csum_offset) == (0, 0),
            _ => places.iter().sum::<usize>() <= len,
        };
        let segments = match self.gso_type & !GSO_ECN {
            GSO_NONE => self.gso_type == GSO_NONE && self.gso_size == 0,
            GSO_TCPV4 | GSO_TCPV6 | GSO_UDP | GSO_UDP_L4 => self.gso_size > 0,
            _ => false,
        };
        let known = self.flags & !(NEEDS_CSUM | OTHER_FLAGS | RECORDED) == 0;
        known && checksum && segments && usize::from(self.hdr_len) <= len
    }

    /// The 12 bytes.
    pub fn to_bytes(self) -> [u8; VNET_LEN] {
        let mut out = [0; VNET_LEN];
        out[0] = self.flags;
        out[1] = self.gso_type;
        let words =
            [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset, self.num_buffers];
        for (at, word) in (2..).step_by(2).zip(words) {
            out[at..at + 2].copy_from_slice(&word.to_le_bytes());
        }
        out
    }
}

/// Appends a complete packet to `out` as a frame: a header that asks for nothing
/// comes before it.
pub fn push_frame(out: &mut Vec<u8>, packet: &[u8]) {
    out.extend_from_slice(&[0; VNET_LEN]);
    out.extend_from_slice(packet);
}
