//! Packets of other links than Ethernet, as Ethernet.
//!
//! Numbers are those of <https://www.tcpdump.org/linktypes.html>. What is Ethernet
//! with something around it loses that; where there is IP inside, an Ethernet
//! header is made: to the address that a function with that IP address has.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::record::Record;
use super::tally::LeftOut;
use crate::ethernet::{destination, mac_of};
use crate::{ETHERNET_LEN, VNET_LEN};

/// `LINKTYPE_ETHERNET`.
pub(super) const ETHERNET: u16 = 1;
/// `LINKTYPE_RAW`: IP of either version.
pub(super) const RAW: u16 = 101;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const PPPOE: u16 = 0x8864;
/// Values from here on are types, below lengths (IEEE 802.3).
const FIRST_TYPE: u16 = 0x0600;
/// Bytes of both addresses, before which nothing stands and behind which a tag may.
const ADDRESSES: usize = 12;

/// What a kind of link has inside.
enum Inside {
    /// Ethernet with so many bytes before it, between addresses and type, behind it.
    Ethernet {
        lead: usize,
        tag: usize,
        tail: usize,
    },
    /// Ethernet with preamble and check sequence (IEEE 802.3br).
    Mpacket,
    /// IP behind so many bytes.
    Ip {
        lead: usize,
    },
    /// IP behind so many bytes, the first four of which are an address family.
    Family {
        lead: usize,
    },
    /// An Ethernet type and what belongs to it: Linux' cooked captures.
    Cooked {
        len: usize,
        kind: usize,
        hardware: usize,
        addr_len: usize,
        addr: usize,
    },
    Ppp,
    Hdlc,
    Pppoe,
    /// A header that tells another kind of link.
    Ppi,
    Nflog,
}

fn inside(link: u16) -> Option<Inside> {
    Some(match link {
        ETHERNET => Inside::Ethernet { lead: 0, tag: 0, tail: 0 },
        0 | 108 => Inside::Family { lead: 4 },
        9 => Inside::Ppp,
        // Two values of the type that systems used before it had one of its own.
        12 | 14 | RAW | 228 | 229 => Inside::Ip { lead: 0 },
        50 | 104 => Inside::Hdlc,
        51 => Inside::Pppoe,
        109 => Inside::Family { lead: 12 },
        113 => Inside::Cooked { len: 16, kind: 14, hardware: 2, addr_len: 5, addr: 6 },
        192 => Inside::Ppi,
        239 => Inside::Nflog,
        240 => Inside::Ethernet { lead: 4, tag: 0, tail: 4 },
        241 => Inside::Ethernet { lead: 12, tag: 0, tail: 4 },
        274 => Inside::Mpacket,
        276 => Inside::Cooked { len: 20, kind: 0, hardware: 8, addr_len: 11, addr: 12 },
        281 | 284 => Inside::Ethernet { lead: 0, tag: 4, tail: 0 },
        282 => Inside::Ethernet { lead: 4, tag: 0, tail: 0 },
        285 => Inside::Ethernet { lead: 0, tag: 8, tail: 0 },
        _ => return None,
    })
}

/// Whether packets of such a link can be Ethernet.
pub(super) fn is_known(link: u16) -> bool {
    inside(link).is_some()
}

/// Appends the packet as a frame.
pub(super) fn push(record: &Record<'_>, frame: &mut Vec<u8>) -> Result<(), LeftOut> {
    let &Record { link, bytes, original, fcs, .. } = record;
    let inside = inside(link).ok_or(LeftOut::LinkType(link))?;
    // The check sequence may be what was not kept.
    let len = bytes.len().max(original).saturating_sub(fcs);
    let bytes = bytes.get(..len).ok_or(LeftOut::Cut)?;
    frame.extend_from_slice(&[0; VNET_LEN]);
    push_inside(&inside, link, bytes, frame)
}

fn push_inside(
    inside: &Inside,
    link: u16,
    bytes: &[u8],
    frame: &mut Vec<u8>,
) -> Result<(), LeftOut> {
    let no_ip = LeftOut::NoIp(link);
    match *inside {
        Inside::Ethernet { lead, tag, tail } => {
            let end = bytes.len().saturating_sub(tail);
            let bytes = bytes.get(lead..end).ok_or(LeftOut::Short)?;
            let (addresses, rest) = bytes.split_at_checked(ADDRESSES).ok_or(LeftOut::Short)?;
            let rest = rest.get(tag..).filter(|rest| rest.len() >= ETHERNET_LEN - ADDRESSES);
            frame.extend_from_slice(addresses);
            frame.extend_from_slice(rest.ok_or(LeftOut::Short)?);
            Ok(())
        }
        Inside::Mpacket => {
            // Anything but the usual delimiter begins a part of a packet.
            let lead = bytes.iter().position(|&byte| byte != 0x55).ok_or(LeftOut::Short)?;
            if bytes[lead] != 0xd5 {
                return Err(LeftOut::LinkType(link));
            }
            let ethernet = Inside::Ethernet { lead: lead + 1, tag: 0, tail: 4 };
            push_inside(&ethernet, link, bytes, frame)
        }
        Inside::Ip { lead } => push_ip(bytes.get(lead..), None, frame).ok_or(no_ip),
        Inside::Family { lead } => {
            let family = *bytes.first_chunk::<4>().ok_or(no_ip)?;
            let is_ip = |family: u32| matches!(family, 2 | 10 | 23 | 24 | 28 | 30);
            // In the byte order of whoever captured it.
            if !is_ip(u32::from_be_bytes(family)) && !is_ip(u32::from_le_bytes(family)) {
                return Err(no_ip);
            }
            push_ip(bytes.get(lead..), None, frame).ok_or(no_ip)
        }
        Inside::Cooked { len, kind, hardware, addr_len, addr } => {
            let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let payload = bytes.get(len..).ok_or(LeftOut::Short)?;
            // CAN, frame relay, 802.11 and netlink have numbers of their own.
            if matches!(half(hardware), 280 | 770 | 801..=804 | 824) {
                return Err(LeftOut::NoIp(link));
            }
            let source = bytes[addr..].first_chunk().filter(|_| bytes[addr_len] == 6).copied();
            push_typed(half(kind), payload, source, frame).ok_or(no_ip)
        }
        Inside::Hdlc if bytes.starts_with(&[0xff, 0x03]) => push_ppp(bytes, frame).ok_or(no_ip),
        Inside::Hdlc => {
            let kind = bytes.get(2..).and_then(|rest| rest.first_chunk()).ok_or(LeftOut::Short)?;
            push_typed(u16::from_be_bytes(*kind), &bytes[4..], None, frame).ok_or(no_ip)
        }
        Inside::Ppp => push_ppp(bytes, frame).ok_or(no_ip),
        Inside::Pppoe => push_typed(PPPOE, bytes, None, frame).ok_or(no_ip),
        Inside::Ppi => {
            let (header, _) = bytes.split_first_chunk::<8>().ok_or(LeftOut::Short)?;
            let len = usize::from(u16::from_le_bytes([header[2], header[3]]));
            let inner = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
            let inner = u16::try_from(inner).map_err(|_| LeftOut::LinkType(link))?;
            let what = self::inside(inner).filter(|what| !matches!(what, Inside::Ppi));
            let rest = bytes.get(len..).ok_or(LeftOut::Short)?;
            push_inside(&what.ok_or(LeftOut::LinkType(inner))?, inner, rest, frame)
        }
        Inside::Nflog => push_ip(nflog_payload(bytes), None, frame).ok_or(no_ip),
    }
}

/// An IP packet behind a header that is made for it.
fn push_ip(packet: Option<&[u8]>, source: Option<[u8; 6]>, frame: &mut Vec<u8>) -> Option<()> {
    let packet = packet?;
    let (from, to, kind) = match packet.first()? >> 4 {
        4 => {
            let addresses = packet.get(12..20)?;
            let address =
                |at: usize| addresses[at..].first_chunk().map(|a: &[u8; 4]| Ipv4Addr::from(*a));
            (address(0)?.into(), address(4)?.into(), IPV4)
        }
        6 => {
            let addresses = packet.get(8..40)?;
            let address =
                |at: usize| addresses[at..].first_chunk().map(|a: &[u8; 16]| Ipv6Addr::from(*a));
            (address(0)?.into(), address(16)?.into(), IPV6)
        }
        _ => return None,
    };
    push_header(destination(to), source.unwrap_or_else(|| mac_of(from)), kind, frame);
    frame.extend_from_slice(packet);
    Some(())
}

/// What belongs to an Ethernet type. Nothing is known of who it is for.
fn push_typed(
    kind: u16,
    payload: &[u8],
    source: Option<[u8; 6]>,
    frame: &mut Vec<u8>,
) -> Option<()> {
    /// In the place of a type, Linux' numbers for frames with a length.
    const WITH_LENGTH: [u16; 2] = [1, 4];
    let kind = match kind {
        IPV4 | IPV6 => return push_ip(Some(payload), source, frame),
        kind if kind >= FIRST_TYPE => kind,
        kind if WITH_LENGTH.contains(&kind) => {
            u16::try_from(payload.len()).ok().filter(|len| *len < FIRST_TYPE)?
        }
        _ => return None,
    };
    push_header([0xff; 6], source.unwrap_or([0x02, 0, 0, 0, 0, 0]), kind, frame);
    frame.extend_from_slice(payload);
    Some(())
}

fn push_header(to: [u8; 6], from: [u8; 6], kind: u16, frame: &mut Vec<u8>) {
    frame.extend_from_slice(&to);
    frame.extend_from_slice(&from);
    frame.extend_from_slice(&kind.to_be_bytes());
}

/// PPP, whose address and control bytes and the upper half of whose protocol may
/// be left out (RFC 1661, RFC 1662).
fn push_ppp(bytes: &[u8], frame: &mut Vec<u8>) -> Option<()> {
    let bytes = bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(bytes);
    let (protocol, packet) = match bytes {
        [short, packet @ ..] if short & 1 == 1 => (*short, packet),
        [0, short, packet @ ..] => (*short, packet),
        _ => return None,
    };
    match protocol {
        0x21 | 0x57 => push_ip(Some(packet), None, frame),
        _ => None,
    }
}

/// The packet of an NFLOG message: among fields with a length and a type each,
/// in the byte order of whoever captured it.
fn nflog_payload(bytes: &[u8]) -> Option<&[u8]> {
    const PAYLOAD: u16 = 9;
    let mut fields = bytes.get(4..)?;
    loop {
        let (header, _) = fields.split_first_chunk::<4>()?;
        let [len, kind] = match u16::from_le_bytes([header[2], header[3]]) {
            kind if kind < 0x100 => [u16::from_le_bytes([header[0], header[1]]), kind],
            _ => [[header[0], header[1]], [header[2], header[3]]].map(u16::from_be_bytes),
        };
        let field = fields.get(4..usize::from(len))?;
        if kind == PAYLOAD {
            return Some(field);
        }
        fields = fields.get(usize::from(len).next_multiple_of(4)..)?;
    }
}
