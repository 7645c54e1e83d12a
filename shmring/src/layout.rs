//! The shared memory of one ring, field by field.
//!
//! A ring is one memfd: a header of [`HEADER_LEN`] bytes, then `capacity`
//! bytes of records. Both processes map the records twice, back to back, so a
//! record that runs over the end is still one contiguous slice. All integers
//! are in the byte order of the machine (a memfd never leaves it).
//!
//! | offset | size | field | written by |
//! |---|---|---|---|
//! | 0 | 8 | `magic`: the bytes `SHMRING\0` | creator, once |
//! | 8 | 4 | `version`: [`VERSION`] | creator, once |
//! | 12 | 4 | `max_frame`: longest frame in bytes | creator, once |
//! | 16 | 8 | `capacity`: bytes of records, a power of two | creator, once |
//! | 24 | 8 | `pipe_dev`: `st_dev` of the pipe that is the ring's address | creator; who takes a side over |
//! | 32 | 8 | `pipe_ino`: `st_ino` of that pipe | as above |
//! | 128 | 8 | `tail`: bytes ever published | producer |
//! | 136 | 4 | `producer_closed`: 1 after the last frame | producer |
//! | 140 | 4 | `row`: what the producer tells of its place in a row ([`Producer::tell_row`](crate::Producer::tell_row)), 0 at first | producer |
//! | 256 | 8 | `head`: bytes ever released | consumer |
//! | 264 | 4 | `consumer_closed`: 1 when nobody reads any more | consumer |
//! | 384 | 4 | `consumer_waiting`: 1 while the consumer sleeps | set by the consumer, cleared by either |
//! | 512 | 4 | `producer_waiting`: 1 while the producer sleeps | set by the producer, cleared by either |
//! | 640 | 80 | `producer`: side block, see below | producer |
//! | 768 | 80 | `consumer`: side block, see below | consumer |
//! | 896 | 8 | `taken`: begin of the record after the one that is being delivered; only where somebody keeps the link ([`handover`](crate::handover)) | consumer |
//! | 4096 | `capacity` | records | producer |
//!
//! `head` and `tail` only grow; the byte at position `p` lies at
//! `4096 + (p mod capacity)`. A record starts at a multiple of 8: an 8-byte
//! length, the frame, and padding up to the next multiple of 8.
//!
//! Fields that both sides touch while frames flow have a cache line each, 128
//! bytes apart because x86-64 fetches lines in pairs (as `CachePadded` of
//! crossbeam-utils does on x86-64 and aarch64; here the distance is part of the
//! format, so it is the same on every machine).
//!
//! A side block is for people and `stdpkt ls`; the other side never reads it:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | `frames` published (producer) or released (consumer) |
//! | 8 | 8 | `bytes` of those frames |
//! | 16 | 8 | `drops`: frames the side had to throw away |
//! | 24 | 8 | `stalls`: sleeps because the ring was full (producer) or empty (consumer) |
//! | 32 | 8 | `wakeups`: rings of the other's doorbell |
//! | 40 | 4 | `pid` as the side sees it |
//! | 44 | 4 | `label_len`: bytes of `label` in use |
//! | 48 | 32 | `label`: name of the side's end, UTF-8 |
//!
//! Neither side believes what the other wrote: `magic` to `capacity` are
//! compared with the handshake when the ring is attached and never read again;
//! `pipe_dev` and `pipe_ino` are for people, as the side blocks are (the two ends of
//! a socket have an inode each, so they could not be compared);
//! `tail`, `head` and each length are read once into private memory and checked
//! there.

use std::sync::OnceLock;

#[cfg(not(loom))]
use crate::sync::AtomicU8;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// `SHMRING\0` as it lies in memory.
pub const MAGIC: [u8; 8] = *b"SHMRING\0";
/// Version of the layout on this page and of the wake-up protocol.
pub const VERSION: u32 = 1;
/// Bytes before the records: one page of 4 KiB, so that the records can be
/// mapped twice. Kernels with larger pages refuse that mapping, and with it the ring.
pub const HEADER_LEN: usize = 4096;
/// Bytes before the frame in each record: its length.
pub const RECORD_HEADER: usize = 8;
/// Alignment of records in bytes.
pub const RECORD_ALIGN: usize = 8;
/// Smallest capacity in bytes.
pub const MIN_CAPACITY: usize = 64 << 10;
/// Largest capacity in bytes; more is a mistake or an attack.
pub const MAX_CAPACITY: usize = 1 << 30;
/// Longest name of a link's end, in bytes.
pub const LABEL_LEN: usize = 32;

/// Who one side is and what it did; for people and `stdpkt ls`, never trusted.
#[repr(C)]
pub(crate) struct SideBlock {
    /// Frames published (producer) or released (consumer).
    pub frames: AtomicU64,
    /// Frame bytes, without record headers.
    pub bytes: AtomicU64,
    /// Frames the side had to throw away.
    pub drops: AtomicU64,
    /// Times the side found the ring full (producer) or empty (consumer) and slept.
    pub stalls: AtomicU64,
    /// Times the side rang the other's doorbell.
    pub wakeups: AtomicU64,
    /// Process id, as the side itself sees it, or that of which it is a part ([`speak_for`]).
    pub pid: AtomicU32,
    /// Bytes of `label` in use.
    pub label_len: AtomicU32,
    /// Name of the interface behind this end, UTF-8.
    pub label: [AtomicU64; LABEL_LEN / 8],
}

static SPEAKS_FOR: OnceLock<u32> = OnceLock::new();

/// This process is a part of another one, which started it: the links that are made from now
/// on are shown as that one's.
pub fn speak_for(pid: u32) {
    // A second time nothing changes: links have been shown.
    let _ = SPEAKS_FOR.set(pid);
}

impl SideBlock {
    /// Says who this side is.
    pub fn identify(&self, label: &str) {
        self.label_len.store(store_text(label, &self.label) as u32, Ordering::Relaxed);
        let pid = SPEAKS_FOR.get().copied().unwrap_or_else(std::process::id);
        self.pid.store(pid, Ordering::Relaxed);
    }
}

/// Writes as much of a text as there is room for; returns how many bytes that is.
pub(crate) fn store_text(text: &str, words: &[AtomicU64]) -> usize {
    let text = &text[..text.floor_char_boundary(8 * words.len())];
    for (at, word) in words.iter().enumerate() {
        let mut bytes = [0; 8];
        let rest = text.as_bytes().get(8 * at..).unwrap_or_default();
        let len = rest.len().min(8);
        bytes[..len].copy_from_slice(&rest[..len]);
        word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
    }
    text.len()
}

/// Reads it again. Whoever wrote it chose it, and terminals obey control characters.
#[cfg(not(loom))]
pub(crate) fn load_text(words: &[AtomicU64], len: u64) -> String {
    let bytes = words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
    let bytes: Vec<u8> = bytes.take(usize::try_from(len).unwrap_or(usize::MAX)).collect();
    String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).collect()
}

/// The first page of the memfd. All of it is atomics, what is written once and the
/// padding too: a neighbour may write any byte while we hold a `&Header`, which for
/// a plain field would be undefined behaviour even if nobody read it.
#[repr(C)]
pub(crate) struct Header {
    pub magic: AtomicU64,
    pub version: AtomicU32,
    pub max_frame: AtomicU32,
    pub capacity: AtomicU64,
    pub pipe_dev: AtomicU64,
    pub pipe_ino: AtomicU64,
    #[cfg(not(loom))]
    pad0: [AtomicU8; 88],
    /// Range: any; grows by whole records. Writer: producer.
    pub tail: AtomicU64,
    pub producer_closed: AtomicU32,
    /// Range: any.
    pub row: AtomicU32,
    #[cfg(not(loom))]
    pad1: [AtomicU8; 112],
    /// Range: `tail - capacity ..= tail`. Writer: consumer.
    pub head: AtomicU64,
    pub consumer_closed: AtomicU32,
    #[cfg(not(loom))]
    pad2: [AtomicU8; 116],
    pub consumer_waiting: AtomicU32,
    #[cfg(not(loom))]
    pad3: [AtomicU8; 124],
    pub producer_waiting: AtomicU32,
    #[cfg(not(loom))]
    pad4: [AtomicU8; 124],
    pub producer: SideBlock,
    #[cfg(not(loom))]
    pad5: [AtomicU8; 128 - size_of::<SideBlock>()],
    pub consumer: SideBlock,
    #[cfg(not(loom))]
    pad6: [AtomicU8; 128 - size_of::<SideBlock>()],
    /// Range: `head ..= tail`, else it says nothing. Writer: consumer; reader: the process
    /// that goes on with its end.
    pub taken: AtomicU64,
}

#[cfg(loom)]
impl Header {
    /// A header of a model: loom's atomics cannot be made of zeroed memory.
    pub fn new() -> Self {
        let side = || SideBlock {
            frames: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            drops: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            wakeups: AtomicU64::new(0),
            pid: AtomicU32::new(0),
            label_len: AtomicU32::new(0),
            label: std::array::from_fn(|_| AtomicU64::new(0)),
        };
        Header {
            magic: AtomicU64::new(0),
            version: AtomicU32::new(0),
            max_frame: AtomicU32::new(0),
            capacity: AtomicU64::new(0),
            pipe_dev: AtomicU64::new(0),
            pipe_ino: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            producer_closed: AtomicU32::new(0),
            row: AtomicU32::new(0),
            head: AtomicU64::new(0),
            consumer_closed: AtomicU32::new(0),
            consumer_waiting: AtomicU32::new(0),
            producer_waiting: AtomicU32::new(0),
            producer: side(),
            consumer: side(),
            taken: AtomicU64::new(0),
        }
    }
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Header, version) == 8);
    assert!(offset_of!(Header, max_frame) == 12);
    assert!(offset_of!(Header, capacity) == 16);
    assert!(offset_of!(Header, pipe_dev) == 24);
    assert!(offset_of!(Header, pipe_ino) == 32);
    assert!(offset_of!(Header, tail) == 128);
    assert!(offset_of!(Header, producer_closed) == 136);
    assert!(offset_of!(Header, row) == 140);
    assert!(offset_of!(Header, head) == 256);
    assert!(offset_of!(Header, consumer_closed) == 264);
    assert!(offset_of!(Header, consumer_waiting) == 384);
    assert!(offset_of!(Header, producer_waiting) == 512);
    assert!(offset_of!(Header, producer) == 640);
    assert!(offset_of!(Header, consumer) == 768);
    assert!(offset_of!(Header, taken) == 896);
    assert!(size_of::<Header>() <= HEADER_LEN);
    assert!(size_of::<SideBlock>() == 80);
};

/// Bytes a frame of `len` bytes takes in the ring.
pub(crate) const fn record_len(len: usize) -> usize {
    (RECORD_HEADER + len + RECORD_ALIGN - 1) & !(RECORD_ALIGN - 1)
}

/// The capacity for a wish of `wish` bytes and frames of up to `max_frame`
/// bytes: a power of two that holds two of the largest records, so that a
/// producer which waits for half the ring always finds room.
pub(crate) fn fit_capacity(wish: usize, max_frame: usize) -> usize {
    let needed = (2 * record_len(max_frame)).max(MIN_CAPACITY).max(wish);
    needed.min(MAX_CAPACITY).next_power_of_two()
}

#[cfg(all(test, not(loom)))]
mod in_c;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_padded_to_eight_bytes() {
        assert_eq!(record_len(0), 8);
        assert_eq!(record_len(1), 16);
        assert_eq!(record_len(8), 16);
        assert_eq!(record_len(9), 24);
    }

    #[cfg(not(loom))]
    #[test]
    fn a_text_survives_and_is_cut_at_a_character() {
        let words: [AtomicU64; 2] = std::array::from_fn(|_| AtomicU64::new(u64::MAX));
        for (text, kept) in [("left", "left"), ("", ""), ("0123456789abcdeä", "0123456789abcde")] {
            let len = store_text(text, &words);
            assert_eq!((len, load_text(&words, len as u64)), (kept.len(), kept.to_owned()));
        }
        store_text("\x1b[2J\u{9b}\n", &words);
        assert_eq!(load_text(&words, u64::MAX).trim_end_matches('\0'), "[2J");
    }

    #[test]
    fn capacity_holds_two_of_the_largest_records() {
        assert_eq!(fit_capacity(0, 64), MIN_CAPACITY);
        assert_eq!(fit_capacity(0, 65_600), 256 << 10);
        assert_eq!(fit_capacity(1_000_000, 64), 1 << 20);
        assert_eq!(fit_capacity(usize::MAX, 64), MAX_CAPACITY);
    }
}
