//! What became of the packets of a capture.

use std::collections::BTreeMap;
use std::fmt;

use super::link_name::link_name;
use crate::{MAX_FRAME, VNET_LEN};

/// Why a packet did not become a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// The capture kept its beginning only, as with `tcpdump -s`.
    Cut,
    /// Less than an Ethernet header.
    Short,
    /// No known virtio-net header before it.
    Malformed,
    /// Longer than a frame can be.
    Long,
    /// This kind of link (`LINKTYPE_*`) has no form as Ethernet.
    LinkType(u16),
    /// It has where IP is inside, and that it is not.
    NoIp(u16),
    /// No packet at all: an entry of a journal, an event of a system.
    NoPacket,
}

impl LeftOut {
    /// Whether the capture is broken there, and not only unsuitable.
    fn is_broken(self) -> bool {
        matches!(self, LeftOut::Cut | LeftOut::Short | LeftOut::Malformed)
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeftOut::Cut => write!(f, "not kept whole"),
            LeftOut::Short => write!(f, "shorter than an Ethernet header"),
            LeftOut::Malformed => write!(f, "with a broken virtio-net header"),
            LeftOut::Long => write!(f, "longer than {} bytes", MAX_FRAME - VNET_LEN),
            LeftOut::LinkType(number) => {
                write!(f, "of link type {number}")?;
                link_name(*number).map_or(Ok(()), |name| write!(f, " ({name})"))
            }
            LeftOut::NoIp(number) => {
                write!(f, "of link type {number}")?;
                link_name(*number).map_or(Ok(()), |name| write!(f, " ({name})"))?;
                write!(f, " without IP in them")
            }
            LeftOut::NoPacket => write!(f, "records that are no packets"),
        }
    }
}

/// Counts of packets that became frames, and of those that did not. Its display
/// is one line for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    taken: u64,
    left_out: BTreeMap<LeftOut, u64>,
}

impl Tally {
    pub(super) fn take(&mut self) {
        self.taken += 1;
    }

    /// Counts a packet that became no frame.
    pub fn leave_out(&mut self, why: LeftOut) {
        *self.left_out.entry(why).or_default() += 1;
    }

    /// Packets that became frames.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Packets that did not.
    pub fn left_out(&self) -> u64 {
        self.left_out.values().sum()
    }

    /// The same by reason.
    pub fn reasons(&self) -> impl Iterator<Item = (LeftOut, u64)> {
        self.left_out.iter().map(|(why, count)| (*why, *count))
    }

    /// Whether every packet became a frame.
    pub fn is_whole(&self) -> bool {
        self.left_out.is_empty()
    }

    /// Whether packets were broken, or none of them could be used.
    pub fn is_broken(&self) -> bool {
        self.left_out.keys().any(|why| why.is_broken()) || (self.taken == 0 && !self.is_whole())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left_out = self.left_out();
        write!(f, "left out {left_out} of {} packets: ", self.taken + left_out)?;
        for (n, (why, count)) in self.left_out.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{count} {why}")?;
        }
        Ok(())
    }
}
