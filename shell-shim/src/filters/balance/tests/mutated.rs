//! Frames as nobody should send them.

use super::*;

/// Frames of all kinds with bytes changed, cut off, inserted and doubled at random,
/// through parser and director: nothing panics, hangs or grows without bound.
#[test]
fn mutated_frames_do_no_harm() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut seeds = vec![tcp(1, true, SYN), tcp(1, false, ACK), udp(2, true, 30), vec![0xff; 60]];
    seeds.extend(fragments(&udp(3, true, 3000), 7));
    seeds.push(too_long(&tcp(1, false, ACK)));
    let inner = tcp(9, true, ACK)[14..].to_vec();
    for (protocol, header) in [
        (4, vec![]),
        (47, vec![0x30, 0, 8, 0, 0, 0, 0, 1, 0, 0, 0, 2]),
        (
            17,
            [&[0x9c, 0x40, 0x12, 0xb5, 0, 90, 0, 0, 8, 0, 0, 0, 0, 0, 1, 0][..], &seeds[0][..14]]
                .concat(),
        ),
        (17, vec![0x9c, 0x40, 0x17, 0xc1, 0, 90, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0]),
    ] {
        let payload = [header, inner.clone()].concat();
        let mut packet = seeds[0][..14].to_vec();
        let header = Ipv4Header::new(payload.len() as u16, 64, IpNumber(protocol), CLIENT, SERVER);
        header.unwrap().write(&mut packet).unwrap();
        seeds.push([packet, payload].concat());
    }
    let mut v6 = vec![2; 12];
    v6.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 60, 0, 64]);
    v6.extend([0xfd; 32]);
    v6.extend([60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, 44, 0, 1, 4, 0, 0, 0, 0]);
    v6.extend([58, 0, 0, 1, 0, 0, 0, 9, 2, 0, 0, 0, 0, 0, 5, 20, 0x60, 0, 0, 0, 0, 8, 17, 64]);
    v6.extend([0xfd; 40]);
    seeds.push(v6);
    let tagged =
        [&seeds[0][..12], &[0x81, 0, 0, 7, 0x88, 0x64, 0x11, 0, 0, 1, 0, 60, 0, 0x21], &inner];
    seeds.push(tagged.concat());

    let mut now = Instant::now();
    let mut director = director(4, now);
    for n in 0..rounds(100_000) {
        let mut frame = seeds[random.below(seeds.len() as u64) as usize].clone();
        for _ in 0..random.below(6) {
            let at = random.below(frame.len() as u64 + 1) as usize;
            match random.below(8) {
                0 => frame.truncate(at),
                1 => drop(frame.splice(at..at, (0..random.below(40)).map(|n| n as u8))),
                2 => frame.extend_from_within(at..),
                3 => frame[..at].reverse(),
                _ if at < frame.len() => frame[at] = random.below(256) as u8,
                _ => {}
            }
            frame.truncate(4000);
        }
        if n % 16 == 0 {
            now += Duration::from_millis(random.below(100));
            director.on_time(now);
        }
        match random.below(1000) {
            0 => join(&mut director, random.below(4) as usize, now),
            1 => director.replaced(random.below(4) as usize, false, now),
            2..300 => director.back(random.below(4) as usize, &frame, now),
            _ => match director.forward(&frame, now) {
                Way::Hold(part) => director.hold(part, frame, now),
                Way::To(at) => assert!(director.targets[at].up),
                _ => {}
            },
        }
        while let Some((way, late)) = director.next_late(now) {
            if matches!(way, Way::Wait(_)) {
                director.put_back(late);
                break;
            }
        }
        assert!(director.flows.len() <= CAPACITY);
    }
}
