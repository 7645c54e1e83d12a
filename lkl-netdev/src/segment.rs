//! TCP frames that are too large for the guest's buffers, in pieces.
//!
//! A TSO frame is cut between its segments; any other TCP frame (and a segment
//! that is itself too large) is cut anywhere, as a stream may be. Each piece gets
//! headers of its own and leaves its checksum to the guest's virtio driver.
//!
//! Headers are judged in a private copy: the neighbour may change the frame
//! meanwhile, and then only harms its own payload.

use frames::{ETHERNET_LEN, VNET_LEN};
use shmring::Bytes;

use crate::buffers::Buffers;

/// vnet, Ethernet with two VLAN tags, IP and TCP headers with all options.
const MAX_HEADERS: usize = VNET_LEN + ETHERNET_LEN + 8 + 60 + 60;
/// Payload that every IPv4 host takes in one piece (RFC 9293, 3.7.1): cutting
/// smaller is no use.
const MIN_PIECE: usize = 536;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM` and `_DATA_VALID`.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// `VIRTIO_NET_HDR_GSO_*`.
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;

const TCP: u8 = 6;
const TCP_CHECKSUM: usize = 16;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const URG: u8 = 0x20;
const CWR: u8 = 0x80;

/// A frame under way in pieces.
pub(crate) struct Segments {
    /// As they came.
    headers: Vec<u8>,
    ip: usize,
    tcp: usize,
    v6: bool,
    payload: usize,
    /// Bytes of payload in pieces already delivered.
    sent: usize,
    /// Payload of one segment; 0 where the frame is one itself.
    gso_size: usize,
    /// Segments already delivered, for the identification field of IPv4.
    serial: u16,
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl Segments {
    /// How to cut a frame; `None` where that cannot be done: anything but TCP,
    /// IP fragments and extensions, a wrong checksum.
    pub fn of(frame: Bytes<'_>) -> Option<Segments> {
        let mut copy = [0; MAX_HEADERS];
        let copied = frame.copy_to(0, &mut copy);
        let head = &copy[..copied];
        let mut at = VNET_LEN + 12;
        let mut ethertype = be16(head, at)?;
        for _ in 0..2 {
            if matches!(ethertype, 0x8100 | 0x88a8) {
                at += 4;
                ethertype = be16(head, at)?;
            }
        }
        let ip = at + 2;
        let (v6, tcp) = match ethertype {
            0x0800 => {
                let header = 4 * usize::from(*head.get(ip)? & 15);
                let whole = be16(head, ip + 6)? & 0x3fff == 0;
                if *head.get(ip)? >> 4 != 4 || header < 20 || !whole || *head.get(ip + 9)? != TCP {
                    return None;
                }
                (false, ip + header)
            }
            0x86dd if *head.get(ip)? >> 4 == 6 && *head.get(ip + 6)? == TCP => (true, ip + 40),
            _ => return None,
        };
        let header = 4 * usize::from(*head.get(tcp + 12)? >> 4);
        let flags = *head.get(tcp + 13)?;
        if header < 20 || flags & (SYN | RST | URG) != 0 {
            return None;
        }
        let headers = head.get(..tcp + header)?.to_vec();
        let payload = frame.len().checked_sub(headers.len())?;
        let gso_size = match headers[1] & !GSO_ECN {
            GSO_NONE => 0,
            GSO_TCPV4 | GSO_TCPV6 => usize::from(u16::from_le_bytes([headers[4], headers[5]])),
            _ => return None,
        };
        let segments = Segments { headers, ip, tcp, v6, payload, sent: 0, gso_size, serial: 0 };
        let trusted = segments.headers[0] & (NEEDS_CSUM | DATA_VALID) != 0;
        (trusted || segments.checksum_is_right(frame)).then_some(segments)
    }

    /// Writes the next piece of at most `room` bytes; returns its length, or
    /// `None` where the room is too little for a piece worth its headers.
    pub fn next(&mut self, frame: Bytes<'_>, buffers: Buffers<'_>, room: usize) -> Option<usize> {
        let room = room.checked_sub(self.headers.len())?;
        let left = self.payload - self.sent;
        if room < left.min(MIN_PIECE) {
            return None;
        }
        let piece = if left <= room {
            left
        } else if self.gso_size == 0 || self.gso_size > room {
            room
        } else {
            room - room % self.gso_size
        };
        let headers = self.headers_of(piece);
        buffers.scatter_slice(0, &headers);
        buffers.scatter(headers.len(), frame, headers.len() + self.sent, piece);
        self.sent += piece;
        self.serial = self.serial.wrapping_add(piece.div_ceil(self.gso_size.max(1)) as u16);
        Some(headers.len() + piece)
    }

    pub fn is_done(&self) -> bool {
        self.sent == self.payload
    }

    /// The headers of a piece of `piece` bytes that begins at `self.sent`.
    fn headers_of(&self, piece: usize) -> Vec<u8> {
        let mut out = self.headers.clone();
        let mut put = |at: usize, value: u16| out[at..at + 2].copy_from_slice(&value.to_be_bytes());
        let segment = self.headers.len() - self.tcp + piece;
        if self.v6 {
            put(self.ip + 4, segment as u16);
        } else {
            put(self.ip + 2, (self.tcp - self.ip + segment) as u16);
            let id = u16::from_be_bytes([self.headers[self.ip + 4], self.headers[self.ip + 5]]);
            put(self.ip + 4, id.wrapping_add(self.serial));
            put(self.ip + 10, 0);
            let sum = !fold(sum(&out[self.ip..self.tcp]));
            out[self.ip + 10..self.ip + 12].copy_from_slice(&sum.to_be_bytes());
        }
        let tcp = &mut out[self.tcp..];
        let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        tcp[4..8].copy_from_slice(&seq.wrapping_add(self.sent as u32).to_be_bytes());
        if self.sent + piece < self.payload {
            tcp[13] &= !(FIN | PSH);
        }
        if self.sent > 0 {
            tcp[13] &= !CWR;
        }
        tcp[TCP_CHECKSUM..TCP_CHECKSUM + 2]
            .copy_from_slice(&fold(self.pseudo_header(segment)).to_be_bytes());
        let mut vnet =
            |at: usize, value: u16| out[at..at + 2].copy_from_slice(&value.to_le_bytes());
        vnet(2, (self.headers.len() - VNET_LEN) as u16);
        vnet(6, (self.tcp - VNET_LEN) as u16);
        vnet(8, TCP_CHECKSUM as u16);
        if self.gso_size == 0 || piece <= self.gso_size {
            vnet(4, 0);
            out[1] = GSO_NONE;
        }
        out[0] = NEEDS_CSUM;
        out
    }

    fn pseudo_header(&self, segment: usize) -> u64 {
        let (at, len) = if self.v6 { (self.ip + 8, 32) } else { (self.ip + 12, 8) };
        sum(&self.headers[at..at + len]) + u64::from(TCP) + segment as u64
    }

    /// Pieces get new checksums, which must not make a damaged frame look good.
    fn checksum_is_right(&self, frame: Bytes<'_>) -> bool {
        let mut total = self.pseudo_header(frame.len() - self.tcp);
        let (mut at, mut chunk) = (self.tcp, [0; 4096]);
        while at < frame.len() {
            let n = frame.copy_to(at, &mut chunk);
            total += sum(&chunk[..n]);
            at += n;
        }
        fold(total) == 0xffff
    }
}

/// The sum of RFC 1071, not yet folded. Only the last part of a sum may be odd.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [a, b] => u64::from(u16::from_be_bytes([a, b])),
        [a] => u64::from(u16::from_be_bytes([a, 0])),
        _ => 0,
    });
    words.sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests;
