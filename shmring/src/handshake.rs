//! The messages by which two holders of a pipe agree on a link.
//!
//! Who finds the other knocks: a datagram to its gate, with one end of a
//! `SOCK_SEQPACKET` socket pair. Over that the two go on. The *maker* makes the
//! rings: the reader of the pipe. The *greeter* is its writer. Where neither has a
//! role, the one with the lower nonce makes. Integers are little-endian.
//!
//! 0. maker to greeter, `COME`, where the greeter knocked: now it knows who is there.
//! 1. greeter to maker, `HELLO`: its wishes; descriptors: its end of the
//!    pipe (the proof), its doorbell.
//! 2. maker to greeter, `WELCOME`: what is agreed; descriptors: its end of
//!    the pipe, its doorbell, then for [`Channel::Shm`] the memfd of the ring in
//!    the pipe's direction and, for a duplex link, that of the ring the other way;
//!    for [`Channel::Fifo`] and a duplex link its end of a pipe the other way; for
//!    [`Channel::Aside`] its end of a socket pair.
//!    Or `REFUSE` with a reason and no descriptors.
//! 3. greeter to maker, `READY`, no descriptors: both may use the link.
//!
//! A reader that finds another one knocks, too, and gets a `REFUSE` from it, or
//! nothing until one of the two is gone.
//!
//! After READY the socket stays open; its hang-up tells each side that the other is
//! gone. All that is sent over it is [`ALIVE`] with one end of a socket pair: whoever
//! gets that sends it back over the pair; and [`HEIR`], see `handover`. A side that is dying cannot.
//!
//! Each message is [`LEN`] bytes:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `shmring\n` |
//! | 8 | 4 | handshake version, [`VERSION`] |
//! | 12 | 4 | kind: 1 `HELLO`, 2 `WELCOME`, 3 `READY`, 4 `REFUSE`, 5 `COME` |
//! | 16 | 4 | role of the sender: 1 reader, 2 writer, 3 either |
//! | 20 | 4 | channel: 0 shm, 1 fifo, 2 aside |
//! | 24 | 4 | duplex: 0 or 1 |
//! | 28 | 4 | longest frame in bytes |
//! | 32 | 8 | ring capacity in bytes: a wish; in a `WELCOME` a power of two, the capacity there is |
//! | 40 | 8 | features, a bit set the ring does not interpret |
//! | 48 | 4 | reason of a `REFUSE`: 1 version, 2 taken, 3 no proof, 4 malformed, 5 no resources |
//! | 52 | 4 | bytes of label in use |
//! | 56 | 32 | label: the sender's name for its end, UTF-8 |
//!
//! A knock is [`KNOCK_LEN`] bytes: magic, version, kind (6 `KNOCK`; 7 `TURNED AWAY`,
//! which has no descriptor and is for one of another user), role, four zeros, and at
//! offset 24 the sender's nonce in 8 bytes.

use crate::layout::{LABEL_LEN, fit_capacity};
use crate::role::Role;
use crate::suited::suited;

/// Version of this handshake.
pub(crate) const VERSION: u32 = 2;
/// Bytes of each message.
pub(crate) const LEN: usize = 88;
/// Bytes of a knock.
pub(crate) const KNOCK_LEN: usize = 32;
/// Sent over a link's socket to learn whether the other side lives, and sent back.
pub(crate) const ALIVE: [u8; 8] = *b"alive?\n\0";
/// Sent over a link's socket by a process that has taken over one of its sides.
pub(crate) const HEIR: [u8; 8] = *b"heir\n\0\0\0";
const MAGIC: [u8; 8] = *b"shmring\n";
const KNOCK: u32 = 6;
const TURNED_AWAY: u32 = 7;

/// How frames cross a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// A ring in shared memory each way.
    Shm,
    /// The pipe itself: a 4-byte little-endian length before each frame.
    Fifo,
    /// On a way of their own, such as a veth pair, on which the two agree over
    /// [`Link::aside`](crate::Link::aside). The link tells of the neighbour's end only.
    Aside,
}

/// What one side wishes for a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Name of this end, e.g. of the interface; at most 32 bytes are kept.
    pub label: String,
    /// Frames both ways. The link is one-way unless both sides wish for two.
    pub duplex: bool,
    /// [`Channel::Fifo`] if either side wishes so, [`Channel::Aside`] if both do and the
    /// link is duplex, else [`Channel::Shm`].
    pub channel: Channel,
    /// Bytes of ring each way; the smaller wish counts, rounded up to a power
    /// of two that holds two of the longest frames.
    pub capacity: usize,
    /// Longest frame in bytes; the larger wish counts, up to 1 MiB.
    pub max_frame: usize,
    /// What this side can do, one bit each; the link has what both can do.
    pub features: u64,
}

/// Longest frame a neighbour may ask for.
pub(crate) const MAX_FRAME: usize = 1 << 20;

impl Default for Offer {
    /// A duplex link with frames of up to 65 600 bytes, the largest TSO frame with its
    /// headers and VLAN tags, over rings of a quarter of the second-level cache that hold at
    /// least four of them: 512 KiB to 1 MiB.
    fn default() -> Self {
        const MAX_FRAME: usize = 65_600;
        Offer {
            label: String::new(),
            duplex: true,
            channel: Channel::Shm,
            capacity: suited(MAX_FRAME),
            max_frame: MAX_FRAME,
            features: 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Hello,
    Welcome,
    Ready,
    Refuse,
    Come,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Version,
    Taken,
    NoProof,
    Malformed,
    Exhausted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub kind: Kind,
    pub role: Role,
    pub offer: Offer,
    pub reason: Option<Reason>,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    Version(u32),
    Because(&'static str),
}

impl Message {
    pub fn new(kind: Kind, role: Role, offer: &Offer) -> Message {
        Message { kind, role, offer: offer.clone(), reason: None }
    }

    pub fn refuse(role: Role, offer: &Offer, reason: Reason) -> Message {
        Message { reason: Some(reason), ..Message::new(Kind::Refuse, role, offer) }
    }

    pub fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[..8].copy_from_slice(&MAGIC);
        let mut put = |at: usize, value: u32| out[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(8, VERSION);
        put(
            12,
            match self.kind {
                Kind::Hello => 1,
                Kind::Welcome => 2,
                Kind::Ready => 3,
                Kind::Refuse => 4,
                Kind::Come => 5,
            },
        );
        put(16, number(self.role));
        put(
            20,
            match self.offer.channel {
                Channel::Shm => 0,
                Channel::Fifo => 1,
                Channel::Aside => 2,
            },
        );
        put(24, self.offer.duplex.into());
        put(28, self.offer.max_frame.min(MAX_FRAME) as u32);
        put(
            48,
            match self.reason {
                None => 0,
                Some(Reason::Version) => 1,
                Some(Reason::Taken) => 2,
                Some(Reason::NoProof) => 3,
                Some(Reason::Malformed) => 4,
                Some(Reason::Exhausted) => 5,
            },
        );
        let label = &self.offer.label[..self.offer.label.floor_char_boundary(LABEL_LEN)];
        put(52, label.len() as u32);
        out[32..40].copy_from_slice(&(self.offer.capacity as u64).to_le_bytes());
        out[40..48].copy_from_slice(&self.offer.features.to_le_bytes());
        out[56..56 + label.len()].copy_from_slice(label.as_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Message, Malformed> {
        let bytes: &[u8; LEN] =
            bytes.try_into().map_err(|_| Malformed::Because("a message of another length"))?;
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if bytes[..8] != MAGIC {
            return Err(Malformed::Because("a message without the magic number"));
        }
        if word(8) != VERSION {
            return Err(Malformed::Version(word(8)));
        }
        let kind = match word(12) {
            1 => Kind::Hello,
            2 => Kind::Welcome,
            3 => Kind::Ready,
            4 => Kind::Refuse,
            5 => Kind::Come,
            _ => return Err(Malformed::Because("a message of unknown kind")),
        };
        let role = role(word(16)).ok_or(Malformed::Because("an unknown role"))?;
        let channel = match word(20) {
            0 => Channel::Shm,
            1 => Channel::Fifo,
            2 => Channel::Aside,
            _ => return Err(Malformed::Because("an unknown channel")),
        };
        let duplex = match word(24) {
            0 => false,
            1 => true,
            _ => return Err(Malformed::Because("a malformed duplex flag")),
        };
        let max_frame = word(28) as usize;
        if max_frame > MAX_FRAME {
            return Err(Malformed::Because("frames of more than 1 MiB"));
        }
        let reason = match (kind, word(48)) {
            (Kind::Refuse, 1) => Some(Reason::Version),
            (Kind::Refuse, 2) => Some(Reason::Taken),
            (Kind::Refuse, 3) => Some(Reason::NoProof),
            (Kind::Refuse, 4) => Some(Reason::Malformed),
            (Kind::Refuse, 5) => Some(Reason::Exhausted),
            (Kind::Hello | Kind::Welcome | Kind::Ready | Kind::Come, 0) => None,
            _ => return Err(Malformed::Because("a malformed reason")),
        };
        let label = bytes[56..]
            .get(..word(52) as usize)
            .and_then(|label| std::str::from_utf8(label).ok())
            .filter(|label| !label.chars().any(char::is_control))
            .ok_or(Malformed::Because("a malformed label"))?;
        let capacity = usize::try_from(long(32)).unwrap_or(usize::MAX);
        let offer = Offer {
            label: label.to_owned(),
            duplex,
            channel,
            capacity,
            max_frame,
            features: long(40),
        };
        Ok(Message { kind, role, offer, reason })
    }
}

/// What arrives at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Knock {
    /// The sender's gate.
    pub nonce: u64,
    /// What it is at the pipe.
    pub role: Role,
    /// It is of another user, and will not speak to us.
    pub turned_away: bool,
}

impl Knock {
    pub fn encode(&self) -> [u8; KNOCK_LEN] {
        let mut out = [0; KNOCK_LEN];
        out[..8].copy_from_slice(&MAGIC);
        let kind = if self.turned_away { TURNED_AWAY } else { KNOCK };
        for (at, value) in [(8, VERSION), (12, kind), (16, number(self.role))] {
            out[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        out[24..].copy_from_slice(&self.nonce.to_le_bytes());
        out
    }

    /// `None` for anything else. The version is for the messages that follow to tell.
    pub fn decode(bytes: &[u8]) -> Option<Knock> {
        let bytes: &[u8; KNOCK_LEN] = bytes.try_into().ok()?;
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if bytes[..8] != MAGIC {
            return None;
        }
        let turned_away = match word(12)? {
            KNOCK => false,
            TURNED_AWAY => true,
            _ => return None,
        };
        let nonce = u64::from_le_bytes(bytes[24..].try_into().ok()?);
        Some(Knock { nonce, role: role(word(16)?)?, turned_away })
    }
}

fn number(role: Role) -> u32 {
    match role {
        Role::Reader => 1,
        Role::Writer => 2,
        Role::Either => 3,
    }
}

fn role(number: u32) -> Option<Role> {
    Some(match number {
        1 => Role::Reader,
        2 => Role::Writer,
        3 => Role::Either,
        _ => return None,
    })
}

impl Offer {
    /// Rings where frames would go aside.
    pub fn keep_to_rings(&mut self) {
        if self.channel == Channel::Aside {
            self.channel = Channel::Shm;
        }
    }

    /// What a maker with this offer agrees on with a greeter's wishes.
    pub(crate) fn agree(&self, theirs: &Offer) -> Offer {
        let duplex = self.duplex && theirs.duplex;
        let max_frame = self.max_frame.max(theirs.max_frame).min(MAX_FRAME);
        Offer {
            label: self.label.clone(),
            duplex,
            channel: match (self.channel, theirs.channel) {
                (Channel::Fifo, _) | (_, Channel::Fifo) => Channel::Fifo,
                (Channel::Aside, Channel::Aside) if duplex => Channel::Aside,
                _ => Channel::Shm,
            },
            capacity: fit_capacity(self.capacity.min(theirs.capacity), max_frame),
            max_frame,
            features: self.features & theirs.features,
        }
    }

    /// Whether a maker's answer is one that this offer allows.
    pub(crate) fn allows(&self, agreed: &Offer) -> bool {
        (self.duplex || !agreed.duplex)
            && match agreed.channel {
                Channel::Shm => self.channel != Channel::Fifo,
                Channel::Fifo => true,
                Channel::Aside => self.channel == Channel::Aside && agreed.duplex,
            }
            && agreed.features & !self.features == 0
            && agreed.max_frame >= self.max_frame.min(MAX_FRAME)
            && agreed.capacity <= fit_capacity(self.capacity, agreed.max_frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Message {
        let offer = Offer { label: "right".into(), features: 0xc803, ..Offer::default() };
        Message::new(Kind::Hello, Role::Writer, &offer)
    }

    #[test]
    fn a_message_survives_the_wire() {
        assert_eq!(Message::decode(&hello().encode()), Ok(hello()));
        let refuse = Message::refuse(Role::Reader, &Offer::default(), Reason::Taken);
        assert_eq!(Message::decode(&refuse.encode()), Ok(refuse));
    }

    #[test]
    fn a_knock_survives_the_wire_and_nothing_else_is_one() {
        let knock = Knock { nonce: 1 << 61 | 7, role: Role::Either, turned_away: false };
        assert_eq!(Knock::decode(&knock.encode()), Some(knock));
        let away = Knock { turned_away: true, ..knock };
        assert_eq!(Knock::decode(&away.encode()), Some(away));
        for (at, value) in [(0, 0), (12, 1), (16, 0)] {
            let mut bad = knock.encode();
            bad[at] = value;
            assert_eq!(Knock::decode(&bad), None, "offset {at}");
        }
        assert_eq!(Knock::decode(&knock.encode()[..KNOCK_LEN - 1]), None);
        assert_eq!(Knock::decode(&hello().encode()), None);
    }

    #[test]
    fn each_broken_field_is_refused() {
        let good = hello().encode();
        for (at, value) in [(0, 0), (12, 9), (16, 0), (20, 3), (24, 2), (31, 1), (48, 1), (52, 99)]
        {
            let mut bad = good;
            bad[at] = value;
            assert!(matches!(Message::decode(&bad), Err(Malformed::Because(_))), "offset {at}");
        }
        let mut newer = good;
        newer[8] = 77;
        assert_eq!(Message::decode(&newer), Err(Malformed::Version(77)));
        assert!(Message::decode(&good[..LEN - 1]).is_err());
        let mut label = good;
        label[56] = 0xff;
        assert!(Message::decode(&label).is_err());
        label[56] = b'\n';
        assert!(Message::decode(&label).is_err());
    }

    #[test]
    fn a_long_label_is_cut_at_a_character() {
        let offer = Offer { label: "ä".repeat(40), ..Offer::default() };
        let sent = Message::new(Kind::Hello, Role::Writer, &offer).encode();
        assert_eq!(Message::decode(&sent).unwrap().offer.label, "ä".repeat(16));
    }

    #[test]
    fn both_sides_have_a_say() {
        let ours = Offer { duplex: false, features: 0b110, capacity: 100, ..Offer::default() };
        let theirs = Offer { channel: Channel::Fifo, features: 0b011, ..Offer::default() };
        let agreed = ours.agree(&theirs);
        assert!(!agreed.duplex);
        assert_eq!(agreed.channel, Channel::Fifo);
        assert_eq!(agreed.features, 0b010);
        assert_eq!(agreed.capacity, 256 << 10, "what is said is what is made");
        assert!(theirs.allows(&agreed));
        assert!(!ours.allows(&Offer { duplex: true, ..agreed }));
    }

    #[test]
    fn frames_go_aside_if_both_wish_so_and_both_ways() {
        let of = |channel, duplex| Offer { channel, duplex, ..Offer::default() };
        let (aside, shm) = (of(Channel::Aside, true), of(Channel::Shm, true));
        assert_eq!(aside.agree(&aside).channel, Channel::Aside);
        assert_eq!(aside.agree(&shm).channel, Channel::Shm);
        assert_eq!(shm.agree(&aside).channel, Channel::Shm);
        assert_eq!(aside.agree(&of(Channel::Fifo, true)).channel, Channel::Fifo);
        assert_eq!(aside.agree(&of(Channel::Aside, false)).channel, Channel::Shm);
        assert!(aside.allows(&aside) && aside.allows(&shm));
        assert!(!shm.allows(&aside) && !aside.allows(&of(Channel::Aside, false)));
        let sent = Message::new(Kind::Hello, Role::Writer, &aside);
        assert_eq!(Message::decode(&sent.encode()), Ok(sent));
    }
}
