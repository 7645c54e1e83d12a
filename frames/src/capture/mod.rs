//! Packets as byte streams.
//!
//! [`Encoder`] writes packets; [`Decoder`] finds out by itself what a stream is
//! and turns it into frames. Streams come from anywhere: what is wrong with one
//! is an error that names the place, and each packet that becomes no frame is
//! counted by reason ([`Tally`]).
//!
//! Read are pcap (either byte order, micro- or nanoseconds, and what was written
//! under its magic numbers by AIX, Ixia, Nokia, and patched libpcaps), pcapng,
//! frames with a 4-byte little-endian length before each, hex text and hex dumps;
//! all of them compressed with gzip, zstd or lz4, too.
//!
//! Hex text is one packet a line, fields separated by blanks, so that awk, sed,
//! grep and sort work on packets (the layout of EtherPIPE's ASCII mode):
//!
//! ```text
//! 1700000000.123456789 FFFFFFFFFFFF 020000000001 0806 00 01 08 00 06 04 ...
//! time                 destination  source       type payload octets
//! ```
//!
//! Read back, digits may have either case, blanks may be anywhere between the
//! payload's octets, and `#` begins a comment.
//!
//! A hex dump is what text2pcap reads: lines of an offset and octets, an offset of
//! zero at the beginning of each packet, perhaps a time on a line before it.

mod decode;
mod encode;
mod foreign;
mod framed;
mod hexdump;
mod link_name;
mod linktype;
mod pcap;
mod pcapng;
mod recognise;
mod record;
mod tally;
mod text;
mod unpack;

#[cfg(test)]
mod tests;

pub use decode::{CaptureError, Decoder, Place};
pub use encode::{Encoder, Format};
pub use tally::{LeftOut, Tally};

/// Longest packet that is believed, as in libpcap (`MAXIMUM_SNAPLEN`).
pub const MAX_PACKET: usize = 262_144;
