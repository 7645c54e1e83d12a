use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::VNET_LEN;

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

/// Decodes a stream that arrives in pieces of `piece` bytes.
fn decode(bytes: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, CaptureError> {
    let mut decoder = Decoder::new("x");
    let mut out = Vec::new();
    let mut frame = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        while decoder.next(&mut frame)? {
            assert_eq!(frame[..VNET_LEN], [0; VNET_LEN]);
            out.push(frame[VNET_LEN..].to_vec());
        }
    }
    decoder.end();
    while decoder.next(&mut frame)? {
        out.push(frame[VNET_LEN..].to_vec());
    }
    Ok(out)
}

fn error(bytes: &[u8]) -> String {
    let error = decode(bytes, 100).expect_err("no error").to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

fn pcap_be(magic: u32, link_type: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let header = [magic, 2 << 16 | 4, 0, 0, 65535, link_type];
    header.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
    for packet in packets {
        let len = packet.len() as u32;
        [1, 2, len, len].iter().for_each(|word: &u32| out.extend_from_slice(&word.to_be_bytes()));
        out.extend_from_slice(packet);
    }
    out
}

#[test]
fn what_is_written_is_read() {
    for format in [Format::Pcap, Format::Pcapng, Format::Hex] {
        for piece in [1, 3, 1000, 100_000] {
            assert_eq!(decode(&encode(format, &packets()), piece), Ok(packets()), "{format:?}");
        }
    }
}

#[test]
fn both_byte_orders_and_nanoseconds() {
    for magic in [0xa1b2_c3d4, 0xa1b2_3c4d] {
        assert_eq!(decode(&pcap_be(magic, 1, &packets()), 10), Ok(packets()));
    }
    let mut little = encode(Format::Pcap, &packets());
    little[..4].copy_from_slice(&0xa1b2_3c4d_u32.to_le_bytes());
    assert_eq!(decode(&little, 10), Ok(packets()));
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
    let mut twice = encode(Format::Pcap, &packets());
    twice.extend(pcap_be(0xa1b2_c3d4, 1, &packets()));
    assert_eq!(decode(&twice, 11), Ok([packets(), packets()].concat()));
    let once = encode(Format::Pcapng, &packets());
    assert_eq!(decode(&[once.clone(), once].concat(), 11), Ok([packets(), packets()].concat()));
}

#[test]
fn hex_text_is_what_awk_and_sed_expect() {
    let packet = [0xff; 6].into_iter().chain([2, 0, 0, 0, 0, 1, 8, 6, 0, 0xab]).collect();
    let line = encode(Format::Hex, &[packet]);
    assert_eq!(
        String::from_utf8(line).unwrap(),
        "1700000000.123456789 FFFFFFFFFFFF 020000000001 0806 00 AB\n"
    );
    let text = b"# a comment\n\n0 ffffffffffff 020000000001 0806 00AB # and more\r\n\
                 0123456789abcdef FFFFFFFFFFFF 020000000001 0806 00 AB";
    assert_eq!(decode(text, 5).unwrap().len(), 2);
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
fn each_mistake_has_its_line() {
    assert_eq!(
        error(&pcap_be(0xa1b2_c3d4, 101, &[])),
        "x, offset 0: packets of link type 101, not Ethernet (1)"
    );
    let mut absurd = encode(Format::Pcap, &packets());
    absurd[24 + 8..24 + 12].fill(0xff);
    assert_eq!(
        error(&absurd),
        "x, offset 24: a packet of 4294967295 bytes, more than the 262144 there can be"
    );
    assert_eq!(
        error(&[0xde, 0xad, 0xbe, 0xef]),
        "x, offset 0: begins with de ad be ef, which is none of pcap, pcapng, hex text and frames"
    );
    let odd = b"0 ffffffffffff 020000000001 0806\n0 ffffffffffff 02000000001 0806\n";
    assert_eq!(error(odd), "x, line 2: `02000000001` has an odd number of hex digits");
    assert!(error(b"hello, world\n").contains("line 1: `world` has an odd"));
    assert!(error(b"0 ffffffffffff zz0000000001 0806").contains("not made of hex digits"));
    assert!(error(b"0 ffffffffffff 0806").contains("time, destination, source and type"));
    let mut block = encode(Format::Pcapng, &packets());
    block[28 + 4..28 + 8].fill(0xff);
    assert_eq!(error(&block), "x, offset 28: a block of 4294967295 bytes");
    let wrong = [&encode(Format::Pcapng, &[])[..28], &encode(Format::Pcapng, &packets())[60..]];
    assert!(error(&wrong.concat()).contains("interface 0, which was not described"));
}

#[test]
fn packets_that_were_not_kept_whole_are_left_out() {
    let mut bytes = encode(Format::Pcap, &packets());
    bytes[24 + 12..24 + 16].copy_from_slice(&1000u32.to_le_bytes());
    let mut decoder = Decoder::new("x");
    decoder.push(&bytes);
    let mut frame = Vec::new();
    let mut count = 0;
    while decoder.next(&mut frame).unwrap() {
        count += 1;
    }
    assert_eq!((count, decoder.cut()), (packets().len() - 1, 1));
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
            &[0x0a, 0x0d, 0x0d, 0x0a], b"0 ff", &[60, 0, 0, 0],
        ];
        let _ = decode_any(&[starts[start], &bytes].concat(), piece);
    }

    #[test]
    fn no_damage_makes_it_panic(
        format in 0..3usize,
        damage in proptest::collection::vec((0..400usize, any::<u8>()), 1..8),
        piece in 1..500usize,
    ) {
        let format = [Format::Pcap, Format::Pcapng, Format::Hex][format];
        let mut bytes = encode(format, &packets());
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
