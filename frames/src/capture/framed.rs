//! Frames with their length before each, as they cross `--channel fifo`.

use super::record::Step;
use super::tally::LeftOut;
use crate::{Framing, VNET_LEN, VnetHeader};

/// Whether a stream begins with a length and a virtio-net header that are what
/// they can be; `None` if that takes more bytes.
pub(super) fn begins(data: &[u8]) -> Option<bool> {
    let (len, rest) = data.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    if !Framing::Frames.lengths().contains(&len) {
        return Some(false);
    }
    Some(VnetHeader::parse(rest.first_chunk()?).fits(len - VNET_LEN))
}

/// The next frame.
pub(super) fn step<'a>(data: &[u8], frame: &mut Vec<u8>) -> Result<Step<'a>, String> {
    let Some((len, rest)) = data.split_first_chunk::<4>() else { return Ok(Step::More) };
    let len = u32::from_le_bytes(*len) as usize;
    if !Framing::Frames.lengths().contains(&len) {
        return Err(format!("a frame of {len} bytes"));
    }
    let Some(bytes) = rest.get(..len) else { return Ok(Step::More) };
    let Some((header, packet)) = bytes.split_first_chunk() else { return Ok(Step::More) };
    if !VnetHeader::parse(header).fits(packet.len()) {
        return Ok(Step::LeftOut(4 + len as u64, LeftOut::Malformed));
    }
    frame.extend_from_slice(bytes);
    Ok(Step::Frame(4 + len, None))
}
