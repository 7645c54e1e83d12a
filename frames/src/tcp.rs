//! A TCP packet in parts: where its headers are, and what each part's say.

use etherparse::checksum::Sum16BitWords;
use etherparse::{LaxSlicedPacket, TransportSlice};

use crate::VNET_LEN;
use crate::ip::header_of;
use crate::vnet::{NEEDS_CSUM, VnetHeader};

/// Offset of the checksum in a TCP header.
pub(crate) const TCP_CHECKSUM: usize = 16;
/// Offset of the flags, and those that matter here.
pub(crate) const TCP_FLAGS: usize = 13;
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const CWR: u8 = 0x80;

/// Where things are in a TCP packet, from the Ethernet header on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tcp {
    /// IP header.
    pub ip: usize,
    pub v6: bool,
    /// TCP header.
    pub tcp: usize,
    pub payload: usize,
}

/// A part of a packet's payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// Bytes of payload before it.
    pub skipped: usize,
    /// Its own.
    pub len: usize,
    pub is_last: bool,
    /// Packets before it, for the identification field of IPv4.
    pub serial: u16,
}

impl Tcp {
    /// Finds the headers of TCP data of which `packet` is the begin, behind any VLAN tags.
    pub fn find(packet: &[u8]) -> Option<Tcp> {
        let sliced = LaxSlicedPacket::from_ethernet(packet).ok()?;
        let (header, v6) = header_of(&sliced)?;
        // All of them are subslices of the packet.
        let offset = |part: &[u8]| part.as_ptr() as usize - packet.as_ptr() as usize;
        let is_whole = !sliced.net.as_ref()?.ip_payload_ref()?.fragmented;
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return None };
        let (ip, payload) = (offset(header), offset(tcp.payload()));
        let at = Tcp { ip, v6, tcp: offset(tcp.slice()), payload };
        let flags = packet[at.tcp + TCP_FLAGS];
        let follows = at.tcp == ip + header.len();
        let is_plain = is_whole && follows && flags & (SYN | RST | URG) == 0;
        is_plain.then_some(at)
    }

    /// The headers of a frame with that part of the payload, from the virtio-net header on. Its
    /// checksum is left to whoever takes it.
    pub fn unfinished(&self, vnet: VnetHeader, headers: &[u8], part: Part) -> Vec<u8> {
        let vnet = VnetHeader {
            flags: vnet.flags | NEEDS_CSUM,
            hdr_len: headers.len() as u16,
            csum_start: self.tcp as u16,
            csum_offset: TCP_CHECKSUM as u16,
            ..vnet
        };
        let mut out = vnet.to_bytes().to_vec();
        out.extend_from_slice(headers);
        let packet = &mut out[VNET_LEN..];
        self.adapt(packet, part);
        let sum = self.pseudo_header(packet, self.payload - self.tcp + part.len);
        put_sum(packet, self.tcp + TCP_CHECKSUM, !sum.ones_complement());
        out
    }

    /// Adapts a packet's headers, which stand at the begin of `packet`, to a part of it:
    /// all but the checksum of TCP.
    pub fn adapt(&self, packet: &mut [u8], part: Part) {
        let len = self.payload - self.ip + part.len;
        if self.v6 {
            put(packet, self.ip + 4, (len - 40) as u16);
        } else {
            put(packet, self.ip + 2, len as u16);
            let id = self.ip + 4;
            let value = u16::from_be_bytes([packet[id], packet[id + 1]]);
            put(packet, id, value.wrapping_add(part.serial));
            put(packet, self.ip + 10, 0);
            let header = usize::from(packet[self.ip] & 0x0f) * 4;
            let sum = Sum16BitWords::new().add_slice(&packet[self.ip..self.ip + header]);
            put_sum(packet, self.ip + 10, sum.ones_complement());
        }
        let seq = self.tcp + 4;
        let value = packet[seq..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let value = value.wrapping_add(part.skipped as u32);
        packet[seq..seq + 4].copy_from_slice(&value.to_be_bytes());
        let flags = &mut packet[self.tcp + TCP_FLAGS];
        if !part.is_last {
            *flags &= !(FIN | PSH);
        }
        if part.skipped > 0 {
            *flags &= !CWR;
        }
    }

    /// The sum over the pseudo header of a packet with `len` bytes of TCP.
    pub fn pseudo_header(&self, packet: &[u8], len: usize) -> Sum16BitWords {
        let addresses =
            if self.v6 { self.ip + 8..self.ip + 40 } else { self.ip + 12..self.ip + 20 };
        Sum16BitWords::new()
            .add_slice(&packet[addresses])
            .add_2bytes([0, etherparse::IpNumber::TCP.0])
            .add_2bytes((len as u16).to_be_bytes())
    }
}

fn put(packet: &mut [u8], at: usize, value: u16) {
    packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// The crate sums words in the machine's byte order, which works out (RFC 1071)
/// if the sum is stored in that order, too.
pub(crate) fn put_sum(packet: &mut [u8], at: usize, sum: u16) {
    packet[at..at + 2].copy_from_slice(&sum.to_ne_bytes());
}
