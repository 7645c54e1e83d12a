//! What client and server say to each other before and after the bytes that are measured.
//!
//! Fixed-size little-endian messages. Each is copied out of the stream, checked field by
//! field and only then used; neither side believes the other.
//!
//! ```text
//! client -> server   Request  magic[8] version:u16 mode:u8 0:u8 size:u32 duration_ms:u64
//! server -> client   Reply    magic[8] version:u16 kind:u8 0[5] received:u64 elapsed_ns:u64
//! ```
//!
//! The server answers a valid request by `Accepted` and any other by closing, after a
//! `Refused` if only the version differs, so that the client can name both versions. Then:
//!
//! * stream: the client writes and half-closes; the server answers with `Done`. Where bytes
//!   still arrive when the time is over, a `Progress` each second says that it is alive.
//! * rr: `size` bytes each way, in turns, until the client half-closes.

use std::fmt;
use std::time::Duration;

/// First bytes of every message.
pub const MAGIC: [u8; 8] = *b"STDPKTPF";
/// Version of the messages and of what they mean.
pub const VERSION: u16 = 1;
/// Largest write or message, in bytes.
pub const MAX_SIZE: u32 = 16 << 20;
/// Longest measurement.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);
/// Encoded size of a [`Request`].
pub const REQUEST_LEN: usize = 24;
/// Encoded size of a [`Reply`].
pub const REPLY_LEN: usize = 32;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Mode {
    /// Bytes per second from client to server.
    #[serde(rename = "stream")]
    Stream,
    /// Round trips of a request and a response of the same size.
    #[serde(rename = "rr")]
    RequestResponse,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Mode::Stream => "stream",
            Mode::RequestResponse => "rr",
        })
    }
}

/// Why a message of the other side is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoMessage {
    /// Something else talks on that port.
    #[error("not a stdpkt perf message")]
    Magic,
    /// The other side is of another release.
    #[error("it speaks version {0} and this stdpkt speaks version {VERSION}")]
    Version(u16),
    /// Unknown mode.
    #[error("unknown mode {0}")]
    Mode(u8),
    /// Size of zero or beyond [`MAX_SIZE`].
    #[error("size of {0} bytes is not in 1 to {MAX_SIZE}")]
    Size(u32),
    /// Duration of zero or beyond [`MAX_DURATION`].
    #[error("duration of {0} ms is not in 1 to {max}", max = MAX_DURATION.as_millis())]
    Duration(u64),
    /// Unknown kind of reply.
    #[error("unknown reply {0}")]
    Kind(u8),
    /// A byte that this version keeps at zero is not.
    #[error("reserved bytes are not zero")]
    Reserved,
}

/// What a client asks for. Exists only with valid values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    mode: Mode,
    /// In 1 to `MAX_SIZE`.
    size: u32,
    /// In 1 to `MAX_DURATION`.
    duration_ms: u64,
}

impl Request {
    /// A request with these values, if they are within the limits.
    pub fn new(mode: Mode, size: u32, duration: Duration) -> Result<Self, NoMessage> {
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self::checked(mode, size, ms)
    }

    fn checked(mode: Mode, size: u32, duration_ms: u64) -> Result<Self, NoMessage> {
        if size == 0 || size > MAX_SIZE {
            return Err(NoMessage::Size(size));
        }
        if duration_ms == 0 || u128::from(duration_ms) > MAX_DURATION.as_millis() {
            return Err(NoMessage::Duration(duration_ms));
        }
        Ok(Self { mode, size, duration_ms })
    }

    /// What is measured.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Bytes of each write or message.
    pub fn size(&self) -> usize {
        self.size as usize
    }

    /// How long the client will go on.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }

    /// The message.
    pub fn encode(&self) -> [u8; REQUEST_LEN] {
        let mut out = [0; REQUEST_LEN];
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[10] = match self.mode {
            Mode::Stream => 1,
            Mode::RequestResponse => 2,
        };
        out[12..16].copy_from_slice(&self.size.to_le_bytes());
        out[16..].copy_from_slice(&self.duration_ms.to_le_bytes());
        out
    }

    /// Checks every field of a message that anyone may have sent.
    pub fn decode(bytes: &[u8; REQUEST_LEN]) -> Result<Self, NoMessage> {
        check_prefix(bytes)?;
        let mode = match bytes[10] {
            1 => Mode::Stream,
            2 => Mode::RequestResponse,
            other => return Err(NoMessage::Mode(other)),
        };
        if bytes[11] != 0 {
            return Err(NoMessage::Reserved);
        }
        Self::checked(
            mode,
            u32::from_le_bytes(take(bytes, 12)),
            u64::from_le_bytes(take(bytes, 16)),
        )
    }
}

/// What a [`Reply`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not with this version.
    Refused = 0,
    /// Begin.
    Accepted = 1,
    /// Bytes still arrive.
    Progress = 2,
    /// End of stream seen; the numbers are final.
    Done = 3,
}

/// What the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// What it says.
    pub kind: Kind,
    /// Bytes received so far.
    pub received: u64,
    /// Nanoseconds on the server's clock since it accepted.
    pub elapsed_ns: u64,
}

impl Reply {
    /// A reply with the totals so far.
    pub fn new(kind: Kind, received: u64, elapsed: Duration) -> Self {
        let elapsed_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        Self { kind, received, elapsed_ns }
    }

    /// The message.
    pub fn encode(&self) -> [u8; REPLY_LEN] {
        let mut out = [0; REPLY_LEN];
        out[..8].copy_from_slice(&MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[10] = self.kind as u8;
        out[16..24].copy_from_slice(&self.received.to_le_bytes());
        out[24..].copy_from_slice(&self.elapsed_ns.to_le_bytes());
        out
    }

    /// Checks every field but the numbers, which only the client can judge.
    pub fn decode(bytes: &[u8; REPLY_LEN]) -> Result<Self, NoMessage> {
        check_prefix(bytes)?;
        let kind = match bytes[10] {
            0 => Kind::Refused,
            1 => Kind::Accepted,
            2 => Kind::Progress,
            3 => Kind::Done,
            other => return Err(NoMessage::Kind(other)),
        };
        if bytes[11..16] != [0; 5] {
            return Err(NoMessage::Reserved);
        }
        Ok(Self {
            kind,
            received: u64::from_le_bytes(take(bytes, 16)),
            elapsed_ns: u64::from_le_bytes(take(bytes, 24)),
        })
    }
}

fn check_prefix(bytes: &[u8]) -> Result<(), NoMessage> {
    if bytes[..8] != MAGIC {
        return Err(NoMessage::Magic);
    }
    match u16::from_le_bytes(take(bytes, 8)) {
        VERSION => Ok(()),
        other => Err(NoMessage::Version(other)),
    }
}

/// `N` bytes from a constant offset inside a fixed-size message.
fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests;
