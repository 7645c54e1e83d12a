//! TCP segments that come one behind the other, as one frame: what GRO does in a kernel
//! (`tcp_gro_receive`, `inet_gro_receive`), for packets of those who know no offloads.
//!
//! [`Packets`](crate::Packets) cuts such a frame into the same packets again. Only where the
//! identification of unfragmented packets stands still, which means nothing (RFC 6864, 4.1), it
//! is counted up from the first one's, as in any frame that is cut.

use etherparse::checksum::Sum16BitWords;

use crate::ETHERNET_LEN;
use crate::tcp::{ACK, FIN, PSH, Part, TCP_CHECKSUM, TCP_FLAGS, Tcp};
use crate::vnet::{GSO_TCPV4, GSO_TCPV6, VnetHeader};

/// Ethernet with three VLAN tags, IPv6, and TCP with all options.
const MAX_HEADERS: usize = ETHERNET_LEN + 12 + 40 + 60;
/// Bytes of the largest IP packet.
const LONGEST: usize = u16::MAX as usize;
/// Bytes of an IPv4 header without options.
const IPV4_HEADER: usize = 20;
/// "Don't fragment", among the flags of IPv4.
const DF: u8 = 0x40;

/// Packets that become one frame. Whoever has it keeps their payloads, one behind the other.
#[derive(Debug)]
pub struct Train {
    at: Tcp,
    /// Those of the first packet; the rest is zero.
    headers: [u8; MAX_HEADERS],
    /// What each one's have to be, see [`alike`].
    alike: [u8; MAX_HEADERS],
    /// Payload of each but the last.
    size: usize,
    /// Payload of all.
    payload: usize,
    packets: u16,
    /// By which the identification of IPv4 grows from one to the next, once there are two.
    step: Option<u16>,
    /// FIN and PSH of the last one.
    flags: u8,
    /// No other follows.
    ended: bool,
}

impl Train {
    /// Begins with a complete packet; `None` where no other may follow it: anything but full
    /// segments of a connection's data, and what is damaged or has something to say beside.
    pub fn begin(packet: &[u8]) -> Option<Train> {
        let at = Tcp::find(packet)?;
        let size = packet.len() - at.payload;
        let is_plain = packet[at.tcp + TCP_FLAGS] == ACK && packet[at.tcp + 12] & 0x0f == 0;
        // As passt of 2023, whose packets are all 0: the second could not follow.
        let is_uncounted =
            !at.v6 && packet[at.ip + 4..at.ip + 6] == [0; 2] && packet[at.ip + 6] & DF == 0;
        // Sums are not made for a packet of which there is only one to a frame.
        let fits = at.payload <= MAX_HEADERS && at.payload - at.ip + 2 * size <= LONGEST;
        if size == 0 || !is_plain || is_uncounted || !fits || !is_intact(&at, packet) {
            return None;
        }
        let mut headers = [0; MAX_HEADERS];
        headers[..at.payload].copy_from_slice(&packet[..at.payload]);
        let alike = alike(&at, headers);
        let (payload, packets, step, flags, ended) = (size, 1, None, 0, false);
        Some(Train { at, headers, alike, size, payload, packets, step, flags, ended })
    }

    /// Whether it is TCP over IPv6, and not over IPv4.
    pub fn is_v6(&self) -> bool {
        self.at.v6
    }

    /// Whether another packet may follow.
    pub fn is_open(&self) -> bool {
        !self.ended
    }

    /// Takes the packet that came next, if it belongs to it; its payload.
    pub fn append<'a>(&mut self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let at = &self.at;
        let (own, payload) = packet.split_at_checked(at.payload)?;
        let mut headers = [0; MAX_HEADERS];
        headers[..own.len()].copy_from_slice(own);
        let step = self.step_to(&headers)?;
        let belongs = !self.ended
            && (1..=self.size).contains(&payload.len())
            && at.payload - at.ip + self.payload + payload.len() <= LONGEST
            && seq(at, &headers) == seq(at, &self.headers).wrapping_add(self.payload as u32)
            && alike(at, headers) == self.alike
            && is_intact(at, packet);
        if !belongs {
            return None;
        }
        self.step = Some(step);
        self.payload += payload.len();
        self.packets += 1;
        self.flags = own[at.tcp + TCP_FLAGS] & (FIN | PSH);
        self.ended = self.flags != 0 || payload.len() < self.size;
        Some(payload)
    }

    /// What stands before all the payload, from the virtio-net header on; `None` for one packet,
    /// which stays as it is.
    pub fn headers(&self) -> Option<Vec<u8>> {
        if self.packets == 1 {
            return None;
        }
        let vnet = VnetHeader {
            gso_type: if self.at.v6 { GSO_TCPV6 } else { GSO_TCPV4 },
            gso_size: self.size as u16,
            ..VnetHeader::default()
        };
        let mut headers = self.headers;
        headers[self.at.tcp + TCP_FLAGS] |= self.flags;
        let part = Part { skipped: 0, len: self.payload, is_last: true, serial: 0 };
        Some(self.at.unfinished(vnet, &headers[..self.at.payload], part))
    }

    /// By which the identification grows if a packet with these headers is the next; `None`
    /// where it may not be.
    fn step_to(&self, headers: &[u8; MAX_HEADERS]) -> Option<u16> {
        let (at, ip) = (&self.at, self.at.ip);
        let id = |of: &[u8]| u16::from_be_bytes([of[ip + 4], of[ip + 5]]);
        let grown = id(headers).wrapping_sub(id(&self.headers));
        match self.step {
            _ if at.v6 => Some(0),
            _ if grown == self.packets && self.step != Some(0) => Some(1),
            _ if grown == 0 && self.step != Some(1) && headers[ip + 6] & DF != 0 => Some(0),
            _ => None,
        }
    }
}

/// The headers without what differs from one packet of a train to the next.
fn alike(at: &Tcp, mut headers: [u8; MAX_HEADERS]) -> [u8; MAX_HEADERS] {
    let (ip, tcp) = (at.ip, at.tcp);
    if at.v6 {
        headers[ip + 4..ip + 6].fill(0); // length
    } else {
        headers[ip + 2..ip + 6].fill(0); // length, identification
        headers[ip + 10..ip + 12].fill(0); // checksum
    }
    headers[tcp + 4..tcp + 8].fill(0); // sequence number
    headers[tcp + TCP_FLAGS] &= !(FIN | PSH);
    headers[tcp + TCP_CHECKSUM..tcp + TCP_CHECKSUM + 2].fill(0);
    headers
}

fn seq(at: &Tcp, headers: &[u8]) -> u32 {
    headers[at.tcp + 4..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Whether the packet ends where its headers say, has no options of IPv4 and the right
/// checksums: the frame gets new ones, which must not make a damaged packet look good.
fn is_intact(at: &Tcp, packet: &[u8]) -> bool {
    let word =
        |offset: usize| usize::from(u16::from_be_bytes([packet[offset], packet[offset + 1]]));
    let header_is_right = if at.v6 {
        word(at.ip + 4) == packet.len() - at.tcp
    } else {
        let header = &packet[at.ip..at.tcp];
        let sum = Sum16BitWords::new().add_slice(header).ones_complement();
        header.len() == IPV4_HEADER && word(at.ip + 2) == packet.len() - at.ip && sum == 0
    };
    let tcp = &packet[at.tcp..];
    header_is_right && at.pseudo_header(packet, tcp.len()).add_slice(tcp).ones_complement() == 0
}

#[cfg(test)]
mod tests;
