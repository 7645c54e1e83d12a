//! gzip (RFC 1952), one member after the other.

use std::io::Write;

use flate2::write::MultiGzDecoder;

use super::Step;

/// Bytes taken at once. Deflate makes up to 1032 bytes of one.
const CHUNK: usize = 1 << 10;

#[derive(Debug)]
pub(super) struct Gzip {
    decoder: MultiGzDecoder<Vec<u8>>,
}

impl Default for Gzip {
    fn default() -> Gzip {
        Gzip { decoder: MultiGzDecoder::new(Vec::new()) }
    }
}

impl Gzip {
    pub fn step(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<Step, String> {
        if data.is_empty() {
            return Ok(Step::More);
        }
        let chunk = &data[..data.len().min(CHUNK)];
        let written = self.decoder.write_all(chunk).and_then(|()| self.decoder.flush());
        written.map_err(|error| error.to_string())?;
        out.append(self.decoder.get_mut());
        Ok(Step::Done(chunk.len()))
    }

    /// Whether a member is complete, and its check sum right. Nothing may follow.
    pub fn is_between(&mut self) -> bool {
        self.decoder.try_finish().is_ok()
    }
}
