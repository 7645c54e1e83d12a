//! pcapng, block by block.

use std::time::Duration;

use super::*;

/// A block in this byte order.
fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
    let word = |word: u32| if big { word.to_be_bytes() } else { word.to_le_bytes() };
    let body = [body, &[0; 3][..body.len().next_multiple_of(4) - body.len()]].concat();
    let len = body.len() as u32 + 12;
    [&word(kind)[..], &word(len), &body, &word(len)].concat()
}

/// A block of numbers in this byte order, then bytes. Numbers have 2 or 4 bytes.
fn fields(big: bool, kind: u32, halves: &[u16], words: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for half in halves {
        body.extend(if big { half.to_be_bytes() } else { half.to_le_bytes() });
    }
    for word in words {
        body.extend(if big { word.to_be_bytes() } else { word.to_le_bytes() });
    }
    body.extend_from_slice(bytes);
    block(big, kind, &body)
}

fn section(big: bool) -> Vec<u8> {
    let magic = 0x1a2b_3c4d;
    let version = if big { 1 << 16 } else { 1 };
    fields(big, 0x0a0d_0d0a, &[], &[magic, version, u32::MAX, u32::MAX], &[])
}

/// An option, little-endian.
fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let padding = value.len().next_multiple_of(4) - value.len();
    let len = value.len() as u16;
    [&code.to_le_bytes()[..], &len.to_le_bytes(), value, &[0; 3][..padding]].concat()
}

fn interface(link: u16, snap: u32, options: &[Vec<u8>]) -> Vec<u8> {
    let bytes = [&snap.to_le_bytes()[..], &options.concat()].concat();
    fields(false, 1, &[link, 0], &[], &bytes)
}

/// An enhanced packet block of an interface, with a time stamp and options.
fn packet(number: u32, stamp: u64, packet: &[u8], options: &[u8]) -> Vec<u8> {
    let len = packet.len() as u32;
    let padding = packet.len().next_multiple_of(4) - packet.len();
    let bytes = [packet, &[0; 3][..padding], options].concat();
    fields(false, 6, &[], &[number, (stamp >> 32) as u32, stamp as u32, len, len], &bytes)
}

#[test]
fn every_kind_of_packet_block_in_both_byte_orders() {
    for big in [false, true] {
        let whole = [7; 60];
        let bytes = [
            section(big),
            fields(big, 1, &[1, 0], &[40], &[]),
            fields(big, 6, &[], &[0, 0, 1_500_000, 60, 60], &whole),
            fields(big, 2, &[0, 0], &[0, 2_000_000, 60, 60], &whole),
            fields(big, 3, &[], &[40], &whole[..40]),
            // Of 60 bytes, 40 were kept, as the interface says.
            fields(big, 3, &[], &[60], &whole[..40]),
            // Blocks without packets: names, statistics, a custom one, an unknown one.
            block(big, 4, &[0; 4]),
            block(big, 5, &[0; 12]),
            block(big, 0x0bad, &[0; 400]),
            block(big, 0x8000_0001, &[1; 8]),
            // An entry of a journal is no packet.
            block(big, 9, b"__REALTIME_TIMESTAMP=0\n"),
        ]
        .concat();
        for piece in [1, 7, 10_000] {
            let all = read(&bytes, piece).unwrap();
            assert_eq!(all.packets, [vec![7; 60], vec![7; 60], vec![7; 40]]);
            let times = [Some(Duration::from_millis(1500)), Some(Duration::from_secs(2)), None];
            assert_eq!(all.times, times);
            let said = "left out 2 of 5 packets: 1 not kept whole, 1 records that are no packets";
            assert_eq!(all.tally.to_string(), said);
        }
    }
}

#[test]
fn options_of_an_interface_change_times_and_packets() {
    let time = |options: &[Vec<u8>], stamp| {
        let bytes = [section(false), interface(1, 0, options), packet(0, stamp, &[7; 60], &[])];
        read(&bytes.concat(), 100).unwrap().times[0]
    };
    assert_eq!(time(&[option(9, &[9])], 1_500_000_000), Some(Duration::from_millis(1500)));
    assert_eq!(time(&[option(9, &[0x80 | 10])], 1536), Some(Duration::from_millis(1500)));
    assert_eq!(time(&[option(9, &[0])], 5), Some(Duration::from_secs(5)));
    let offset = option(14, &(-3i64).to_le_bytes());
    assert_eq!(
        time(&[offset.clone(), option(2, b"eth0")], 5_000_000),
        Some(Duration::from_secs(2))
    );
    // Before 1970, or in units that no number counts.
    assert_eq!(time(&[offset], 1), None);
    assert_eq!(time(&[option(9, &[200])], 1), None);
    assert_eq!(time(&[option(9, &[30])], 1), None);
    // What follows the end of options is none.
    assert_eq!(time(&[option(0, &[]), option(9, &[0])], 5), Some(Duration::from_micros(5)));
}

#[test]
fn check_sequences_are_taken_off() {
    let with = |options: &[Vec<u8>], flags: &[u8]| {
        let bytes = [section(false), interface(1, 0, options), packet(0, 0, &[7; 64], flags)];
        decode(&bytes.concat(), 100).unwrap()[0].len()
    };
    let flags = |bytes: u32| option(2, &(bytes << 5 | 1).to_le_bytes());
    assert_eq!(with(&[], &[]), 64);
    assert_eq!(with(&[option(13, &[4])], &[]), 60);
    assert_eq!(with(&[option(13, &[32])], &[]), 60);
    assert_eq!(with(&[], &flags(4)), 60);
    assert_eq!(with(&[option(13, &[32])], &flags(2)), 62);
    assert_eq!(with(&[option(13, &[32])], &flags(0)), 60);
}

#[test]
fn a_mixed_file_loses_only_what_cannot_be_ethernet() {
    let ip = [&[0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2][..]].concat();
    let bytes = [
        section(false),
        interface(1, 0, &[]),
        interface(127, 0, &[]),
        interface(101, 0, &[]),
        packet(0, 0, &[7; 60], &[]),
        packet(1, 0, &[7; 60], &[]),
        packet(2, 0, &ip, &[]),
        packet(2, 0, &[0; 20], &[]),
        // The next section has interfaces of its own.
        section(true),
        fields(true, 1, &[105, 0], &[0], &[]),
        fields(true, 6, &[], &[0, 0, 0, 60, 60], &[7; 60]),
    ]
    .concat();
    let all = read(&bytes, 100).unwrap();
    let header = [2, b'r', 10, 0, 0, 2, 2, b'r', 10, 0, 0, 1, 8, 0];
    assert_eq!(all.packets, [vec![7; 60], [&header[..], &ip].concat()]);
    assert_eq!(
        all.tally.to_string(),
        "left out 3 of 5 packets: 1 of link type 105 (802.11), \
         1 of link type 127 (802.11 with radio), 1 of link type 101 (raw IP) without IP in them"
    );
    assert!(!all.tally.is_broken());
}

#[test]
fn mistakes() {
    let whole = encode(Format::Pcapng, &packets());
    let mut long = whole.clone();
    long[28 + 4..28 + 8].fill(0xff);
    assert_eq!(error(&long), "x, offset 28: a block of 4294967295 bytes");
    let wrong = [&encode(Format::Pcapng, &[])[..28], &whole[60..]].concat();
    assert!(error(&wrong).contains("a packet of interface 0, which was not described"));
    let mut unlike = whole.clone();
    unlike[56] = 36;
    assert!(error(&unlike).contains("at its beginning that it has 32 bytes and at its end 36"));
    let mut section = whole.clone();
    section[24] = 32;
    assert!(error(&section).contains("at its beginning that it has 28 bytes and at its end 32"));
    let mut version = whole;
    version[12] = 2;
    assert_eq!(error(&version), "x, offset 0: pcapng of version 2.0, not 1");
    let inside = [self::section(false), interface(1, 0, &[]), packet(0, 0, &[7; 60], &[])].concat();
    let mut longer = inside.clone();
    longer[28 + 20 + 20] = 200;
    assert!(error(&longer).contains("a packet longer than its block"), "{}", error(&longer));
    assert!(error(&inside[..inside.len() - 1]).contains("ends in the middle of a block"));
    let cut = [self::section(false), block(false, 4, &[0; 400])].concat();
    assert!(error(&cut[..200]).contains("ends in the middle of a block"));
}
