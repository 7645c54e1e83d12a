//! Which of the packets that a filter was given came back as they were.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use frames::VNET_LEN;
use shmring::Bytes;

/// Packets that a filter may hold: those given before are not looked for any more. A pipe of
/// 1 MiB holds some 5500 of the smallest as text.
const HELD: usize = 1 << 14;

/// Packets that are the same.
#[derive(Debug, Default)]
struct Held {
    /// In the order...
    placed: usize,
    /// ...and of these, not back yet.
    out: usize,
}

/// Packets that went into a filter and have not come back yet, by a hash of their bytes.
#[derive(Debug, Default)]
pub(crate) struct Matching {
    order: VecDeque<u64>,
    held: HashMap<u64, Held>,
    unchanged: u64,
    packet: Vec<u8>,
}

impl Matching {
    /// A frame that goes in, complete.
    pub fn give(&mut self, frame: Bytes<'_>) {
        frame.copy_into(&mut self.packet);
        let hash = hash_of(self.packet.get(VNET_LEN..).unwrap_or_default());
        if self.order.len() == HELD
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget(oldest);
        }
        self.order.push_back(hash);
        let held = self.held.entry(hash).or_default();
        held.placed += 1;
        held.out += 1;
    }

    /// A packet that comes out.
    pub fn take_back(&mut self, packet: &[u8]) {
        if let Some(held) = self.held.get_mut(&hash_of(packet)).filter(|held| held.out > 0) {
            held.out -= 1;
            self.unchanged += 1;
        }
    }

    /// Those that came back as they were.
    pub fn unchanged(&self) -> u64 {
        self.unchanged
    }

    /// The oldest in the order is not looked for any more.
    fn forget(&mut self, oldest: u64) {
        let Some(held) = self.held.get_mut(&oldest) else { return };
        held.placed -= 1;
        held.out = held.out.min(held.placed);
        if held.placed == 0 {
            self.held.remove(&oldest);
        }
    }
}

fn hash_of(packet: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    packet.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(packet: &[u8]) -> Vec<u8> {
        [&[0; VNET_LEN], packet].concat()
    }

    #[test]
    fn what_is_added_does_not_stand_for_what_is_dropped() {
        let mut matching = Matching::default();
        for packet in [b"one", b"two", b"two", b"six"] {
            matching.give(Bytes::of_slice(&frame(packet)));
        }
        // In any order; each of two that are the same comes back once.
        for packet in [b"two", b"new", b"one", b"one"] {
            matching.take_back(packet);
        }
        assert_eq!(matching.unchanged(), 2);
    }

    #[test]
    fn a_filter_that_drops_all_takes_no_more_memory() {
        let mut matching = Matching::default();
        for number in 0..3 * HELD {
            matching.give(Bytes::of_slice(&frame(&number.to_le_bytes())));
        }
        assert_eq!((matching.order.len(), matching.held.len()), (HELD, HELD));
        matching.take_back(&(3 * HELD - 1).to_le_bytes());
        matching.take_back(&0usize.to_le_bytes());
        assert_eq!(matching.unchanged(), 1);
    }
}
