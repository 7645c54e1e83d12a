//! What a fuzzer feeds: the greeting, the header, and a neighbour's script.
//!
//! Compiled for tests and for `--cfg fuzzing` (cargo-fuzz, see `shmring/fuzz`).
//! Each function takes any bytes and panics where something does not hold.
#![allow(unsafe_code)]
// Unsafe lives here to scribble over a region's header page.

use std::os::fd::AsFd;

use crate::error::{RecvError, SendError};
use crate::handshake::{Message, Offer};
use crate::layout::{HEADER_LEN, MAGIC, VERSION};
use crate::link::loopback_with_memory;
use crate::region::{Geometry, Region};
use crate::sync::Ordering;

/// Bytes as a message: refused, or one that means the same when sent again, and
/// that leads to a ring of possible size.
pub fn greeting(bytes: &[u8]) {
    let Ok(message) = Message::decode(bytes) else { return };
    assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message));
    let ours = Offer::default();
    let agreed = ours.agree(&message.offer);
    assert!(ours.allows(&agreed));
    let _ = ours.allows(&message.offer);
    for offer in [&agreed, &message.offer] {
        let geometry = Geometry::new(offer.capacity, offer.max_frame, (0, 0));
        assert!(geometry.is_valid());
    }
}

/// A ring's memory whose header page anybody may have written.
pub struct Header(Region, Geometry);

impl Default for Header {
    fn default() -> Self {
        let geometry = Geometry::new(0, 2000, (1, 2));
        Header(Region::create(geometry).expect("memory for a ring"), geometry)
    }
}

impl Header {
    /// Bytes as a header: attached only if it says what was agreed.
    pub fn attach(&self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(HEADER_LEN)];
        let page = std::ptr::from_ref(self.0.header()).cast::<u8>().cast_mut();
        // SAFETY: at most the header page, mapped and used by nobody meanwhile.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), page, bytes.len()) };
        let memfd = self.0.memfd().as_fd().try_clone_to_owned().expect("a descriptor");
        let attached = Region::attach(memfd, self.1).is_ok();
        let mut right = [0; 24];
        right[..8].copy_from_slice(&MAGIC);
        right[8..12].copy_from_slice(&VERSION.to_ne_bytes());
        right[12..16].copy_from_slice(&(self.1.max_frame as u32).to_ne_bytes());
        right[16..].copy_from_slice(&(self.1.capacity as u64).to_ne_bytes());
        if bytes.len() >= right.len() {
            assert_eq!(attached, bytes[..right.len()] == right);
        }
    }
}

/// Bytes as what a neighbour does between the steps of both our ends: each word
/// is a write to one of the shared fields or to a record's length.
pub fn neighbour(bytes: &[u8]) {
    const MAX: usize = 2000;
    let Ok((mut tx, mut rx, left, right)) = loopback_with_memory(0, MAX) else { return };
    let (into, out) = (right.header(), left.header());
    for word in bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]) {
        let [what, how, low, high] = word;
        let small = u64::from(u16::from_le_bytes([low, high]));
        let value = match how % 4 {
            0 => small & !7,
            1 => small,
            2 => u64::MAX - small,
            _ => small << 48 | small,
        };
        match what % 12 {
            0 => into.tail.store(value, Ordering::Relaxed),
            1 => drop(into.tail.fetch_add(value & 0xfff8, Ordering::Relaxed)),
            2 => out.head.store(value, Ordering::Relaxed),
            3 => drop(out.head.fetch_add(value & 0xfff8, Ordering::Relaxed)),
            4 => into.producer_closed.store(value as u32, Ordering::Relaxed),
            5 => into.consumer_waiting.store(value as u32, Ordering::Relaxed),
            // SAFETY: mapped, aligned, and our own end only copies it.
            6 | 7 => unsafe { right.set_length(small & !7, value as usize) },
            8 => {
                let mut batch = rx.batch();
                while let Ok(frame) = batch.next() {
                    assert!(frame.len() <= MAX);
                }
                batch.release();
            }
            9 => match tx.reserve(usize::from(low) * 8) {
                Ok(mut room) => {
                    let len = room.bytes().len();
                    room.bytes().copy_from(0, &[0xaa; MAX]);
                    room.commit(len);
                }
                Err(SendError::TooLong { len, .. }) => assert!(len > MAX),
                Err(_) => drop(tx.arm()),
            },
            _ => match rx.borrow() {
                Ok(frame) => {
                    assert!(frame.bytes().to_vec().len() <= MAX);
                    frame.release();
                }
                Err(RecvError::Empty) => drop(rx.arm()),
                Err(end) => assert_eq!(rx.borrow().err(), Some(end)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::{Kind, LEN};

    /// `SHMRING_FUZZ_INPUTS` of each kind; a few by default.
    fn inputs() -> u64 {
        std::env::var("SHMRING_FUZZ_INPUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
    }

    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        /// A good input with a few bytes changed, or noise of some length.
        fn spoil(&mut self, good: &[u8]) -> Vec<u8> {
            let mut bytes = good.to_vec();
            match self.next() % 16 {
                0 => bytes.iter_mut().for_each(|b| *b = self.next() as u8),
                1 => bytes.truncate(self.next() as usize % (good.len() + 1)),
                2 => bytes.resize(good.len() + self.next() as usize % 64, 0),
                _ => {}
            }
            for _ in 0..self.next() % 5 {
                if !bytes.is_empty() {
                    let at = self.next() as usize % bytes.len();
                    bytes[at] = match self.next() % 4 {
                        0 => 0,
                        1 => 0xff,
                        2 => bytes[at] ^ 1 << (self.next() % 8),
                        _ => self.next() as u8,
                    };
                }
            }
            bytes
        }
    }

    #[test]
    fn spoilt_greetings() {
        let offer = Offer { label: "right".into(), features: 5, ..Offer::default() };
        let role = crate::role::Role::Writer;
        let good = Message::new(Kind::Hello, role, &offer).encode();
        let mut chance = Chance(1);
        let mut accepted = 0u64;
        for _ in 0..inputs() {
            let bytes = chance.spoil(&good);
            accepted += u64::from(Message::decode(&bytes).is_ok());
            greeting(&bytes);
        }
        println!("{} greetings, {accepted} of them messages", inputs());
        assert_eq!(good.len(), LEN);
    }

    #[test]
    fn spoilt_headers() {
        let header = Header::default();
        let mut good = [0; 40];
        good[..8].copy_from_slice(&MAGIC);
        good[8..12].copy_from_slice(&VERSION.to_ne_bytes());
        good[12..16].copy_from_slice(&2000u32.to_ne_bytes());
        good[16..24].copy_from_slice(&(64u64 << 10).to_ne_bytes());
        let mut chance = Chance(2);
        for _ in 0..inputs() {
            header.attach(&chance.spoil(&good));
        }
        println!("{} headers", inputs());
    }

    #[test]
    fn scripts_of_a_neighbour() {
        let mut chance = Chance(3);
        for _ in 0..inputs() / 10 {
            let mut script = vec![0; 4 * (1 + chance.next() as usize % 200)];
            script.fill_with(|| (chance.next() >> 56) as u8);
            neighbour(&script);
        }
        println!("{} scripts", inputs() / 10);
    }

    /// What fuzzers found worth keeping, for those who have no fuzzer.
    #[test]
    fn the_corpus_holds() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let header = Header::default();
        let mut count = 0;
        for kind in ["greeting", "header", "neighbour"] {
            for file in std::fs::read_dir(corpus.join(kind)).expect("the corpus").flatten() {
                let bytes = std::fs::read(file.path()).expect("an input");
                match kind {
                    "greeting" => greeting(&bytes),
                    "header" => header.attach(&bytes),
                    _ => neighbour(&bytes),
                }
                count += 1;
            }
        }
        assert!(count > 0);
    }
}
