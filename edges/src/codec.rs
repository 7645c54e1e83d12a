//! Frames as a program's or socket's bytes, and back.

use std::os::fd::{AsFd, OwnedFd};

use cable::bytes;
use cable::capture_in::CaptureIn;
use cable::stream_tx::now;
use frames::capture::{Encoder, Format};
use frames::{FEATURES, Framing, MAX_FRAME, Packets, Unframer, VNET_LEN};
use rustix::io::Errno;
use shmring::{Bytes, BytesMut};

use crate::joining::{Joining, Source};

/// Bytes of a capture that are read at once: a pipe's worth.
const CHUNK: usize = 64 << 10;
/// From this length on a frame is written from where it lies; shorter ones are gathered, since a system
/// call for each costs more than the copy.
pub(crate) const LONG: usize = 16 << 10;
/// The way out of a stream that is none.
const ONE_FORMAT: &str = "both sides have to be given one format";

/// How frames are written on a byte stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// A length before each.
    Framed(Framing),
    /// As a capture, text included.
    Capture(Format),
}

impl Coding {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Framed(framing) => framing.name(),
            Coding::Capture(Format::Pcap) => "pcap",
            Coding::Capture(Format::Pcapng) => "pcapng",
            Coding::Capture(Format::Hex) => "hex",
            Coding::Capture(Format::Hexdump { .. }) => "hexdump",
        }
    }

    /// Longest packet that can be written so, in bytes.
    pub fn longest(self) -> usize {
        match self {
            Coding::Framed(framing) if !framing.has_vnet() => *framing.lengths().end(),
            _ => MAX_FRAME - VNET_LEN,
        }
    }

    /// Virtio-net features of frames that can be written so.
    pub fn features(self) -> u64 {
        match self {
            Coding::Framed(framing) if framing.has_vnet() => FEATURES,
            _ => 0,
        }
    }
}

/// Frames out of bytes.
pub(crate) enum Reader {
    Framed(Framing, Unframer),
    Capture(Box<Capture>),
}

/// A capture that is being read.
pub(crate) struct Capture {
    decoder: CaptureIn,
    chunk: Vec<u8>,
    frame: Vec<u8>,
    /// Bytes came since a frame was looked for in vain.
    fresh: bool,
}

impl Reader {
    /// At the beginning of a stream, `what` for people.
    pub fn new(coding: Coding, what: &str) -> Reader {
        match coding {
            Coding::Framed(framing) => Reader::Framed(framing, Unframer::new(framing)),
            Coding::Capture(_) => Reader::Capture(Box::new(Capture {
                decoder: CaptureIn::new(what),
                chunk: vec![0; CHUNK],
                frame: Vec::new(),
                fresh: false,
            })),
        }
    }

    /// Reads once from `input`, after [`Reader::read`] has found no frame: how many bytes, none at the
    /// end.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn receive(&mut self, input: &OwnedFd) -> Result<usize, Errno> {
        match self {
            Reader::Framed(_, unframer) => {
                let len = bytes::read(input, unframer.room())?;
                unframer.filled(len);
                Ok(len)
            }
            Reader::Capture(capture) => {
                let len = bytes::read(input, &mut capture.chunk)?;
                capture.decoder.push(&capture.chunk[..len]);
                capture.fresh = true;
                Ok(len)
            }
        }
    }

    /// Whether [`Reader::read`] may have a frame.
    pub fn has_frame(&self) -> bool {
        match self {
            Reader::Framed(_, unframer) => unframer.has_frame(),
            Reader::Capture(capture) => capture.fresh,
        }
    }

    /// Copies the next frame, with a virtio-net header, into `room`; its length. `passed` hears of
    /// each that went into it, with its length, and with its packet if it is of a capture.
    ///
    /// # Errors
    /// What is wrong with the stream, and where; `None` of a capture, which says so itself.
    pub fn read(
        &mut self,
        joining: Joining,
        room: &mut BytesMut<'_>,
        mut passed: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<Option<usize>, Option<String>> {
        match self {
            Reader::Framed(framing, unframer) => {
                let wrong = |error| format!("{error}; {ONE_FORMAT}");
                if framing.has_vnet() {
                    let frame = unframer.next().map_err(wrong)?;
                    let len = frame.map(|frame| room.copy_from(0, frame));
                    len.iter().for_each(|len| passed(*len, None));
                    return Ok(len);
                }
                unframer.peek().map_err(wrong)?;
                Ok(joining.fill(&mut Framed { unframer, passed }, room))
            }
            Reader::Capture(capture) => {
                let Capture { decoder, frame, fresh, .. } = &mut **capture;
                *fresh = decoder.next(frame).map_err(|_| None)?;
                Ok(fresh.then(|| {
                    let len = room.copy_from(0, frame);
                    passed(len, frame.get(VNET_LEN..));
                    len
                }))
            }
        }
    }

    /// What has come of a frame that is not whole, for people.
    pub fn part(&self) -> Option<String> {
        match self {
            Reader::Framed(_, unframer) => unframer.part(),
            Reader::Capture(capture) => capture.decoder.part(),
        }
    }

    /// The stream has ended; [`Reader::read`] may have last frames.
    pub fn end(&mut self) {
        if let Reader::Capture(capture) = self {
            capture.decoder.end();
        }
    }

    /// After the end, and the last frame.
    ///
    /// # Errors
    /// What is missing; `None` of a capture, which says so itself.
    pub fn finish(&self) -> Result<(), Option<String>> {
        match self {
            Reader::Framed(_, unframer) => unframer.finish().map_err(|e| Some(e.to_string())),
            Reader::Capture(capture) if capture.decoder.error().is_some() => Err(None),
            Reader::Capture(_) => Ok(()),
        }
    }
}

/// Complete packets with a length before each. One that is nonsense is found when it is the next.
struct Framed<'a, P> {
    unframer: &'a mut Unframer,
    passed: P,
}

impl<P: FnMut(usize, Option<&[u8]>)> Source for Framed<'_, P> {
    fn peek(&mut self) -> Option<&[u8]> {
        self.unframer.peek().ok()?
    }

    fn take(&mut self) {
        if let Ok(Some(packet)) = self.unframer.next() {
            (self.passed)(VNET_LEN + packet.len(), None);
        }
    }
}

/// The length before a frame, and what comes after it; `None` for one that has no form there.
fn framed(framing: Framing, frame: Bytes<'_>) -> Option<([u8; 4], Bytes<'_>)> {
    let skip = if framing.has_vnet() { 0 } else { VNET_LEN };
    let len = frame.len().checked_sub(skip).filter(|len| framing.lengths().contains(len))?;
    Some((framing.prefix_of(len), frame.part(skip, len)))
}

/// Frames into bytes.
pub(crate) struct Writer {
    coding: Coding,
    packets: Packets,
    frame: Vec<u8>,
}

impl Writer {
    /// At the beginning of a stream, whose first bytes are appended to `out`.
    pub fn new(coding: Coding, out: &mut Vec<u8>) -> Writer {
        if let Coding::Capture(format) = coding {
            Encoder(format).begin(out);
        }
        Writer { coding, packets: Packets::default(), frame: Vec::new() }
    }

    /// Writes a frame to `output` from where it lies, and appends to `out`, which was empty, what
    /// that did not take. `None` where it has to be made another first.
    pub fn write_through(
        &self,
        bytes: Bytes<'_>,
        output: impl AsFd,
        out: &mut Vec<u8>,
    ) -> Option<std::io::Result<()>> {
        let Coding::Framed(framing) = self.coding else { return None };
        let (length, bytes) = framed(framing, bytes)?;
        let length = &length[..framing.prefix()];
        let sent = match bytes.write_after(length, output) {
            Ok(sent) => sent,
            Err(error) => return Some(Err(error)),
        };
        out.extend_from_slice(length.get(sent..).unwrap_or_default());
        bytes.part(sent.saturating_sub(length.len()), bytes.len()).append_to(out);
        Some(Ok(()))
    }

    /// Appends a frame to what goes out; `false` for one that has no form there.
    pub fn write(&mut self, bytes: Bytes<'_>, out: &mut Vec<u8>) -> bool {
        let Writer { coding, packets, frame } = self;
        match *coding {
            Coding::Framed(framing) => {
                let Some((length, bytes)) = framed(framing, bytes) else { return false };
                out.extend_from_slice(&length[..framing.prefix()]);
                bytes.append_to(out);
                true
            }
            Coding::Capture(format) => {
                bytes.copy_into(frame);
                let time = now();
                packets.each(frame, |packet| Encoder(format).packet(time, packet, out)).is_ok()
            }
        }
    }
}
