use std::net::{IpAddr, Ipv4Addr};

use etherparse::{Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder};
use proptest::prelude::*;

use super::*;

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));
const A6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
const B6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
const ROUTER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 9, 9, 9, 9, 9, 9, 9));

const TCP: u8 = IpNumber::TCP.0;
const UDP: u8 = IpNumber::UDP.0;

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// An Ethernet frame from one station to another.
fn ether(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    join(&[&[2, 0, 0, 0, 0, 2], &[2, 0, 0, 0, 0, 1], &ether_type.to_be_bytes(), payload])
}

fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip_with(from, to, protocol, payload, |_| ())
}

fn ip_with(
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    payload: &[u8],
    change: impl Fn(&mut Ipv4Header),
) -> Vec<u8> {
    let mut out = Vec::new();
    let len = payload.len() as u16;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let (from, to) = (from.octets(), to.octets());
            let mut header = Ipv4Header::new(len, 64, IpNumber(protocol), from, to).unwrap();
            change(&mut header);
            header.write(&mut out).unwrap();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => Ipv6Header {
            payload_length: len,
            next_header: IpNumber(protocol),
            hop_limit: 64,
            source: from.octets(),
            destination: to.octets(),
            ..Ipv6Header::default()
        }
        .write(&mut out)
        .unwrap(),
        _ => unreachable!("one family"),
    }
    join(&[&out, payload])
}

fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    join(&[&from.to_be_bytes(), &to.to_be_bytes(), &len.to_be_bytes(), &[0; 2], payload])
}

fn tcp(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
    join(&[&ports, &[0; 8], &[0x50, flags], &[0; 6], b"payload"])
}

fn in_frame(ip: &[u8]) -> Vec<u8> {
    ether(if ip[0] >> 4 == 4 { 0x0800 } else { 0x86dd }, ip)
}

#[track_caller]
fn part(packet: &[u8]) -> Part {
    match Belongs::of(packet) {
        Belongs::Flow(part) => part,
        other => panic!("{other:?}"),
    }
}

fn flow(a: (IpAddr, u16), b: (IpAddr, u16), protocol: u8) -> Flow {
    let mapped = |(address, port): (IpAddr, u16)| match address {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped(), port),
        IpAddr::V6(v6) => (v6, port),
    };
    Part::between(mapped(a), mapped(b), protocol).flow
}

#[test]
fn both_directions_of_a_flow_are_one() {
    for (a, b) in [(A, B), (A6, B6)] {
        let there = part(&in_frame(&ip(a, b, UDP, &udp(5000, 53, b"?"))));
        let back = part(&in_frame(&ip(b, a, UDP, &udp(53, 5000, b"!"))));
        assert_eq!(there.flow, flow((a, 5000), (b, 53), UDP));
        assert_eq!(there.flow, back.flow);
        assert_ne!(there.from_low, back.from_low);
        let other = part(&in_frame(&ip(a, b, UDP, &udp(5001, 53, b"?"))));
        assert_ne!(there.flow, other.flow);
        let over_tcp = part(&in_frame(&ip(a, b, TCP, &tcp(5000, 53, 2))));
        assert_ne!(there.flow, over_tcp.flow);
        assert_eq!(there.flow.addresses(), over_tcp.flow.addresses());
    }
}

#[test]
fn the_parser_agrees_with_packets_of_another_make() {
    let mut packet = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .double_vlan(etherparse::VlanId::try_new(7).unwrap(), etherparse::VlanId::ZERO)
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(4000, 80, 1, 1)
        .syn()
        .write(&mut packet, b"")
        .unwrap();
    let part = part(&packet);
    assert_eq!(part.flow, flow((A, 4000), (B, 80), TCP));
    assert_eq!(part.tcp, Some(Tcp { opens: true, fin: false, rst: false }));
}

#[test]
fn flags_of_tcp() {
    let flags = |flags| part(&in_frame(&ip(A, B, TCP, &tcp(1, 2, flags)))).tcp.unwrap();
    assert!(flags(0x02).opens && !flags(0x12).opens && !flags(0x10).opens);
    assert!(flags(0x11).fin && flags(0x04).rst);
    // Of a header that is cut off before them nothing is said.
    let cut = ip(A, B, TCP, &tcp(1, 2, 0x02)[..8]);
    assert_eq!(part(&in_frame(&cut)).tcp, None);
    assert_eq!(part(&in_frame(&cut)).flow, flow((A, 1), (B, 2), TCP));
}

#[test]
fn icmp_errors_belong_to_what_they_quote() {
    for (a, b, router, icmp, too_big) in
        [(A, B, ROUTER, IpNumber::ICMP, 3), (A6, B6, ROUTER6, IpNumber::IPV6_ICMP, 2)]
    {
        // The server's packet to the client did not get through, and the server is told.
        let quoted = ip(b, a, TCP, &tcp(80, 4000, 0x10));
        for len in [quoted.len(), quoted.len() - 19] {
            let error = join(&[&[too_big, 4, 0, 0, 0, 0, 5, 20], &quoted[..len]]);
            let error = part(&in_frame(&ip(router, b, icmp.0, &error)));
            assert_eq!(error.flow, flow((a, 4000), (b, 80), TCP));
            assert!(error.is_error && error.tcp.is_none());
        }
        // One that quotes nothing leaves its own addresses.
        let error = part(&in_frame(&ip(router, b, icmp.0, &[too_big, 0, 0, 0])));
        assert_eq!(error.flow, flow((router, 0), (b, 0), 0));
        // An echo is no error.
        let kind = if icmp == IpNumber::ICMP { 8 } else { 128 };
        let echo = part(&in_frame(&ip(a, b, icmp.0, &join(&[&[kind; 8], &quoted]))));
        assert_eq!((echo.flow, echo.is_error), (flow((a, 0), (b, 0), 0), false));
    }
}

#[test]
fn fragments_name_their_datagram() {
    let fragment = |from, to, id, offset: u16, more, payload: &[u8]| {
        let change = |header: &mut Ipv4Header| {
            header.identification = id;
            header.more_fragments = more;
            header.fragment_offset = etherparse::IpFragOffset::try_new(offset / 8).unwrap();
        };
        part(&in_frame(&ip_with(from, to, UDP, payload, change)))
    };
    let first = fragment(A, B, 9, 0, true, &udp(5000, 53, &[0; 1400]));
    assert_eq!(first.flow, flow((A, 5000), (B, 53), UDP));
    assert_eq!(first.begins.len(), 1);
    // Its bytes would pass for ports.
    for (more, offset) in [(true, 1408), (false, 2816)] {
        let later = fragment(A, B, 9, offset, more, &[9; 1400]);
        assert_eq!(later.flow, flow((A, 0), (B, 0), 0));
        assert_eq!(later.continues, first.begins.first().copied());
    }
    for other in [fragment(A, B, 10, 8, false, &[0; 8]), fragment(B, A, 9, 8, false, &[0; 8])] {
        assert_ne!(other.continues, first.begins.first().copied());
    }
}

#[test]
fn fragments_of_ipv6_behind_other_headers() {
    // Hop-by-hop options, then the fragment, then destination options in the fragment.
    let fragment = |offset_and_more: u16, rest: &[u8]| {
        let [high, low] = offset_and_more.to_be_bytes();
        let headers = join(&[&[44, 0, 1, 4, 0, 0, 0, 0], &[60, 0, high, low, 0, 0, 0, 7], rest]);
        part(&in_frame(&ip(A6, B6, 0, &headers)))
    };
    let options = [UDP, 0, 1, 4, 0, 0, 0, 0];
    let first = fragment(1, &join(&[&options, &udp(5000, 53, &[0; 100])]));
    assert_eq!(first.flow, flow((A6, 5000), (B6, 53), UDP));
    let later = fragment(104 << 3, &[UDP; 40]);
    assert_eq!(later.flow, flow((A6, 0), (B6, 0), 0));
    assert_eq!((first.begins.first(), first.begins.len()), (later.continues.as_ref(), 1));
    // One that is all of its datagram is none.
    let whole = fragment(0, &join(&[&options, &udp(5000, 53, &[0; 100])]));
    assert_eq!((whole.flow, whole.begins.len()), (first.flow, 0));
}

/// A packet and all that is known to wrap it; the flow is that of the packet.
fn wrapped(inner: &[u8], from: IpAddr, to: IpAddr, entropy: u16) -> Vec<(&'static str, Vec<u8>)> {
    let v4 = inner[0] >> 4 == 4;
    let ether_type: [u8; 2] = if v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    let frame = in_frame(inner);
    let gre = |flags: u16, fields: &[u8], kind: [u8; 2], rest: &[u8]| {
        let gre = join(&[&flags.to_be_bytes(), &kind, fields, rest]);
        in_frame(&ip(from, to, 47, &gre))
    };
    let over_udp = |port, header: &[u8], rest: &[u8]| {
        in_frame(&ip(from, to, UDP, &udp(entropy, port, &join(&[header, rest]))))
    };
    let ppp: &[u8] = if v4 { &[0, 0x21] } else { &[0, 0x57] };
    vec![
        ("VLAN", ether(0x8100, &join(&[&[0, 100], &ether_type, inner]))),
        ("QinQ", ether(0x88a8, &join(&[&[0, 7, 0x81, 0, 0, 100], &ether_type, inner]))),
        ("PPPoE", ether(0x8864, &join(&[&[0x11, 0, 0, 1, 0, 99], ppp, inner]))),
        ("PPPoE, short", ether(0x8864, &join(&[&[0x11, 0, 0, 1, 0, 99], &ppp[1..], inner]))),
        ("IPIP", in_frame(&ip(from, to, if v4 { 4 } else { 41 }, inner))),
        ("GRE", gre(0, &[], ether_type, inner)),
        ("GRE with all", gre(0xb000, &[7; 12], ether_type, inner)),
        ("gretap", gre(0x2000, &[0, 0, 0, 9], [0x65, 0x58], &frame)),
        ("VXLAN", over_udp(4789, &[8, 0, 0, 0, 0, 0, 42, 0], &frame)),
        ("Geneve", over_udp(6081, &[0, 0, 0x65, 0x58, 0, 0, 42, 0], &frame)),
        ("Geneve with options", {
            over_udp(6081, &join(&[&[1, 0x40], &ether_type, &[0, 0, 42, 0, 9, 9, 9, 9]]), inner)
        }),
        (
            "AH",
            in_frame(&ip(from, to, 51, &join(&[&[if v4 { 4 } else { 41 }, 1], &[0; 10], inner]))),
        ),
    ]
}

#[test]
fn tunnels_are_looked_into() {
    for (a, b, outer) in
        [(A, B, [ROUTER, A]), (A6, B6, [ROUTER, A]), (A, B, [ROUTER6, A6]), (A6, B6, [ROUTER6, A6])]
    {
        let there = ip(a, b, UDP, &udp(5000, 53, b"?"));
        let back = ip(b, a, UDP, &udp(53, 5000, b"!"));
        let expected = flow((a, 5000), (b, 53), UDP);
        for (name, packet) in wrapped(&there, outer[0], outer[1], 40_000) {
            assert_eq!(part(&packet).flow, expected, "{name}");
        }
        // The way back has a source port of its own.
        for (name, packet) in wrapped(&back, outer[1], outer[0], 50_000) {
            assert_eq!(part(&packet).flow, expected, "{name}");
        }
        // A tunnel in a tunnel.
        for (name, packet) in wrapped(&there, outer[0], outer[1], 40_000) {
            for (around, twice) in wrapped(&packet[14..], ROUTER, A, 40_000) {
                if ["VLAN", "QinQ", "PPPoE", "PPPoE, short"].contains(&name) {
                    continue; // no IP packet to be wrapped
                }
                assert_eq!(part(&twice).flow, expected, "{name} in {around}");
            }
        }
    }
}

#[test]
fn errors_and_fragments_in_tunnels() {
    let quoted = ip(B, A, UDP, &udp(53, 5000, &[0; 100]));
    let error = ip(ROUTER, B, 1, &join(&[&[3, 4, 0, 0, 0, 0, 5, 20], &quoted[..28]]));
    let later = ip_with(A, B, UDP, &[9; 64], |header| {
        header.fragment_offset = etherparse::IpFragOffset::try_new(185).unwrap();
    });
    for (name, packet) in wrapped(&error, ROUTER6, A6, 40_000) {
        let part = part(&packet);
        assert_eq!((part.flow, part.is_error), (flow((A, 5000), (B, 53), UDP), true), "{name}");
    }
    for (name, packet) in wrapped(&later, ROUTER6, A6, 40_000) {
        assert!(part(&packet).continues.is_some(), "{name}");
    }
    // An error about a tunnel belongs to what is inside, if enough of it is quoted.
    for (name, packet) in wrapped(&quoted, B, ROUTER, 40_000).split_off(4) {
        let error = ip(A, B, 1, &join(&[&[11, 0, 0, 0, 0, 0, 0, 0], &packet[14..]]));
        assert_eq!(part(&in_frame(&error)).flow, flow((A, 5000), (B, 53), UDP), "{name}");
        let cut = ip(A, B, 1, &join(&[&[11, 0, 0, 0, 0, 0, 0, 0], &packet[14..42]]));
        assert_eq!(part(&in_frame(&cut)).flow, flow((B, 0), (ROUTER, 0), 0), "{name}");
    }
}

#[test]
fn what_cannot_be_seen_leaves_the_addresses() {
    let by_addresses = flow((A, 0), (B, 0), 0);
    let arp = join(&[&[2; 12], &[8, 6], &[0; 28]]);
    for (name, protocol, payload) in [
        ("ESP", 50, vec![7; 60]),
        ("GRE, another version", 47, join(&[&[0, 1, 0x08, 0], &ip(A6, B6, 17, &udp(1, 2, b""))])),
        ("GRE, encrypted", 47, join(&[&[0, 0, 0x88, 0xe5], &[7; 60]])),
        ("IPIP, rubbish", 4, vec![0xff; 60]),
        ("VXLAN, ARP inside", 17, udp(40_000, 4789, &join(&[&[8, 0, 0, 0, 0, 0, 1, 0], &arp]))),
        ("no ports", 6, vec![1, 2, 3]),
        ("nothing", 17, vec![]),
    ] {
        assert_eq!(part(&in_frame(&ip(A, B, protocol, &payload))).flow, by_addresses, "{name}");
    }
    // A port that is a tunnel's by chance.
    let chance = part(&in_frame(&ip(A, B, UDP, &udp(5000, 4789, &[0xff; 60]))));
    assert_eq!(chance.flow, flow((A, 5000), (B, 4789), UDP));
}

#[test]
fn the_flow_label_says_nothing() {
    let label = |label| {
        let mut packet = ip(A6, B6, TCP, &tcp(4000, 80, 0x10));
        let label: u32 = Ipv6FlowLabel::try_new(label).unwrap().value();
        packet[..4].copy_from_slice(&(6 << 28 | label).to_be_bytes());
        part(&in_frame(&packet)).flow
    };
    assert_eq!(label(1), label(0xf_ffff));
}

#[test]
fn what_is_for_all() {
    let mut group = in_frame(&ip(A, B, UDP, &udp(1, 2, b"")));
    group[0] = 1;
    let neighbour = in_frame(&ip(A6, B6, 58, &[135; 32]));
    for packet in [&group[..], &neighbour, &ether(0x0806, &[0; 28]), &[0xff; 60], &[], &[2; 13]] {
        assert_eq!(Belongs::of(packet), Belongs::All, "{packet:x?}");
    }
}

#[test]
fn what_is_not_ip_goes_by_hardware_addresses() {
    let lldp = part(&ether(0x88cc, &[0; 40]));
    for packet in [
        ether(0x0020, &[0x42; 40]),
        ether(0x8864, &[0x11, 0, 0, 1, 0, 9, 0xc0, 0x21, 1]),
        ether(0x0800, &[]),
        ether(0x0800, &[0x99; 40]),
        ether(0x8100, &[0]),
    ] {
        assert_eq!(part(&packet).flow, lldp.flow, "{packet:x?}");
    }
    let mut back = ether(0x88cc, &[0; 40]);
    back[..12].rotate_left(6);
    assert_eq!(part(&back).flow, lldp.flow);
    back[11] = 9;
    assert_ne!(part(&back).flow, lldp.flow);
}

proptest! {
    #[test]
    fn any_bytes_and_any_beginning_of_a_packet_have_a_place(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        which in 0..24usize,
        cut in 0..200usize,
    ) {
        Belongs::of(&bytes);
        let inner = ip(A, B, UDP, &udp(5000, 53, &bytes));
        let packets = [wrapped(&inner, A6, B6, 1), wrapped(&inner, B, A, 1)].concat();
        let packet = &packets[which].1;
        Belongs::of(&packet[..cut.min(packet.len())]);
    }
}
