//! Packets on their way: a bounded line, ordered by when they arrive.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fmt;
use std::time::{Duration, Instant};

use frames::VNET_LEN;

use super::conditions::Conditions;
use super::fate::{Chance, Fate};

/// Bytes that wait at most, however many packets may.
const MAX_BYTES: usize = 256 << 20;

/// One direction of a cable.
#[derive(Debug)]
pub struct Line {
    conditions: Conditions,
    fate: Fate,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Bytes of those that wait.
    bytes: usize,
    /// When the last bit of what was sent so far is on the cable.
    free: Option<Instant>,
    /// When the last of those that keep their places is due.
    last: Option<Instant>,
    /// Copies that were put into the line so far.
    serial: u64,
    /// What became of packets.
    pub counts: Counts,
}

/// Numbers of packets.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// That came.
    pub arrived: u64,
    /// By chance.
    pub lost: u64,
    /// By chance.
    pub duplicated: u64,
    /// By chance.
    pub reordered: u64,
    /// By chance.
    pub corrupted: u64,
    /// Dropped, as the line was full.
    pub full: u64,
    /// Dropped, as nobody was there when they were due.
    pub nobody: u64,
}

#[derive(Debug)]
struct Waiting {
    due: Instant,
    serial: u64,
    frame: Vec<u8>,
}

impl Line {
    /// A line whose packets have this fate.
    pub fn new(fate: Fate) -> Line {
        Line {
            conditions: Conditions::default(),
            fate,
            waiting: BinaryHeap::new(),
            bytes: 0,
            free: None,
            last: None,
            serial: 0,
            counts: Counts::default(),
        }
    }

    /// Of now.
    pub fn conditions(&self) -> Conditions {
        self.conditions
    }

    /// From now on, for those that arrive.
    pub fn set(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Whether a frame can pass as it is.
    pub fn is_clear(&self) -> bool {
        self.is_empty() && self.conditions.are_perfect()
    }

    /// Whether no packet is on its way.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many packets are.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A complete packet arrives, as a frame. Returns how many of it, of one, are lost.
    pub fn arrive(&mut self, mut frame: Vec<u8>, now: Instant) -> u64 {
        let Conditions { loss, duplicate, reorder, corrupt, .. } = self.conditions;
        let (fate, packet) = (self.fate, self.counts.arrived);
        let happens = |chance, share| fate.part(packet, chance) < share;
        self.counts.arrived += 1;
        if happens(Chance::Loss, loss) {
            self.counts.lost += 1;
            return 1;
        }
        if happens(Chance::Corrupt, corrupt) && frame.len() > VNET_LEN {
            let bits = (frame.len() - VNET_LEN) as u64 * 8;
            let bit = fate.number(packet, Chance::Bit) % bits;
            frame[VNET_LEN + bit as usize / 8] ^= 1 << (bit % 8);
            self.counts.corrupted += 1;
        }
        let overtakes = happens(Chance::Reorder, reorder);
        self.counts.reordered += u64::from(overtakes);
        let two = happens(Chance::Duplicate, duplicate);
        if two {
            self.counts.duplicated += 1;
            self.put(frame.clone(), packet, overtakes, now);
        }
        let full = self.counts.full;
        self.put(frame, packet, overtakes, now);
        self.counts.full - full
    }

    /// One copy of a packet.
    fn put(&mut self, frame: Vec<u8>, packet: u64, overtakes: bool, now: Instant) {
        let Conditions { delay, jitter, rate, limit, .. } = self.conditions;
        let sent = rate.map_or(now, |rate| {
            let bits = (frame.len() - VNET_LEN) as u64 * 8;
            let takes = Duration::from_secs_f64(bits as f64 / rate as f64);
            self.free.map_or(now, |free| free.max(now)) + takes
        });
        let mut due = sent;
        if !overtakes {
            let part = self.fate.part(packet, Chance::Jitter);
            due += delay - jitter + jitter.mul_f64(2.0 * part);
            due = self.last.map_or(due, |last| last.max(due));
        }
        let is_full = self.waiting.len() >= limit || self.bytes + frame.len() > MAX_BYTES;
        // What is due at once does not wait here.
        if is_full && due > now {
            self.counts.full += 1;
            return;
        }
        self.free = Some(sent);
        self.last = if overtakes { self.last } else { Some(due) };
        self.bytes += frame.len();
        self.serial += 1;
        self.waiting.push(Reverse(Waiting { due, serial: self.serial, frame }));
    }

    /// When the next packet is due.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(next)| next.due)
    }

    /// The next packet, if it is due; [`Line::pop`] takes it out.
    pub fn peek(&self, now: Instant) -> Option<&[u8]> {
        self.waiting.peek().filter(|Reverse(it)| it.due <= now).map(|Reverse(it)| &it.frame[..])
    }

    /// Takes out the next packet.
    pub fn pop(&mut self) {
        if let Some(Reverse(Waiting { frame, .. })) = self.waiting.pop() {
            self.bytes -= frame.len();
        }
    }
}

impl Counts {
    /// Whether there is something to say.
    pub fn are_perfect(&self) -> bool {
        *self == Counts { arrived: self.arrived, ..Counts::default() }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packets", self.arrived)?;
        for (count, what) in [
            (self.lost, "lost"),
            (self.duplicated, "duplicated"),
            (self.reordered, "sent ahead"),
            (self.corrupted, "corrupted"),
            (self.full, "dropped by --limit"),
            (self.nobody, "without a neighbour"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> Ordering {
        (self.due, self.serial).cmp(&(other.due, other.serial))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Waiting {}
