//! What edges without offloads bring into a link: segments that follow each other as one frame,
//! where the neighbour takes such frames, and each packet as it came where it does not.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use cable::Edge;
use edges::codec::Coding;
use edges::messages::MessageEdge;
use edges::stream::StreamEdge;
use etherparse::PacketBuilder;
use frames::{FEATURES, Framing, GUEST_CSUM, GUEST_TSO6, MAX_FRAME, Packets};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use shmring::BytesMut;

const SIZE: usize = 1000;

/// The packet of a connection over IPv4 with this number.
fn segment(number: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let ip = etherparse::Ipv4Header {
        identification: number as u16,
        ..etherparse::Ipv4Header::new(
            0,
            64,
            etherparse::IpNumber::TCP,
            [10, 0, 0, 1],
            [10, 0, 0, 2],
        )
        .expect("a header")
    };
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ip(etherparse::IpHeaders::Ipv4(ip, etherparse::Ipv4Extensions::default()))
        .tcp(5000, 80, 1 + number * SIZE as u32, 500)
        .ack(7)
        .write(&mut out, &[number as u8; SIZE])
        .expect("a vector takes all");
    out
}

/// An edge, and what sends a packet to it.
type Made = (Box<dyn Edge>, Box<dyn FnMut(&[u8])>);

fn messages() -> Made {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::NONBLOCK, None)
            .expect("socketpair");
    let edge = MessageEdge::new("packet", ours, None).expect("an edge");
    let put = move |packet: &[u8]| {
        send(&theirs, packet, SendFlags::empty()).expect("room");
    };
    (Box::new(edge), Box::new(put))
}

fn stream(framing: Framing) -> Made {
    use std::io::Write;
    let (ours, mut theirs) = UnixStream::pair().expect("socketpair");
    ours.set_nonblocking(true).expect("fcntl");
    let output = OwnedFd::from(ours.try_clone().expect("dup"));
    let edge = StreamEdge::new("stream", Coding::Framed(framing), ours.into(), output);
    let put = move |packet: &[u8]| {
        let length = framing.prefix_of(packet.len());
        theirs.write_all(&length[..framing.prefix()]).expect("room");
        theirs.write_all(packet).expect("room");
    };
    (Box::new(edge.expect("an edge")), Box::new(put))
}

fn all() -> [Made; 3] {
    [messages(), stream(Framing::Qemu), stream(Framing::Vde)]
}

/// All frames that the edge has.
fn frames(edge: &mut Box<dyn Edge>) -> Vec<Vec<u8>> {
    edge.woken();
    let mut frames = Vec::new();
    let mut room = vec![0; MAX_FRAME];
    while edge.has_frames()
        && let Ok(len) = edge.fill(&mut BytesMut::of_slice(&mut room))
    {
        frames.push(room[..len].to_vec());
    }
    frames
}

fn packets(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for frame in frames {
        Packets::default().each(frame, |packet| all.push(packet.to_vec())).expect("a frame");
    }
    all
}

#[test]
fn what_is_there_at_once_is_one_frame() {
    for (mut edge, mut put) in all() {
        edge.plugged(FEATURES).expect("plugged");
        let sent: Vec<_> = (0..70).map(segment).collect();
        sent.iter().for_each(|packet| put(packet));
        let came = frames(&mut edge);
        // 65535 bytes have room for 65 of them.
        assert_eq!(came.len(), 2);
        assert!(packets(&came) == sent);
        // What comes later does not wait for others.
        for number in 70..73 {
            put(&segment(number));
            let came = frames(&mut edge);
            assert!(packets(&came) == [segment(number)]);
        }
    }
}

#[test]
fn what_does_not_belong_to_it_comes_behind_it() {
    for (mut edge, mut put) in all() {
        edge.plugged(FEATURES).expect("plugged");
        let mut other = segment(9);
        other[12] = 0x88; // no IP
        let sent =
            [segment(0), segment(1), other.clone(), segment(2), other, segment(3), segment(4)];
        sent.iter().for_each(|packet| put(packet));
        let came = frames(&mut edge);
        assert_eq!(came.len(), 5);
        assert!(packets(&came) == sent);
        assert!(edge.is_empty());
    }
}

#[test]
fn a_neighbour_that_takes_no_such_frames_gets_packets() {
    for (mut edge, mut put) in all() {
        let sent = [segment(0), segment(1), segment(2)];
        let mut gets = |edge: &mut Box<dyn Edge>, count| {
            sent.iter().for_each(|packet| put(packet));
            let came = frames(edge);
            assert_eq!(came.len(), count);
            assert!(packets(&came) == sent);
        };
        gets(&mut edge, 3);
        edge.plugged(0).expect("plugged");
        gets(&mut edge, 3);
        // Those over IPv6 only.
        edge.plugged(1 << GUEST_CSUM | 1 << GUEST_TSO6).expect("plugged");
        gets(&mut edge, 3);
        edge.plugged(FEATURES).expect("plugged");
        gets(&mut edge, 1);
        edge.unplugged().expect("unplugged");
        gets(&mut edge, 3);
    }
}

#[test]
fn the_last_ones_come_before_the_end() {
    for (mut edge, mut put) in all() {
        edge.plugged(FEATURES).expect("plugged");
        let sent = [segment(0), segment(1), segment(7)];
        sent.iter().for_each(|packet| put(packet));
        drop(put);
        let came = frames(&mut edge);
        assert_eq!(came.len(), 2);
        assert!(packets(&came) == sent);
        assert!(edge.is_over());
    }
}
