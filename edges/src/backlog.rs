//! Frames that wait in a TAP, and how their senders hear of it.

use std::time::Instant;

use cable::edge::Burst;
use frames::{SEGMENT_LEN, Segment, VNET_LEN};
use shmring::{Bytes, BytesMut};

use crate::round::Round;

/// A frame that is shorter could have been larger, had its sender waited. Bytes.
pub const SMALL: usize = 16 << 10;

/// So many frames in a row without the TAP once being empty: its reader is behind. A small part of
/// what waits in a TAP at most (`txqueuelen`, 1000).
const MANY: usize = 40;

/// Active queue management, as RFC 7567 asks of whoever holds a queue.
///
/// A TAP takes frames off their socket's account (`skb_orphan` in `tun_net_xmit` of
/// `drivers/net/tun.c`), so that nothing holds TCP back where frames wait: each small write goes
/// out as a frame of its own, until the TAP drops them. Told that its frames wait
/// (RFC 3168) it sends fewer and larger ones, which take less work a byte. Whose frames are large in
/// the mean gains nothing by it, and a connection over a long path loses by it for long. So only those
/// are told that are known to be near ([`Round`]), which takes timestamps.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Read since the TAP was empty; of many the last count most.
    seen: Burst,
    round: Round,
}

impl Backlog {
    /// The TAP was found empty.
    pub fn is_over(&mut self) {
        self.seen = Burst::default();
    }

    /// One more frame was read, the first `len` bytes of `frame`: it is marked where it should be.
    #[inline]
    pub fn look(&mut self, frame: &mut BytesMut<'_>, len: usize) {
        self.look_at(frame, len, Instant::now);
    }

    #[inline]
    fn look_at(&mut self, frame: &mut BytesMut<'_>, len: usize, now: impl FnOnce() -> Instant) {
        self.seen.push(len);
        if self.seen.frames > 4 * MANY {
            self.seen = Burst { frames: self.seen.frames / 2, bytes: self.seen.bytes / 2 };
        }
        let waited = self.seen.frames > MANY && len < SMALL && self.seen.mean() < SMALL;
        if waited || self.round.is_answered() {
            self.look_closely(frame, len, waited, now());
        }
    }

    #[cold]
    fn look_closely(&mut self, frame: &mut BytesMut<'_>, len: usize, waited: bool, now: Instant) {
        self.round.expire(now);
        if self.round.is_waiting() {
            return;
        }
        let mut begin = [0; SEGMENT_LEN];
        let begin = begin_of(&frame.as_bytes(), len, &mut begin);
        let Some(seen) = Segment::of(begin) else { return };
        self.round.look_for_end(&seen, now);
        if waited && frames::mark(begin) && self.round.is_near(&seen, now) {
            frame.copy_from(VNET_LEN, begin);
        }
    }

    /// A frame goes the other way.
    #[inline]
    pub fn look_back(&mut self, frame: &Bytes<'_>) {
        self.look_back_at(frame, Instant::now);
    }

    #[inline]
    fn look_back_at(&mut self, frame: &Bytes<'_>, now: impl FnOnce() -> Instant) {
        if self.round.is_asked() {
            self.look_for_answer(frame, now());
        }
    }

    #[cold]
    fn look_for_answer(&mut self, frame: &Bytes<'_>, now: Instant) {
        self.round.expire(now);
        let mut begin = [0; SEGMENT_LEN];
        if let Some(seen) = Segment::of(begin_of(frame, frame.len(), &mut begin)) {
            self.round.look_for_answer(&seen);
        }
    }
}

/// The begin of the packet in a frame of that length.
fn begin_of<'a>(frame: &Bytes<'_>, len: usize, begin: &'a mut [u8; SEGMENT_LEN]) -> &'a mut [u8] {
    let begin = &mut begin[..len.saturating_sub(VNET_LEN).min(SEGMENT_LEN)];
    frame.copy_to(VNET_LEN, begin);
    begin
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use etherparse::TcpOptionElement::{Noop, Timestamp};
    use etherparse::{IpEcn, Ipv4Header, LaxNetSlice, LaxSlicedPacket, PacketBuilder};

    use super::*;
    use crate::round::{BELIEVED, REST};

    const MS: Duration = Duration::from_millis(1);

    /// A frame of a connection, of its client or its server, with that number, that had got the
    /// other side's of that time.
    fn frame(client: u8, from_client: bool, number: u32, got: u32, payload: usize) -> Vec<u8> {
        let (from, to) = if from_client { (client, 99) } else { (99, client) };
        let tcp = etherparse::IpNumber::TCP;
        let mut ip = Ipv4Header::new(0, 64, tcp, [from; 4], [to; 4]).unwrap();
        ip.ecn = IpEcn::Ect0;
        let ip = etherparse::IpHeaders::Ipv4(ip, Default::default());
        let tcp = PacketBuilder::ethernet2([2; 6], [4; 6]).ip(ip).tcp(1, 1, number, 0);
        let tcp = tcp.ack(number).options(&[Noop, Noop, Timestamp(got + 1, got)]).unwrap();
        let mut out = vec![0; VNET_LEN];
        tcp.write(&mut out, &vec![0; payload]).unwrap();
        out
    }

    /// A backlog with a clock of its own.
    struct Late {
        backlog: Backlog,
        now: Instant,
    }

    impl Late {
        fn new() -> Late {
            let seen = Burst { frames: MANY, bytes: MANY * 100 };
            Late { backlog: Backlog { seen, ..Backlog::default() }, now: Instant::now() }
        }

        /// Reads it, and says whether it was marked.
        fn reads(&mut self, mut frame: Vec<u8>) -> bool {
            let len = frame.len();
            self.backlog.look_at(&mut BytesMut::of_slice(&mut frame), len, || self.now);
            let packet = LaxSlicedPacket::from_ethernet(&frame[VNET_LEN..]).unwrap();
            let Some(LaxNetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4: {packet:?}") };
            let sum = ip.header().to_header().calc_header_checksum();
            assert_eq!(sum, ip.header().header_checksum());
            ip.header().ecn() == IpEcn::CongestionExperienced
        }

        fn writes(&mut self, frame: Vec<u8>) {
            self.backlog.look_back_at(&Bytes::of_slice(&frame), || self.now);
        }

        /// A client's frame is answered after so long, and the client goes on after so
        /// long; whether the frame after that is marked.
        fn round(&mut self, client: u8, answer: Duration, next: Duration) -> bool {
            self.reads(frame(client, true, 2, 1, 100));
            self.now += answer;
            self.writes(frame(client, false, 3, 2, 0));
            self.now += next;
            self.reads(frame(client, true, 4, 4, 100));
            self.reads(next_of(client, 100))
        }
    }

    fn next_of(client: u8, payload: usize) -> Vec<u8> {
        frame(client, true, 5, 4, payload)
    }

    #[test]
    fn a_near_sender_is_told_and_a_far_one_is_not() {
        for (answer, next, told) in [(0, 0, true), (1, 1, true), (3, 0, false), (1, 2, false)] {
            assert_eq!(Late::new().round(1, MS * answer, MS * next), told, "{answer} {next} ms");
        }
    }

    #[test]
    fn who_is_not_answered_is_not_told() {
        let mut late = Late::new();
        for _ in 0..1000 {
            assert!(!late.reads(frame(1, true, 2, 1, 100)));
            late.writes(frame(2, false, 3, 2, 0));
            late.now += MS / 10;
        }
    }

    #[test]
    fn answers_of_before_do_not_count_if_they_are_of_the_same_time() {
        // The answer to a frame that had the timestamp of the one that is asked.
        let mut late = Late::new();
        late.reads(frame(1, true, 2, 1, 100));
        late.writes(frame(1, false, 2, 2, 0));
        assert!(late.backlog.round.is_asked());
        // Its sender has got one with the timestamp of the answer.
        late.writes(frame(1, false, 3, 2, 0));
        late.reads(frame(1, true, 4, 3, 100));
        assert!(late.backlog.round.is_answered());
    }

    #[test]
    fn who_did_not_answer_is_not_waited_for_while_others_send() {
        let mut late = Late::new();
        late.reads(frame(1, true, 2, 1, 100));
        let mut writes_no_tcp = |after| {
            late.now += after;
            late.writes(vec![0; 100]);
            late.backlog.round.is_asked()
        };
        assert!(writes_no_tcp(MS));
        assert!(!writes_no_tcp(MS * 2));
    }

    #[test]
    fn small_frames_that_wait_behind_many_are_marked() {
        let mut late = Late::new();
        assert!(late.round(1, MS, MS));
        assert!(!late.reads(next_of(1, 30_000)), "it could not be much larger");
        assert!(late.reads(next_of(1, 1400)));
        late.backlog.is_over();
        assert!((0..MANY).all(|_| !late.reads(next_of(1, 100))));
        assert!((0..10).all(|_| late.reads(next_of(1, 100))));
    }

    #[test]
    fn large_frames_are_not_marked_nor_the_small_ones_between_them() {
        let mut late = Late::new();
        assert!(late.round(1, MS, MS));
        late.backlog.is_over();
        for _ in 0..2 * MANY {
            assert!(!late.reads(next_of(1, 60_000)));
            assert!(!late.reads(next_of(1, 100)));
        }
        assert!((0..20 * MANY).any(|_| late.reads(next_of(1, 100))), "now they are all small");
    }

    #[test]
    fn only_who_was_asked_is_told_and_each_gets_its_turn() {
        let mut late = Late::new();
        assert!(late.round(1, MS, MS));
        assert!(!late.reads(next_of(2, 100)), "it may be far");
        assert!(late.reads(next_of(1, 100)));
        late.now += BELIEVED;
        assert!(late.round(2, MS, MS));
        late.now += BELIEVED;
        assert!(!late.round(3, MS * 50, MS), "this one is");
        assert!(!late.round(1, MS, MS), "nobody is looked at for a while");
        late.now += REST;
        assert!(late.round(1, MS, MS));
    }

    #[test]
    fn what_is_no_packet_stays_as_it_is() {
        let mut late = Late::new();
        assert!(late.round(1, MS, MS));
        for len in [0, 5, VNET_LEN, VNET_LEN + 3, 60] {
            let mut bytes = vec![0x55; 60];
            late.backlog.look(&mut BytesMut::of_slice(&mut bytes), len);
            assert_eq!(bytes, [0x55; 60]);
        }
    }
}
