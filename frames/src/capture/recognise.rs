//! What a stream is, by all that the beginning of each format promises.

use super::text::{self, line};
use super::unpack::Packing;
use super::{foreign, framed, hexdump, pcap, pcapng};

/// Lines of text, and bytes of them, that may stand before the first packet.
const LINES: u64 = 64;
const BYTES: usize = 64 << 10;
/// Bytes that tell what a stream looks like which is nothing of ours.
const ENOUGH: usize = 64;

/// What a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Packed(Packing),
    Pcap,
    Pcapng,
    Framed,
    Hex,
    Hexdump,
}

/// Looks at the first bytes; `None` if it takes more of them, of which there are
/// none after `last`.
///
/// # Errors
/// What the stream looks like instead, and the line, if it is text.
pub(super) fn recognise(data: &[u8], last: bool) -> Result<Option<Kind>, (Option<u64>, String)> {
    if data.len() < 4 {
        return if last { Err((None, "too short to be a capture".to_owned())) } else { Ok(None) };
    }
    if let Some(packing) = Packing::of(data) {
        return Ok(Some(Kind::Packed(packing)));
    }
    if pcap::begins(data) {
        return Ok(Some(Kind::Pcap));
    }
    for (begins, kind) in
        [(pcapng::begins(data), Kind::Pcapng), (framed::begins(data), Kind::Framed)]
    {
        match begins {
            Some(true) => return Ok(Some(kind)),
            Some(false) => {}
            None if last => {}
            None => return Ok(None),
        }
    }
    if is_text(&data[..data.len().min(ENOUGH)]) {
        return lines(data, last);
    }
    match data.len() < ENOUGH && !last {
        true => Ok(None),
        false => Err((None, foreign::bytes(data))),
    }
}

/// Whether bytes are text, as far as they go.
fn is_text(bytes: &[u8]) -> bool {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_some() => return false,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    text.chars().all(|char| !char.is_control() || char.is_ascii_whitespace())
}

/// Text is what its first packet is.
fn lines(data: &[u8], last: bool) -> Result<Option<Kind>, (Option<u64>, String)> {
    // Dissected by `tshark -V`, with bits that look like offsets and octets.
    let verbose = data.starts_with(b"Frame ");
    let mut at = 0;
    let mut unknown = None;
    for number in 1..=if verbose { u64::MAX } else { LINES } {
        if at > BYTES {
            break;
        }
        let wrong = |why| (Some(number), why);
        let Some((line, len)) = line(&data[at..], last).map_err(wrong)? else {
            if last {
                break;
            }
            return Ok(None);
        };
        at += len;
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        // Something may be said of a packet before its dump, but not in hex text.
        if unknown.is_none() {
            match text::read(line, &mut Vec::new()) {
                Ok(_) => return Ok(Some(Kind::Hex)),
                Err(why) if text::is_like(line) => unknown = Some(wrong(why)),
                Err(_) => unknown = Some(wrong(foreign::text(line))),
            }
        }
        let begins =
            hexdump::begins(line).or_else(|why| if verbose { Ok(false) } else { Err(why) });
        if begins.map_err(wrong)? {
            return Ok(Some(Kind::Hexdump));
        }
    }
    // Remarks alone are hex text without packets, as grep may leave it.
    unknown.map_or(Ok(Some(Kind::Hex)), Err)
}
