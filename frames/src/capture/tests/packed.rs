//! Compressed captures.

use std::io::Write;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn lz4(bytes: &[u8], mode: lz4_flex::frame::BlockMode) -> Vec<u8> {
    let info = lz4_flex::frame::FrameInfo::new()
        .block_mode(mode)
        .block_checksums(true)
        .content_checksum(true);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn all(bytes: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    [
        ("gzip", gzip(bytes)),
        ("zstd", zstd(bytes)),
        ("lz4", lz4(bytes, lz4_flex::frame::BlockMode::Independent)),
        ("lz4", lz4(bytes, lz4_flex::frame::BlockMode::Linked)),
    ]
}

/// More than any of them has in a block.
fn many() -> Vec<Vec<u8>> {
    let packet = |n: usize| (0..60 + n).map(|byte| (byte * n % 251) as u8).collect();
    (0..400).map(packet).collect()
}

#[test]
fn captures_are_unpacked_in_pieces_of_any_size() {
    for format in FORMATS {
        for (name, packed) in all(&encode(format, &many())) {
            for piece in [4096, 1 << 20] {
                assert!(decode(&packed, piece) == Ok(many()), "{format:?} {name} {piece}");
            }
        }
    }
    for (name, packed) in all(&encode(Format::Pcap, &packets())) {
        assert_eq!(decode(&packed, 1), Ok(packets()), "{name}");
    }
}

#[test]
fn one_may_follow_the_other() {
    for format in [Format::Pcap, Format::Pcapng] {
        for (name, packed) in all(&encode(format, &packets())) {
            let twice = [packed.clone(), packed].concat();
            assert!(decode(&twice, 50) == Ok([packets(), packets()].concat()), "{name}");
        }
    }
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5][..]].concat();
    let zstd = [skipped.clone(), zstd(&encode(Format::Pcap, &packets())), skipped].concat();
    assert_eq!(decode(&zstd, 50), Ok(packets()));
}

#[test]
fn what_is_cut_or_damaged_is_said() {
    for (name, packed) in all(&encode(Format::Pcap, &packets())) {
        for end in [packed.len() - 1, packed.len() / 2, 20] {
            let said = error(&packed[..end]);
            assert!(said.contains("unpacked offset") && said.contains(name), "{said}");
        }
        let mut damaged = packed.clone();
        let at = damaged.len() - 2; // in a check sum
        damaged[at] ^= 1;
        assert!(error(&damaged).contains(name), "{name}");
    }
}

#[test]
fn a_bomb_is_unpacked_no_further_than_it_is_looked_at() {
    // A packet's header, and zeros, of which each sixteen are a packet of no bytes.
    let header = &encode(Format::Pcap, &[])[..];
    let bomb = [header, &vec![0; 16 << 20]].concat();
    for (name, packed) in all(&bomb) {
        let mut decoder = Decoder::new("x");
        decoder.push(&packed);
        decoder.end();
        assert_eq!(decoder.next(&mut Vec::new()), Ok(false), "{name}");
        assert_eq!(decoder.tally().reasons().next(), Some((LeftOut::Short, 1 << 20)));
        assert!(decoder.capacity() < 10 << 20, "{name}: {}", decoder.capacity());
    }
}
