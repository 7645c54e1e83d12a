//! Frames that can be checked: sequence number, length, a byte per cache line.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, anyhow, bail};
use shmring::{Bytes, BytesMut};

/// Bytes at the start of each frame: sequence number (8), length (4), `MAGIC`.
pub const HEADER: usize = 16;
const MAGIC: u32 = 0x6672_616d;
const LINE: usize = 64;
const PAGE: usize = 4096;
/// Where in each cache line the checked byte is.
const AT: usize = 20;

/// The sizes measured, in bytes.
pub const SIZES: [Sizes; 7] = [
    Sizes::All(64),
    Sizes::All(256),
    Sizes::All(1500),
    Sizes::All(4096),
    Sizes::All(16384),
    Sizes::All(65536),
    Sizes::Mixed,
];

/// How long the frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sizes {
    /// All the same.
    All(u32),
    /// [`MIX`] over and over.
    Mixed,
}

/// The simple Internet mix: seven of 64 bytes to four of 576 to one of 1500.
pub const MIX: [usize; 12] = [64, 576, 64, 64, 576, 64, 1500, 64, 576, 64, 576, 64];

impl Sizes {
    /// Longest frame.
    pub fn longest(self) -> usize {
        match self {
            Sizes::All(len) => len as usize,
            Sizes::Mixed => 1500,
        }
    }

    /// Bytes of the first `frames` frames.
    pub fn total(self, frames: u64) -> u64 {
        (0..frames).map(|sequence| self.of(sequence) as u64).sum()
    }

    #[inline]
    fn of(self, sequence: u64) -> usize {
        match self {
            Sizes::All(len) => len as usize,
            Sizes::Mixed => MIX[(sequence % MIX.len() as u64) as usize],
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sizes::All(len) => write!(f, "{len}"),
            Sizes::Mixed => f.write_str("mixed"),
        }
    }
}

impl FromStr for Sizes {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Sizes> {
        match text {
            "mixed" => Ok(Sizes::Mixed),
            _ => match text.parse() {
                Ok(len) if len as usize >= LINE => Ok(Sizes::All(len)),
                _ => Err(anyhow!("a size is `mixed` or a number from {LINE} on")),
            },
        }
    }
}

/// Frames to send. They lie in the sender's memory and are stamped there;
/// [`Source::next`] is what a channel then has to carry over.
pub struct Source {
    sizes: Sizes,
    /// Every line differs from frame to frame (else only the header does).
    full: bool,
    sequence: u64,
    bytes: u64,
    /// The frame begins with a page: what is copied at what speed depends on
    /// it on some processors, and should not depend on the allocator.
    memory: Vec<u8>,
    start: usize,
}

impl Source {
    /// Starts with sequence number 0.
    pub fn new(sizes: Sizes, full: bool) -> Source {
        let mut memory = vec![0; sizes.longest() + PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        let frame = &mut memory[start..start + sizes.longest()];
        for (line, bytes) in frame.chunks_mut(LINE).enumerate() {
            if let Some(byte) = bytes.get_mut(AT) {
                *byte = line as u8;
            }
        }
        Source { sizes, full, sequence: 0, bytes: 0, memory, start }
    }

    /// Bytes of the frames so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Length of the next frame.
    #[inline]
    pub fn next_len(&self) -> usize {
        self.sizes.of(self.sequence)
    }

    /// The next frame.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    pub fn next(&mut self) -> &[u8] {
        let (len, header) = self.step();
        let frame = &mut self.memory[self.start..self.start + len];
        frame[..HEADER].copy_from_slice(&header);
        if self.full {
            for (line, bytes) in frame.chunks_mut(LINE).enumerate() {
                if let Some(byte) = bytes.get_mut(AT) {
                    *byte = (line as u64 + self.sequence - 1) as u8;
                }
            }
        }
        frame
    }

    /// Makes the next frame where it is to be, without a copy.
    #[inline]
    pub fn next_in_place(&mut self, room: &mut BytesMut<'_>) {
        let (len, header) = self.step();
        let first = if self.full { (self.sequence - 1) as u8 } else { 0 };
        room.copy_from(0, &header);
        let mut line = 0;
        while line * LINE + AT < len {
            room.copy_from(line * LINE + AT, &[(line as u8).wrapping_add(first)]);
            line += 1;
        }
    }

    #[inline]
    fn step(&mut self) -> (usize, [u8; HEADER]) {
        let len = self.next_len();
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&self.sequence.to_le_bytes());
        header[8..12].copy_from_slice(&(len as u32).to_le_bytes());
        header[12..].copy_from_slice(&MAGIC.to_le_bytes());
        self.sequence += 1;
        self.bytes += len as u64;
        (len, header)
    }
}

/// Received bytes, wherever they lie.
pub trait FrameBytes {
    /// How many.
    fn length(&self) -> usize;
    /// Some of them; `offset + N` is within the length.
    fn read<const N: usize>(&self, offset: usize) -> [u8; N];
}

impl FrameBytes for &[u8] {
    #[inline]
    fn length(&self) -> usize {
        self.len()
    }

    #[inline]
    fn read<const N: usize>(&self, offset: usize) -> [u8; N] {
        *self[offset..].first_chunk().expect("within the length")
    }
}

impl FrameBytes for Bytes<'_> {
    #[inline]
    fn length(&self) -> usize {
        self.len()
    }

    #[inline]
    fn read<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        self.copy_to(offset, &mut bytes);
        bytes
    }
}

/// Length of the frame that begins with these bytes.
#[inline]
pub fn length_in(header: &[u8; HEADER]) -> usize {
    u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize
}

/// Checks every frame: the right one, whole, each cache line looked at.
pub struct Checker {
    sizes: Sizes,
    full: bool,
    sequence: u64,
}

impl Checker {
    /// Expects sequence number 0.
    pub fn new(sizes: Sizes, full: bool) -> Checker {
        Checker { sizes, full, sequence: 0 }
    }

    /// Checks the next frame.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline]
    pub fn check(&mut self, frame: &impl FrameBytes) -> Result<()> {
        let len = frame.length();
        if len != self.sizes.of(self.sequence) {
            bail!("frame {} has {len} bytes, not {}", self.sequence, self.sizes.of(self.sequence));
        }
        let sequence = u64::from_le_bytes(frame.read(0));
        let inner_len = u32::from_le_bytes(frame.read(8)) as usize;
        if sequence != self.sequence || inner_len != len {
            bail!("frame {sequence} of {inner_len} bytes, not {} of {len}", self.sequence);
        }
        let first = if self.full { sequence as u8 } else { 0 };
        let mut wrong = 0;
        let mut line = 0;
        while line * LINE + AT < len {
            wrong |= frame.read::<1>(line * LINE + AT)[0] ^ (line as u8).wrapping_add(first);
            line += 1;
        }
        if wrong != 0 {
            bail!("frame {sequence} of {len} bytes has wrong content");
        }
        self.sequence += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_source_makes_the_checker_takes() {
        for sizes in SIZES {
            for full in [false, true] {
                let (mut source, mut checker) =
                    (Source::new(sizes, full), Checker::new(sizes, full));
                for _ in 0..300 {
                    checker.check(&source.next()).unwrap();
                }
            }
        }
    }

    #[test]
    fn any_wrong_line_is_found() {
        let sizes = Sizes::All(1500);
        for line in 0..1500usize.div_ceil(64) {
            let mut frame = Source::new(sizes, true).next().to_vec();
            frame[line * 64 + AT] ^= 1;
            assert!(Checker::new(sizes, true).check(&&frame[..]).is_err());
        }
    }

    #[test]
    fn a_frame_out_of_order_or_cut_is_found() {
        let sizes = Sizes::All(64);
        let mut source = Source::new(sizes, false);
        let first = source.next().to_vec();
        let second = source.next().to_vec();
        assert!(Checker::new(sizes, false).check(&&second[..]).is_err());
        assert!(Checker::new(sizes, false).check(&&first[..63]).is_err());
    }
}
