//! LZ4 frames (version 1.6.2 of their description), one after the other.

use std::hash::Hasher;

use twox_hash::XxHash32;

use super::Step;

const MAGIC: u32 = 0x184d_2204;
/// The first of sixteen magic numbers of frames to be skipped.
const SKIP: u32 = 0x184d_2a50;
/// Bytes that a block may look back at.
const BACK: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Lz4 {
    frame: Option<Frame>,
    /// Bytes of a frame to be skipped that are still to come.
    skip: usize,
    /// What the last block came to, and what it may be referred to by.
    block: Vec<u8>,
    back: Vec<u8>,
}

/// What the header of a frame says.
#[derive(Debug)]
struct Frame {
    /// Blocks do not look back at each other.
    independent: bool,
    block_sums: bool,
    /// The check sum so far, if there is one at the end.
    sum: Option<XxHash32>,
    /// Bytes of the largest block.
    largest: usize,
}

impl Lz4 {
    pub fn step(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<Step, String> {
        if self.skip > 0 && !data.is_empty() {
            let len = self.skip.min(data.len());
            self.skip -= len;
            return Ok(Step::Done(len));
        }
        match self.frame.take() {
            None => self.header(data),
            Some(frame) => self.next_block(frame, data, out),
        }
    }

    fn header(&mut self, data: &[u8]) -> Result<Step, String> {
        let (Some(magic), Some(&[flags, sizes])) =
            (word(data, 0), data.get(4..).and_then(<[u8]>::first_chunk))
        else {
            return Ok(Step::More);
        };
        if magic & !15 == SKIP {
            let Some(len) = word(data, 4) else { return Ok(Step::More) };
            self.skip = len as usize;
            return Ok(Step::Done(8));
        }
        if magic != MAGIC || flags >> 6 != 1 {
            return Err("no frame of version 1".to_owned());
        }
        let has = |bit: u8| flags >> bit & 1 == 1;
        if has(0) {
            return Err("it needs a dictionary".to_owned());
        }
        // Flags, sizes, perhaps the size of the content, and a byte of check sum.
        let sum_at = 6 + if has(3) { 8 } else { 0 };
        let Some(sum) = data.get(sum_at) else { return Ok(Step::More) };
        if XxHash32::oneshot(0, &data[4..sum_at]) >> 8 & 0xff != u32::from(*sum) {
            return Err("the check sum of its header is wrong".to_owned());
        }
        let largest = match sizes >> 4 & 7 {
            size @ 4..=7 => 1 << (8 + 2 * size),
            _ => return Err("blocks of an unknown size".to_owned()),
        };
        self.back.clear();
        self.frame = Some(Frame {
            independent: has(5),
            block_sums: has(4),
            sum: has(2).then(|| XxHash32::with_seed(0)),
            largest,
        });
        Ok(Step::Done(sum_at + 1))
    }

    fn next_block(
        &mut self,
        mut frame: Frame,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Step, String> {
        let more = |lz4: &mut Lz4, frame| {
            lz4.frame = Some(frame);
            Ok(Step::More)
        };
        let Some(size) = word(data, 0) else { return more(self, frame) };
        if size == 0 {
            let Some(sum) = &frame.sum else { return Ok(Step::Done(4)) };
            let Some(told) = word(data, 4) else { return more(self, frame) };
            return match u64::from(told) == sum.finish() {
                true => Ok(Step::Done(8)),
                false => Err("its check sum is wrong".to_owned()),
            };
        }
        let (is_plain, len) = (size >> 31 == 1, (size & 0x7fff_ffff) as usize);
        if len > frame.largest {
            return Err(format!("a block of {len} bytes"));
        }
        let end = 4 + len + if frame.block_sums { 4 } else { 0 };
        let (Some(packed), true) = (data.get(4..4 + len), data.len() >= end) else {
            return more(self, frame);
        };
        if frame.block_sums && word(data, 4 + len) != Some(XxHash32::oneshot(0, packed)) {
            return Err("the check sum of a block is wrong".to_owned());
        }
        self.unpack(&frame, packed, is_plain)?;
        if let Some(sum) = &mut frame.sum {
            sum.write(&self.block);
        }
        out.extend_from_slice(&self.block);
        self.frame = Some(frame);
        Ok(Step::Done(end))
    }

    fn unpack(&mut self, frame: &Frame, packed: &[u8], is_plain: bool) -> Result<(), String> {
        if is_plain {
            self.block.clear();
            self.block.extend_from_slice(packed);
        } else {
            self.block.resize(frame.largest, 0);
            let back: &[u8] = if frame.independent { &[] } else { &self.back };
            let len = lz4_flex::block::decompress_into_with_dict(packed, &mut self.block, back);
            self.block.truncate(len.map_err(|error| error.to_string())?);
        }
        if !frame.independent {
            self.back.extend_from_slice(&self.block);
            let excess = self.back.len().saturating_sub(BACK);
            self.back.drain(..excess);
        }
        Ok(())
    }

    /// Whether a frame is complete.
    pub fn is_between(&self) -> bool {
        self.frame.is_none() && self.skip == 0
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}
