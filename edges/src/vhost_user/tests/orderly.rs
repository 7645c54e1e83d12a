//! What a front end and a driver may expect.

use cable::Edge;
use cable::edge::NotTaken;
use frames::{FEATURES, VNET_LEN};

use super::front_end::*;

/// A frame with a header whose fields differ, and `len` bytes.
fn frame(len: usize) -> Vec<u8> {
    let mut frame = vec![1, 1, 54, 0, 200, 5, 34, 0, 16, 0, 0, 0];
    frame.extend((0..len).map(|n| (n * 7) as u8));
    frame
}

#[test]
fn questions_are_answered() {
    let mut front = FrontEnd::new();
    front.say(1, &[]);
    let expected = [[1u32, 5, 8].map(u32::to_ne_bytes).concat(), ALL.to_ne_bytes().to_vec()];
    assert_eq!(front.answer(), expected.concat());
    // An acknowledgement where it is asked for.
    front.say_with(3, 1 | 8, &[], &[]);
    assert_eq!(front.answer(), [[3u32, 5, 8].map(u32::to_ne_bytes).concat(), vec![0; 8]].concat());
    // A byte at a time is the same message.
    for byte in [15u32, 1, 0].map(u32::to_ne_bytes).concat() {
        assert_eq!(front.answer(), []);
        front.say_bytes(&[byte], &[]);
    }
    assert_eq!(front.answer().len(), 20);
    assert!(!front.is_alone());
}

#[test]
fn a_frame_of_the_guest_is_copied_from_all_its_parts() {
    let mut front = FrontEnd::with(ALL);
    assert_eq!(front.sent(), None);
    let mut expected = frame(3000);
    // In the guest it has a number of buffers, which on a link means something else.
    let mut bytes = expected.clone();
    bytes[10] = 9;
    front.write(BUFFERS, &bytes);
    let table = RINGS[1];
    front.describe(table, 0, GUEST + BUFFERS, 5, NEXT, 1);
    front.describe(table, 1, GUEST + BUFFERS + 5, 0, NEXT, 2);
    front.describe(table, 2, GUEST + BUFFERS + 5, 1007, NEXT, 3);
    front.describe(table, 3, GUEST + BUFFERS + 1012, 2000, 0, 0);
    front.offer(1, 0);
    assert_eq!(front.sent(), Some(expected.clone()));
    assert_eq!((front.used(1), front.was_called(1)), (1, true));
    // The same by a table of its own.
    for (number, from) in [(0, 0), (1, 1000), (2, 2000)] {
        let flags = if number < 2 { NEXT } else { 0 };
        let len = if number < 2 { 1000 } else { 1012 };
        front.describe(0x7000, number, GUEST + BUFFERS + from, len, flags, number + 1);
    }
    front.describe(table, 5, GUEST + 0x7000, 48, INDIRECT, 0);
    front.offer(1, 5);
    expected[10..12].fill(0);
    assert_eq!(front.sent(), Some(expected));
    assert!(front.edge.arm());
}

#[test]
fn a_frame_for_the_guest_fills_as_many_buffers_as_it_takes() {
    let mut front = FrontEnd::with(ALL);
    assert_eq!(front.edge.features(), FEATURES);
    let whole = frame(2000);
    // None: it waits, and with too few, too.
    assert_eq!(front.give(&whole), Err(NotTaken::NotNow));
    for number in 0..3 {
        assert_eq!(front.give(&whole), Err(NotTaken::NotNow), "{number}");
        let at = GUEST + BUFFERS + 1000 * u64::from(number);
        front.describe(RINGS[0], number, at, 1000, WRITE, 0);
        front.offer(0, number);
    }
    assert_eq!(front.used(0), 0);
    assert_eq!(front.give(&whole), Ok(()));
    // All at once, and rung once.
    assert_eq!((front.used(0), front.was_called(0)), (3, true));
    let mut expected = whole;
    expected[10] = 3;
    assert_eq!(front.read(BUFFERS, expected.len()), expected);
    let lens: Vec<u8> = (0..3).map(|n| front.read(RINGS[0] + USED + 4 + 8 * n + 4, 1)[0]).collect();
    assert_eq!(lens, [1000u16 as u8, 1000u16 as u8, 12]);
}

#[test]
fn room_that_nobody_needs_keeps_nobody_awake() {
    let mut front = FrontEnd::with(ALL);
    assert_eq!(front.give(&frame(60)), Err(NotTaken::NotNow));
    assert!(!front.edge.has_frames() && front.edge.arm());
    front.describe(RINGS[0], 0, GUEST + BUFFERS, 1500, WRITE, 0);
    front.offer(0, 0);
    assert!(!front.edge.arm(), "there is room now");
    // The neighbour is gone, and with it the frame.
    assert!(!front.edge.has_frames() && front.edge.arm());
}

#[test]
fn an_old_driver_has_a_shorter_header_and_one_buffer() {
    let mut front = FrontEnd::with(1 << 1);
    assert_eq!(front.edge.features(), 2);
    front.describe(RINGS[0], 0, GUEST + BUFFERS, 1500, WRITE, 0);
    front.offer(0, 0);
    // What does not fit is lost, and the buffer is not.
    assert_eq!(front.give(&frame(1600)), Err(NotTaken::Refused));
    assert_eq!(front.give(&frame(60)), Ok(()));
    assert_eq!(front.read(BUFFERS, 70), [&frame(60)[..10], &frame(60)[VNET_LEN..]].concat());
    front.write(BUFFERS, &front.read(BUFFERS, 70));
    front.describe(RINGS[1], 0, GUEST + BUFFERS, 70, 0, 0);
    front.offer(1, 0);
    assert_eq!(front.sent(), Some(frame(60)));
}

#[test]
fn features_change_from_boot_to_boot() {
    let mut front = FrontEnd::with(ALL);
    for features in [0, VERSION_1, VERSION_1 | 1 << 1 | 1 << 7, ALL] {
        for (ring, at) in RINGS.into_iter().enumerate() {
            front.say_words(11, [ring as u32, 0]);
            front.write(at, &[0; 0x3000]);
        }
        front.boot(features);
        assert_eq!(front.edge.features(), features & FEATURES);
        front.describe(RINGS[0], 3, GUEST + BUFFERS, 1500, WRITE, 0);
        front.offer(0, 3);
        assert_eq!(front.give(&frame(60)), Ok(()));
        assert_eq!(front.used(0), 1);
    }
    assert!(!front.is_alone());
}

#[test]
fn bells_ring_only_for_who_sleeps() {
    let mut front = FrontEnd::with(ALL);
    for number in 0..8 {
        front.describe(RINGS[0], number, GUEST + BUFFERS, 1500, WRITE, 0);
        front.offer(0, number);
    }
    assert_eq!(front.give(&frame(60)), Ok(()));
    assert!(front.was_called(0), "nothing is known of a driver at first");
    // It says that it wants to be told of the fifth.
    let event = RINGS[0] + AVAILABLE + 4 + 2 * u64::from(ENTRIES);
    front.write(event, &4u16.to_le_bytes());
    for number in 2..8 {
        assert_eq!(front.give(&frame(60)), Ok(()));
        assert_eq!(front.was_called(0), number == 5, "{number}");
    }
    // The device sleeps until a chain comes: that one behind those it has seen.
    let event = RINGS[1] + USED + 4 + 8 * u64::from(ENTRIES);
    assert!(!front.edge.has_frames() && front.edge.arm());
    assert_eq!(front.word(event), 0);
    front.write(BUFFERS, &frame(60));
    front.describe(RINGS[1], 0, GUEST + BUFFERS, 72, 0, 0);
    front.offer(1, 0);
    assert!(!front.edge.arm(), "it came just before the sleep");
    assert!(front.sent().is_some());
    assert!(!front.edge.has_frames() && front.edge.arm());
    assert_eq!(front.word(event), 1);
}

#[test]
fn a_ring_goes_on_where_it_was() {
    let mut front = FrontEnd::with(ALL);
    for _ in 0..40 {
        front.write(BUFFERS, &frame(60));
        front.describe(RINGS[1], 0, GUEST + BUFFERS, 72, 0, 0);
        front.offer(1, 0);
        assert!(front.sent().is_some());
    }
    front.answer();
    front.say_words(11, [1, 0]);
    assert_eq!(front.answer()[12..], [1u32, 40].map(u32::to_ne_bytes).concat());
    // Another back end, to which the front end says less than was done.
    front.say_words(10, [1, 38]);
    front.kick(1);
    assert_eq!(front.sent(), None);
    front.offer(1, 0);
    assert!(front.sent().is_some());
    assert_eq!(front.used(1), 41);
}

#[test]
fn a_neighbour_that_takes_no_segments_gets_packets() {
    let mut front = FrontEnd::with(ALL);
    front.edge.plugged(0).unwrap();
    // 4000 bytes of TCP over IPv4, in segments of 1448.
    let header = [1, 1, 54, 0, 168, 5, 34, 0, 16, 0, 0, 0];
    let ethernet = [&[2; 12][..], &[8, 0]].concat();
    let ip = [0x45, 0, 15, 200, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let tcp = [0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0];
    let frame = [&header[..], &ethernet, &ip, &tcp, &[7; 4000]].concat();
    front.write(BUFFERS, &frame);
    front.describe(RINGS[1], 0, GUEST + BUFFERS, frame.len() as u32, 0, 0);
    front.offer(1, 0);
    let packets: Vec<_> = std::iter::from_fn(|| front.sent()).collect();
    let lens: Vec<_> = packets.iter().map(Vec::len).collect();
    assert_eq!(lens, [1448, 1448, 1104].map(|len| VNET_LEN + 54 + len));
    assert!(packets.iter().all(|packet| packet[..VNET_LEN] == [0; VNET_LEN]));
    // One that does gets the next as it is.
    front.edge.plugged(FEATURES).unwrap();
    front.offer(1, 0);
    assert_eq!(front.sent(), Some(frame));
}
