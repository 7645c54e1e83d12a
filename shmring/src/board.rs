//! What a process shows of links that have no ring of their own to show it: where
//! frames go through the pipe itself, and where nobody has come yet.
//!
//! A board is one memfd a process. Whoever may look at the process finds it in
//! `/proc/PID/fd`, as it finds rings, and reads it without asking anybody:
//! [`observe`](crate::observe). A page of head, then [`ENTRIES`] entries; integers in
//! the byte order of the machine. Pages of entries that were never used take no memory.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic: the bytes `SHMBORD\0` |
//! | 8 | 4 | version: [`VERSION`] |
//! | 12 | 4 | pid of its process, as the process sees it |
//! | 16 | 8 | entries for which there was no room |
//! | 24 | 8 | bytes of `name` in use |
//! | 32 | 32 | `name` of the process for people, UTF-8 |
//! | 64 | 8 | bytes of `command` in use |
//! | 72 | 192 | `command`: what it runs, UTF-8 |
//! | 4096 | 192 each | entries |
//!
//! Name and command are there before the magic number, and never change.
//!
//! | offset | size | field of an entry |
//! |---|---|---|
//! | 0 | 8 | stamp: odd while the fields up to `what` are written, another one afterwards |
//! | 8 | 4 | form: 0 for a free entry, 1 waiting, 2 pipe, 3 capture, 4 edge, 5 tally, 6 aside |
//! | 12 | 4 | way: 1 frames go out, 2 frames come in, 3 either |
//! | 16 | 16 | `(st_dev, st_ino)` of the pipe that is the link's address |
//! | 32 | 16 | the same of the pipe that the frames go through; of an aside 0 or 1, for the way of the pipe or against it, and the inode of the link's address |
//! | 48 | 80 | side block, as a ring has it ([`layout`](crate::layout)); of a tally its five counters are that |
//! | 128 | 8 | bytes of `what` in use |
//! | 136 | 56 | `what`: the pipe's name for people, UTF-8 |
#![allow(unsafe_code)]
// Unsafe lives here to map the board of this process. The invariant: the mapping is
// LEN bytes of a memfd that was sealed at that length, it lives as long as the
// process, and is nothing but atomics.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use memmap2::{MmapOptions, MmapRaw};

use crate::layout::{HEADER_LEN, SideBlock, store_text};
use crate::region::sealed_memfd;
use crate::ring::Counters;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// `SHMBORD\0` as it lies in memory.
pub(crate) const MAGIC: [u8; 8] = *b"SHMBORD\0";
/// Version of the layout on this page.
pub const VERSION: u32 = 2;
/// Entries of a board.
pub const ENTRIES: usize = 1024;
/// Name of the memfd, as `/proc/PID/fd` shows it.
pub(crate) const MEMFD_NAME: &str = "shmring-board";
/// Bytes of a board.
pub(crate) const LEN: usize = HEADER_LEN + ENTRIES * size_of::<Slot>();
/// Longest name of a pipe, in bytes.
pub(crate) const WHAT_LEN: usize = 56;
/// Longest name of a process, in bytes.
pub const NAME_LEN: usize = 32;
/// So many bytes of what a process runs are shown.
pub const COMMAND_LEN: usize = 192;

/// Who a process is, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// What it is called; empty where it was not told.
    pub name: String,
    /// What it runs for its user, as far as there is room for it.
    pub command: String,
}

/// Whether a process can be called that: 1 to [`NAME_LEN`] ASCII letters, digits, `-`, `_`
/// and `.`, not `-` first, and not digits only, as process ids are.
pub fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=NAME_LEN).contains(&text.len())
        && text.chars().all(plain)
        && !text.starts_with('-')
        && !text.bytes().all(|byte| byte.is_ascii_digit())
}

static IDENTITY: OnceLock<Identity> = OnceLock::new();

/// Says who this process is, before its board is made. Said once.
pub fn introduce(identity: Identity) {
    // A second time nothing changes: what others have read stays true.
    let _ = IDENTITY.set(identity);
}

/// How frames cross a link that is no ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Not at all: nobody is there.
    Waiting,
    /// Through a pipe, a length before each.
    Pipe,
    /// Through a pipe, as a capture that other programs read and write.
    Capture,
    /// From or to what a link is joined to: a program, a socket.
    Edge,
    /// This says nothing of frames: it is what the process counts besides, about the link
    /// with the same address. Label and process say what.
    Tally,
    /// On a way of their own, such as a veth pair, which counts them itself.
    Aside,
}

/// Which way frames go, as the process sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the neighbour.
    Out,
    /// From the neighbour.
    In,
    /// It is not known yet.
    Either,
}

/// What an entry says that does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// How frames cross the link.
    pub form: Form,
    /// Which way.
    pub way: Way,
    /// `(st_dev, st_ino)` of the pipe that is the link's address.
    pub pipe: (u64, u64),
    /// The same of the pipe that the frames go through.
    pub medium: (u64, u64),
    /// Name of the interface.
    pub label: String,
    /// The pipe's name for people.
    pub what: String,
}

#[repr(C)]
pub(crate) struct Head {
    pub magic: AtomicU64,
    pub version: AtomicU32,
    pub pid: AtomicU32,
    pub missing: AtomicU64,
    pub name_len: AtomicU64,
    pub name: [AtomicU64; NAME_LEN / 8],
    pub command_len: AtomicU64,
    pub command: [AtomicU64; COMMAND_LEN / 8],
}

#[repr(C)]
pub(crate) struct Slot {
    pub stamp: AtomicU64,
    pub form: AtomicU32,
    pub way: AtomicU32,
    pub pipe: [AtomicU64; 2],
    pub medium: [AtomicU64; 2],
    pub side: SideBlock,
    pub what_len: AtomicU64,
    pub what: [AtomicU64; WHAT_LEN / 8],
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Head>() <= HEADER_LEN);
    assert!(offset_of!(Head, name) == 32);
    assert!(offset_of!(Head, command) == 72);
    assert!(offset_of!(Slot, medium) == 32);
    assert!(offset_of!(Slot, side) == 48);
    assert!(offset_of!(Slot, what) == 136);
    assert!(size_of::<Slot>() == 192);
};

/// Takes the board of this process down, if there is one: somebody else does now what it did.
pub fn retire() {
    if let Some(board) = BOARD.get() {
        board.head().magic.store(0, Ordering::Relaxed);
    }
}

/// Puts it up again: this process does so again itself.
pub fn resume() {
    if let Some(board) = BOARD.get() {
        // POST
        board.head().magic.store(u64::from_ne_bytes(MAGIC), Ordering::Release);
    }
}

static BOARD: OnceLock<Board> = OnceLock::new();

/// The board of this process.
pub struct Board {
    map: MmapRaw,
    /// Shows up in `/proc/PID/fd`.
    _memfd: OwnedFd,
    /// Which entries are in use.
    used: Mutex<Vec<bool>>,
}

impl Board {
    /// The board of this process, made when it is first asked for. A process has
    /// one, as it has one directory of descriptors: that is where others find it.
    ///
    /// # Errors
    /// Those of `memfd_create(2)` and `mmap(2)`.
    pub fn of_this_process() -> io::Result<&'static Board> {
        match BOARD.get() {
            Some(board) => Ok(board),
            None => {
                let board = Board::new()?;
                Ok(BOARD.get_or_init(|| board))
            }
        }
    }

    fn new() -> io::Result<Board> {
        let memfd = sealed_memfd(MEMFD_NAME, LEN).map_err(|(_, errno)| errno)?;
        let map = MmapOptions::new().len(LEN).map_raw(&memfd)?;
        let board = Board { map, _memfd: memfd, used: Mutex::new(vec![false; ENTRIES]) };
        let head = board.head();
        head.version.store(VERSION, Ordering::Relaxed);
        head.pid.store(std::process::id(), Ordering::Relaxed);
        if let Some(Identity { name, command }) = IDENTITY.get() {
            head.name_len.store(store_text(name, &head.name) as u64, Ordering::Relaxed);
            head.command_len.store(store_text(command, &head.command) as u64, Ordering::Relaxed);
        }
        // POST: whoever sees the magic number sees the rest.
        head.magic.store(u64::from_ne_bytes(MAGIC), Ordering::Release);
        Ok(board)
    }

    fn head(&self) -> &Head {
        // SAFETY: mapped while `self` lives, aligned to a page, atomics throughout.
        unsafe { &*self.map.as_ptr().cast::<Head>() }
    }

    fn slots(&self) -> &[Slot] {
        // SAFETY: as above; the entries begin a page further on, and LEN has room for them.
        unsafe {
            let first = self.map.as_ptr().add(HEADER_LEN).cast::<Slot>();
            std::slice::from_raw_parts(first, ENTRIES)
        }
    }

    /// Shows a link until the entry is dropped. Where there is no room for it, that
    /// is counted.
    pub fn post(&'static self, posting: &Posting) -> Entry {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let free = used.iter().position(|used| !used);
        match free {
            Some(at) => {
                used[at] = true;
                self.slots()[at].write(|slot| slot.fill(posting));
            }
            None => {
                self.head().missing.fetch_add(1, Ordering::Relaxed); // a counter
            }
        }
        Entry { board: self, at: free }
    }
}

impl Slot {
    /// Changes what does not change while it is shown. Only its owner does.
    fn write(&self, change: impl FnOnce(&Slot)) {
        let stamp = self.stamp.load(Ordering::Relaxed);
        self.stamp.store(stamp | 1, Ordering::Relaxed);
        fence(Ordering::Release); // POST: the odd stamp before the fields
        change(self);
        self.stamp.store((stamp | 1).wrapping_add(1), Ordering::Release); // POST: the fields before it
    }

    fn fill(&self, posting: &Posting) {
        let form = match posting.form {
            Form::Waiting => 1,
            Form::Pipe => 2,
            Form::Capture => 3,
            Form::Edge => 4,
            Form::Tally => 5,
            Form::Aside => 6,
        };
        let way = match posting.way {
            Way::Out => 1,
            Way::In => 2,
            Way::Either => 3,
        };
        self.form.store(form, Ordering::Relaxed);
        self.way.store(way, Ordering::Relaxed);
        for ([dev, ino], id) in [(&self.pipe, posting.pipe), (&self.medium, posting.medium)] {
            dev.store(id.0, Ordering::Relaxed);
            ino.store(id.1, Ordering::Relaxed);
        }
        Counters::default().store(&self.side);
        self.side.identify(&posting.label);
        self.what_len.store(store_text(&posting.what, &self.what) as u64, Ordering::Relaxed);
    }
}

/// What this process shows of one link.
pub struct Entry {
    board: &'static Board,
    /// None where there was no room.
    at: Option<usize>,
}

impl Entry {
    #[inline]
    fn show(&self, counters: &Counters) {
        if let Some(at) = self.at {
            counters.store(&self.board.slots()[at].side);
        }
    }
}

/// Numbers of a process's own about a link, an entry of [`Form::Tally`].
pub struct Tally {
    entry: Entry,
    shown: [u64; 5],
}

impl Tally {
    /// Shows zeros.
    pub fn new(entry: Entry) -> Tally {
        Tally { entry, shown: [0; 5] }
    }

    /// Shows these from now on.
    pub fn show(&mut self, numbers: [u64; 5]) {
        if self.shown != numbers {
            self.shown = numbers;
            self.entry.show(&Counters::from(numbers));
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(at) = self.at else { return };
        let mut used = self.board.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.board.slots()[at].write(|slot| slot.form.store(0, Ordering::Relaxed));
        used[at] = false;
    }
}

/// Counters of a half of a link that has no ring to keep them.
#[derive(Default)]
pub struct Meter {
    counters: Counters,
    entry: Option<Entry>,
}

impl Meter {
    /// A frame of `len` bytes passed.
    pub fn passed(&mut self, len: usize) {
        self.count(|counters| {
            counters.frames += 1;
            counters.bytes += len as u64;
        });
    }

    /// A frame was thrown away.
    pub fn dropped(&mut self) {
        self.count(|counters| counters.drops += 1);
    }

    /// It slept because there was no room, or nothing there.
    pub fn stalled(&mut self) {
        self.count(|counters| counters.stalls += 1);
    }

    fn count(&mut self, count: impl FnOnce(&mut Counters)) {
        count(&mut self.counters);
        if let Some(entry) = &self.entry {
            entry.show(&self.counters);
        }
    }

    /// Shows from now on what it counts.
    pub fn show(&mut self, entry: Entry) {
        entry.show(&self.counters);
        self.entry = Some(entry);
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}
