//! What the formats have in common.

use std::time::Duration;

use super::MAX_PACKET;
use super::tally::LeftOut;

/// A packet as its capture has it.
#[derive(Debug)]
pub(super) struct Record<'a> {
    /// `LINKTYPE_*`.
    pub link: u16,
    /// What was kept of it.
    pub bytes: &'a [u8],
    /// Its length on the wire.
    pub original: usize,
    /// Bytes at its end that are an Ethernet check sequence.
    pub fcs: usize,
    /// When it passed, since 1970.
    pub time: Option<Duration>,
}

/// What one step into a stream came to.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// More bytes are needed.
    More,
    /// So many bytes held no packet. There may be fewer so far.
    Skip(u64),
    /// So many bytes held a packet that becomes no frame, likewise.
    LeftOut(u64, LeftOut),
    /// So many bytes held this packet.
    Record(usize, Record<'a>),
    /// So many bytes held a packet of that time, which was appended to the output.
    Frame(usize, Option<Duration>),
}

/// The byte order of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    pub const BOTH: [Order; 2] = [Order::Little, Order::Big];

    /// The four bytes at `at`, if they are there.
    pub fn word(self, data: &[u8], at: usize) -> Option<u32> {
        let bytes = *data.get(at..)?.first_chunk()?;
        Some(match self {
            Order::Little => u32::from_le_bytes(bytes),
            Order::Big => u32::from_be_bytes(bytes),
        })
    }

    /// The two bytes at `at`, if they are there.
    pub fn half(self, data: &[u8], at: usize) -> Option<u16> {
        let bytes = *data.get(at..)?.first_chunk()?;
        Some(match self {
            Order::Little => u16::from_le_bytes(bytes),
            Order::Big => u16::from_be_bytes(bytes),
        })
    }
}

/// A packet's length, if it is one that can be believed.
pub(super) fn believed(len: u32) -> Result<usize, String> {
    match len as usize {
        len if len > MAX_PACKET => {
            Err(format!("a packet of {len} bytes, more than the {MAX_PACKET} there can be"))
        }
        len => Ok(len),
    }
}
