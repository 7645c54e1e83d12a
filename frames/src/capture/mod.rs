//! Packets as byte streams: pcap, pcapng, hex text, and frames with a length.
//!
//! [`Encoder`] writes packets; [`Decoder`] finds out by itself what a stream is
//! and turns it into frames. Streams come from anywhere: what is wrong with one
//! is an error that names the place.
//!
//! Hex text is one packet a line, fields separated by blanks, so that awk, sed,
//! grep and sort work on packets (the layout of EtherPIPE's ASCII mode):
//!
//! ```text
//! 1700000000.123456789 FFFFFFFFFFFF 020000000001 0806 00 01 08 00 06 04 ...
//! time                 destination  source       type payload octets
//! ```
//!
//! Read back, the time is skipped whatever it looks like, digits may have either
//! case, and `#` begins a comment.

mod decode;
mod encode;
mod text;

#[cfg(test)]
mod tests;

pub use decode::{CaptureError, Decoder, Place};
pub use encode::{Encoder, Format};

/// Longest packet that is believed, as in libpcap (`MAXIMUM_SNAPLEN`).
pub const MAX_PACKET: usize = 262_144;

/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;
