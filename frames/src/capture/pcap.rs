//! pcap, with all that has been written under its magic numbers.
//!
//! Patched libpcaps of 1999 and Nokia's systems put more into the header of each
//! packet and some of them did not say so in the header of the file. Which of them
//! wrote a file is told by its first packets, as Wireshark does it.

use std::time::Duration;

use super::MAX_PACKET;
use super::linktype::{self, ETHERNET};
use super::record::{Order, Record, Step, believed};
use super::tally::LeftOut;

/// Bytes of a file's header, and of a packet's.
const FILE: usize = 24;
const PACKET: usize = 16;
/// What more there may be in a packet's header: nothing, interface and protocol
/// (patch of 1999-04-17), something of Nokia's.
const STANDARD: [usize; 3] = [0, 8, 4];
/// Interface and protocol (patch of 1999-10-29), those and more (1999-09-15).
const MODIFIED: [usize; 2] = [8, 12];
/// Longest packet of a kind that is left out, which may be other things than
/// packets: 128 MiB, as in Wireshark.
const MAX_OTHER: u32 = 128 << 20;
/// Packets looked at to find out what a file is.
const TRIES: usize = 3;

/// A pcap file's way of writing packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pcap {
    order: Order,
    nanoseconds: bool,
    /// Bytes of a packet's header beyond the usual.
    extra: usize,
    lengths: Lengths,
    link: u16,
    fcs: usize,
}

/// In which order a packet's header has its lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lengths {
    CapturedFirst,
    OriginalFirst,
    /// Versions 2.3 wrote either.
    SmallerIsCaptured,
}

/// What a magic number says.
struct Magic {
    order: Order,
    nanoseconds: bool,
    variants: &'static [usize],
    /// Bytes of the file's header beyond the usual.
    extra: usize,
}

fn magic(data: &[u8]) -> Option<Magic> {
    Order::BOTH.into_iter().find_map(|order| {
        let magic = |nanoseconds, variants, extra| Magic { order, nanoseconds, variants, extra };
        Some(match order.word(data, 0)? {
            0xa1b2_c3d4 => magic(false, &STANDARD, 0),
            0xa1b2_3c4d => magic(true, &STANDARD[..1], 0),
            0xa1b2_cd34 => magic(false, &MODIFIED, 0),
            // Ixia's, with the file's length behind the header.
            0x1c00_01ac => magic(true, &STANDARD[..1], 4),
            0x1c00_01ab => magic(false, &STANDARD[..1], 4),
            _ => return None,
        })
    })
}

/// Whether a pcap begins here.
pub(super) fn begins(data: &[u8]) -> bool {
    magic(data).is_some()
}

impl Pcap {
    /// Reads the header of a file, and looks at as many packets as it takes to know
    /// how they are written. Returns how long the header is; `None` if that takes
    /// more bytes, of which there are none after `last`.
    pub fn begin(data: &[u8], last: bool) -> Result<Option<(Pcap, usize)>, String> {
        let broken = || "a broken or cut pcap header".to_owned();
        let magic = magic(data).ok_or_else(broken)?;
        let Some(packets) = data.get(FILE + magic.extra..) else {
            return if last { Err(broken()) } else { Ok(None) };
        };
        let order = magic.order;
        let (Some(major), Some(minor), Some(network)) =
            (order.half(data, 4), order.half(data, 6), order.word(data, 20))
        else {
            return Err(broken());
        };
        let lengths = match (major, minor) {
            (0..2, _) => return Err(format!("pcap of version {major}.{minor}, older than 2.0")),
            (2, 0..3) | (543, _) => Lengths::OriginalFirst,
            (2, 3) => Lengths::SmallerIsCaptured,
            _ => Lengths::CapturedFirst,
        };
        let mut pcap = Pcap {
            order,
            nanoseconds: magic.nanoseconds,
            extra: magic.variants[0],
            lengths,
            link: network as u16,
            // In units of two bytes, if a flag says that it is there.
            fcs: if network >> 26 & 1 == 1 { (network >> 28) as usize * 2 } else { 0 },
        };
        // AIX has the numbers of RFC 1573 for links, and nanoseconds.
        let of_aix = [(6, ETHERNET), (9, 6), (15, 10), (24, 0)];
        let of_aix = of_aix.iter().find(|(theirs, _)| *theirs == network);
        let is_standard = magic.variants.len() == STANDARD.len();
        if let (2, 2, true, Some((_, link))) = (major, minor, is_standard, of_aix) {
            (pcap.link, pcap.nanoseconds) = (*link, true);
        } else if pcap.lengths == Lengths::CapturedFirst && magic.variants.len() > 1 {
            let limit = order.word(data, 16).filter(|limit| *limit > 0).unwrap_or(u32::MAX);
            match pcap.variant(magic.variants, packets, limit, last) {
                Some(extra) => pcap.extra = extra,
                None => return Ok(None),
            }
        }
        Ok(Some((pcap, data.len() - packets.len())))
    }

    /// Which of the variants makes most sense of the first packets, of which no
    /// more than `limit` bytes were kept; `None` if the next packet would tell.
    fn variant(&self, variants: &[usize], data: &[u8], limit: u32, last: bool) -> Option<usize> {
        let tried = |extra: &usize| Pcap { extra: *extra, ..*self }.try_on(data, limit, last);
        let all: Vec<Trial> = variants.iter().map(tried).collect();
        let (usual, others) = all.split_first()?;
        // A live capture's first packet is not to wait for the second, unless it is
        // odd: so where it looks like Ethernet, it is the usual.
        let doubt = others.iter().any(|other| other.faults == 0);
        let is_certain = match usual.packets {
            _ if last || usual.faults > 0 => true,
            0 => false,
            TRIES => true,
            _ => usual.is_ethernet || !doubt,
        };
        let best = all.iter().zip(variants).min_by_key(|(trial, _)| trial.faults)?;
        is_certain.then_some(*best.1)
    }

    /// Reads the first packets as if they were written this way.
    fn try_on(&self, mut data: &[u8], limit: u32, last: bool) -> Trial {
        let mut trial = Trial { faults: 0, packets: 0, is_ethernet: false };
        while trial.packets < TRIES && !data.is_empty() {
            let Some(header) = data.get(..PACKET + self.extra) else { break };
            let word = |at| self.order.word(header, at).unwrap_or_default();
            let (kept, original) = (word(8), word(12));
            let faults = [
                word(4) >= 1_000_000,
                kept as usize > MAX_PACKET,
                kept > limit,
                original > MAX_OTHER,
                kept > original,
                self.extra >= 8 && !self.is_linux(header),
                // Wireshark writes zeros there: it weighs little.
                self.extra == 4 && trial.packets == 0 && word(16) & 0x0fff_00f0 != 0x0fbf_0000,
            ];
            trial.faults += faults.iter().filter(|fault| **fault).count();
            let rest = &data[header.len()..];
            let Some((packet, rest)) = rest.split_at_checked(kept as usize) else { break };
            trial.packets += 1;
            trial.is_ethernet |= trial.packets == 1 && is_known_ethernet(packet);
            data = rest;
        }
        // It broke off in the middle.
        trial.faults += usize::from(last && trial.packets < TRIES && !data.is_empty());
        trial
    }

    /// Whether interface, protocol and type are what the patches of 1999 wrote.
    fn is_linux(&self, header: &[u8]) -> bool {
        let interface = self.order.word(header, 16).unwrap_or_default();
        let protocol = self.order.half(header, 20).unwrap_or_default();
        interface <= 10_000
            && matches!(protocol, 0..=0x17 | 0x60 | 0x200 | 0x400 | 0x600..)
            && header[22] <= 4
    }

    /// The next packet.
    pub fn step<'a>(&self, data: &'a [u8]) -> Result<Step<'a>, String> {
        let header = PACKET + self.extra;
        let word = |at| self.order.word(data, at);
        let (Some(seconds), Some(fraction), Some(first), Some(second)) =
            (word(0), word(4), word(8), word(12))
        else {
            return Ok(Step::More);
        };
        let (kept, original) = match self.lengths {
            Lengths::OriginalFirst => (second, first),
            Lengths::SmallerIsCaptured => (first.min(second), first.max(second)),
            Lengths::CapturedFirst => (first, second),
        };
        if !linktype::is_known(self.link) && kept <= MAX_OTHER {
            let len = header as u64 + u64::from(kept);
            return Ok(Step::LeftOut(len, LeftOut::LinkType(self.link)));
        }
        let end = header + believed(kept)?;
        let Some(bytes) = data.get(header..end) else { return Ok(Step::More) };
        let seconds = Duration::from_secs(u64::from(seconds));
        let fraction = u64::from(fraction);
        let time = seconds
            + match self.nanoseconds {
                true => Duration::from_nanos(fraction),
                false => Duration::from_micros(fraction),
            };
        Ok(Step::Record(
            end,
            Record {
                link: self.link,
                bytes,
                original: original as usize,
                fcs: self.fcs,
                time: Some(time),
            },
        ))
    }
}

/// How well one way of writing packets fits.
struct Trial {
    /// What cannot be.
    faults: usize,
    /// Whole packets that there are.
    packets: usize,
    /// Whether the first looks like Ethernet.
    is_ethernet: bool,
}

/// Whether a packet has one of the types that most have.
fn is_known_ethernet(packet: &[u8]) -> bool {
    let Some(kind) = packet.get(12..14) else { return false };
    matches!(
        u16::from_be_bytes([kind[0], kind[1]]),
        0x0800 | 0x0806 | 0x86dd | 0x8100 | 0x88a8 | 0x8847 | 0x8848 | 0x8863 | 0x8864 | 0x88cc
    )
}
