//! Chance that can be repeated: what befalls a packet depends on the seed, the
//! direction and which packet of that direction it is, and on nothing else.

use crate::filters::filter::Direction;

/// What is left to chance for each packet.
#[derive(Debug, Clone, Copy)]
pub enum Chance {
    /// Whether it is lost.
    Loss,
    /// Whether there are two of it.
    Duplicate,
    /// Whether it overtakes.
    Reorder,
    /// Whether a bit of it changes.
    Corrupt,
    /// Which bit.
    Bit,
    /// How much longer or shorter it takes.
    Jitter,
}

/// Room for what is left to chance for a packet, and for more.
const CHANCES: u64 = 16;
/// The increment of SplitMix64 (Steele, Lea and Flood, 2014).
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Fates of the packets of one direction: SplitMix64, each of whose numbers can be
/// had by its place.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    key: u64,
}

impl Fate {
    /// Of this direction.
    pub fn new(seed: u64, direction: Direction) -> Fate {
        let direction = match direction {
            Direction::LeftToRight => 0,
            Direction::RightToLeft => 1,
        };
        Fate { key: mix(mix(seed).wrapping_add(direction)) }
    }

    /// Any number.
    pub fn number(self, packet: u64, chance: Chance) -> u64 {
        let place = packet.wrapping_mul(CHANCES).wrapping_add(chance as u64);
        mix(self.key.wrapping_add(place.wrapping_mul(GAMMA)))
    }

    /// A number from 0 up to, but not, 1.
    pub fn part(self, packet: u64, chance: Chance) -> f64 {
        (self.number(packet, chance) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
