//! Frames on byte streams that know no boundaries: a length before each.
//!
//! | framing | before each frame | the frame | who speaks it |
//! |---|---|---|---|
//! | [`Framing::Frames`] | 4 bytes, little-endian | with its virtio-net header | `--channel fifo`, stdpkt itself |
//! | [`Framing::Qemu`] | 4 bytes, big-endian | complete packet | QEMU's `-netdev stream` (`net/stream.c`), passt |
//! | [`Framing::Vde`] | 2 bytes, big-endian | complete packet | vde_plug, dpipe (`vdestream`) |

use std::ops::Range;

use crate::{ETHERNET_LEN, MAX_FRAME, VNET_LEN};

/// Longest packet that VDE's programs take, in bytes (`VDE_ETHBUFSIZE` of `libvdeplug.h`).
const VDE_LONGEST: usize = 9216 + 14 + 4;

/// How a stream tells where frames begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A virtio-net header comes with each frame, so that offloads are kept.
    Frames,
    /// QEMU's.
    Qemu,
    /// VDE's.
    Vde,
}

impl Framing {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Framing::Frames => "frames",
            Framing::Qemu => "qemu",
            Framing::Vde => "vde",
        }
    }

    /// Whether frames have their virtio-net header.
    pub fn has_vnet(self) -> bool {
        self == Framing::Frames
    }

    /// Bytes of the length.
    pub fn prefix(self) -> usize {
        match self {
            Framing::Frames | Framing::Qemu => 4,
            Framing::Vde => 2,
        }
    }

    /// The length before a frame of `len` bytes, in the first bytes of the array.
    pub fn prefix_of(self, len: usize) -> [u8; 4] {
        match self {
            Framing::Frames => (len as u32).to_le_bytes(),
            Framing::Qemu => (len as u32).to_be_bytes(),
            Framing::Vde => {
                let [a, b] = (len as u16).to_be_bytes();
                [a, b, 0, 0]
            }
        }
    }

    /// Lengths that a frame can have, in bytes.
    pub fn lengths(self) -> std::ops::RangeInclusive<usize> {
        match self {
            Framing::Frames => VNET_LEN + ETHERNET_LEN..=MAX_FRAME,
            Framing::Qemu => ETHERNET_LEN..=MAX_FRAME - VNET_LEN,
            Framing::Vde => ETHERNET_LEN..=VDE_LONGEST,
        }
    }

    fn length(self, bytes: &[u8]) -> Option<usize> {
        let bytes = bytes.get(..self.prefix())?;
        Some(match *bytes {
            [a, b, c, d] if self == Framing::Frames => u32::from_le_bytes([a, b, c, d]) as usize,
            [a, b, c, d] => u32::from_be_bytes([a, b, c, d]) as usize,
            [a, b] => usize::from(u16::from_be_bytes([a, b])),
            _ => return None,
        })
    }
}

/// Why a stream is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// No frame is as long, or begins so.
    #[error(
        "byte {at}: {why}, so this is no stream in the format {}; there it says {begins}", framing.name()
    )]
    Nonsense {
        /// Bytes of the stream before it.
        at: u64,
        /// What is wrong.
        why: String,
        /// The bytes there, for people.
        begins: String,
        /// What was expected.
        framing: Framing,
    },
    /// The stream ended within a frame.
    #[error("it ended at byte {at}, within {part}")]
    Half {
        /// Bytes of the whole stream.
        at: u64,
        /// What came of the last frame, for people.
        part: String,
    },
}

/// Finds the frames in a stream.
#[derive(Debug)]
pub struct Unframer {
    framing: Framing,
    bytes: Vec<u8>,
    /// What was looked at already.
    begin: usize,
    end: usize,
    /// Bytes of the stream before `begin`.
    at: u64,
}

impl Unframer {
    /// At the beginning of a stream.
    pub fn new(framing: Framing) -> Unframer {
        // Room for some of the longest, so that a read brings many, and few come in part and are moved.
        Unframer { framing, bytes: vec![0; 4 * (4 + MAX_FRAME)], begin: 0, end: 0, at: 0 }
    }

    /// Room for what comes next in the stream, never empty after [`Unframer::next`]
    /// has returned `None`.
    pub fn room(&mut self) -> &mut [u8] {
        if self.begin > 0 {
            self.bytes.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// `len` bytes were put there.
    pub fn filled(&mut self, len: usize) {
        self.end += len;
    }

    /// Whether [`Unframer::next`] has a frame.
    pub fn has_frame(&self) -> bool {
        let bytes = &self.bytes[self.begin..self.end];
        self.framing.length(bytes).is_some_and(|len| {
            bytes.len() >= self.framing.prefix() + len || !self.framing.lengths().contains(&len)
        })
    }

    /// The next frame.
    ///
    /// # Errors
    /// [`FramingError::Nonsense`], as soon as enough has come to tell.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    pub fn next(&mut self) -> Result<Option<&[u8]>, FramingError> {
        let Some(frame) = self.find()? else { return Ok(None) };
        self.at += (frame.end - self.begin) as u64;
        self.begin = frame.end;
        Ok(Some(&self.bytes[frame]))
    }

    /// The frame that [`Unframer::next`] has, which stays the next one.
    ///
    /// # Errors
    /// As of [`Unframer::next`].
    pub fn peek(&self) -> Result<Option<&[u8]>, FramingError> {
        Ok(self.find()?.map(|frame| &self.bytes[frame]))
    }

    /// Where the next frame lies.
    fn find(&self) -> Result<Option<Range<usize>>, FramingError> {
        let Unframer { framing, begin, end, .. } = *self;
        let bytes = &self.bytes[begin..end];
        let Some(len) = framing.length(bytes) else { return Ok(None) };
        if !framing.lengths().contains(&len) {
            return Err(self.nonsense(format!("a frame of {len} bytes")));
        }
        let frame = &bytes[framing.prefix()..];
        let packet = frame.get(if framing.has_vnet() { VNET_LEN } else { 0 }..).unwrap_or_default();
        if let Some(header) = packet.first_chunk::<ETHERNET_LEN>()
            && let Some(why) = not_ethernet(header)
        {
            return Err(self.nonsense(why.to_owned()));
        }
        let from = begin + framing.prefix();
        Ok((frame.len() >= len).then_some(from..from + len))
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// [`FramingError::Half`].
    pub fn finish(&self) -> Result<(), FramingError> {
        let at = self.at + (self.end - self.begin) as u64;
        self.part().map_or(Ok(()), |part| Err(FramingError::Half { at, part }))
    }

    /// What has come of a frame that is not whole, for people.
    pub fn part(&self) -> Option<String> {
        let bytes = &self.bytes[self.begin..self.end];
        let prefix = self.framing.prefix();
        let part = match self.framing.length(bytes) {
            _ if bytes.is_empty() => return None,
            Some(len) => format!("a frame: {} bytes of {len}", bytes.len() - prefix),
            None => format!("the length of a frame: {} bytes of {prefix}", bytes.len()),
        };
        Some(format!("{part}; there it says {}", begins(bytes)))
    }

    fn nonsense(&self, why: String) -> FramingError {
        let bytes = &self.bytes[self.begin..self.end];
        FramingError::Nonsense { at: self.at, why, begins: begins(bytes), framing: self.framing }
    }
}

/// Why 14 bytes are no Ethernet header, where that is certain: the source is one
/// station (IEEE 802.3, 3.2.3), and text has a printable type, of which there is none
/// in use.
pub fn not_ethernet(header: &[u8; ETHERNET_LEN]) -> Option<&'static str> {
    let printable = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let source = &header[6..12];
    if header.iter().all(printable) {
        Some("text in the place of an Ethernet header")
    } else if source[0] & 1 == 1 || source == [0; 6] {
        Some("an Ethernet header whose source is no station")
    } else {
        None
    }
}

/// The beginning of `bytes`, for people: as text where it is text.
pub fn begins(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(24)];
    if bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        format!("\"{}\"", bytes.escape_ascii())
    } else {
        let octets: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        octets.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Framing; 3] = [Framing::Frames, Framing::Qemu, Framing::Vde];

    /// A frame with `len` bytes behind its Ethernet header.
    fn frame(framing: Framing, len: usize) -> Vec<u8> {
        let mut frame = vec![0; if framing.has_vnet() { VNET_LEN } else { 0 }];
        frame.extend([0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2, 8, 0]);
        frame.extend((0..len).map(|n| n as u8));
        frame
    }

    fn stream(framing: Framing, lens: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        for frame in lens.iter().map(|&len| frame(framing, len)) {
            out.extend(&framing.prefix_of(frame.len())[..framing.prefix()]);
            out.extend(frame);
        }
        out
    }

    /// Feeds `bytes` in pieces; the frames, and how it ended.
    fn read(
        framing: Framing,
        mut bytes: &[u8],
        piece: usize,
    ) -> (Vec<Vec<u8>>, Result<(), FramingError>) {
        let (mut unframer, mut frames) = (Unframer::new(framing), vec![]);
        loop {
            loop {
                match unframer.next() {
                    Ok(Some(frame)) => frames.push(frame.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (frames, Err(error)),
                }
            }
            if bytes.is_empty() {
                return (frames, unframer.finish());
            }
            let room = unframer.room();
            assert!(!room.is_empty());
            let count = piece.min(bytes.len()).min(room.len());
            room[..count].copy_from_slice(&bytes[..count]);
            unframer.filled(count);
            bytes = &bytes[count..];
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            which in 0..3usize,
            lens in proptest::collection::vec(0..65_000usize, 0..8),
            piece in 1..100_000usize,
        ) {
            let framing = ALL[which];
            let most = framing.lengths().end() - frame(framing, 0).len();
            let lens: Vec<_> = lens.into_iter().map(|len| len.min(most)).collect();
            let (frames, end) = read(framing, &stream(framing, &lens), piece);
            prop_assert_eq!(end, Ok(()));
            let sent: Vec<_> = lens.iter().map(|&len| frame(framing, len)).collect();
            prop_assert_eq!(frames, sent);
        }

        #[test]
        fn anything_ends_in_an_error_at_worst(
            which in 0..3usize,
            bytes in proptest::collection::vec(any::<u8>(), 0..4000),
            piece in 1..500usize,
        ) {
            let _ = read(ALL[which], &bytes, piece);
        }
    }

    #[test]
    fn no_framing_is_taken_for_another() {
        for written in ALL {
            for expected in ALL.into_iter().filter(|&expected| expected != written) {
                let (frames, end) = read(expected, &stream(written, &[28, 28, 1486]), 64);
                assert!(frames.is_empty(), "{written:?} as {expected:?}");
                let error = end.unwrap_err().to_string();
                assert!(error.starts_with("byte 0: "), "{written:?} as {expected:?}: {error}");
            }
        }
    }

    #[test]
    fn text_and_captures_are_no_frames() {
        for framing in ALL {
            for bytes in [
                &b"PING 10.0.0.2 (10.0.0.2) 56(84) bytes of data.\n"[..],
                b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\x04\0\x01\0\0\0",
                b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
            ] {
                let (frames, end) = read(framing, bytes, 7);
                assert!(frames.is_empty() && end.is_err(), "{framing:?}: {bytes:?}");
            }
        }
        let (_, end) = read(Framing::Vde, b"# PING 10.0.0.2 (10.0.0)", 7);
        assert_eq!(
            end.unwrap_err().to_string(),
            "byte 0: text in the place of an Ethernet header, so this is no stream in the format vde; \
             there it says \"# PING 10.0.0.2 (10.0\""
        );
    }

    #[test]
    fn half_a_frame_at_the_end_is_told() {
        let whole = stream(Framing::Vde, &[46, 46]);
        let (frames, end) = read(Framing::Vde, &whole[..whole.len() - 10], 999);
        assert_eq!(frames.len(), 1);
        let end = end.unwrap_err().to_string();
        assert!(end.starts_with("it ended at byte 114, within a frame: 50 bytes of 60; "), "{end}");
        let (_, end) = read(Framing::Qemu, b"hi", 999);
        let said =
            "it ended at byte 2, within the length of a frame: 2 bytes of 4; there it says \"hi\"";
        assert_eq!(end.unwrap_err().to_string(), said);
    }
}
