//! TCP frames that are too large for somebody's buffers, in pieces.
//!
//! A TSO frame is cut between its segments; any other TCP frame (and a segment
//! that is itself too large) is cut anywhere, as a stream may be. Each piece is a frame
//! with headers of its own, and leaves its checksum to whoever takes it.
//!
//! Headers are judged in a private copy: the neighbour may change the frame
//! meanwhile, and then only harms its own payload.

use std::ops::Range;

use crate::tcp::{Part, Tcp};
use crate::vnet::{
    DATA_VALID, GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, RECORDED, VnetHeader,
};
use crate::{ETHERNET_LEN, VNET_LEN};

/// vnet, Ethernet with two VLAN tags, IP and TCP headers with all options.
const MAX_HEADERS: usize = VNET_LEN + ETHERNET_LEN + 8 + 60 + 60;
/// Payload that every IPv4 host takes in one piece (RFC 9293, 3.7.1): cutting
/// smaller is no use.
const MIN_PIECE: usize = 536;

/// A frame under way in pieces.
#[derive(Debug)]
pub struct Pieces {
    vnet: VnetHeader,
    /// From the Ethernet header on, as they came.
    headers: Vec<u8>,
    at: Tcp,
    payload: usize,
    /// Bytes of payload in pieces already made.
    sent: usize,
    /// Segments already made, for the identification field of IPv4.
    serial: u16,
}

/// A frame: headers, and behind them bytes of the frame that is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// From the virtio-net header on.
    pub headers: Vec<u8>,
    /// Which bytes of the large frame follow.
    pub payload: Range<usize>,
}

impl Pieces {
    /// How to cut a frame of `len` bytes, of which `copy` copies those from a place on and
    /// says how many there were; `None` where that cannot be done: anything but TCP,
    /// IP fragments and extensions, a wrong checksum.
    pub fn of(len: usize, copy: impl Fn(usize, &mut [u8]) -> usize) -> Option<Pieces> {
        let mut head = [0; MAX_HEADERS];
        let copied = copy(0, &mut head).min(len);
        let (vnet, packet) = head[..copied].split_first_chunk()?;
        let vnet = VnetHeader::parse(vnet);
        let at = Tcp::find(packet)?;
        let payload = len.checked_sub(VNET_LEN + at.payload)?;
        if !matches!(vnet.gso_type & !GSO_ECN, GSO_NONE | GSO_TCPV4 | GSO_TCPV6) {
            return None;
        }
        let headers = packet[..at.payload].to_vec();
        let pieces = Pieces { vnet, headers, at, payload, sent: 0, serial: 0 };
        let trusted = vnet.flags & (NEEDS_CSUM | DATA_VALID) != 0;
        (trusted || pieces.checksum_is_right(len, copy)).then_some(pieces)
    }

    /// The next piece of at most `room` bytes; `None` where that is too little for one
    /// that is worth its headers.
    pub fn next(&mut self, room: usize) -> Option<Piece> {
        let room = room.checked_sub(VNET_LEN + self.headers.len())?;
        let left = self.payload - self.sent;
        if room < left.min(MIN_PIECE) {
            return None;
        }
        let segment = self.segment();
        let len = if left <= room {
            left
        } else if segment == 0 || segment > room {
            room
        } else {
            room - room % segment
        };
        let part = Part { skipped: self.sent, len, is_last: len == left, serial: self.serial };
        let begin = VNET_LEN + self.headers.len() + self.sent;
        let piece = Piece { headers: self.headers_of(part), payload: begin..begin + len };
        self.sent += len;
        self.serial = self.serial.wrapping_add(len.div_ceil(segment.max(1)) as u16);
        Some(piece)
    }

    /// Whether all of the frame is in pieces.
    pub fn is_done(&self) -> bool {
        self.sent == self.payload
    }

    /// Payload of one segment; 0 where the frame is one itself.
    fn segment(&self) -> usize {
        match self.vnet.gso_type & !GSO_ECN {
            GSO_NONE => 0,
            _ => usize::from(self.vnet.gso_size),
        }
    }

    fn headers_of(&self, part: Part) -> Vec<u8> {
        let is_segmented = self.segment() > 0 && part.len > self.segment();
        let vnet = VnetHeader {
            flags: self.vnet.flags & RECORDED,
            gso_type: if is_segmented { self.vnet.gso_type } else { GSO_NONE },
            gso_size: if is_segmented { self.vnet.gso_size } else { 0 },
            ..self.vnet
        };
        self.at.unfinished(vnet, &self.headers, part)
    }

    /// Pieces get new checksums, which must not make a damaged frame look good.
    fn checksum_is_right(&self, len: usize, copy: impl Fn(usize, &mut [u8]) -> usize) -> bool {
        let (mut at, mut chunk) = (VNET_LEN + self.at.tcp, [0; 4096]);
        let mut sum = self.at.pseudo_header(&self.headers, len - at);
        while at < len {
            let copied = copy(at, &mut chunk);
            if copied == 0 {
                return false;
            }
            sum = sum.add_slice(&chunk[..copied]);
            at += copied;
        }
        sum.ones_complement() == 0
    }
}

#[cfg(test)]
mod tests;
