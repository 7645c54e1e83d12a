//! A front end and a guest that do what they like: the worst is a closed connection.

use std::os::fd::AsFd;

use super::front_end::*;
use super::fuzz::{self, Random, Seen};

/// How many inputs a test makes up; 10^7 take some minutes with optimisation.
fn inputs() -> u64 {
    let inputs = std::env::var("STDPKT_TESTS_FUZZ_INPUTS").ok();
    inputs.and_then(|inputs| inputs.parse().ok()).unwrap_or(5_000)
}

#[test]
fn each_wrong_message_closes_the_connection_with_a_line() {
    type Say = fn(&mut FrontEnd);
    let table: [(Say, &str); 22] = [
        (|it| it.say_with(1, 0, &[], &[]), "version 0 of vhost-user"),
        (|it| it.say_with(1, 1 | 4, &[], &[]), "answers (message 1) where nobody asked"),
        (|it| it.say_bytes(&[1u32, 1, 4096].map(u32::to_ne_bytes).concat(), &[]), "of 4096 bytes"),
        (|it| it.say(2, &[0; 7]), "message 2 with 7 bytes"),
        (|it| it.say(2, &u64::MAX.to_ne_bytes()), "which were not offered"),
        (|it| it.say(16, &1u64.to_ne_bytes()), "of the protocol, which were not offered"),
        (|it| it.say(24, &[0; 12]), "GET_CONFIG (24)"),
        (|it| it.say(99, &[]), "message 99"),
        (|it| it.say(5, &[0; 8]), "0 regions of memory"),
        (|it| it.share(&[(GUEST, SIZE, USER, OFFSET + (1 << 40))]), "in a file of"),
        (|it| it.share(&[(GUEST, 0, USER, 0)]), "a region of 0 bytes"),
        (|it| it.share(&[(u64::MAX - 4095, 8192, USER, 0)]), "beyond the last address"),
        (|it| it.share(&[(0, 8192, USER, 0), (4096, 8192, USER, 0)]), "that overlap"),
        (|it| it.say(5, &[&[1u8, 0, 0, 0, 0, 0, 0, 0][..], &[1; 32]].concat()), "share=on"),
        (|it| it.kick(0), "share=on"),
        (|it| it.say_words(8, [0, 3]), "a ring of 3 entries"),
        (|it| it.say_words(8, [0, 1 << 16]), "a ring of 65536 entries"),
        (|it| it.say_words(8, [2, 256]), "ring 2, where there are two"),
        (|it| it.say(12, &256u64.to_ne_bytes()), "without eventfd"),
        (|it| it.say(12, &0u64.to_ne_bytes()), "without the one descriptor"),
        (
            |it| {
                let file = it.file.try_clone().unwrap();
                it.say_with(13, 1, &0u64.to_ne_bytes(), &[file.as_fd()]);
            },
            "an eventfd that is none",
        ),
        (
            |it| {
                let file = it.file.try_clone().unwrap();
                it.say_with(1, 1, &[], &[file.as_fd(); 9]);
            },
            "more descriptors than any message has",
        ),
    ];
    for (say, part) in table {
        let mut front = FrontEnd::new();
        say(&mut front);
        assert!(front.is_alone(), "{part}");
        assert!(front.edge.told.contains(part), "{part}: {}", front.edge.told);
    }
}

#[test]
fn each_broken_ring_closes_the_connection_with_a_line() {
    type Do = fn(&mut FrontEnd);
    let table: [(Do, &str); 7] = [
        (
            |it| it.write(RINGS[1] + AVAILABLE + 2, &17u16.to_le_bytes()),
            "17 buffers in a ring of 16",
        ),
        (|it| it.offer(1, 16), "descriptor 16 in a ring of 16"),
        (|it| it.place(1, SIZE), "outside of the machine's memory"),
        (|it| it.place(1, SIZE - 0x2000), "outside of the machine's memory"),
        (|it| it.share(&[(GUEST, 0x4000, USER, OFFSET)]), "outside of the machine's memory"),
        (|it| it.say_words(8, [1, 32]), "while it is in use"),
        (
            |it| {
                it.describe(RINGS[0], 0, GUEST + BUFFERS, 2000, 0, 0);
                it.offer(0, 0);
                let _ = it.give(&[0; 100]);
            },
            "nothing can be received in",
        ),
    ];
    for (wreck, part) in table {
        let mut front = FrontEnd::with(ALL);
        wreck(&mut front);
        assert_eq!(front.sent(), None, "{part}");
        assert!(front.is_alone(), "{part}");
        assert!(front.edge.told.contains(part), "{part}: {}", front.edge.told);
        assert!(front.is_intact());
    }
}

#[test]
fn memory_that_is_taken_away_closes_the_connection() {
    let mut front = FrontEnd::with(ALL);
    front.write(BUFFERS, &[1; 100]);
    front.describe(RINGS[1], 0, GUEST + BUFFERS, 100, 0, 0);
    front.offer(1, 0);
    rustix::fs::ftruncate(&front.file, 0).unwrap();
    assert_eq!(front.sent(), None);
    assert_eq!(front.edge.told, "the machine's memory was taken away");
    assert!(front.is_alone());
}

#[test]
fn what_is_no_frame_is_given_back() {
    let mut front = FrontEnd::with(ALL);
    let table = RINGS[1];
    // A loop, a part of no memory, one that is too long, one to write to, a table in a table.
    front.describe(table, 0, GUEST + BUFFERS, 0, NEXT, 0);
    front.describe(table, 1, 8, 100, 0, 0);
    front.describe(table, 2, GUEST, u32::MAX, 0, 0);
    front.describe(table, 3, GUEST + BUFFERS, 100, WRITE, 0);
    front.describe(0x7000, 0, GUEST + 0x7000, 16, INDIRECT, 0);
    front.describe(table, 4, GUEST + 0x7000, 16, INDIRECT, 0);
    front.describe(table, 5, GUEST + BUFFERS, 20, 0, 0); // a header and no more
    front.describe(table, 6, GUEST + SIZE - 50, 100, 0, 0);
    front.describe(table, 7, GUEST + BUFFERS, 100, 0, 0);
    (0..8).for_each(|head| front.offer(1, head));
    assert_eq!(front.sent().map(|frame| frame.len()), Some(100));
    assert_eq!((front.used(1), front.is_alone()), (8, false));
}

#[test]
fn no_message_is_more_than_an_error() {
    let mut random = Random::new(18);
    for _ in 0..inputs() {
        let mut bytes: Vec<u8> = (0..random.below(300)).map(|_| random.next() as u8).collect();
        // Numbers as they may be, too, so that the first look does not end it.
        if let Some(first) = bytes.first_mut() {
            *first = random.below(40) as u8;
        }
        let len = random.one_of(&[0, 8, 12, 40, 264, bytes.len()]).min(bytes.len());
        fuzz::message(&bytes);
        fuzz::message(&bytes[..len]);
    }
}

#[test]
fn no_guest_reads_or_writes_what_is_not_its_own() {
    let mut random = Random::new(1);
    let mut front = FrontEnd::with(ALL);
    let mut closed = 0u64;
    let mut seen = Seen::default();
    for _ in 0..inputs() {
        if front.is_alone() {
            assert!(front.is_intact());
            closed += 1;
            front = FrontEnd::with(ALL);
        }
        fuzz::step(&mut front, &mut random, &mut seen);
    }
    assert!(front.is_intact());
    let Seen { sent, given } = seen;
    assert!(sent > 0 && given > 0 && closed > 0, "{sent} sent, {given} given, {closed} closed");
}

/// What cargo-fuzz runs, with scripts of chance.
#[test]
fn scripts_of_a_guest() {
    let mut random = Random::new(7);
    for _ in 0..inputs() / 100 {
        let script: Vec<u8> = (0..random.below(2000)).map(|_| random.next() as u8).collect();
        fuzz::guest(&script);
    }
}
