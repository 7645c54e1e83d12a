//! A front end and a guest that do what they like: the worst is a closed connection.

use std::os::fd::AsFd;

use cable::Edge;
use frames::{MAX_FRAME, VNET_LEN};

use super::super::messages::{HEADER, Header, Request};
use super::front_end::*;

/// How many inputs a test makes up; 10^7 take some minutes with optimisation.
fn inputs() -> u64 {
    let inputs = std::env::var("STDPKT_TESTS_FUZZ_INPUTS").ok();
    inputs.and_then(|inputs| inputs.parse().ok()).unwrap_or(5_000)
}

/// xorshift64*: the same numbers each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 20) % limit
    }

    fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// An address: in the memory, at its borders, or nowhere.
    fn address(&mut self) -> u64 {
        let near = self.below(64);
        match self.below(8) {
            0 => GUEST + SIZE - near,
            1 => GUEST - near,
            2 => self.next(),
            3 => u64::MAX - near,
            4 => GUEST + self.below(SIZE),
            _ => GUEST + BUFFERS + self.below(0x8000),
        }
    }

    fn len(&mut self) -> u32 {
        let short = self.below(3000) as u32;
        self.one_of(&[0, 1, 10, 12, 16, 48, 1514, 65_562, 0xffff, u32::MAX, short, short, short])
    }
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
    let mut random = Random(18);
    for _ in 0..inputs() {
        let mut bytes: Vec<u8> = (0..random.below(300)).map(|_| random.next() as u8).collect();
        if let Some(header) = bytes.first_chunk::<HEADER>() {
            let _ = Header::parse(header);
        }
        // Numbers as they may be, too, so that the first look does not end it.
        if let Some(first) = bytes.first_mut() {
            *first = random.below(9) as u8;
        }
        let len = random.one_of(&[0, 8, 12, 40, 264, bytes.len()]).min(bytes.len());
        let _ = Request::parse(random.below(40) as u32, &bytes[..len]);
    }
}

/// Writes somewhere in the rings, or says something.
fn misbehave(front: &mut FrontEnd, random: &mut Random) {
    let ring = random.below(2) as usize;
    let number = random.below(ENTRIES.into()) as u16;
    match random.below(16) {
        0..=5 => {
            let flags =
                random.one_of(&[0, NEXT, WRITE, NEXT | WRITE, INDIRECT, INDIRECT | NEXT, 0xffff]);
            let table = random.one_of(&[RINGS[0], RINGS[1], RINGS[ring], 0x7000]);
            let next = random.one_of(&[number, number + 1, 0, 0xffff]);
            let (address, len) = (random.address(), random.len());
            let (address, len) = match flags & INDIRECT {
                0 => (address, len),
                _ => {
                    (random.one_of(&[GUEST + 0x7000, address]), random.one_of(&[16, 48, 160, len]))
                }
            };
            front.describe(table, number, address, len, flags, next);
        }
        6..=9 => front.offer(ring, random.one_of(&[number, number, number, 0xffff])),
        10 => {
            // Anything in the rings' own pages.
            let at = RINGS[ring] + random.below(0x3000);
            front.write(at.min(SIZE - 8), &random.next().to_le_bytes());
        }
        11 => front.write(RINGS[ring] + AVAILABLE + 2, &[random.below(32) as u8, 0]),
        12 => front.place(ring, random.one_of(&[0, 0x4000, 0x1000, SIZE - 16, SIZE, 0x8000])),
        13 => {
            let size = random.one_of(&[SIZE, SIZE, SIZE / 2, 0x3000]);
            match random.below(3) {
                0 => front.share(&[
                    (GUEST, size, USER, OFFSET),
                    (GUEST + size, 4096, USER + size, OFFSET),
                ]),
                1 => {
                    front.share(&[(GUEST - 4096, 8192, USER, OFFSET), (GUEST, size, USER, OFFSET)])
                }
                _ => front.share(&[(GUEST, size, USER, OFFSET)]),
            }
        }
        14 => {
            let state = [random.one_of(&[0, 1, 2]), random.one_of(&[0, 1, 5, 16, 0xffff])];
            front.say_words(random.one_of(&[8, 10, 11, 18]), state);
        }
        _ => match random.below(4) {
            0 => front.kick(ring),
            1 => front.call(ring),
            2 => front.say(2, &random.one_of(&[ALL, 0, MERGED, VERSION_1]).to_ne_bytes()),
            _ => {
                let body: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
                front.say(random.below(40) as u32, &body);
            }
        },
    }
}

#[test]
fn no_guest_reads_or_writes_what_is_not_its_own() {
    let mut random = Random(1);
    let mut front = FrontEnd::with(ALL);
    // Frames that nobody may confuse with what lies around the guest's memory.
    let frames = [60, 1514, 20_000].map(|len| vec![3; VNET_LEN + len]);
    let (mut sent, mut given, mut closed) = (0u64, 0u64, 0u64);
    for input in 0..inputs() {
        if front.is_alone() {
            assert!(front.is_intact(), "input {input}");
            closed += 1;
            front = FrontEnd::with(ALL);
        }
        misbehave(&mut front, &mut random);
        if let Some(frame) = front.sent() {
            sent += 1;
            assert!(frame.len() <= MAX_FRAME);
            assert!(!frame.contains(&FOREIGN) || is_own(&front), "input {input}");
        }
        let frame = &frames[random.below(3) as usize];
        given += u64::from(front.give(frame).is_ok());
        front.edge.arm();
        front.answer();
    }
    assert!(front.is_intact());
    assert!(sent > 0 && given > 0 && closed > 0, "{sent} sent, {given} given, {closed} closed");
}

/// Whether a byte as they lie around the memory may be the guest's own: numbers of its rings hold any.
fn is_own(front: &FrontEnd) -> bool {
    front.read(0, SIZE as usize).contains(&FOREIGN)
}
