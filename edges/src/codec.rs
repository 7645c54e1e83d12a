//! Frames as a program's or socket's bytes, and back.

use frames::{FEATURES, Framing, Unframer, VNET_LEN};
use shmring::{Bytes, BytesMut};

/// One stream's way of writing frames, and what has come of it so far.
pub(crate) struct Codec {
    framing: Framing,
    unframer: Unframer,
}

impl Codec {
    /// At the beginning of both directions.
    pub fn new(framing: Framing) -> Codec {
        Codec { framing, unframer: Unframer::new(framing) }
    }

    /// Virtio-net features of frames that it can write.
    pub fn features(framing: Framing) -> u64 {
        if framing.has_vnet() { FEATURES } else { 0 }
    }

    /// Room for bytes that come in; never empty after [`Codec::read`] has found no frame.
    pub fn room(&mut self) -> &mut [u8] {
        self.unframer.room()
    }

    /// So many bytes came.
    pub fn filled(&mut self, len: usize) {
        self.unframer.filled(len);
    }

    /// Whether [`Codec::read`] has a frame.
    pub fn has_frame(&self) -> bool {
        self.unframer.has_frame()
    }

    /// Copies the next frame, with a virtio-net header, into `room`; its length.
    ///
    /// # Errors
    /// What is wrong with the stream, and where.
    pub fn read(&mut self, room: &mut BytesMut<'_>) -> Result<Option<usize>, String> {
        let Some(frame) = self.unframer.next().map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let mut at = 0;
        if !self.framing.has_vnet() {
            at = room.copy_from(0, &[0; VNET_LEN]); // it asks for nothing
        }
        Ok(Some(at + room.copy_from(at, frame)))
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// What is missing.
    pub fn finish(&self) -> Result<(), String> {
        self.unframer.finish().map_err(|error| error.to_string())
    }

    /// Appends a frame to what goes out; `false` for one that has no form there.
    pub fn write(&self, frame: Bytes<'_>, out: &mut Vec<u8>) -> bool {
        let skip = if self.framing.has_vnet() { 0 } else { VNET_LEN };
        let Some(len) = frame.len().checked_sub(skip) else { return false };
        if !self.framing.lengths().contains(&len) {
            return false;
        }
        out.extend_from_slice(&self.framing.prefix_of(len)[..self.framing.prefix()]);
        let begin = out.len();
        out.resize(begin + len, 0);
        frame.copy_to(skip, &mut out[begin..]);
        true
    }
}
