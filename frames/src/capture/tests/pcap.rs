//! pcap and what is written under its magic numbers.

use std::time::Duration;

use super::*;

/// A big-endian pcap.
fn pcap_be(magic: u32, link_type: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    pcap(true, &[magic, 2 << 16 | 4, 0, 0, 65535, link_type], packets, &[])
}

/// A pcap with this header of six words, and something more before each packet.
fn pcap(big: bool, header: &[u32], packets: &[Vec<u8>], extra: &[u8]) -> Vec<u8> {
    let word = |word: &u32| if big { word.to_be_bytes() } else { word.to_le_bytes() };
    let mut out: Vec<u8> = header.iter().flat_map(word).collect();
    for packet in packets {
        let len = packet.len() as u32;
        out.extend([1, 2, len, len].iter().flat_map(word));
        out.extend_from_slice(extra);
        out.extend_from_slice(packet);
    }
    out
}

/// Packets that look like Ethernet with IP in it.
fn ethernet() -> Vec<Vec<u8>> {
    let mut all = packets();
    for packet in &mut all {
        packet[12..14].copy_from_slice(&[8, 0]);
    }
    all
}

#[test]
fn both_byte_orders_and_resolutions() {
    for (magic, part) in [(0xa1b2_c3d4, 2000), (0xa1b2_3c4d, 2)] {
        for big in [false, true] {
            let version = if big { 2 << 16 | 4 } else { 4 << 16 | 2 };
            let bytes = pcap(big, &[magic, version, 0, 0, 65535, 1], &ethernet(), &[]);
            let all = read(&bytes, 10).unwrap();
            assert_eq!(all.packets, ethernet());
            assert_eq!(all.times[0], Some(Duration::new(1, part)));
        }
    }
}

#[test]
fn longer_headers_of_packets_are_found_out() {
    let linux = [1, 0, 0, 0, 8, 0, 0, 0];
    let smp = [1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0];
    let nokia = [1, 0x90, 0xbf, 0x9f];
    for (magic, extra) in [
        (0xa1b2_c3d4, &linux[..]),
        (0xa1b2_c3d4, &nokia[..]),
        (0xa1b2_cd34, &linux[..]),
        (0xa1b2_cd34, &smp[..]),
    ] {
        let bytes = pcap(false, &[magic, 4 << 16 | 2, 0, 0, 65535, 1], &ethernet(), extra);
        for piece in [100_000, 1000, 24, 1] {
            let same = decode(&bytes, piece) == Ok(ethernet());
            assert!(same, "{magic:x} {} {piece}", extra.len());
        }
    }
    // Ixia's file headers have four bytes more.
    for magic in [0x1c00_01ac, 0x1c00_01ab] {
        let header = [magic, 4 << 16 | 2, 0, 0, 65535, 1, 4711];
        assert_eq!(decode(&pcap(false, &header, &ethernet(), &[]), 100), Ok(ethernet()));
    }
}

#[test]
fn the_first_packet_of_a_live_capture_does_not_wait_for_the_second() {
    for packets in [ethernet(), packets()] {
        let bytes = pcap_be(0xa1b2_c3d4, 1, &packets[2..3]);
        let mut decoder = Decoder::new("x");
        decoder.push(&bytes);
        assert_eq!(decoder.next(&mut Vec::new()), Ok(true));
    }
}

#[test]
fn old_versions_have_their_lengths_in_another_order() {
    let packet = vec![ethernet()[2].clone()];
    for (version, kept, original) in [
        (2 << 16 | 2, 100, 60),
        (2 << 16 | 3, 100, 60),
        (2 << 16 | 3, 60, 100),
        (543 << 16, 100, 60),
    ] {
        let mut bytes = pcap(true, &[0xa1b2_c3d4, version, 0, 0, 65535, 1], &packet, &[]);
        bytes[24 + 8..24 + 16].copy_from_slice(&[0, 0, 0, kept, 0, 0, 0, original]);
        assert_eq!(left_out(&bytes), "left out 1 of 1 packets: 1 not kept whole", "{version:x}");
    }
    // AIX' version is old, too, and its number of Ethernet another.
    let header = [0xa1b2_c3d4, 2 << 16 | 2, 0, 0, 65535, 6];
    let all = read(&pcap(true, &header, &packet, &[]), 100).unwrap();
    assert_eq!((all.packets, all.times), (packet, vec![Some(Duration::new(1, 2))]));
    let older = pcap(true, &[0xa1b2_c3d4, 1 << 16 | 9, 0, 0, 65535, 1], &[], &[]);
    assert_eq!(error(&older), "x, offset 0: pcap of version 1.9, older than 2.0");
}

#[test]
fn check_sequences_are_taken_off() {
    let whole = ethernet()[2].clone();
    let short = [whole.len() - 4, whole.len()].map(|len| whole[..len].to_vec());
    let mut bytes = pcap_be(0xa1b2_c3d4, 0x2400_0001, &short);
    // Of the first, the check sequence was not kept.
    bytes[24 + 15] = whole.len() as u8;
    assert_eq!(decode(&bytes, 100), Ok(vec![short[0].clone(), short[0].clone()]));
}

#[test]
fn packets_that_were_not_kept_whole_are_left_out() {
    let mut bytes = encode(Format::Pcap, &packets());
    bytes[24 + 12..24 + 16].copy_from_slice(&1000u32.to_le_bytes());
    assert_eq!(left_out(&bytes), "left out 1 of 5 packets: 1 not kept whole");
    let short = encode(Format::Pcap, &[vec![1; 13], vec![2; 14]]);
    assert_eq!(left_out(&short), "left out 1 of 2 packets: 1 shorter than an Ethernet header");
}

#[test]
fn what_is_left_out_may_be_broken_or_only_of_no_use() {
    let tally = |bytes: &[u8]| read(bytes, 100).unwrap().tally;
    let mut cut = encode(Format::Pcap, &packets());
    assert!(!tally(&cut).is_broken());
    cut[24 + 12..24 + 16].copy_from_slice(&1000u32.to_le_bytes());
    assert!(tally(&cut).is_broken());
    let radio = pcap_be(0xa1b2_c3d4, 105, &packets());
    assert!(tally(&radio).is_broken(), "nothing is left");
    let mixed = [radio, encode(Format::Pcap, &packets())].concat();
    assert!(!tally(&mixed).is_broken());
    assert_eq!(left_out(&mixed), "left out 5 of 10 packets: 5 of link type 105 (802.11)");
}

#[test]
fn mistakes() {
    let mut absurd = encode(Format::Pcap, &packets());
    absurd[24 + 8..24 + 12].fill(0xff);
    assert_eq!(
        error(&absurd),
        "x, offset 24: a packet of 4294967295 bytes, more than the 262144 there can be"
    );
    assert_eq!(error(&absurd[..20]), "x, offset 0: a broken or cut pcap header");
}
