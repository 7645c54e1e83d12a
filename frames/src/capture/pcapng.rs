//! pcapng (draft-ietf-opsawg-pcapng): blocks of packets and of other things.

use std::time::Duration;

use super::linktype;
use super::record::{Order, Record, Step, believed};
use super::tally::LeftOut;

/// Type of the block that begins a section; the same in both byte orders.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
/// The packet block of the first drafts.
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const PACKET: u32 = 6;
/// An entry of a systemd journal, and sysdig's events.
const NO_PACKETS: [u32; 5] = [9, 0x204, 0x208, 0x216, 0x221];

/// Longest block that is kept in memory: 16 MiB, as in libpcap.
const MAX_BLOCK: usize = 16 << 20;
/// Interfaces of a section.
const MAX_INTERFACES: usize = 1 << 16;
/// Bytes of type and length before what is in a block.
const HEAD: usize = 8;

/// Where a pcapng has been read to.
#[derive(Debug)]
pub(super) struct Pcapng {
    order: Order,
    interfaces: Vec<Interface>,
    /// What the last four bytes of a block that is passed over have to be.
    trailer: Option<u32>,
}

/// What is to be known of an interface.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: u16,
    /// Bytes kept of a packet; 0 for all.
    snap: u32,
    /// Bytes of check sequence.
    fcs: usize,
    /// Time stamps in a second; `None` for a number too large to tell.
    resolution: Option<u64>,
    /// Seconds to be added to time stamps.
    offset: i64,
}

/// Whether a pcapng begins here; `None` if that takes more bytes.
pub(super) fn begins(data: &[u8]) -> Option<bool> {
    if Order::Little.word(data, 0)? != SECTION {
        return Some(false);
    }
    data.get(8..12).map(|magic| order(magic).is_some())
}

/// The byte order that a section's magic number tells.
fn order(magic: &[u8]) -> Option<Order> {
    Order::BOTH.into_iter().find(|order| order.word(magic, 0) == Some(0x1a2b_3c4d))
}

impl Pcapng {
    /// Before the first section.
    pub fn new() -> Pcapng {
        Pcapng { order: Order::Little, interfaces: Vec::new(), trailer: None }
    }

    /// The next block.
    pub fn step<'a>(&mut self, data: &'a [u8]) -> Result<Step<'a>, String> {
        if let Some(len) = self.trailer {
            let Some(trailer) = self.order.word(data, 0) else { return Ok(Step::More) };
            self.trailer = None;
            return if trailer == len { Ok(Step::Skip(4)) } else { Err(unlike(len, trailer)) };
        }
        let (Some(kind), Some(_)) = (self.order.word(data, 0), self.order.word(data, 8)) else {
            return Ok(Step::More);
        };
        if kind == SECTION {
            self.order = order(&data[8..]).ok_or("a section header without its magic number")?;
            self.interfaces.clear();
        }
        let length = self.order.word(data, 4).unwrap_or_default();
        let len = length as usize;
        if len < 12 || !len.is_multiple_of(4) {
            return Err(format!("a block of {len} bytes"));
        }
        let why = match kind {
            SECTION => {
                let (Some(major), Some(minor)) =
                    (self.order.half(data, 12), self.order.half(data, 14))
                else {
                    return Ok(Step::More);
                };
                if major != 1 {
                    return Err(format!("pcapng of version {major}.{minor}, not 1"));
                }
                None
            }
            INTERFACE | OLD_PACKET | SIMPLE_PACKET | PACKET => match self.unusable(kind, data)? {
                None => return self.block(kind, data, len),
                Some(why) => Some(why),
            },
            _ => NO_PACKETS.contains(&kind).then_some(LeftOut::NoPacket),
        };
        // Nothing in it is of use: it need not be in memory as a whole.
        self.trailer = Some(length);
        let rest = len as u64 - 4;
        Ok(why.map_or(Step::Skip(rest), |why| Step::LeftOut(rest, why)))
    }

    /// Why a packet's interface makes it useless, if it does.
    fn unusable(&self, kind: u32, data: &[u8]) -> Result<Option<LeftOut>, String> {
        let number = match kind {
            OLD_PACKET => u32::from(self.order.half(data, HEAD).unwrap_or_default()),
            PACKET => self.order.word(data, HEAD).unwrap_or_default(),
            SIMPLE_PACKET => 0,
            _ => return Ok(None),
        };
        let link = self.interface(number)?.link;
        Ok((!linktype::is_known(link)).then_some(LeftOut::LinkType(link)))
    }

    fn interface(&self, number: u32) -> Result<&Interface, String> {
        let found = self.interfaces.get(number as usize);
        found.ok_or_else(|| format!("a packet of interface {number}, which was not described"))
    }

    /// A block that is of use.
    fn block<'a>(&mut self, kind: u32, data: &'a [u8], len: usize) -> Result<Step<'a>, String> {
        if len > MAX_BLOCK {
            return Err(format!("a block of {len} bytes"));
        }
        let Some(block) = data.get(..len) else { return Ok(Step::More) };
        let order = self.order;
        let trailer = order.word(block, len - 4).unwrap_or_default();
        if trailer as usize != len {
            return Err(unlike(len as u32, trailer));
        }
        let body = &block[HEAD..len - 4];
        if kind == INTERFACE {
            if self.interfaces.len() == MAX_INTERFACES {
                return Err(format!("more than {MAX_INTERFACES} interfaces"));
            }
            let interface = Interface::read(order, body).ok_or("a broken interface block")?;
            self.interfaces.push(interface);
            return Ok(Step::Skip(len as u64));
        }
        let word = |at| order.word(body, at).ok_or("a broken packet block");
        if kind == SIMPLE_PACKET {
            let interface = *self.interface(0)?;
            let original = word(0)?;
            let kept = if interface.snap > 0 { original.min(interface.snap) } else { original };
            let bytes = body[4..].get(..believed(kept)?).ok_or(TOO_LONG)?;
            let record = Record {
                link: interface.link,
                bytes,
                original: original as usize,
                fcs: interface.fcs,
                time: None,
            };
            return Ok(Step::Record(len, record));
        }
        let number = if kind == OLD_PACKET { order.half(body, 0).map(u32::from) } else { None };
        let interface = *self.interface(number.map_or_else(|| word(0), Ok)?)?;
        let (kept, original) = (word(12)?, word(16)?);
        let kept = believed(kept)?;
        let bytes = body.get(20..20 + kept).ok_or(TOO_LONG)?;
        let stamp = u64::from(word(4)?) << 32 | u64::from(word(8)?);
        let options = body.get(20 + kept.next_multiple_of(4)..).unwrap_or_default();
        // Flags of both kinds of packet: bits 5 to 8 are bytes of check sequence.
        let flags = Options { order, rest: options }.find(|(code, _)| *code == 2);
        let fcs = flags.and_then(|(_, flags)| order.word(flags, 0)).map(|flags| flags >> 5 & 15);
        let record = Record {
            link: interface.link,
            bytes,
            original: original as usize,
            fcs: fcs.filter(|fcs| *fcs > 0).map_or(interface.fcs, |fcs| fcs as usize),
            time: interface.time(stamp),
        };
        Ok(Step::Record(len, record))
    }
}

const TOO_LONG: &str = "a packet longer than its block";

fn unlike(first: u32, last: u32) -> String {
    format!("a block that says at its beginning that it has {first} bytes and at its end {last}")
}

impl Interface {
    fn read(order: Order, body: &[u8]) -> Option<Interface> {
        let mut interface = Interface {
            link: order.half(body, 0)?,
            snap: order.word(body, 4)?,
            fcs: 0,
            resolution: Some(1_000_000),
            offset: 0,
        };
        for (code, value) in (Options { order, rest: &body[8..] }) {
            match (code, value) {
                (9, [binary]) if binary & 0x80 > 0 => {
                    interface.resolution = 1u64.checked_shl(u32::from(binary & 0x7f));
                }
                (9, [decimal]) => interface.resolution = 10u64.checked_pow(u32::from(*decimal)),
                // The draft says bits and has bytes in its example, and so have writers.
                (13, [bits]) if bits.is_multiple_of(8) => interface.fcs = usize::from(bits / 8),
                (13, [bytes]) => interface.fcs = usize::from(*bytes),
                (14, seconds) => {
                    let (high, low) = if order == Order::Big { (0, 4) } else { (4, 0) };
                    let seconds = order.word(seconds, high).zip(order.word(seconds, low));
                    interface.offset = seconds
                        .map_or(0, |(high, low)| (u64::from(high) << 32 | u64::from(low)) as i64);
                }
                _ => {}
            }
        }
        Some(interface)
    }

    /// The time of a stamp, if it is one after 1970.
    fn time(&self, stamp: u64) -> Option<Duration> {
        let resolution = self.resolution?;
        let seconds = (stamp / resolution).checked_add_signed(self.offset)?;
        let part = u128::from(stamp % resolution) * 1_000_000_000 / u128::from(resolution);
        Some(Duration::new(seconds, part as u32))
    }
}

/// The options of a block, as far as they are whole.
struct Options<'a> {
    order: Order,
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (code, len) = (self.order.half(self.rest, 0)?, self.order.half(self.rest, 2)?);
        let value = self.rest.get(4..4 + usize::from(len)).filter(|_| code != 0)?;
        let next = 4 + usize::from(len).next_multiple_of(4);
        self.rest = self.rest.get(next..).unwrap_or_default();
        Some((code, value))
    }
}
