//! Zstandard (RFC 8878), one frame after the other.
//!
//! The decoder gives out what it no longer needs to look back at, and the rest at
//! the end of a frame. How far it looks back is limited to 128 MiB, as in zstd(1).

use std::fmt;

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::Step;

/// The longest header of a frame, in bytes.
const HEADER: usize = 18;
/// A block's header.
const BLOCK: usize = 3;
/// A check sum, which may follow the last block.
const SUM: usize = 4;

#[derive(Default)]
pub(super) struct Zstd {
    decoder: FrameDecoder,
    in_frame: bool,
    /// Bytes of a frame to be skipped that are still to come.
    skip: usize,
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd").field("in_frame", &self.in_frame).finish_non_exhaustive()
    }
}

impl Zstd {
    pub fn step(&mut self, data: &[u8], last: bool, out: &mut Vec<u8>) -> Result<Step, String> {
        if self.skip > 0 && !data.is_empty() {
            let len = self.skip.min(data.len());
            self.skip -= len;
            return Ok(Step::Done(len));
        }
        match self.in_frame {
            false => self.header(data, last),
            true => self.block(data, last, out),
        }
    }

    fn header(&mut self, data: &[u8], last: bool) -> Result<Step, String> {
        if data.is_empty() || data.len() < HEADER && !last {
            return Ok(Step::More);
        }
        let mut rest = data;
        match self.decoder.reset(&mut rest) {
            Ok(()) => self.in_frame = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => self.skip = length as usize,
            Err(error) => return Err(error.to_string()),
        }
        Ok(Step::Done(data.len() - rest.len()))
    }

    fn block(&mut self, data: &[u8], last: bool, out: &mut Vec<u8>) -> Result<Step, String> {
        let Some(header) = data.first_chunk::<BLOCK>() else { return Ok(Step::More) };
        let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        // The second type is one byte, many times.
        let len = if header >> 1 & 3 == 1 { 1 } else { header as usize >> 3 };
        let end = BLOCK + len + if header & 1 == 1 { SUM } else { 0 };
        if data.len() < end && !(last && data.len() >= BLOCK + len) {
            return Ok(Step::More);
        }
        let mut rest = data;
        let one = BlockDecodingStrategy::UptoBlocks(1);
        self.decoder.decode_blocks(&mut rest, one).map_err(|error| error.to_string())?;
        self.decoder.collect_to_writer(&mut *out).map_err(|error| error.to_string())?;
        if self.decoder.is_finished() {
            self.in_frame = false;
            let sums =
                (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum());
            if let (Some(told), Some(found)) = sums
                && told != found
            {
                return Err("its check sum is wrong".to_owned());
            }
        }
        Ok(Step::Done(data.len() - rest.len()))
    }

    /// Whether a frame is complete.
    pub fn is_between(&self) -> bool {
        !self.in_frame && self.skip == 0
    }
}
