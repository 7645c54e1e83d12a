//! What a fuzzer feeds to the back end: a message, or the script of a front end and its guest.
//!
//! Compiled for tests and for `--cfg fuzzing` (cargo-fuzz, see `edges/fuzz`). Each function takes
//! any bytes and panics where something does not hold.

use cable::Edge;
use frames::{MAX_FRAME, VNET_LEN};

use super::super::messages::{HEADER, Header, Request};
use super::front_end::*;

/// Bytes as a message: its header, and as what follows a header of any request.
pub fn message(bytes: &[u8]) {
    if let Some(header) = bytes.first_chunk::<HEADER>() {
        let _ = Header::parse(header);
    }
    let _ = bytes.split_first().map(|(request, body)| Request::parse((*request).into(), body));
}

/// Bytes as what a front end and its guest do, until the connection is closed.
pub fn guest(bytes: &[u8]) {
    let mut script = Random::of(bytes);
    let mut front = FrontEnd::with(ALL);
    let mut seen = Seen::default();
    while !script.is_over() && !front.is_alone() {
        step(&mut front, &mut script, &mut seen);
    }
    assert!(front.is_intact());
}

/// Frames that went through.
#[derive(Default)]
pub struct Seen {
    /// From the guest.
    pub sent: u64,
    /// To it.
    pub given: u64,
}

/// Something that is not done, and a frame each way.
pub fn step(front: &mut FrontEnd, random: &mut Random<'_>, seen: &mut Seen) {
    misbehave(front, random);
    if let Some(frame) = front.sent() {
        seen.sent += 1;
        assert!(frame.len() <= MAX_FRAME);
        assert!(!frame.contains(&FOREIGN) || is_own(front));
    }
    // That nobody may confuse with what lies around the guest's memory.
    let frame = vec![3; VNET_LEN + random.one_of(&[60, 1514, 20_000])];
    seen.given += u64::from(front.give(&frame).is_ok());
    front.edge.arm();
    front.answer();
}

/// Numbers: those of a script, or of xorshift64*, the same each time.
pub struct Random<'a> {
    state: u64,
    script: Option<&'a [u8]>,
}

impl<'a> Random<'a> {
    /// Those of a seed.
    pub fn new(seed: u64) -> Random<'a> {
        Random { state: seed, script: None }
    }

    fn of(script: &'a [u8]) -> Random<'a> {
        Random { state: 1, script: Some(script) }
    }

    /// The script is at its end.
    fn is_over(&self) -> bool {
        self.script.is_some_and(<[u8]>::is_empty)
    }

    /// The next one.
    pub fn next(&mut self) -> u64 {
        if let Some(script) = &mut self.script {
            let (bytes, rest) = script.split_at(script.len().min(4));
            *script = rest;
            let word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
            return word << 32 | word << 20;
        }
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// One below a limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 20) % limit
    }

    /// One of some.
    pub fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
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

/// Writes somewhere in the rings, or says something.
fn misbehave(front: &mut FrontEnd, random: &mut Random<'_>) {
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

/// Whether a byte as they lie around the memory may be the guest's own: numbers of its rings hold any.
fn is_own(front: &FrontEnd) -> bool {
    front.read(0, SIZE as usize).contains(&FOREIGN)
}
