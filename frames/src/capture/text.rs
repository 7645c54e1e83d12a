//! Hex text, one packet a line.

use std::io::Write;
use std::time::Duration;

use super::MAX_PACKET;
use super::record::Step;
use crate::{ETHERNET_LEN, VNET_LEN};

/// Longest line of text: a packet with its time.
const MAX_LINE: usize = 3 * MAX_PACKET + 256;
/// What a line has before its payload.
const ORDER: &str = "a line is time, destination, source, type, payload";

/// Appends one line.
pub(super) fn write(time: Duration, packet: &[u8], out: &mut Vec<u8>) {
    // A Vec takes all that is written.
    let _ = write!(out, "{}.{:09}", time.as_secs(), time.subsec_nanos());
    for (at, byte) in packet.iter().enumerate() {
        // Six octets of each address and two of the type are one word each.
        if matches!(at, 0 | 6 | 12) || at >= ETHERNET_LEN {
            out.push(b' ');
        }
        write_octet(*byte, out);
    }
    out.push(b'\n');
}

/// Appends two digits.
pub(super) fn write_octet(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

/// The next line, without its end, and how many bytes it takes; `None` if that
/// takes more bytes, of which there are none after `last`.
pub(super) fn line(data: &[u8], last: bool) -> Result<Option<(&[u8], usize)>, String> {
    match data.iter().position(|&byte| byte == b'\n') {
        Some(at) => Ok(Some((&data[..at], at + 1))),
        None if last && !data.is_empty() => Ok(Some((data, data.len()))),
        None if data.len() > MAX_LINE => Err("a line that does not end".to_owned()),
        None => Ok(None),
    }
}

/// The packet of the next line.
pub(super) fn step<'a>(data: &[u8], last: bool, frame: &mut Vec<u8>) -> Result<Step<'a>, String> {
    let Some((line, len)) = line(data, last)? else { return Ok(Step::More) };
    frame.extend_from_slice(&[0; VNET_LEN]);
    match read(line, frame)? {
        None => Ok(Step::Skip(len as u64)),
        Some(_) if frame.len() > VNET_LEN + MAX_PACKET => {
            Err(format!("a packet of {} bytes", frame.len() - VNET_LEN))
        }
        Some(time) => Ok(Step::Frame(len, time)),
    }
}

/// Appends the packet of one line to `out`, and returns its time; `None` for a
/// line without a packet.
///
/// # Errors
/// What is wrong with the line.
pub(super) fn read(line: &[u8], out: &mut Vec<u8>) -> Result<Option<Option<Duration>>, String> {
    let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).peekable();
    let Some(first) = words.next() else { return Ok(None) };
    let Some(time) = time(first) else {
        return Err(format!("`{}` is no time, in seconds or 0: {ORDER}", shown(first)));
    };
    let mut head = |what: &str, digits: usize, word: Option<&[u8]>| match word {
        Some(word) if word.len() != digits && word.iter().all(u8::is_ascii_hexdigit) => {
            Err(format!("`{}` is no {what} of {digits} hex digits: {ORDER}", shown(word)))
        }
        Some(word) => octets(word, out),
        None => Err(format!("no {what}: {ORDER}")),
    };
    head("destination", 12, words.next())?;
    head("source", 12, words.next())?;
    // What is left where a filter took a tag out: its type was two octets of payload.
    let is_octet = |word: &&[u8]| word.len() == 2;
    match words.next_if(is_octet) {
        Some(first) if words.peek().is_some_and(is_octet) => octets(first, out)?,
        first => head("type", 4, first.or_else(|| words.next()))?,
    }
    for word in words {
        octets(word, out)?;
    }
    Ok(Some(time))
}

/// Whether a line is more hex digits than anything else.
pub(super) fn is_like(line: &[u8]) -> bool {
    let words = || line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let hex = words().filter(|word| word.iter().all(u8::is_ascii_hexdigit)).count();
    words().count() > 2 && hex * 2 > words().count()
}

/// What to show of a word to people.
pub(super) fn shown(word: &[u8]) -> String {
    let shown: String = String::from_utf8_lossy(word).chars().take(16).collect();
    shown.escape_debug().to_string()
}

/// Appends what a word of hex digits stands for.
pub(super) fn octets(word: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    if !word.len().is_multiple_of(2) {
        return Err(format!("`{}` has an odd number of hex digits", shown(word)));
    }
    for pair in word.chunks_exact(2) {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return Err(format!("`{}` is not made of hex digits", shown(word)));
        };
        out.push((high << 4 | low) as u8);
    }
    Ok(())
}

/// The time since 1970 that a word tells; the inner `None` for 0 and EtherPIPE's
/// counter of 16 hex digits, the outer for what is no time.
#[expect(clippy::option_option, reason = "a time that tells nothing is not the same as none")]
pub(super) fn time(word: &[u8]) -> Option<Option<Duration>> {
    let text = std::str::from_utf8(word).ok()?;
    match word.len() {
        16 if word.iter().all(u8::is_ascii_hexdigit) => return Some(None),
        // An address, whose line has lost its time.
        12 if word.iter().all(u8::is_ascii_hexdigit) => return None,
        _ => {}
    }
    let (seconds, part) = text.split_once('.').unwrap_or((text, ""));
    let is_decimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !seconds.is_empty() && is_decimal(seconds) && is_decimal(part) {
        // Digits beyond nanoseconds do not matter.
        let nanoseconds = format!("{:0<9.9}", part).parse().ok()?;
        let time = Duration::new(seconds.parse().ok()?, nanoseconds);
        return Some(Some(time).filter(|time| !time.is_zero()));
    }
    // As awk prints large numbers.
    let seconds = text.parse::<f64>().ok().filter(|_| word[0].is_ascii_digit())?;
    Duration::try_from_secs_f64(seconds).ok().map(Some)
}
