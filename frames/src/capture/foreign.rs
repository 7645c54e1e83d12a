//! Names for what is no capture that can be read, and what helps.

use super::text::shown;
use crate::{ETHERNET_LEN, VNET_LEN, VnetHeader};

/// Captures of other programs, by their first bytes.
const CAPTURES: [(&[u8], &str); 20] = [
    (b"snoop\0\0\0", "snoop"),
    (b"btsnoop\0", "btsnoop"),
    (b"RTSS", "Network Monitor 1"),
    (b"GMBU", "Network Monitor 2"),
    (b"TRSNIFF data", "Sniffer"),
    (b"XCP\0", "Sniffer for Windows"),
    (b"\x05VNF", "Visual Networks"),
    (b"\xaa\xaa\xaa\xaa", "5View"),
    (b"iptrace 1.0", "iptrace"),
    (b"iptrace 2.0", "iptrace"),
    (b"TR\0d", "nettl"),
    (b"ObserverPktBuffer", "Observer"),
    (b"\x01\x10\x4c\0", "LANalyzer"),
    (b"\0\0\x02\0\x12\x05\0\x10", "K12"),
    (b"+---------+---------------+", "K12 text"),
    (b"EyeSDN", "EyeSDN"),
    (b"Session Transcript", "DCT2000"),
    (b"NetScaler", "NetScaler"),
    (b"\x7fver\0EtherPeek", "EtherPeek"),
    (b"\x93NUMPY", "NumPy"),
];

/// Compressed files, and what unpacks them.
const PACKED: [(&[u8], &str, &str); 5] = [
    (b"\xfd7zXZ\0", "xz", "xz -dc"),
    (b"BZh", "bzip2", "bzip2 -dc"),
    (b"\x1f\x9d", "compress", "gzip -dc"),
    (b"LZIP", "lzip", "lzip -dc"),
    (b"PK\x03\x04", "zip", "unzip -p"),
];

/// What the first bytes look like that are nothing of what can be read.
pub(super) fn bytes(data: &[u8]) -> String {
    if let Some(capture) = capture(data) {
        return capture;
    }
    for (magic, name, command) in PACKED {
        if data.starts_with(magic) {
            return format!("compressed with {name}: put `{command} FILE |` before this command");
        }
    }
    if let Some(stream) = stream(data) {
        return stream.to_owned();
    }
    let first: Vec<String> = data.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!(
        "begins with {}, which is none of pcap, pcapng, hex text, a hex dump and frames with a \
         length; if Wireshark knows it, put `editcap -F pcapng FILE - |` before this command",
        first.join(" ")
    )
}

/// A capture of another program.
fn capture(data: &[u8]) -> Option<String> {
    let known = CAPTURES.into_iter().find(|(magic, _)| data.starts_with(magic));
    let name = known.map(|(_, name)| name).or_else(|| is_commview(data).then_some("CommView"))?;
    // Those that tell of each packet what it is have to be told that it is Ethernet.
    let link = if ["K12 text", "nettl", "CommView"].contains(&name) { "-T ether " } else { "" };
    Some(format!("a capture of {name}: put `editcap {link}-F pcapng FILE - |` before this command"))
}

/// Whether there is a date where CommView has it, in either of its formats.
fn is_commview(data: &[u8]) -> bool {
    let date = match data {
        [_, _, _, _, 0, date @ ..] | [_, _, 0, 0, date @ ..] => date,
        _ => return false,
    };
    matches!(date, [low, high, 1..=12, 1..=31, 0..=23, 0..=59, 0..=59, ..]
        if (1970..2100).contains(&u16::from_le_bytes([*low, *high])))
}

/// Frames as other programs pass them on.
fn stream(data: &[u8]) -> Option<&'static str> {
    let after = |at: usize| data.get(at..).is_some_and(is_ethernet);
    let len = |bytes: &[u8]| bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
    let is_len = |bytes: usize| {
        data.get(..bytes).is_some_and(|bytes| (ETHERNET_LEN..=65_549).contains(&len(bytes)))
    };
    if is_len(4) && after(4) {
        return Some(
            "frames with a length of four bytes, big-endian, as of QEMU's -netdev stream and passt: \
             write `stdpkt join qemu -- CMD |` for `CMD |`, or qemu where a format is named",
        );
    }
    if is_len(2) && after(2) {
        return Some(
            "frames with a length of two bytes, as of vde_plug: \
             write `stdpkt join vde -- CMD |` for `CMD |`, or vde where a format is named",
        );
    }
    if after(0) {
        return Some(
            "an Ethernet frame with nothing before it, as a TAP gives it, so that nobody can tell \
             where the next begins: let `tcpdump -i TAP -U -w -` read the TAP",
        );
    }
    let has_vnet = |len| {
        let header = data.get(..len).is_some_and(|header| {
            let mut whole = [0; VNET_LEN];
            whole[..len].copy_from_slice(header);
            VnetHeader::parse(&whole).fits(data.len() - len)
        });
        header && after(len)
    };
    if has_vnet(VNET_LEN) || has_vnet(VNET_LEN - 2) {
        return Some(
            "a frame with a virtio-net header and no length before it, as a TAP gives it, so that \
             nobody can tell where the next begins: let `tcpdump -i TAP -U -w -` read the TAP",
        );
    }
    let is_ip = |packet: &[u8]| matches!(packet, [0x45..=0x4f, 0 | 4 | 8 | 16.., ..]);
    if is_ip(data) || matches!(data, [0, 0, 8, 0, 0x45, ..] | [0, 0, 0x86, 0xdd, 0x60, ..]) {
        return Some(
            "an IP packet with nothing before it, as a TUN gives it, so that nobody can tell \
             where the next begins: let `tcpdump -i TUN -U -w -` read the TUN",
        );
    }
    None
}

/// Whether this looks like Ethernet with something that is well known in it.
fn is_ethernet(frame: &[u8]) -> bool {
    let Some(rest) = frame.get(12..) else { return false };
    match rest {
        [0x08, 0x00, first, ..] => first >> 4 == 4,
        [0x86, 0xdd, first, ..] => first >> 4 == 6,
        [0x08, 0x06, 0x00, 0x01, ..] | [0x81, 0x00, ..] | [0x88, 0xa8 | 0xcc, ..] => true,
        _ => false,
    }
}

/// What text looks like that is neither hex text nor a dump, by a line of it.
pub(super) fn text(line: &[u8]) -> String {
    if let Some(capture) = capture(line) {
        return capture;
    }
    let is_time =
        |word: &[u8]| word.len() >= 8 && word.get(2) == Some(&b':') && word.get(5) == Some(&b':');
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    if is_time(first) && words.next().is_some() {
        return "text of tcpdump: let it write packets, with `-U -w -` or `-xx`".to_owned();
    }
    let shown = shown(line);
    format!(
        "begins with `{shown}`, which is neither hex text (time, destination, source, type, \
         payload) nor a hex dump (offset, octets)"
    )
}
