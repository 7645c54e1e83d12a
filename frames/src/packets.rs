//! From frames to packets as they would look on a wire: segmentation and checksums.
//!
//! A frame that crosses a link may be a TSO frame of 64 KiB and may leave its
//! TCP or UDP checksum to whoever sends it out (virtio 1.2, section 5.1.6).
//! Tools that read captures want complete packets: [`Packets`] makes them.
//!
//! The neighbour wrote the frame: whatever it holds, the worst is an error.

use etherparse::checksum::Sum16BitWords;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use crate::tcp::{Part, TCP_CHECKSUM, Tcp, put_sum};
use crate::vnet::{GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, VnetHeader};
use crate::{ETHERNET_LEN, VNET_LEN};

/// Offset of the checksum in a UDP header, which has no zero: `0xffff` stands for it.
const UDP_CHECKSUM: u16 = 6;
/// Bytes of all segments of a frame: a byte in each of 65 535 needs a quarter of it,
/// long headers before each would need gigabytes.
const MAX_BYTES: usize = 16 << 20;

/// Why a frame has no form on a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Less than a virtio-net header and an Ethernet header.
    #[error("a frame of {0} bytes is shorter than its headers")]
    Short(usize),
    /// The checksum would lie outside the packet.
    #[error("a checksum at {start}+{offset} in a packet of {len} bytes")]
    Checksum {
        /// `csum_start`.
        start: u16,
        /// `csum_offset`.
        offset: u16,
        /// Bytes of the packet.
        len: usize,
    },
    /// A kind of offload that was never offered.
    #[error("unknown segmentation type {0}")]
    GsoType(u8),
    /// Segments of no bytes.
    #[error("a frame to be segmented without a segment size")]
    GsoSize,
    /// The headers are not those that the segmentation type promises.
    #[error("a frame to be segmented whose headers are not {0}")]
    Headers(&'static str),
}

/// Makes the packets of frames; has the memory for one packet.
#[derive(Debug, Default)]
pub struct Packets {
    packet: Vec<u8>,
}

impl Packets {
    /// Calls `emit` with each complete packet of a frame, in order.
    ///
    /// # Errors
    /// [`PacketError`], before the first packet: a frame is sent whole or not at all.
    pub fn each(&mut self, frame: &[u8], mut emit: impl FnMut(&[u8])) -> Result<(), PacketError> {
        let Some((header, packet)) = frame.split_first_chunk::<VNET_LEN>() else {
            return Err(PacketError::Short(frame.len()));
        };
        if packet.len() < ETHERNET_LEN {
            return Err(PacketError::Short(frame.len()));
        }
        let header = VnetHeader::parse(header);
        match header.gso_type & !GSO_ECN {
            GSO_NONE if header.flags & NEEDS_CSUM == 0 => {
                emit(packet);
                Ok(())
            }
            GSO_NONE => self.fill_checksum(&header, packet).map(|()| emit(&self.packet)),
            GSO_TCPV4 | GSO_TCPV6 => self.segment(&header, packet, emit),
            _ => Err(PacketError::GsoType(header.gso_type)),
        }
    }

    /// The field at `csum_offset` holds the sum of the pseudo header; that of
    /// the rest is added and the complement stored. Works for TCP, UDP and all
    /// that has its checksum made the same way.
    fn fill_checksum(&mut self, header: &VnetHeader, packet: &[u8]) -> Result<(), PacketError> {
        let start = usize::from(header.csum_start);
        let field = start + usize::from(header.csum_offset);
        if start < ETHERNET_LEN || field + 2 > packet.len() {
            let VnetHeader { csum_start: start, csum_offset: offset, .. } = *header;
            return Err(PacketError::Checksum { start, offset, len: packet.len() });
        }
        let sum = Sum16BitWords::new().add_slice(&packet[start..]);
        let sum = match header.csum_offset {
            UDP_CHECKSUM => sum.to_ones_complement_with_no_zero(),
            _ => sum.ones_complement(),
        };
        self.packet.clear();
        self.packet.extend_from_slice(packet);
        put_sum(&mut self.packet, field, sum);
        Ok(())
    }

    /// TCP segmentation as a network card does it.
    fn segment(
        &mut self,
        header: &VnetHeader,
        frame: &[u8],
        mut emit: impl FnMut(&[u8]),
    ) -> Result<(), PacketError> {
        let size = usize::from(header.gso_size);
        if size == 0 {
            return Err(PacketError::GsoSize);
        }
        let (at, end) = locate(header.gso_type & !GSO_ECN, frame)?;
        let payload = end - at.payload;
        let segments = payload.div_ceil(size).max(1);
        if segments * (at.payload + size.min(payload)) > MAX_BYTES {
            return Err(PacketError::Headers("of a packet with some payload in each segment"));
        }
        let longest = at.payload - at.ip + size.min(payload);
        if longest > usize::from(u16::MAX) {
            return Err(PacketError::Headers("of a packet that fits into 65535 bytes"));
        }
        let (mut skipped, mut serial) = (0, 0u16);
        loop {
            let len = size.min(payload - skipped);
            let from = at.payload + skipped;
            self.packet.clear();
            self.packet.extend_from_slice(&frame[..at.payload]);
            self.packet.extend_from_slice(&frame[from..from + len]);
            let part = Part { skipped, len, is_last: skipped + len == payload, serial };
            at.adapt(&mut self.packet, part);
            let field = at.tcp + TCP_CHECKSUM;
            put_sum(&mut self.packet, field, 0);
            let sum = at.pseudo_header(&self.packet, self.packet.len() - at.tcp);
            let sum = sum.add_slice(&self.packet[at.tcp..]).ones_complement();
            put_sum(&mut self.packet, field, sum);
            emit(&self.packet);
            if part.is_last {
                return Ok(());
            }
            skipped += len;
            serial = serial.wrapping_add(1);
        }
    }
}

/// Finds the headers of a TCP packet behind any VLAN tags, and its end.
fn locate(gso_type: u8, frame: &[u8]) -> Result<(Tcp, usize), PacketError> {
    let v6 = gso_type == GSO_TCPV6;
    let wrong = PacketError::Headers(if v6 { "TCP over IPv6" } else { "TCP over IPv4" });
    let sliced = SlicedPacket::from_ethernet(frame).map_err(|_| wrong)?;
    // All of them are subslices of the frame.
    let offset = |part: &[u8]| part.as_ptr() as usize - frame.as_ptr() as usize;
    let ip = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) if !v6 => offset(ip.header().slice()),
        Some(NetSlice::Ipv6(ip)) if v6 => offset(ip.header().slice()),
        _ => return Err(wrong),
    };
    if sliced.is_ip_payload_fragmented() {
        return Err(wrong);
    }
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return Err(wrong) };
    let payload = offset(tcp.payload());
    let at = Tcp { ip, v6, tcp: offset(tcp.slice()), payload };
    Ok((at, payload + tcp.payload().len()))
}

#[cfg(test)]
mod tests;
