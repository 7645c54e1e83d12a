mod links;
mod packed;
mod pcap;
mod pcapng;
mod text;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::VNET_LEN;

const FORMATS: [Format; 5] = [
    Format::Pcap,
    Format::Pcapng,
    Format::Hex,
    Format::Hexdump { time: false },
    Format::Hexdump { time: true },
];
const TIME: Duration = Duration::new(1_700_000_000, 123_456_789);

fn packets() -> Vec<Vec<u8>> {
    [14usize, 15, 60, 1514, 9000].map(|len| (0..len).map(|n| (n * 7) as u8).collect()).to_vec()
}

fn encode(format: Format, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder(format).begin(&mut out);
    packets.iter().for_each(|packet| Encoder(format).packet(TIME, packet, &mut out));
    out
}

/// What a stream came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Decoded {
    packets: Vec<Vec<u8>>,
    times: Vec<Option<Duration>>,
    tally: Tally,
}

/// Decodes a stream that arrives in pieces of `piece` bytes.
fn read(bytes: &[u8], piece: usize) -> Result<Decoded, CaptureError> {
    let mut decoder = Decoder::new("x");
    let mut all = Decoded::default();
    let mut frame = Vec::new();
    let mut drain = |decoder: &mut Decoder| {
        while decoder.next(&mut frame)? {
            assert_eq!(frame[..VNET_LEN], [0; VNET_LEN]);
            all.packets.push(frame[VNET_LEN..].to_vec());
            all.times.push(decoder.time());
        }
        Ok(())
    };
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        drain(&mut decoder)?;
    }
    decoder.end();
    drain(&mut decoder)?;
    assert!(decoder.is_empty());
    all.tally = decoder.tally().clone();
    Ok(all)
}

/// The packets of a stream that loses none of them.
fn decode(bytes: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, CaptureError> {
    let all = read(bytes, piece)?;
    assert!(all.tally.is_whole(), "{}", all.tally);
    Ok(all.packets)
}

/// The line about packets that were left out.
fn left_out(bytes: &[u8]) -> String {
    let all = read(bytes, 1000).expect("a stream without mistakes");
    assert_eq!(all.tally.taken() as usize, all.packets.len());
    all.tally.to_string()
}

fn error(bytes: &[u8]) -> String {
    let error = read(bytes, 100).expect_err("no error").to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn what_is_written_is_read() {
    for format in FORMATS {
        for piece in [1, 3, 1000, 100_000] {
            assert_eq!(decode(&encode(format, &packets()), piece), Ok(packets()), "{format:?}");
        }
    }
}

#[test]
fn times_are_kept_as_far_as_the_format_has_them() {
    let nanoseconds = |format| match format {
        Format::Pcap => Some(Duration::new(TIME.as_secs(), 123_456_000)),
        Format::Hexdump { time: false } => None,
        _ => Some(TIME),
    };
    for format in FORMATS {
        let all = read(&encode(format, &packets()), 1000).unwrap();
        assert!(all.times.iter().all(|time| *time == nanoseconds(format)), "{format:?} {all:?}");
    }
}

#[test]
fn frames_with_a_length_keep_their_header() {
    let mut bytes = Vec::new();
    for packet in packets() {
        bytes.extend_from_slice(&((packet.len() + VNET_LEN) as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; VNET_LEN]);
        bytes.extend_from_slice(&packet);
    }
    assert_eq!(decode(&bytes, 7), Ok(packets()));
    bytes.extend_from_slice(&5u32.to_le_bytes());
    assert!(error(&bytes).contains("a frame of 5 bytes"));
}

#[test]
fn captures_may_follow_each_other() {
    let all = [Format::Pcap, Format::Pcapng, Format::Pcap].map(|f| encode(f, &packets())).concat();
    assert_eq!(decode(&all, 11), Ok([packets(), packets(), packets()].concat()));
    let twice = [encode(Format::Pcapng, &packets()), encode(Format::Pcapng, &packets())].concat();
    assert_eq!(decode(&twice, 11), Ok([packets(), packets()].concat()));
}

#[test]
fn the_end_must_not_come_in_the_middle() {
    for format in [Format::Pcap, Format::Pcapng] {
        let whole = encode(format, &packets());
        assert!(error(&whole[..whole.len() - 1]).contains("ends in the middle of a"), "{format:?}");
        assert!(error(&whole[..10]).contains("offset 0"));
    }
    assert_eq!(decode(b"", 1), Ok(vec![]));
    assert_eq!(error(b"ab"), "x, offset 0: too short to be a capture");
}

#[test]
fn frames_of_no_known_kind_are_counted() {
    let mut bytes = Vec::new();
    for flags in [0, 0x20, 0x40] {
        bytes.extend_from_slice(&(VNET_LEN as u32 + 14).to_le_bytes());
        bytes.extend_from_slice(&[flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[7; 14]);
    }
    assert_eq!(left_out(&bytes), "left out 2 of 3 packets: 2 with a broken virtio-net header");
}

#[test]
fn what_it_looks_like_is_said() {
    let frame =
        [&[0x33, 0x33, 0, 0, 0, 0x16, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60][..], &[0; 60]].concat();
    let cases: [(Vec<u8>, &str); 9] = [
        (vec![0xde, 0xad, 0xbe, 0xef], "offset 0: begins with de ad be ef, which is none of"),
        (
            frame.clone(),
            "an Ethernet frame with nothing before it, as a TAP gives it, so that nobody",
        ),
        ([&[0; 12], &frame[..]].concat(), "a frame with a virtio-net header and no length"),
        ([&[0; 10], &frame[..]].concat(), "a frame with a virtio-net header and no length"),
        (
            [&[0, 0, 0, 75], &frame[..]].concat(),
            "as of QEMU's -netdev stream and passt: write `stdpkt join qemu -- CMD |`",
        ),
        ([&[0, 75], &frame[..]].concat(), "as of vde_plug: write `stdpkt join vde -- CMD |`"),
        (
            [&[0x45, 0, 0, 20, 0], &[0; 20][..]].concat(),
            "an IP packet with nothing before it, as a TUN gives it",
        ),
        (
            [&b"snoop\0\0\0"[..], &[0; 80]].concat(),
            "a capture of snoop: put `editcap -F pcapng FILE - |` before this command",
        ),
        (
            [&b"\xfd7zXZ\0"[..], &[0; 80]].concat(),
            "compressed with xz: put `xz -dc FILE |` before this command",
        ),
    ];
    for (bytes, part) in cases {
        let error = error(&bytes);
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(error(b"ab"), "x, offset 0: too short to be a capture");
}

#[test]
fn nothing_longer_than_a_frame_becomes_one() {
    let bytes = encode(Format::Pcap, &[vec![1; 70_000], vec![2; 60]]);
    assert_eq!(left_out(&bytes), "left out 1 of 2 packets: 1 longer than 65588 bytes");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        start in 0..7usize,
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        piece in 1..50usize,
    ) {
        let starts: [&[u8]; 7] = [
            b"", &[0xd4, 0xc3, 0xb2, 0xa1], &[0xa1, 0xb2, 0x3c, 0x4d], &[0x34, 0xcd, 0xb2, 0xa1],
            &[0x0a, 0x0d, 0x0d, 0x0a], b"000000 ", &[60, 0, 0, 0],
        ];
        let _ = decode_any(&[starts[start], &bytes].concat(), piece);
    }

    #[test]
    fn no_damage_makes_it_panic(
        format in 0..FORMATS.len(),
        damage in proptest::collection::vec((0..400usize, any::<u8>()), 1..8),
        piece in 1..500usize,
    ) {
        let mut bytes = encode(FORMATS[format], &packets());
        for (at, value) in damage {
            bytes[at] = value;
        }
        let _ = decode_any(&bytes, piece);
    }
}

/// As [`decode`], for streams that may have become frames with headers.
fn decode_any(bytes: &[u8], piece: usize) -> Result<(), CaptureError> {
    let mut decoder = Decoder::new("x");
    let mut frame = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        while decoder.next(&mut frame)? {}
    }
    Ok(())
}
