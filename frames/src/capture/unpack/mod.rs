//! Compressed captures, unpacked as they come and never further than is asked for:
//! a small file may hold a very large one.

mod gzip;
mod lz4;
mod zstd;

use gzip::Gzip;
use lz4::Lz4;
use zstd::Zstd;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
    Lz4,
}

impl Packing {
    /// What the first bytes of a stream say.
    pub fn of(data: &[u8]) -> Option<Packing> {
        match data {
            [0x1f, 0x8b, 0x08, ..] => Some(Packing::Gzip),
            // A frame, or one to be skipped, as parallel compressors put first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Some(Packing::Zstd)
            }
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Packing::Lz4),
            _ => None,
        }
    }
}

/// Takes compressed bytes and gives what they stand for.
#[derive(Debug)]
pub(super) struct Unpacker {
    /// `begin..` is not yet unpacked.
    packed: Vec<u8>,
    begin: usize,
    how: How,
}

#[derive(Debug)]
enum How {
    Gzip(Box<Gzip>),
    Zstd(Box<Zstd>),
    Lz4(Box<Lz4>),
}

impl How {
    /// Whether the stream may end here.
    fn is_between(&mut self) -> bool {
        match self {
            How::Gzip(gzip) => gzip.is_between(),
            How::Zstd(zstd) => zstd.is_between(),
            How::Lz4(lz4) => lz4.is_between(),
        }
    }
}

/// What a step came to.
enum Step {
    /// More bytes are needed.
    More,
    /// So many bytes were dealt with.
    Done(usize),
}

impl Unpacker {
    pub fn new(packing: Packing) -> Unpacker {
        let how = match packing {
            Packing::Gzip => How::Gzip(Box::default()),
            Packing::Zstd => How::Zstd(Box::default()),
            Packing::Lz4 => How::Lz4(Box::default()),
        };
        Unpacker { packed: Vec::new(), begin: 0, how }
    }

    /// The next compressed bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.packed.drain(..self.begin);
        self.begin = 0;
        self.packed.extend_from_slice(bytes);
    }

    /// Whether everything that was pushed is unpacked.
    pub fn is_empty(&self) -> bool {
        self.begin == self.packed.len()
    }

    /// Appends the next piece, which may be empty; `false` when it takes more
    /// bytes, of which there are none after `last`.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn unpack(&mut self, last: bool, out: &mut Vec<u8>) -> Result<bool, String> {
        let data = &self.packed[self.begin..];
        let (name, step) = match &mut self.how {
            How::Gzip(gzip) => ("gzip", gzip.step(data, out)),
            How::Zstd(zstd) => ("zstd", zstd.step(data, last, out)),
            How::Lz4(lz4) => ("lz4", lz4.step(data, out)),
        };
        match step {
            Ok(Step::Done(len)) => {
                self.begin += len;
                Ok(true)
            }
            Ok(Step::More) if last && !(data.is_empty() && self.how.is_between()) => {
                Err(format!("the {name} is cut or broken"))
            }
            Ok(Step::More) => Ok(false),
            Err(why) => Err(format!("broken {name}: {why}")),
        }
    }
}
