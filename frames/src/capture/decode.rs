//! Bytes into frames, as they come.

use std::fmt;

use pcap_parser::pcapng::Block;
use pcap_parser::traits::PcapNGPacketBlock;

use super::{ETHERNET, MAX_PACKET, text};
use crate::{ETHERNET_LEN, VNET_LEN, push_frame};

/// Longest block of a pcapng that is believed.
const MAX_BLOCK: usize = 16 << 20;
/// Longest line of hex text: a packet with its time.
const MAX_LINE: usize = 3 * MAX_PACKET + 256;

/// What is wrong with a stream, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}, {place}: {why}")]
pub struct CaptureError {
    /// The stream's name for people.
    pub what: String,
    /// Where.
    pub place: Place,
    /// What.
    pub why: String,
}

/// A place in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Bytes before it.
    Offset(u64),
    /// Lines of text, from 1 on.
    Line(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Offset(offset) => write!(f, "offset {offset}"),
            Place::Line(line) => write!(f, "line {line}"),
        }
    }
}

/// Turns a stream of bytes into frames. Finds out by itself whether it is pcap
/// (either byte order, micro- or nanoseconds), pcapng, hex text or frames with
/// a 4-byte little-endian length before each.
#[derive(Debug)]
pub struct Decoder {
    what: String,
    /// `begin..` was pushed and is not yet decoded.
    buffer: Vec<u8>,
    begin: usize,
    /// Of `begin`.
    offset: u64,
    /// Lines of text before `begin`.
    lines: u64,
    kind: Option<Kind>,
    ended: bool,
    cut: u64,
}

#[derive(Debug)]
enum Kind {
    Pcap { big: bool, modified: bool },
    Pcapng { big: bool, link_types: Vec<u16> },
    Framed,
    Hex,
}

/// What one step came to.
enum Step {
    /// More bytes are needed.
    More,
    /// So many bytes held no packet.
    Skip(usize),
    /// So many bytes held a packet, which was appended to the output.
    Packet(usize),
}

impl Decoder {
    /// A decoder for a stream with this name.
    pub fn new(what: &str) -> Decoder {
        Decoder {
            what: what.to_owned(),
            buffer: Vec::new(),
            begin: 0,
            offset: 0,
            lines: 0,
            kind: None,
            ended: false,
            cut: 0,
        }
    }

    /// The next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.begin);
        self.begin = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// There are no more bytes.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether everything that was pushed is decoded.
    pub fn is_empty(&self) -> bool {
        self.begin == self.buffer.len()
    }

    /// Packets left out since their capture did not keep them whole.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// Puts the next frame into `frame`; `false` when it takes more bytes.
    ///
    /// # Errors
    /// [`CaptureError`]; there is no way on from there.
    pub fn next(&mut self, frame: &mut Vec<u8>) -> Result<bool, CaptureError> {
        loop {
            frame.clear();
            match self.step(frame) {
                Ok(Step::More) => return Ok(false),
                Ok(Step::Skip(len)) => self.advance(len),
                Ok(Step::Packet(len)) => {
                    self.advance(len);
                    return Ok(true);
                }
                Err(why) => return Err(self.error(why)),
            }
        }
    }

    fn advance(&mut self, len: usize) {
        self.begin += len;
        self.offset += len as u64;
    }

    /// Something wrong at the place that has been reached.
    pub fn error(&self, why: String) -> CaptureError {
        let place = match self.kind {
            Some(Kind::Hex) => Place::Line(self.lines + 1),
            _ => Place::Offset(self.offset),
        };
        CaptureError { what: self.what.clone(), place, why }
    }

    fn step(&mut self, frame: &mut Vec<u8>) -> Result<Step, String> {
        let data = &self.buffer[self.begin..];
        if data.is_empty() {
            return Ok(Step::More);
        }
        let step = match &mut self.kind {
            None => return self.recognise(),
            // One capture after another, as `cat a.pcap b.pcap` makes them or
            // a writer that took another's place.
            Some(Kind::Pcap { .. }) if is_pcap_magic(data) => return self.recognise(),
            Some(Kind::Pcap { big, modified }) => {
                pcap_packet(data, *big, *modified, frame, &mut self.cut)
            }
            Some(Kind::Pcapng { big, link_types }) => {
                pcapng_block(data, big, link_types, frame, &mut self.cut)
            }
            Some(Kind::Framed) => framed(data, frame),
            Some(Kind::Hex) => {
                let step = hex_line(data, self.ended, frame)?;
                self.lines += u64::from(!matches!(step, Step::More));
                Ok(step)
            }
        }?;
        match step {
            Step::More if self.ended => Err(format!("the stream ends in {}", self.middle())),
            step => Ok(step),
        }
    }

    fn middle(&self) -> &'static str {
        match self.kind {
            None => "its first header",
            Some(Kind::Pcapng { .. }) => "the middle of a block",
            _ => "the middle of a packet",
        }
    }

    /// The first bytes say what the stream is.
    fn recognise(&mut self) -> Result<Step, String> {
        let data = &self.buffer[self.begin..];
        let Some(first) = data.first_chunk::<4>() else {
            return match self.ended {
                true => Err("too short to be a capture".to_owned()),
                false => Ok(Step::More),
            };
        };
        let (kind, skip) = match u32::from_le_bytes(*first) {
            _ if is_pcap_magic(data) => match pcap_parser::parse_pcap_header(data) {
                Ok((rest, header)) => {
                    check_link_type(header.network.0)?;
                    let big = header.is_bigendian();
                    let modified = header.is_modified_format();
                    (Kind::Pcap { big, modified }, data.len() - rest.len())
                }
                Err(error) if error.is_incomplete() && !self.ended => return Ok(Step::More),
                Err(_) => return Err("a broken or cut pcap header".to_owned()),
            },
            0x0a0d_0d0a => (Kind::Pcapng { big: false, link_types: vec![] }, 0),
            len if (least_frame()..=VNET_LEN + MAX_PACKET).contains(&(len as usize)) => {
                (Kind::Framed, 0)
            }
            _ if first.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => {
                (Kind::Hex, 0)
            }
            _ => {
                return Err(format!(
                    "begins with {}, which is none of pcap, pcapng, hex text and frames",
                    first.map(|byte| format!("{byte:02x}")).join(" ")
                ));
            }
        };
        self.kind = Some(kind);
        Ok(Step::Skip(skip))
    }
}

fn least_frame() -> usize {
    VNET_LEN + ETHERNET_LEN
}

fn is_pcap_magic(data: &[u8]) -> bool {
    const MAGIC: [u32; 3] = [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34];
    data.first_chunk().is_some_and(|magic| {
        // Nobody writes the modified format in the other byte order any more.
        MAGIC.contains(&u32::from_le_bytes(*magic))
            || MAGIC[..2].contains(&u32::from_be_bytes(*magic))
    })
}

fn check_link_type(link_type: i32) -> Result<(), String> {
    // The upper half says how long the check sequence is.
    match link_type & 0xffff {
        link_type if link_type == i32::from(ETHERNET) => Ok(()),
        other => Err(format!("packets of link type {other}, not Ethernet (1)")),
    }
}

fn check_len(len: u32) -> Result<usize, String> {
    match len as usize {
        len if len > MAX_PACKET => {
            Err(format!("a packet of {len} bytes, more than the {MAX_PACKET} there can be"))
        }
        len => Ok(len),
    }
}

/// A packet of which `original` bytes were on the wire.
fn take(packet: &[u8], original: u32, frame: &mut Vec<u8>, cut: &mut u64, len: usize) -> Step {
    if packet.len() < ETHERNET_LEN || (packet.len() as u64) < u64::from(original) {
        *cut += 1;
        return Step::Skip(len);
    }
    push_frame(frame, packet);
    Step::Packet(len)
}

fn pcap_packet(
    data: &[u8],
    big: bool,
    modified: bool,
    frame: &mut Vec<u8>,
    cut: &mut u64,
) -> Result<Step, String> {
    let Some(len) = data.get(8..12).and_then(|field| field.first_chunk()) else {
        return Ok(Step::More);
    };
    check_len(if big { u32::from_be_bytes(*len) } else { u32::from_le_bytes(*len) })?;
    let parsed = match (modified, big) {
        (true, _) => pcap_parser::pcap::parse_pcap_frame_modified(data),
        (_, true) => pcap_parser::parse_pcap_frame_be(data),
        _ => pcap_parser::parse_pcap_frame(data),
    };
    match parsed {
        Ok((rest, block)) => {
            Ok(take(block.data, block.origlen, frame, cut, data.len() - rest.len()))
        }
        Err(error) if error.is_incomplete() => Ok(Step::More),
        Err(_) => Err("a broken packet header".to_owned()),
    }
}

fn pcapng_block(
    data: &[u8],
    big: &mut bool,
    link_types: &mut Vec<u16>,
    frame: &mut Vec<u8>,
    cut: &mut u64,
) -> Result<Step, String> {
    let word = |at: usize| data.get(at..at + 4).and_then(|field| field.first_chunk());
    let (Some(kind), Some(len), Some(third)) = (word(0), word(4), word(8)) else {
        return Ok(Step::More);
    };
    let section = u32::from_le_bytes(*kind) == 0x0a0d_0d0a;
    if section {
        *big = match u32::from_le_bytes(*third) {
            0x1a2b_3c4d => false,
            0x4d3c_2b1a => true,
            _ => return Err("a section header without its byte-order magic".to_owned()),
        };
        link_types.clear();
    }
    let len = if *big { u32::from_be_bytes(*len) } else { u32::from_le_bytes(*len) } as usize;
    if !(12..=MAX_BLOCK).contains(&len) || !len.is_multiple_of(4) {
        return Err(format!("a block of {len} bytes"));
    }
    // Exactly one block, so that whatever the parser finds missing is broken.
    let Some(data) = data.get(..len) else { return Ok(Step::More) };
    let parsed =
        if *big { pcap_parser::parse_block_be(data) } else { pcap_parser::parse_block_le(data) };
    let Ok((_, block)) = parsed else { return Err("a broken block".to_owned()) };
    match block {
        Block::InterfaceDescription(interface) => {
            // A link type has 16 bits.
            link_types.push(interface.linktype.0 as u16);
            Ok(Step::Skip(len))
        }
        Block::EnhancedPacket(packet) => {
            check_interface(link_types, packet.if_id)?;
            check_len(packet.caplen)?;
            let Some(bytes) = packet.data.get(..packet.caplen as usize) else {
                return Err("a packet longer than its block".to_owned());
            };
            Ok(take(bytes, packet.origlen, frame, cut, len))
        }
        Block::SimplePacket(packet) => {
            check_interface(link_types, 0)?;
            check_len(packet.origlen)?;
            let bytes = packet.data.get(..packet.origlen as usize).unwrap_or(packet.packet_data());
            Ok(take(bytes, packet.origlen, frame, cut, len))
        }
        _ => Ok(Step::Skip(len)),
    }
}

fn check_interface(link_types: &[u16], interface: u32) -> Result<(), String> {
    match link_types.get(interface as usize) {
        Some(&link_type) => check_link_type(link_type.into()),
        None => Err(format!("a packet of interface {interface}, which was not described")),
    }
}

/// A frame as it crosses a link of the channel `fifo`.
fn framed(data: &[u8], frame: &mut Vec<u8>) -> Result<Step, String> {
    let Some((len, rest)) = data.split_first_chunk::<4>() else { return Ok(Step::More) };
    let len = u32::from_le_bytes(*len) as usize;
    if !(least_frame()..=VNET_LEN + MAX_PACKET).contains(&len) {
        return Err(format!("a frame of {len} bytes"));
    }
    let Some(bytes) = rest.get(..len) else { return Ok(Step::More) };
    frame.extend_from_slice(bytes);
    Ok(Step::Packet(4 + len))
}

fn hex_line(data: &[u8], ended: bool, frame: &mut Vec<u8>) -> Result<Step, String> {
    let (line, len) = match data.iter().position(|&byte| byte == b'\n') {
        Some(at) => (&data[..at], at + 1),
        None if ended => (data, data.len()),
        None if data.len() > MAX_LINE => return Err("a line that does not end".to_owned()),
        None => return Ok(Step::More),
    };
    frame.extend_from_slice(&[0; VNET_LEN]);
    match text::read(line, frame)? {
        true if frame.len() > VNET_LEN + MAX_PACKET => {
            Err(format!("a packet of {} bytes", frame.len() - VNET_LEN))
        }
        true => Ok(Step::Packet(len)),
        false => Ok(Step::Skip(len)),
    }
}
