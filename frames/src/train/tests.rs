//! What is joined is cut into the same packets again, and nothing else is joined.

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;
use crate::{MAX_FRAME, Packets, VNET_LEN, push_frame};

/// A connection's packet, made by a crate that is not under test.
#[derive(Debug, Clone)]
struct Segment {
    /// Which of several connections.
    flow: u16,
    v6: bool,
    tags: u8,
    seq: u32,
    ack: u32,
    window: u16,
    stamp: u32,
    id: u16,
    df: bool,
    hops: u8,
    flags: u8,
    payload: Vec<u8>,
}

const PLAIN: Segment = Segment {
    flow: 0,
    v6: false,
    tags: 0,
    seq: 1000,
    ack: 7,
    window: 500,
    stamp: 9,
    id: 40,
    df: false,
    hops: 64,
    flags: ACK,
    payload: Vec::new(),
};

impl Segment {
    fn of(v6: bool, tags: u8, payload: &[u8]) -> Segment {
        Segment { v6, tags, payload: payload.to_vec(), ..PLAIN }
    }

    /// The next one of the connection.
    fn next(&self, payload: &[u8]) -> Segment {
        let seq = self.seq.wrapping_add(self.payload.len() as u32);
        let id = self.id.wrapping_add(1);
        Segment { seq, id, payload: payload.to_vec(), ..self.clone() }
    }

    fn packet(&self) -> Vec<u8> {
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let vlan = |id: u16| etherparse::VlanId::try_new(id).unwrap();
        let mut out = Vec::new();
        macro_rules! on {
            ($link:expr) => {
                if self.v6 {
                    on_ip!($link.ipv6([0xfd; 16], [0xfe; 16], self.hops))
                } else {
                    let ip = etherparse::Ipv4Header {
                        identification: self.id,
                        dont_fragment: self.df,
                        ..etherparse::Ipv4Header::new(
                            0,
                            self.hops,
                            etherparse::IpNumber::TCP,
                            [10, 0, 0, 1],
                            [10, 0, 0, 2],
                        )
                        .unwrap()
                    };
                    on_ip!($link.ip(etherparse::IpHeaders::Ipv4(ip, Default::default())))
                }
            };
        }
        macro_rules! on_ip {
            ($ip:expr) => {{
                let mut tcp =
                    etherparse::TcpHeader::new(5000 + self.flow, 80, self.seq, self.window);
                tcp.acknowledgment_number = self.ack;
                let has = |flag| self.flags & flag != 0;
                (tcp.fin, tcp.syn, tcp.rst, tcp.psh) = (has(1), has(2), has(4), has(8));
                (tcp.ack, tcp.urg, tcp.ece, tcp.cwr) = (has(16), has(32), has(64), has(128));
                let stamp = etherparse::TcpOptionElement::Timestamp(self.stamp, 3);
                tcp.set_options(&[stamp]).unwrap();
                $ip.tcp_header(tcp).write(&mut out, &self.payload).unwrap();
            }};
        }
        match self.tags {
            0 => on!(link),
            1 => on!(link.single_vlan(vlan(100))),
            _ => on!(link.double_vlan(vlan(7), vlan(100))),
        }
        out
    }
}

/// Frames of packets that come in this order, as an edge makes them.
fn joined(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut packets = packets.iter().peekable();
    let mut frames = Vec::new();
    while let Some(packet) = packets.next() {
        let mut frame = Vec::new();
        push_frame(&mut frame, packet);
        if let Some(mut train) = Train::begin(packet) {
            while train.is_open()
                && let Some(payload) = packets.peek().and_then(|next| train.append(next))
            {
                frame.extend_from_slice(payload);
                packets.next();
            }
            if let Some(headers) = train.headers() {
                frame[..headers.len()].copy_from_slice(&headers);
            }
        }
        assert!(frame.len() <= MAX_FRAME);
        frames.push(frame);
    }
    frames
}

fn cut(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for frame in frames {
        Packets::default().each(frame, |packet| packets.push(packet.to_vec())).unwrap();
    }
    packets
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[test]
fn full_segments_and_a_last_one_are_one_frame() {
    for v6 in [false, true] {
        for tags in 0..3 {
            let first = Segment::of(v6, tags, &bytes(1448));
            let second = first.next(&bytes(1448));
            let last = Segment { flags: ACK | PSH | FIN, ..second.next(&bytes(700)) };
            let other = last.next(&bytes(1448));
            let packets = [&first, &second, &last, &other].map(Segment::packet);
            let frames = joined(&packets);
            assert_eq!(frames.len(), 2, "v6 {v6} tags {tags}");
            let header = VnetHeader::parse(frames[0].first_chunk().unwrap());
            let headers = packets[0].len() - 1448;
            assert_eq!((header.flags, header.gso_size), (1, 1448));
            assert_eq!(header.gso_type, if v6 { GSO_TCPV6 } else { GSO_TCPV4 });
            assert_eq!(usize::from(header.hdr_len), headers);
            assert_eq!((usize::from(header.csum_start), header.csum_offset), (headers - 32, 16));
            assert_eq!(frames[0].len(), VNET_LEN + headers + 2 * 1448 + 700);
            assert!(cut(&frames) == packets, "v6 {v6} tags {tags}");
        }
    }
}

#[test]
fn a_frame_is_no_longer_than_a_packet_can_be() {
    let mut segments = vec![Segment::of(false, 0, &bytes(1448))];
    for _ in 1..100 {
        segments.push(segments.last().unwrap().next(&bytes(1448)));
    }
    let packets: Vec<_> = segments.iter().map(Segment::packet).collect();
    let frames = joined(&packets);
    // 65535 bytes less 52 of headers.
    assert_eq!(frames.len(), 100_usize.div_ceil(65_483 / 1448));
    assert!(cut(&frames) == packets);
    // Two of these do not fit.
    let first = Segment::of(false, 0, &bytes(32_742));
    let packets = [first.packet(), first.next(&bytes(32_742)).packet()];
    assert_eq!(joined(&packets).len(), 2);
}

#[test]
fn what_says_something_of_its_own_stays_alone() {
    let first = Segment::of(false, 0, &bytes(1000));
    let next = first.next(&bytes(1000));
    let with_flags = |flags| Segment { flags, ..next.clone() };
    let changes = [
        ("another connection", Segment { flow: 1, ..next.clone() }),
        ("what it acknowledges", Segment { ack: 8, ..next.clone() }),
        ("the window", Segment { window: 501, ..next.clone() }),
        ("the options", Segment { stamp: 10, ..next.clone() }),
        ("a gap", Segment { seq: next.seq + 1, ..next.clone() }),
        ("sent again", Segment { seq: first.seq, ..next.clone() }),
        ("the identification", Segment { id: next.id + 1, ..next.clone() }),
        ("the same without DF", Segment { id: first.id, ..next.clone() }),
        ("DF", Segment { df: true, ..next.clone() }),
        ("hops", Segment { hops: 63, ..next.clone() }),
        ("longer", first.next(&bytes(1001))),
        ("nothing in it", first.next(&[])),
        ("SYN", with_flags(ACK | 0x02)),
        ("RST", with_flags(ACK | 0x04)),
        ("URG", with_flags(ACK | 0x20)),
        ("ECE", with_flags(ACK | 0x40)),
        ("CWR", with_flags(ACK | 0x80)),
        ("no ACK", with_flags(0)),
    ];
    let assert_apart = |what: &str, packets: [Vec<u8>; 2]| {
        let frames = joined(&packets);
        assert_eq!(frames.len(), 2, "{what}");
        assert!(
            frames.iter().zip(&packets).all(|(frame, it)| frame[VNET_LEN..] == it[..]),
            "{what}"
        );
    };
    assert_eq!(joined(&[first.packet(), next.packet()]).len(), 1);
    for (what, next) in changes {
        assert_apart(what, [first.packet(), next.packet()]);
    }
    // The same of the first one, after which nothing may come.
    for flags in [ACK | PSH, ACK | FIN, ACK | 0x40, ACK | 0x80, ACK | 0x02, 0] {
        let first = Segment { flags, ..first.clone() };
        assert_apart("flags of the first", [first.packet(), next.packet()]);
    }
}

#[test]
fn what_is_damaged_stays_as_it_is() {
    let first = Segment::of(false, 0, &bytes(1000));
    let good = [first.packet(), first.next(&bytes(1000)).packet()];
    let (ip, tcp) = (ETHERNET_LEN, ETHERNET_LEN + 20);
    for (what, at) in [
        ("the Ethernet header", 12),
        ("type of service", ip + 1),
        ("length", ip + 3),
        ("a fragment", ip + 6),
        ("its place", ip + 7),
        ("checksum of IPv4", ip + 10),
        ("address", ip + 12),
        ("bits of no meaning", tcp + 12),
        ("checksum of TCP", tcp + 16),
        ("payload", tcp + 500),
    ] {
        for number in 0..2 {
            let mut packets = good.clone();
            packets[number][at] ^= 1;
            let frames = joined(&packets);
            assert_eq!(frames.len(), 2, "{what} of {number}");
            assert!(frames[number][VNET_LEN..] == packets[number][..], "{what} of {number}");
        }
    }
    for number in 0..2 {
        let mut padded = good.clone();
        padded[number].push(0);
        assert_eq!(joined(&padded).len(), 2, "bytes behind the packet");
        for len in 0..100 {
            let mut short = good.clone();
            short[number].truncate(len);
            assert_eq!(joined(&short).len(), 2, "{len} bytes");
        }
    }
}

/// Where packets may not be fragmented, their identification may stand still.
#[test]
fn an_identification_that_stands_still_is_counted_up() {
    let first = Segment { df: true, id: 0, ..Segment::of(false, 0, &bytes(1000)) };
    let still = |before: &Segment| Segment { id: 0, ..before.next(&bytes(1000)) };
    let (second, third) = (still(&first), still(&still(&first)));
    let frames = joined(&[&first, &second, &third].map(Segment::packet));
    assert_eq!(frames.len(), 1);
    let counted =
        [first.clone(), Segment { id: 1, ..second.clone() }, Segment { id: 2, ..third.clone() }];
    assert!(cut(&frames) == counted.map(|it| it.packet()));
    // Without that, who begins at 0 is taken for one who does not count.
    let uncounted = Segment { df: false, ..first.clone() };
    assert!(Train::begin(&uncounted.packet()).is_none());
    assert!(Train::begin(&Segment { id: 1, ..uncounted }.packet()).is_some());
    // It does so from the second one on, or not at all.
    let grown = Segment { id: 2, ..third };
    assert_eq!(joined(&[&first, &second, &grown].map(Segment::packet)).len(), 2);
    let grown = first.next(&bytes(1000));
    let stands = Segment { id: 1, ..grown.next(&bytes(1000)) };
    assert_eq!(joined(&[&first, &grown, &stands].map(Segment::packet)).len(), 2);
}

/// What happens to the packets of some connections on their way.
#[derive(Debug, Clone)]
enum Fate {
    Comes,
    /// The next packet overtakes it.
    Overtaken,
    Damaged(usize, u8),
    Cut(usize),
    Garbage(Vec<u8>),
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Comes),
        1 => Just(Fate::Overtaken),
        1 => (0..1500usize, 1..=255u8).prop_map(|(at, change)| Fate::Damaged(at, change)),
        1 => (0..200usize).prop_map(Fate::Cut),
        1 => proptest::collection::vec(any::<u8>(), ETHERNET_LEN..200).prop_map(Fate::Garbage),
    ]
}

proptest! {
    /// In the order in which they came, byte by byte, whatever it is.
    #[test]
    fn whatever_comes_is_there_again_when_it_is_cut(
        v6 in any::<bool>(),
        tags in 0..3u8,
        df in any::<bool>(),
        size in 1..1500usize,
        seq in any::<u32>(),
        id in any::<u16>(),
        steps in proptest::collection::vec((0..3u16, 0..6u8, fates()), 1..120),
    ) {
        let mut flows: Vec<Segment> = (0..3)
            .map(|flow| Segment { flow, df, seq, id, ..Segment::of(v6, tags, &[]) })
            .collect();
        let mut packets: Vec<Vec<u8>> = Vec::new();
        let mut late: Option<Vec<u8>> = None;
        for (flow, kind, fate) in steps {
            let payload = bytes(match kind {
                0 => size / 2,
                1 => 0,
                _ => size,
            });
            let flags = if kind == 2 { ACK | PSH } else { ACK };
            let next = Segment { flags, ..flows[usize::from(flow)].next(&payload) };
            flows[usize::from(flow)] = next.clone();
            let mut packet = next.packet();
            match fate {
                Fate::Comes => {}
                Fate::Overtaken => {
                    packets.extend(late.replace(packet));
                    continue;
                }
                Fate::Damaged(at, change) => {
                    let at = at % packet.len();
                    packet[at] ^= change;
                }
                Fate::Cut(len) => packet.truncate(len.max(ETHERNET_LEN)),
                Fate::Garbage(bytes) => packet = bytes,
            }
            packets.push(packet);
            packets.extend(late.take());
        }
        packets.extend(late);
        let frames = joined(&packets);
        prop_assert!(cut(&frames) == packets);
    }

    #[test]
    fn no_bytes_make_it_panic(
        packet in proptest::collection::vec(any::<u8>(), 0..200),
        other in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Some(mut train) = Train::begin(&packet) {
            train.append(&other);
        }
    }

    #[test]
    fn no_damage_makes_it_panic(
        v6 in any::<bool>(),
        damage in proptest::collection::vec((0..100usize, any::<u8>()), 0..6),
        len in 0..1100usize,
    ) {
        let first = Segment::of(v6, 1, &bytes(1000));
        let mut second = first.next(&bytes(1000)).packet();
        for (at, value) in damage {
            second[at] = value;
        }
        second.truncate(len);
        let _ = Train::begin(&second);
        let mut train = Train::begin(&first.packet()).unwrap();
        if train.append(&second).is_some() {
            prop_assert!(cut(&joined(&[first.packet(), second.clone()])) == [first.packet(), second]);
        }
    }
}
