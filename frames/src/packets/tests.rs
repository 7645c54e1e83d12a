use etherparse::{PacketBuilder, PacketHeaders, SlicedPacket, TransportHeader};
use proptest::prelude::*;

use super::*;
use crate::push_frame;

const MAC: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

#[derive(Debug, Clone, Copy)]
struct Shape {
    v6: bool,
    tags: u8,
    udp: bool,
}

fn shapes() -> impl Iterator<Item = Shape> {
    let flags = [false, true];
    flags.into_iter().flat_map(move |v6| {
        (0..3).flat_map(move |tags| flags.into_iter().map(move |udp| Shape { v6, tags, udp }))
    })
}

/// A complete packet, made by a crate that is not under test.
fn packet(shape: Shape, payload: &[u8]) -> Vec<u8> {
    let vlan = |id: u16| etherparse::VlanId::try_new(id).unwrap();
    let link = PacketBuilder::ethernet2(MAC.0, MAC.1);
    let mut out = Vec::new();
    macro_rules! on {
        ($net:expr) => {
            if shape.udp {
                $net.udp(5000, 53).write(&mut out, payload).unwrap()
            } else {
                $net.tcp(5000, 80, 1_000_000, 4000).psh().fin().write(&mut out, payload).unwrap()
            }
        };
    }
    macro_rules! net {
        ($link:expr) => {
            if shape.v6 {
                on!($link.ipv6([0x20; 16], [0x30; 16], 64))
            } else {
                on!($link.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64))
            }
        };
    }
    match shape.tags {
        0 => net!(link),
        1 => net!(link.single_vlan(vlan(100))),
        _ => net!(link.double_vlan(vlan(7), vlan(100))),
    }
    out
}

fn offset_of_transport(packet: &[u8]) -> usize {
    let sliced = SlicedPacket::from_ethernet(packet).unwrap();
    sliced.ip_payload().unwrap().payload.as_ptr() as usize - packet.as_ptr() as usize
}

/// The packet with a partial checksum, as a kernel hands it to a TAP.
fn partial(shape: Shape, mut packet: Vec<u8>, gso_size: u16) -> Vec<u8> {
    let start = offset_of_transport(&packet);
    let offset = if shape.udp { 6 } else { 16 };
    let ip = start - if shape.v6 { 40 } else { 20 };
    let addresses = if shape.v6 { &packet[ip + 8..ip + 40] } else { &packet[ip + 12..ip + 20] };
    let len = (packet.len() - start) as u32;
    let words = addresses.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let mut sum = words.sum::<u32>() + len + if shape.udp { 17 } else { 6 };
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[start + offset..start + offset + 2].copy_from_slice(&(sum as u16).to_be_bytes());
    let gso_type = match gso_size {
        0 => GSO_NONE,
        _ if shape.v6 => GSO_TCPV6,
        _ => GSO_TCPV4,
    };
    let header = VnetHeader {
        flags: NEEDS_CSUM,
        gso_type,
        gso_size,
        csum_start: start as u16,
        csum_offset: offset as u16,
        ..VnetHeader::default()
    };
    let mut frame = header.to_bytes().to_vec();
    frame.extend_from_slice(&packet);
    frame
}

fn packets_of(frame: &[u8]) -> Result<Vec<Vec<u8>>, PacketError> {
    let mut packets = Vec::new();
    Packets::default().each(frame, |packet| packets.push(packet.to_vec()))?;
    Ok(packets)
}

fn assert_checksums(packet: &[u8]) {
    let parsed = PacketHeaders::from_ethernet_slice(packet).unwrap();
    let ip = parsed.net.as_ref().unwrap();
    if let etherparse::NetHeaders::Ipv4(ip, _) = ip {
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
    }
    let payload = parsed.payload.slice();
    let (is, want) = match (ip, parsed.transport.unwrap()) {
        (etherparse::NetHeaders::Ipv4(ip, _), TransportHeader::Tcp(tcp)) => {
            (tcp.checksum, tcp.calc_checksum_ipv4(ip, payload).unwrap())
        }
        (etherparse::NetHeaders::Ipv6(ip, _), TransportHeader::Tcp(tcp)) => {
            (tcp.checksum, tcp.calc_checksum_ipv6(ip, payload).unwrap())
        }
        (etherparse::NetHeaders::Ipv4(ip, _), TransportHeader::Udp(udp)) => {
            (udp.checksum, udp.calc_checksum_ipv4(ip, payload).unwrap())
        }
        (etherparse::NetHeaders::Ipv6(ip, _), TransportHeader::Udp(udp)) => {
            (udp.checksum, udp.calc_checksum_ipv6(ip, payload).unwrap())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(is, want);
}

#[test]
fn a_plain_packet_goes_there_and_back_unchanged() {
    for shape in shapes() {
        let packet = packet(shape, b"hello");
        let mut frame = Vec::new();
        push_frame(&mut frame, &packet);
        assert_eq!(packets_of(&frame), Ok(vec![packet]));
    }
}

#[test]
fn partial_checksums_are_filled_in() {
    for shape in shapes() {
        let complete = packet(shape, b"an odd number of bytes!");
        assert_eq!(
            packets_of(&partial(shape, complete.clone(), 0)),
            Ok(vec![complete]),
            "{shape:?}"
        );
    }
}

#[test]
fn a_udp_checksum_of_zero_is_sent_as_ones() {
    let shape = Shape { v6: false, tags: 0, udp: true };
    // Some payload of two bytes makes the sum come out as zero.
    let zero = (0..=u16::MAX)
        .map(|n| packet(shape, &n.to_be_bytes()))
        .find(|packet| packet[offset_of_transport(packet) + 6..][..2] == [0xff, 0xff]);
    let zero = zero.unwrap();
    assert_eq!(packets_of(&partial(shape, zero.clone(), 0)), Ok(vec![zero]));
}

#[test]
fn a_large_frame_becomes_segments() {
    let payload: Vec<u8> = (0..60_001u32).map(|n| (n % 251) as u8).collect();
    for shape in shapes().filter(|shape| !shape.udp) {
        let mut frame = partial(shape, packet(shape, &payload), 1448);
        frame[1] |= GSO_ECN;
        let flags = VNET_LEN + offset_of_transport(&frame[VNET_LEN..]) + 13;
        frame[flags] |= 0x80; // CWR
        let packets = packets_of(&frame).unwrap();
        assert_eq!(packets.len(), 42);
        let mut got = Vec::new();
        for (n, packet) in packets.iter().enumerate() {
            assert_checksums(packet);
            let parsed = PacketHeaders::from_ethernet_slice(packet).unwrap();
            let Some(TransportHeader::Tcp(tcp)) = parsed.transport else { panic!() };
            assert_eq!(tcp.sequence_number as usize, 1_000_000 + got.len());
            let last = n == packets.len() - 1;
            assert_eq!((tcp.psh, tcp.fin, tcp.cwr), (last, last, n == 0));
            assert_eq!(parsed.link_exts.len(), usize::from(shape.tags));
            if let Some(etherparse::NetHeaders::Ipv4(ip, _)) = parsed.net {
                assert_eq!(ip.identification as usize, n);
            }
            got.extend_from_slice(parsed.payload.slice());
        }
        assert!(got == payload, "{shape:?}: the payload changed");
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let tcp = Shape { v6: false, tags: 0, udp: false };
    let udp = Shape { udp: true, ..tcp };
    let good = partial(tcp, packet(tcp, &[0; 3000]), 1000);
    let change = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        packets_of(&frame)
    };
    assert_eq!(packets_of(&good[..25]), Err(PacketError::Short(25)));
    assert_eq!(change(1, 3), Err(PacketError::GsoType(3)));
    assert_eq!(change(1, GSO_TCPV6), Err(PacketError::Headers("TCP over IPv6")));
    let mut no_size = good.clone();
    no_size[4..6].fill(0);
    assert_eq!(packets_of(&no_size), Err(PacketError::GsoSize));
    let not_tcp = partial(udp, packet(udp, &[0; 3000]), 1000);
    assert_eq!(packets_of(&not_tcp), Err(PacketError::Headers("TCP over IPv4")));
    let mut far = partial(tcp, packet(tcp, b""), 0);
    far[6..8].copy_from_slice(&60_000u16.to_le_bytes());
    assert!(matches!(packets_of(&far), Err(PacketError::Checksum { start: 60_000, .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = packets_of(&frame);
    }

    #[test]
    fn no_damage_makes_it_panic(
        shape in 0..12usize,
        size in 1..2000u16,
        damage in proptest::collection::vec((0..100usize, any::<u8>()), 0..6),
        cut in 0..3000usize,
    ) {
        let shape = shapes().nth(shape).unwrap();
        let mut frame = partial(shape, packet(shape, &[7; 2500]), size);
        for (at, value) in damage {
            frame[at] = value;
        }
        frame.truncate(cut.max(frame.len() / 2));
        if let Ok(packets) = packets_of(&frame) {
            prop_assert!(packets.iter().all(|packet| packet.len() <= frame.len()));
        }
    }
}
