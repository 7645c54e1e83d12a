//! Packets of other links than Ethernet.

use super::*;

const IP: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
const FROM_TO: [u8; 12] = [2, b'r', 10, 0, 0, 2, 2, b'r', 10, 0, 0, 1];

/// A pcap of one packet of this link type.
fn pcap(link: u16, packet: &[u8]) -> Vec<u8> {
    let mut bytes = encode(Format::Pcap, &[packet.to_vec()]);
    bytes[20..22].copy_from_slice(&link.to_le_bytes());
    bytes
}

/// What a packet of this link type becomes.
fn frame(link: u16, parts: &[&[u8]]) -> Vec<u8> {
    let packets = decode(&pcap(link, &parts.concat()), 100).unwrap();
    let [packet] = &packets[..] else { panic!("{packets:?}") };
    packet.clone()
}

#[test]
fn ip_gets_an_ethernet_header() {
    let want = [&FROM_TO[..], &[8, 0], &IP].concat();
    for (link, header) in [
        (0, &[2, 0, 0, 0][..]),
        (0, &[0, 0, 0, 2]),
        (108, &[0, 0, 0, 2]),
        (12, &[]),
        (14, &[]),
        (101, &[]),
        (228, &[]),
        (9, &[0xff, 3, 0, 0x21]),
        (9, &[0x21]),
        (50, &[0xff, 3, 0, 0x21]),
        (50, &[0x0f, 0, 8, 0]),
        (104, &[0x0f, 0, 8, 0]),
        (109, &[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]),
        (239, &[2, 0, 0, 0, 5, 0, 1, 0, b'x', 0, 0, 0, 24, 0, 9, 0]),
    ] {
        assert_eq!(frame(link, &[header, &IP]), want, "{link} {header:?}");
    }
    let mut six = vec![0x60, 0, 0, 0, 0, 0, 59, 1];
    six.extend_from_slice(&[0xfd; 16]);
    six.extend_from_slice(&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let made = frame(101, &[&six]);
    assert_eq!(
        (&made[..6], &made[12..14], &made[14..]),
        (&[0x33, 0x33, 0, 0, 0, 1][..], &[0x86, 0xdd][..], &six[..])
    );
    assert_eq!(frame(0, &[&[30, 0, 0, 0], &six]), made);
}

#[test]
fn cooked_captures_keep_type_and_source() {
    let source = [2, 0, 0, 0, 0, 9];
    let sll = |kind: u8| [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0, 8, kind];
    let sll2 = |kind: u8| [8, kind, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0];
    for made in [frame(113, &[&sll(0), &IP]), frame(276, &[&sll2(0), &IP])] {
        assert_eq!(made, [&FROM_TO[..6], &source, &[8, 0], &IP].concat());
    }
    let arp = [1; 28];
    for made in [frame(113, &[&sll(6), &arp]), frame(276, &[&sll2(6), &arp])] {
        assert_eq!(made, [&[0xff; 6][..], &source, &[8, 6], &arp].concat());
    }
    // With a length in the place of a type.
    let mut llc = sll(0);
    llc[14..].copy_from_slice(&[0, 4]);
    assert_eq!(frame(113, &[&llc, &[0x42, 0x42, 3]])[12..], [0, 3, 0x42, 0x42, 3]);
    // Netlink has other numbers there.
    let mut netlink = sll(0);
    netlink[2..4].copy_from_slice(&824u16.to_be_bytes());
    assert!(left_out(&pcap(113, &[&netlink[..], &IP].concat())).contains("113 (Linux cooked)"));
}

#[test]
fn ethernet_loses_what_is_around_it() {
    let packet: Vec<u8> = (0..60).collect();
    let (addresses, rest) = packet.split_at(12);
    let sum = [9; 4];
    for (link, parts) in [
        (240, &[&[0; 4][..], &packet, &sum][..]),
        (241, &[&[0; 4], &[0x55; 7], &[0xd5], &packet, &sum]),
        (274, &[&[0x55; 7], &[0xd5], &packet, &sum]),
        (281, &[addresses, &[0; 4], rest]),
        (282, &[&[0; 4], &packet]),
        (284, &[addresses, &[0; 4], rest]),
        (285, &[addresses, &[0xda, 0xda, 0, 0, 0, 0, 0, 0], rest]),
        (192, &[&[0, 0, 12, 0, 1, 0, 0, 0, 0, 0, 0, 0], &packet]),
    ] {
        assert_eq!(frame(link, parts), packet, "{link}");
    }
    assert_eq!(frame(51, &[&[0x11, 0, 0, 1, 0, 0]])[12..14], [0x88, 0x64]);
    let fragment = pcap(274, &[&[0x55; 7][..], &[0xe6], &packet].concat());
    assert_eq!(left_out(&fragment), "left out 1 of 1 packets: 1 of link type 274 (mPackets)");
    let short = pcap(240, &[0; 10]);
    assert!(left_out(&short).contains("shorter than an Ethernet header"));
}

#[test]
fn no_link_makes_it_panic() {
    for link in 0..300 {
        for len in 0..40 {
            for byte in [0, 0x02, 0x45, 0x55, 0x60, 0xff] {
                let bytes = pcap(link, &vec![byte; len]);
                let _ = read(&bytes, 100).unwrap();
            }
        }
    }
}
