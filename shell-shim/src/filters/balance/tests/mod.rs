//! The director, without links: time and frames are made up.

mod mutated;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, PacketBuilder};

use super::By;
use super::director::{Director, Way};
use super::flows::CAPACITY;
use super::target::{PATIENCE, SILENCE, UNANSWERED};

const SERVER: [u8; 4] = [10, 0, 0, 100];
const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const FIN: u8 = 0x01;

/// A director whose targets have all told their hardware addresses, at this time.
fn director(targets: usize, now: Instant) -> Director {
    let mut director = Director::new(By::Flow);
    for at in 0..targets {
        director.add(format!("f{at}").into(), false).unwrap();
        join(&mut director, at, now);
    }
    director
}

fn join(director: &mut Director, at: usize, now: Instant) {
    director.replaced(at, true, now);
    director.back(at, &[&[0xff; 6][..], &mac(at), &[8, 6], &[0; 28]].concat(), now);
}

fn mac(at: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, at as u8]
}

/// TCP between a port of the client and the server's port 80.
fn tcp(port: u16, to_server: bool, flags: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let builder = match to_server {
        true => link.ipv4(CLIENT, SERVER, 64).tcp(port, 80, 1, 1000),
        false => link.ipv4(SERVER, CLIENT, 64).tcp(80, port, 1, 1000),
    };
    builder.write(&mut packet, b"").unwrap();
    packet[14 + 20 + 13] = flags;
    packet
}

fn udp(port: u16, to_server: bool, len: usize) -> Vec<u8> {
    let mut packet = Vec::new();
    let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let builder = match to_server {
        true => link.ipv4(CLIENT, SERVER, 64).udp(port, 53),
        false => link.ipv4(SERVER, CLIENT, 64).udp(53, port),
    };
    builder.write(&mut packet, &vec![0; len]).unwrap();
    packet
}

/// An IP packet in fragments of up to 1400 bytes.
fn fragments(packet: &[u8], id: u16) -> Vec<Vec<u8>> {
    let (header, _) = Ipv4Header::from_slice(&packet[14..]).unwrap();
    let payload = &packet[34..];
    let pieces = payload.chunks(1400).enumerate().map(|(n, piece)| {
        let mut header = header.clone();
        header.identification = id;
        header.fragment_offset = IpFragOffset::try_new((n * 1400 / 8) as u16).unwrap();
        header.more_fragments = (n + 1) * 1400 < payload.len();
        header.set_payload_len(piece.len()).unwrap();
        let mut out = packet[..14].to_vec();
        header.write(&mut out).unwrap();
        [out, piece.to_vec()].concat()
    });
    pieces.collect()
}

/// A router's word that a packet of the server's was too long.
fn too_long(packet: &[u8]) -> Vec<u8> {
    let quoted = [&[3, 4, 0, 0, 0, 0, 5, 20], &packet[14..42]].concat();
    let mut out = packet[..14].to_vec();
    let len = quoted.len() as u16;
    let header = Ipv4Header::new(len, 64, IpNumber::ICMP, [10, 9, 9, 9], SERVER).unwrap();
    header.write(&mut out).unwrap();
    [out, quoted].concat()
}

#[track_caller]
fn to(director: &mut Director, packet: &[u8], now: Instant) -> usize {
    match director.forward(packet, now) {
        Way::To(at) => at,
        other => panic!("{other:?}"),
    }
}

/// A handshake, through the target that it returns.
fn connect(director: &mut Director, port: u16, now: Instant) -> usize {
    let at = to(director, &tcp(port, true, SYN), now);
    director.back(at, &tcp(port, false, SYN | ACK), now);
    assert_eq!(to(director, &tcp(port, true, ACK), now), at);
    at
}

#[test]
fn established_flows_stay_when_targets_come() {
    let now = Instant::now();
    let mut director = director(1, now);
    (0..100).for_each(|port| assert_eq!(connect(&mut director, port, now), 0));
    director.add("f9".into(), false).unwrap();
    join(&mut director, 1, now);
    let later = now + Duration::from_secs(7200);
    director.on_time(later);
    for port in 0..100 {
        assert_eq!(to(&mut director, &tcp(port, true, ACK), later), 0);
    }
    let new = (100..200).filter(|port| connect(&mut director, *port, later) == 1).count();
    assert!((30..70).contains(&new), "{new}");
}

#[test]
fn a_lost_table_loses_nothing_while_the_targets_are_the_same() {
    let now = Instant::now();
    let (mut before, mut after) = (director(4, now), director(4, now));
    after.drain("f2".as_ref()).unwrap();
    for port in 0..200 {
        let at = connect(&mut before, port, now);
        assert_eq!(to(&mut after, &tcp(port, true, ACK), now), at);
        assert_ne!(connect(&mut after, 1000 + port, now), 2);
    }
}

#[test]
fn who_sends_first_has_the_flow() {
    let now = Instant::now();
    let mut director = director(4, now);
    for port in 0..40 {
        let at = usize::from(port) % 4;
        director.back(at, &udp(port, false, 9), now);
        assert_eq!(to(&mut director, &udp(port, true, 9), now), at);
    }
}

#[test]
fn a_drained_target_keeps_its_flows_and_gets_no_new_ones() {
    let now = Instant::now();
    let mut director = director(2, now);
    let before: Vec<_> = (0..100).map(|port| connect(&mut director, port, now)).collect();
    director.drain("f0".as_ref()).unwrap();
    for (port, at) in before.iter().enumerate() {
        assert_eq!(to(&mut director, &tcp(port as u16, true, ACK), now), *at);
        assert_eq!(connect(&mut director, 1000 + port as u16, now), 1);
    }
    // Nor does it get one that begins again where an old one ended.
    let port = before.iter().position(|at| *at == 0).unwrap() as u16;
    director.back(0, &tcp(port, false, FIN | ACK), now);
    assert_eq!(to(&mut director, &tcp(port, true, FIN | ACK), now), 0);
    director.back(0, &tcp(port, false, ACK), now);
    assert_eq!(connect(&mut director, port, now), 1);
    director.drain("f1".as_ref()).unwrap();
    assert_eq!(director.forward(&tcp(5000, true, SYN), now), Way::Nobody);
    assert!(
        director.drain("f7".as_ref()).is_err() && director.set_weight("f7".as_ref(), 2).is_err()
    );
    assert!(director.add("f1".into(), false).is_err());
}

#[test]
fn errors_and_fragments_go_with_their_flow() {
    let now = Instant::now();
    let mut director = director(4, now);
    for port in 0..100 {
        let at = connect(&mut director, port, now);
        assert_eq!(to(&mut director, &too_long(&tcp(port, false, ACK)), now), at);
        let at = to(&mut director, &udp(port, true, 100), now);
        for fragment in fragments(&udp(port, true, 4000), port) {
            assert_eq!(to(&mut director, &fragment, now), at);
        }
    }
    // An error about nothing that is known is passed on and not remembered.
    let flows = director.flows.len();
    to(&mut director, &too_long(&tcp(5000, false, ACK)), now);
    assert_eq!(director.flows.len(), flows);
}

#[test]
fn fragments_that_overtake_the_first_wait_for_it() {
    let now = Instant::now();
    let mut director = director(4, now);
    for port in 0..20 {
        let at = to(&mut director, &udp(port, true, 100), now);
        let pieces = fragments(&udp(port, true, 4000), port);
        for piece in pieces[1..].iter().rev() {
            let Way::Hold(part) = director.forward(piece, now) else { panic!("no first yet") };
            director.hold(part, piece.clone(), now);
        }
        assert!(director.next_late(now).is_none());
        assert_eq!(to(&mut director, &pieces[0], now), at);
        for piece in pieces[1..].iter().rev() {
            let (way, (_, frame)) = director.next_late(now).unwrap();
            assert_eq!((way, &frame), (Way::To(at), piece));
        }
        assert!(director.next_late(now).is_none());
    }
    // What waits in vain goes by its addresses after a second, or for want of room.
    let lost = &fragments(&udp(1, true, 4000), 999)[1];
    for _ in 0..300 {
        let Way::Hold(part) = director.forward(lost, now) else { panic!("no first yet") };
        director.hold(part, lost.clone(), now);
        director.on_time(now);
    }
    let mut late = || std::iter::from_fn(|| director.next_late(now)).count();
    assert_eq!(late(), 300 - 256);
    assert!(director.deadline().unwrap() <= now + Duration::from_secs(1));
    director.on_time(now + Duration::from_secs(1));
    let late = std::iter::from_fn(|| director.next_late(now)).count();
    assert_eq!(late, 256);
}

#[test]
fn a_target_that_does_not_answer_gets_no_new_flows() {
    let now = Instant::now();
    let mut director = director(2, now);
    for port in 0..100 {
        let at = to(&mut director, &udp(port, true, 9), now);
        if at == 1 {
            director.back(1, &udp(port, false, 9), now);
        }
    }
    let later = now + SILENCE;
    let to_silent = (100..200).filter(|port| to(&mut director, &udp(*port, true, 9), later) == 0);
    assert_eq!(to_silent.count(), 0);
    // Its connections that never began are tried with another; what it has, it keeps.
    let mut silent = (0..100).filter(|port| to(&mut director, &udp(*port, true, 9), later) == 0);
    assert!(silent.by_ref().count() >= UNANSWERED as usize);
    join(&mut director, 0, later);
    assert!((200..300).any(|port| to(&mut director, &udp(port, true, 9), later) == 0));
}

#[test]
fn a_connection_that_was_not_answered_is_tried_with_another_target() {
    let now = Instant::now();
    let mut director = director(2, now);
    let silent = |director: &mut Director, now| {
        (0..100).filter(|port| to(director, &tcp(*port, true, SYN), now) == 0).count()
    };
    assert!(silent(&mut director, now) > 20);
    let later = now + SILENCE;
    director.back(1, &udp(1, false, 9), later);
    assert_eq!(silent(&mut director, later), 0);
    // The first was only slow: who answers first has the connection.
    director.back(0, &tcp(7, false, SYN | ACK), later);
    director.back(1, &tcp(8, false, SYN | ACK), later);
    for (port, at) in [(7, 0), (8, 1)] {
        director.back(1 - at, &tcp(port, false, SYN | ACK), later);
        assert_eq!(to(&mut director, &tcp(port, true, ACK), later), at);
    }
}

#[test]
fn flows_are_forgotten_by_their_state_and_for_want_of_room() {
    let now = Instant::now();
    let mut director = director(1, now);
    connect(&mut director, 1, now); // established
    connect(&mut director, 2, now); // then closed
    director.back(0, &tcp(2, false, RST), now);
    to(&mut director, &tcp(3, true, SYN), now); // opening
    to(&mut director, &udp(4, true, 9), now); // answered
    director.back(0, &udp(4, false, 9), now);
    for (seconds, left) in [(0, 4), (59, 4), (60, 2), (299, 2), (300, 1), (7439, 1), (7440, 0)] {
        director.on_time(now + Duration::from_secs(seconds));
        assert_eq!((director.flows.len(), director.flows.count(0).now), (left, left as u64));
    }
    // Those that go on are kept when there is no room for all that would begin.
    (0..1000).for_each(|port| assert_eq!(connect(&mut director, port, now), 0));
    let mut flood = tcp(1, true, SYN);
    for n in 0..(CAPACITY as u32 + 5000) {
        flood[26..30].copy_from_slice(&(n + 0x0b00_0000).to_be_bytes()); // the client's address
        to(&mut director, &flood, now);
    }
    assert_eq!(director.flows.len(), CAPACITY);
    assert_eq!(director.flows.count(0).evicted, 6000);
    join(&mut director, 0, now);
    assert_eq!(director.flows.count(0), Default::default());
}

#[test]
fn the_first_flows_wait_for_the_targets_a_moment() {
    let now = Instant::now();
    let mut director = Director::new(By::Flow);
    (0..2).for_each(|at| director.add(format!("f{at}").into(), false).unwrap());
    assert!(!director.has_begun());
    join(&mut director, 0, now);
    let syn = tcp(1, true, SYN);
    assert_eq!(director.forward(&syn, now), Way::Wait(Some(now + PATIENCE)));
    assert_eq!(director.forward(&[0xff; 60], now), Way::All);
    let later = now + 5 * PATIENCE;
    director.asks(later); // a moment from then on
    assert_eq!(director.forward(&syn, later), Way::Wait(Some(later + PATIENCE)));
    assert_eq!(director.forward(&syn, later + PATIENCE), Way::To(0));
    director.asks(later + PATIENCE);
    assert_eq!(director.forward(&tcp(2, true, SYN), later + PATIENCE), Way::To(0));
}

/// Targets join, leave, are killed, drained and given other weights at random, under
/// 200 connections and time that passes: no connection of a live target moves.
#[test]
fn no_flow_of_a_live_target_moves_whatever_the_others_do() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for _ in 0..rounds(20) {
        let mut now = Instant::now();
        let mut director = director(4, now);
        let mut owners: HashMap<u16, usize> = HashMap::new();
        let mut next_port = 0u16;
        for _ in 0..2000 {
            now += Duration::from_millis(random.below(50));
            director.on_time(now);
            let at = random.below(4) as usize;
            match random.below(100) {
                0 => director.drain(format!("f{at}").as_ref()).unwrap(),
                1 => director
                    .set_weight(format!("f{at}").as_ref(), 1 + random.below(9) as u32)
                    .unwrap(),
                // Gone; its connections are, too. Another may come in the same moment.
                2..4 => {
                    director.replaced(at, false, now);
                    owners.retain(|_, owner| *owner != at);
                    if random.below(2) == 0 {
                        join(&mut director, at, now);
                    }
                }
                4..8 if !director.targets[at].up => {
                    join(&mut director, at, now);
                    director.targets[at].drained = false;
                }
                8..20 if owners.len() < 200 => {
                    next_port += 1;
                    if let Way::To(at) = director.forward(&tcp(next_port, true, SYN), now) {
                        assert!(director.targets[at].is_in());
                        director.back(at, &tcp(next_port, false, SYN | ACK), now);
                        owners.insert(next_port, at);
                    }
                }
                _ => {}
            }
            let mut ports: Vec<_> = owners.keys().copied().collect();
            ports.sort_unstable();
            for port in ports.iter().skip(random.below(20) as usize).step_by(20) {
                let owner = owners[port];
                let packet = match random.below(3) {
                    0 => too_long(&tcp(*port, false, ACK)),
                    1 => fragments(&tcp(*port, true, ACK), *port).remove(0),
                    _ => tcp(*port, true, ACK),
                };
                assert_eq!(to(&mut director, &packet, now), owner, "port {port}");
                director.back(owner, &tcp(*port, false, ACK), now);
            }
        }
        let counted: u64 = (0..4).map(|at| director.flows.count(at).now).sum();
        assert_eq!(counted, director.flows.len() as u64);
    }
}

/// More of them where `STDPKT_ROUNDS` says so.
fn rounds(usual: usize) -> usize {
    std::env::var("STDPKT_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) % bound
    }
}
