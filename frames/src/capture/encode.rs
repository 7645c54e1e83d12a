//! Packets into bytes.

use std::time::Duration;

use super::linktype::ETHERNET;
use super::{MAX_PACKET, hexdump, text};

/// What a capture looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The format every tool reads
    Pcap,
    /// Its successor, with nanoseconds
    Pcapng,
    /// One packet a line: time, destination, source, type, payload octets
    Hex,
    /// Offset and octets, 16 to a line, as text2pcap reads them; perhaps the time
    /// on a line before each packet
    Hexdump {
        /// Whether there is one.
        time: bool,
    },
}

/// Appends packets to a buffer.
#[derive(Debug, Clone, Copy)]
pub struct Encoder(pub Format);

impl Encoder {
    /// What comes before the first packet.
    pub fn begin(self, out: &mut Vec<u8>) {
        match self.0 {
            Format::Pcap => {
                out.extend_from_slice(&0xa1b2_c3d4_u32.to_le_bytes()); // microseconds
                out.extend_from_slice(&2u16.to_le_bytes());
                out.extend_from_slice(&4u16.to_le_bytes());
                out.extend_from_slice(&[0; 8]); // time zone, accuracy: always 0
                out.extend_from_slice(&(MAX_PACKET as u32).to_le_bytes());
                out.extend_from_slice(&u32::from(ETHERNET).to_le_bytes());
            }
            Format::Pcapng => {
                block(out, 0x0a0d_0d0a, |out| {
                    out.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
                    out.extend_from_slice(&1u16.to_le_bytes());
                    out.extend_from_slice(&0u16.to_le_bytes());
                    out.extend_from_slice(&[0xff; 8]); // length of the section: unknown
                });
                block(out, 1, |out| {
                    out.extend_from_slice(&ETHERNET.to_le_bytes());
                    out.extend_from_slice(&[0; 2]);
                    out.extend_from_slice(&(MAX_PACKET as u32).to_le_bytes());
                    // if_tsresol: 10^-9; end of options
                    out.extend_from_slice(&[9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
                });
            }
            Format::Hex | Format::Hexdump { .. } => {}
        }
    }

    /// One packet that passed at `time` since 1970.
    pub fn packet(self, time: Duration, packet: &[u8], out: &mut Vec<u8>) {
        let len = (packet.len() as u32).to_le_bytes();
        match self.0 {
            Format::Pcap => {
                out.extend_from_slice(&(time.as_secs() as u32).to_le_bytes());
                out.extend_from_slice(&time.subsec_micros().to_le_bytes());
                out.extend_from_slice(&len);
                out.extend_from_slice(&len);
                out.extend_from_slice(packet);
            }
            Format::Pcapng => block(out, 6, |out| {
                let time = time.as_nanos() as u64;
                out.extend_from_slice(&0u32.to_le_bytes());
                out.extend_from_slice(&((time >> 32) as u32).to_le_bytes());
                out.extend_from_slice(&(time as u32).to_le_bytes());
                out.extend_from_slice(&len);
                out.extend_from_slice(&len);
                out.extend_from_slice(packet);
                out.resize(out.len() + packet.len().next_multiple_of(4) - packet.len(), 0);
            }),
            Format::Hex => text::write(time, packet, out),
            Format::Hexdump { time: told } => {
                hexdump::write(told.then_some(time), packet, out);
            }
        }
    }
}

/// A pcapng block: type, length, `body`, length again.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let from = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    let len = ((out.len() - from + 4) as u32).to_le_bytes();
    out[from + 4..from + 8].copy_from_slice(&len);
    out.extend_from_slice(&len);
}
