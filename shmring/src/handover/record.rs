//! What is said when a link goes from one process to another, in bytes.
//!
//! Messages over a `SOCK_SEQPACKET` socket pair, [`LEN`] bytes each, in the byte order
//! of the machine, since no memfd leaves it:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `shmhand\n` |
//! | 8 | 4 | version, [`VERSION`] |
//! | 12 | 4 | kind: 1 `LINK`, 2 `ALL`, 3 `TAKEN`, 4 `WITHDRAWN`, 5 `REFUSED` |
//! | 16 | 4 | halves: 1 sends, 2 receives, 3 both |
//! | 20 | 4 | longest frame in bytes |
//! | 24 | 16 | `st_dev` and `st_ino` of the pipe that the link came up on |
//! | 40 | 8 | features that both sides have |
//! | 48 | 4 | the neighbour's process id |
//! | 52 | 4 | bytes of its label |
//! | 56 | 32 | its label, UTF-8 |
//! | 88 | 64 | the sending half: capacity, own index, the neighbour's as last seen, five counters |
//! | 152 | 64 | the receiving half, likewise |
//!
//! Where the memory has to tell where a half stands, its own index is all ones.
//!
//! Only `LINK` uses what comes after the kind, `ALL` the number of links at offset 16,
//! `REFUSED` a reason in UTF-8 from there on, ended by a zero. Descriptors of a `LINK`: socket,
//! the bell that is rung, the neighbour's bell, the memory of each half.

use crate::layout::LABEL_LEN;
use crate::link::Peer;
use crate::ring::{Counters, Indices};

/// Version of these messages. A function of another version is not taken over.
pub(super) const VERSION: u32 = 1;
/// Bytes of each message.
pub(super) const LEN: usize = 216;
const MAGIC: [u8; 8] = *b"shmhand\n";
/// In the place of an index, which is a multiple of 8.
const UNKNOWN: u64 = u64::MAX;

/// One half of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HalfRecord {
    /// Bytes of records.
    pub capacity: usize,
    /// None where the memory has to tell, see [`Kept`](super::Kept).
    pub indices: Option<Indices>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub pipe: (u64, u64),
    pub max_frame: usize,
    pub features: u64,
    pub peer: Peer,
    pub tx: Option<HalfRecord>,
    pub rx: Option<HalfRecord>,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// Giver: here is one.
    Link(Record),
    /// Giver: that was all, so many.
    All(u32),
    /// Taker: they are mine.
    Taken,
    /// Giver: they stay mine.
    Withdrawn,
    /// Taker: I do not want them.
    Refused(String),
}

impl Message {
    pub fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[..8].copy_from_slice(&MAGIC);
        put(&mut out, 8, &VERSION.to_ne_bytes());
        let kind: u32 = match self {
            Message::Link(record) => {
                record.encode(&mut out);
                1
            }
            Message::All(count) => {
                put(&mut out, 16, &count.to_ne_bytes());
                2
            }
            Message::Taken => 3,
            Message::Withdrawn => 4,
            Message::Refused(why) => {
                let why = &why[..why.floor_char_boundary(LEN - 17)];
                put(&mut out, 16, why.as_bytes());
                5
            }
        };
        put(&mut out, 12, &kind.to_ne_bytes());
        out
    }

    /// # Errors
    /// Why it is none.
    pub fn decode(bytes: &[u8]) -> Result<Message, &'static str> {
        let bytes: &[u8; LEN] = bytes.try_into().map_err(|_| "a message of another length")?;
        if bytes[..8] != MAGIC {
            return Err("a message of another kind");
        }
        if word(bytes, 8) != VERSION {
            return Err("it is of another version: install one stdpkt for both");
        }
        Ok(match word(bytes, 12) {
            1 => Message::Link(Record::decode(bytes)?),
            2 => Message::All(word(bytes, 16)),
            3 => Message::Taken,
            4 => Message::Withdrawn,
            5 => {
                let why = bytes[16..].split(|&byte| byte == 0).next().unwrap_or_default();
                let why = String::from_utf8_lossy(why);
                Message::Refused(why.chars().filter(|c| !c.is_control()).collect())
            }
            _ => return Err("a message of unknown kind"),
        })
    }
}

impl Record {
    fn encode(&self, out: &mut [u8; LEN]) {
        let halves = u32::from(self.tx.is_some()) | u32::from(self.rx.is_some()) << 1;
        let label = &self.peer.label[..self.peer.label.floor_char_boundary(LABEL_LEN)];
        for (at, value) in [
            (16, halves),
            (20, self.max_frame as u32),
            (48, self.peer.pid.cast_unsigned()),
            (52, label.len() as u32),
        ] {
            put(out, at, &value.to_ne_bytes());
        }
        for (at, value) in [(24, self.pipe.0), (32, self.pipe.1), (40, self.features)] {
            put(out, at, &value.to_ne_bytes());
        }
        put(out, 56, label.as_bytes());
        for (at, half) in [(88, &self.tx), (152, &self.rx)] {
            let Some(HalfRecord { capacity, indices }) = half else { continue };
            let nothing = Indices { own: UNKNOWN, seen: 0, counters: Counters::default() };
            let indices = indices.unwrap_or(nothing);
            let counters: [u64; 5] = indices.counters.into();
            let words = [*capacity as u64, indices.own, indices.seen].into_iter().chain(counters);
            for (n, value) in words.enumerate() {
                put(out, at + 8 * n, &value.to_ne_bytes());
            }
        }
    }

    fn decode(bytes: &[u8; LEN]) -> Result<Record, &'static str> {
        let halves = word(bytes, 16);
        if !(1..=3).contains(&halves) {
            return Err("a link without halves");
        }
        let label = bytes[56..56 + LABEL_LEN]
            .get(..word(bytes, 52) as usize)
            .and_then(|label| std::str::from_utf8(label).ok())
            .filter(|label| !label.chars().any(char::is_control))
            .ok_or("a malformed label")?;
        let half = |at| HalfRecord {
            capacity: usize::try_from(long(bytes, at)).unwrap_or(usize::MAX),
            indices: (long(bytes, at + 8) != UNKNOWN).then(|| Indices {
                own: long(bytes, at + 8),
                seen: long(bytes, at + 16),
                counters: Counters::from(std::array::from_fn(|n| long(bytes, at + 24 + 8 * n))),
            }),
        };
        Ok(Record {
            pipe: (long(bytes, 24), long(bytes, 32)),
            max_frame: word(bytes, 20) as usize,
            features: long(bytes, 40),
            peer: Peer { pid: word(bytes, 48).cast_signed(), label: label.to_owned() },
            tx: (halves & 1 != 0).then(|| half(88)),
            rx: (halves & 2 != 0).then(|| half(152)),
        })
    }
}

fn put(out: &mut [u8; LEN], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

fn word(bytes: &[u8; LEN], at: usize) -> u32 {
    u32::from_ne_bytes(std::array::from_fn(|n| bytes[at + n]))
}

fn long(bytes: &[u8; LEN], at: usize) -> u64 {
    u64::from_ne_bytes(std::array::from_fn(|n| bytes[at + n]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let indices = |n| Indices {
            own: n,
            seen: n + 8,
            counters: Counters { frames: n, wakeups: 7, ..Counters::default() },
        };
        Record {
            pipe: (3, 4),
            max_frame: 65_600,
            features: 5,
            peer: Peer { pid: 77, label: "left".into() },
            tx: Some(HalfRecord { capacity: 1 << 20, indices: Some(indices(16)) }),
            rx: Some(HalfRecord { capacity: 1 << 18, indices: Some(indices(1 << 40)) }),
        }
    }

    #[test]
    fn a_message_survives_the_wire() {
        for message in [
            Message::Link(record()),
            Message::Link(Record { rx: None, ..record() }),
            Message::Link(Record {
                tx: Some(HalfRecord { capacity: 1 << 20, indices: None }),
                ..record()
            }),
            Message::All(2),
            Message::Taken,
            Message::Withdrawn,
            Message::Refused("no ä".into()),
        ] {
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
        let long = Message::Refused("ä".repeat(LEN)).encode();
        assert!(matches!(Message::decode(&long), Ok(Message::Refused(why)) if why.len() > 190));
    }

    #[test]
    fn each_broken_field_is_refused() {
        let good = Message::Link(record()).encode();
        for (at, value) in [(0, 0), (8, 9), (12, 9), (16, 0), (16, 4), (52, 99), (56, b'\n')] {
            let mut bad = good;
            bad[at] = value;
            assert!(Message::decode(&bad).is_err(), "offset {at}");
        }
        assert!(Message::decode(&good[1..]).is_err());
    }
}
