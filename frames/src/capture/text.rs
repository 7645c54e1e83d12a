//! Hex text, one packet a line.

use std::io::Write;
use std::time::Duration;

use crate::ETHERNET_LEN;

/// Appends one line.
pub(super) fn write(time: Duration, packet: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    // A Vec takes all that is written.
    let _ = write!(out, "{}.{:09}", time.as_secs(), time.subsec_nanos());
    for (at, byte) in packet.iter().enumerate() {
        // Six octets of each address and two of the type are one word each.
        if matches!(at, 0 | 6 | 12) || at >= ETHERNET_LEN {
            out.push(b' ');
        }
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
    out.push(b'\n');
}

/// Appends the packet of one line to `out`; `false` for a line without one.
///
/// # Errors
/// What is wrong with the line.
pub(super) fn read(line: &[u8], out: &mut Vec<u8>) -> Result<bool, String> {
    let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    if words.next().is_none() {
        return Ok(false); // the time was the first word
    }
    let from = out.len();
    for word in words {
        let shown = || {
            let shown: String = String::from_utf8_lossy(word).chars().take(16).collect();
            shown.escape_debug().to_string()
        };
        if !word.len().is_multiple_of(2) {
            return Err(format!("`{}` has an odd number of hex digits", shown()));
        }
        for pair in word.chunks_exact(2) {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(format!("`{}` is not made of hex digits", shown()));
            };
            out.push((high << 4 | low) as u8);
        }
    }
    match out.len() - from {
        0..ETHERNET_LEN => {
            Err("a packet needs time, destination, source and type before its payload".to_owned())
        }
        _ => Ok(true),
    }
}
