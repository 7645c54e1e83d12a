//! Which flow a packet belongs to, also where its ports are not in its own header:
//! in what an ICMP error quotes, inside a tunnel, in the datagram's first fragment.
//!
//! Both directions of a flow give the same [`Flow`]. What cannot be seen (encrypted,
//! cut off, unknown) leaves the addresses, and without IP those of the hardware.

mod ip;

use std::net::Ipv6Addr;

use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, SingleVlanHeaderSlice, icmpv4, icmpv6,
};
use ip::Ip;

/// Bytes of a packet that are looked at, from the Ethernet header on: enough for tags,
/// extension headers and two tunnels. It bounds how deep tunnels are followed.
pub const FLOW_HEAD: usize = 512;

/// PPP over Ethernet, session stage (RFC 2516).
const PPPOE_SESSION: EtherType = EtherType(0x8864);
/// PPP's numbers for IPv4 and IPv6 (RFC 1332, RFC 5072).
const PPP_IPV4: u8 = 0x21;
const PPP_IPV6: u8 = 0x57;
/// An Ethernet frame inside GRE or Geneve (RFC 1701, RFC 8926).
const TRANSPARENT_ETHERNET: EtherType = EtherType(0x6558);
/// UDP ports of tunnels (RFC 7348, RFC 8926).
const VXLAN: u16 = 4789;
const GENEVE: u16 = 6081;
/// ICMPv6 types below this are errors (RFC 4443, section 2.1).
const ICMPV6_FIRST_QUERY: u8 = 128;
/// Bytes before what an ICMP error quotes.
const ICMP_HEADER: usize = 8;

/// One end of a flow. An IPv4 address is mapped into IPv6, a hardware address is the end of
/// an address of zeros; a protocol without ports has 0.
pub type End = (Ipv6Addr, u16);

/// What belongs together: two ends and a protocol, the same for both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    low: End,
    high: End,
    /// 0 where only addresses are known, so that all between them stays together.
    protocol: u8,
}

impl Flow {
    /// All that passes between the addresses of this flow.
    #[must_use]
    pub fn addresses(self) -> Flow {
        Flow { low: (self.low.0, 0), high: (self.high.0, 0), protocol: 0 }
    }
}

/// A datagram that is sent in fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Datagram {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    id: u32,
    /// 0 for IPv6, which does not compare it (RFC 8200, section 4.5).
    protocol: u8,
}

/// What TCP's header says about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// The first packet of a connection: SYN without ACK.
    pub opens: bool,
    /// FIN.
    pub fin: bool,
    /// RST.
    pub rst: bool,
}

/// A packet of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The flow; for a later fragment only its addresses.
    pub flow: Flow,
    /// Whether the lower end of the flow sent it.
    pub from_low: bool,
    /// TCP's flags, if it is TCP and they can be seen.
    pub tcp: Option<Tcp>,
    /// An ICMP error about the flow, which anybody on the way may have sent.
    pub is_error: bool,
    /// Later fragments of these belong to the same flow.
    pub begins: Vec<Datagram>,
    /// It is a later fragment of this, which has no ports.
    pub continues: Option<Datagram>,
}

impl Part {
    /// The address of whoever sent it; of an error in answer to a packet, of whoever it was sent to.
    pub fn source(&self) -> Ipv6Addr {
        if self.from_low { self.flow.low.0 } else { self.flow.high.0 }
    }

    fn between(from: End, to: End, protocol: u8) -> Part {
        let flow = Flow { low: from.min(to), high: from.max(to), protocol };
        let from_low = from <= to;
        Part { flow, from_low, tcp: None, is_error: false, begins: Vec::new(), continues: None }
    }
}

/// Where a packet belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Belongs {
    /// To everybody: it is sent to a group, asks or tells whose a hardware address is, or
    /// has no Ethernet header.
    All,
    /// To a flow.
    Flow(Part),
}

impl Belongs {
    /// Looks at the first [`FLOW_HEAD`] bytes of a packet.
    pub fn of(packet: &[u8]) -> Belongs {
        let packet = &packet[..packet.len().min(FLOW_HEAD)];
        let Ok(header) = Ethernet2HeaderSlice::from_slice(packet) else { return Belongs::All };
        match ethernet(packet) {
            Ok(part) => Belongs::Flow(part),
            Err(Unseen::ForAll) => Belongs::All,
            Err(Unseen::Opaque) => {
                let ends = [header.source(), header.destination()].map(|[a, b, c, d, e, f]| {
                    (Ipv6Addr::from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f]), 0)
                });
                Belongs::Flow(Part::between(ends[0], ends[1], 0))
            }
        }
    }
}

/// Why no flow is seen.
enum Unseen {
    /// There is none: a group, or neighbours that look for each other.
    ForAll,
    /// It is hidden, cut off or unknown.
    Opaque,
}

fn ethernet(packet: &[u8]) -> Result<Part, Unseen> {
    let header = Ethernet2HeaderSlice::from_slice(packet).map_err(|_| Unseen::Opaque)?;
    if header.destination()[0] & 1 != 0 {
        return Err(Unseen::ForAll);
    }
    let mut ether_type = header.ether_type();
    let mut rest = &packet[header.slice().len()..];
    loop {
        match ether_type {
            EtherType::VLAN_TAGGED_FRAME
            | EtherType::PROVIDER_BRIDGING
            | EtherType::VLAN_DOUBLE_TAGGED_FRAME => {
                let tag = SingleVlanHeaderSlice::from_slice(rest).map_err(|_| Unseen::Opaque)?;
                (ether_type, rest) = (tag.ether_type(), &rest[tag.slice().len()..]);
            }
            EtherType::ARP => return Err(Unseen::ForAll),
            PPPOE_SESSION => return pppoe(rest),
            EtherType::IPV4 | EtherType::IPV6 => return packet_of_ip(rest),
            _ => return Err(Unseen::Opaque),
        }
    }
}

fn pppoe(bytes: &[u8]) -> Result<Part, Unseen> {
    // Version and type, code 0 of the session stage, session, length.
    let Some(([0x11, 0, _, _, _, _], ppp)) = bytes.split_first_chunk() else {
        return Err(Unseen::Opaque);
    };
    // An odd byte is the last of the protocol (RFC 1661, section 2): zeros before it may
    // be left out.
    match ppp {
        [0, PPP_IPV4 | PPP_IPV6, rest @ ..] | [PPP_IPV4 | PPP_IPV6, rest @ ..] => {
            packet_of_ip(rest)
        }
        _ => Err(Unseen::Opaque),
    }
}

fn packet_of_ip(bytes: &[u8]) -> Result<Part, Unseen> {
    let ip = Ip::read(bytes).ok_or(Unseen::Opaque)?;
    let by_addresses = Part::between((ip.source, 0), (ip.destination, 0), 0);
    if let Some((datagram, true)) = ip.fragment {
        return Ok(Part { continues: Some(datagram), ..by_addresses });
    }
    let mut part = match ip.protocol {
        IpNumber::IPV4 | IpNumber::IPV6 => packet_of_ip(ip.payload).ok(),
        IpNumber::GRE => gre(ip.payload),
        IpNumber::UDP => udp_tunnel(ip.payload).unwrap_or_else(|| by_ports(&ip)),
        IpNumber::TCP | IpNumber::SCTP | IpNumber::DCCP | IpNumber::UDP_LITE => by_ports(&ip),
        IpNumber::ICMP | IpNumber::IPV6_ICMP => match icmp(&ip) {
            Icmp::Error(quoted) => Some(about(quoted.unwrap_or_else(|| by_addresses.clone()))),
            Icmp::Neighbour => return Err(Unseen::ForAll),
            Icmp::Other => None,
        },
        _ => None,
    }
    .unwrap_or(by_addresses);
    if let (Some((datagram, false)), false) = (ip.fragment, part.is_error) {
        part.begins.push(datagram);
    }
    Ok(part)
}

/// Of protocols whose header begins with the ports.
fn by_ports(ip: &Ip<'_>) -> Option<Part> {
    let (from, to) = (be16(ip.payload, 0)?, be16(ip.payload, 2)?);
    let part = Part::between((ip.source, from), (ip.destination, to), ip.protocol.0);
    let flags = (ip.protocol == IpNumber::TCP).then(|| ip.payload.get(13)).flatten();
    let tcp = flags.map(|flags| Tcp {
        opens: flags & 0x12 == 0x02, // SYN, no ACK
        fin: flags & 0x01 != 0,
        rst: flags & 0x04 != 0,
    });
    Some(Part { tcp, ..part })
}

enum Icmp {
    /// With the flow of the packet that it quotes.
    Error(Option<Part>),
    /// Neighbour discovery.
    Neighbour,
    Other,
}

fn icmp(ip: &Ip<'_>) -> Icmp {
    let Some(&kind) = ip.payload.first() else { return Icmp::Other };
    let quoted = || ip.payload.get(ICMP_HEADER..).and_then(|rest| packet_of_ip(rest).ok());
    match (ip.protocol, kind) {
        (
            IpNumber::ICMP,
            icmpv4::TYPE_DEST_UNREACH
            | icmpv4::TYPE_SOURCE_QUENCH
            | icmpv4::TYPE_REDIRECT
            | icmpv4::TYPE_TIME_EXCEEDED
            | icmpv4::TYPE_PARAMETER_PROBLEM,
        ) => Icmp::Error(quoted()),
        (IpNumber::IPV6_ICMP, ..ICMPV6_FIRST_QUERY) => Icmp::Error(quoted()),
        (IpNumber::IPV6_ICMP, icmpv6::TYPE_ROUTER_SOLICITATION..=icmpv6::TYPE_REDIRECT_MESSAGE) => {
            Icmp::Neighbour
        }
        _ => Icmp::Other,
    }
}

/// An error belongs to the flow of what it quotes. That packet went the other way, which
/// makes no difference to a flow.
fn about(quoted: Part) -> Part {
    Part { tcp: None, is_error: true, begins: Vec::new(), ..quoted }
}

/// RFC 2784 and RFC 2890.
fn gre(bytes: &[u8]) -> Option<Part> {
    const CHECKSUM: u16 = 0x8000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const OTHERS_AND_VERSION: u16 = 0x4fff;
    let flags = be16(bytes, 0)?;
    if flags & OTHERS_AND_VERSION != 0 {
        return None;
    }
    let words = [CHECKSUM, KEY, SEQUENCE].iter().filter(|bit| flags & **bit != 0).count();
    inside(EtherType(be16(bytes, 2)?), bytes.get(4 + 4 * words..)?)
}

/// What is inside a tunnel over UDP, None if this is none. The source port of these is
/// chosen by each side for itself and belongs to no flow.
fn udp_tunnel(udp: &[u8]) -> Option<Option<Part>> {
    let port = be16(udp, 2).filter(|port| [VXLAN, GENEVE].contains(port))?;
    let Some((header, rest)) = udp.get(8..).and_then(<[u8]>::split_first_chunk::<8>) else {
        return Some(None); // cut off, as in what an ICMP error quotes
    };
    match (port, header) {
        (VXLAN, [0x08, 0, 0, 0, _, _, _, 0]) => Some(ethernet(rest).ok()),
        // Version 0 and the words of options; flags; protocol.
        (GENEVE, [words @ 0..0x40, flags, high, low, _, _, _, 0]) if flags & 0x3f == 0 => {
            let rest = rest.get(4 * usize::from(*words)..);
            Some(rest.and_then(|rest| inside(EtherType(u16::from_be_bytes([*high, *low])), rest)))
        }
        _ => None,
    }
}

fn inside(ether_type: EtherType, bytes: &[u8]) -> Option<Part> {
    match ether_type {
        EtherType::IPV4 | EtherType::IPV6 => packet_of_ip(bytes).ok(),
        TRANSPARENT_ETHERNET => ethernet(bytes).ok(),
        _ => None,
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}

#[cfg(test)]
mod tests;
