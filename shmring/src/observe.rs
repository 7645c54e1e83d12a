//! The links of other processes, without asking them.
//!
//! A ring's memfd shows up in `/proc/PID/fd` of both its holders, and so does the
//! [board] of a process with those of its links that have no ring. Who
//! may look there (the same user, or root) may map them read-only and read the
//! counters; nobody is woken for it, and a stopped process can be looked at too.
#![allow(unsafe_code)]
// Unsafe lives here to map and read foreign rings' first pages and boards. The
// invariant: what is mapped is read-only, from a file that is at least as long, lies on
// tmpfs and is sealed against shrinking, and only atomics are read through it.

use std::collections::BTreeMap;
use std::fs::File;
use std::iter::successors;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use memmap2::{Mmap, MmapOptions};
use rustix::fs::SealFlags;

use crate::board::{self, ENTRIES, Form, Head, Identity, Posting, Slot, Way};
use crate::holders::{own_id, parent};
use crate::layout::{HEADER_LEN, Header, MAGIC, SideBlock, VERSION, load_text};
use crate::region::{MEMFD_NAME, is_tmpfs};
use crate::ring::Counters;
use crate::sync::{Ordering, fence};

/// One side of a ring as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Its process id, 0 where its process does not hold the ring (any more).
    pub pid: u32,
    /// Its name for its end.
    pub label: String,
    /// What it counted.
    pub counters: Counters,
}

/// A ring that some process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingView {
    /// Inode of the memfd: the ring's identity.
    pub inode: u64,
    /// `(st_dev, st_ino)` of the pipe that is its address.
    pub pipe: (u64, u64),
    /// Bytes of records.
    pub capacity: u64,
    /// Bytes published and not yet released, with record headers.
    pub used: u64,
    /// The sending side.
    pub producer: Side,
    /// The receiving side.
    pub consumer: Side,
}

/// A link, or one direction of it, that some process has on its board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// The process.
    pub pid: u32,
    /// What does not change.
    pub posting: Posting,
    /// What the process counted.
    pub counters: Counters,
}

/// A process that has a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Who it says it is.
    pub identity: Identity,
}

/// What there is to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    /// Rings, by inode.
    pub rings: Vec<RingView>,
    /// Those that have boards, by id.
    pub processes: Vec<Process>,
    /// What is on boards, by process.
    pub posts: Vec<Post>,
    /// Links for which there was no room on the board of their process.
    pub missing: u64,
}

/// What processes hold, by inode: who holds it, and what it shows. That is read at once, so that no more
/// than one is open at a time.
#[derive(Default)]
struct Held {
    rings: BTreeMap<u64, (Vec<u32>, Option<RingView>)>,
    boards: BTreeMap<u64, (Vec<u32>, Option<Shown>)>,
    /// What was mapped for it. To unmap takes every processor's time on which a thread of ours runs,
    /// so that it is left to the last one.
    maps: Vec<Mmap>,
}

impl Held {
    fn by(processes: &[u32]) -> Held {
        let ring = format!("/memfd:{MEMFD_NAME} (deleted)");
        let board = format!("/memfd:{} (deleted)", board::MEMFD_NAME);
        let mut held = Held::default();
        for &pid in processes {
            // Processes end while we look, and others are not ours to look at.
            let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
            for fd in fds.flatten().map(|entry| entry.path()) {
                let Ok(link) = std::fs::read_link(&fd) else { continue };
                let (is_ring, is_board) =
                    (link.as_os_str() == ring.as_str(), link.as_os_str() == board.as_str());
                if (is_ring || is_board)
                    && let Ok(file) = open(&fd)
                    && let Ok(inode) = rustix::fs::fstat(&file).map(|stat| stat.st_ino)
                {
                    let holders = if is_ring {
                        &mut held
                            .rings
                            .entry(inode)
                            .or_insert_with(|| (vec![], view(&file, inode, &mut held.maps)))
                            .0
                    } else {
                        &mut held
                            .boards
                            .entry(inode)
                            .or_insert_with(|| (vec![], shown(&file, &mut held.maps)))
                            .0
                    };
                    holders.push(pid);
                }
            }
        }
        held
    }

    fn and(mut self, other: Held) -> Held {
        for (inode, (holders, view)) in other.rings {
            self.rings.entry(inode).or_insert((vec![], view)).0.extend(holders);
        }
        for (inode, (holders, shown)) in other.boards {
            self.boards.entry(inode).or_insert((vec![], shown)).0.extend(holders);
        }
        self.maps.extend(other.maps);
        self
    }
}

/// So many processes are worth a thread of their own to look at them.
const SHARE: usize = 256;

/// Looks at every process at which this user may look.
///
/// # Errors
/// Those of reading `/proc`.
pub fn look() -> std::io::Result<Sight> {
    let names = std::fs::read_dir("/proc")?.flatten().map(|process| process.file_name());
    let processes: Vec<u32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = processes.len().div_ceil(threads).max(SHARE);
    let held = std::thread::scope(|scope| {
        let mut shares = processes.chunks(share);
        let own = shares.next().unwrap_or_default();
        let start =
            |share| std::thread::Builder::new().spawn_scoped(scope, move || Held::by(share));
        let others: Vec<_> = shares.map(|share| (share, start(share).ok())).collect();
        // Where there may be no more threads, this one does it all.
        others.into_iter().fold(Held::by(own), |held, (share, thread)| {
            held.and(thread.and_then(|it| it.join().ok()).unwrap_or_else(|| Held::by(share)))
        })
    });
    let mut sight = Sight::default();
    for (holders, view) in held.rings.into_values() {
        sight.rings.extend(view.map(|mut view| {
            for side in [&mut view.producer, &mut view.consumer] {
                side.pid = process_of(side.pid, &holders);
            }
            view
        }));
    }
    for (holders, shown) in held.boards.into_values() {
        let Some(shown) = shown else { continue };
        // A fork that has not executed anything yet holds it, too.
        let own = holders.iter().find(|&&pid| pid == shown.pid).or(holders.first());
        let pid = own.copied().unwrap_or(0);
        let posts = shown.entries.into_iter();
        sight.posts.extend(posts.map(|(posting, counters)| Post { pid, posting, counters }));
        sight.missing += shown.missing;
        sight.processes.push(Process { pid, identity: shown.identity });
    }
    sight.processes.sort_by_key(|process| process.pid);
    sight.posts.sort_by_key(|post| post.pid);
    Ok(sight)
}

/// Which process a side means that calls itself `pid`, among those that hold its ring: 0 if
/// none. It may speak for a process that started it, see [`layout::speak_for`], and it may
/// be in a pid namespace where it has another id.
fn process_of(pid: u32, holders: &[u32]) -> u32 {
    /// So far is CMD from its function: the keeper is in between.
    const FAR: usize = 2;
    let above = |&holder: &u32| successors(parent(holder), |&it| parent(it)).take(FAR);
    if holders.contains(&pid) || pid != 0 && holders.iter().flat_map(above).any(|it| it == pid) {
        return pid;
    }
    let mut same = holders.iter().filter(|&&holder| own_id(holder) == Some(pid));
    match (same.next(), same.next()) {
        (Some(&one), None) => one,
        _ => 0,
    }
}

/// Opens without waiting: who names a file of its own like a ring may make it a FIFO.
fn open(fd: &Path) -> std::io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(fd)
}

/// Maps `len` bytes that will not go away.
fn map(file: &File, len: usize) -> Option<Mmap> {
    let seals = rustix::fs::fcntl_get_seals(file).ok()?;
    let there = file.metadata().ok()?.len();
    if !seals.contains(SealFlags::SHRINK) || !is_tmpfs(file).ok()? || there < len as u64 {
        return None;
    }
    // SAFETY: sealed and long enough, so reading it cannot raise SIGBUS.
    unsafe { MmapOptions::new().len(len).map(file) }.ok()
}

/// What a board shows.
struct Shown {
    /// As its process sees it.
    pid: u32,
    identity: Identity,
    entries: Vec<(Posting, Counters)>,
    missing: u64,
}

fn shown(file: &File, maps: &mut Vec<Mmap>) -> Option<Shown> {
    maps.push(map(file, board::LEN)?);
    let map = maps.last()?;
    // SAFETY: mapped, aligned to a page, outlives the reference, and is nothing but
    // atomics; relaxed and acquiring loads of up to a word are loads on every machine.
    let head = unsafe { &*map.as_ptr().cast::<Head>() };
    // POST: what was written before the magic number.
    if head.magic.load(Ordering::Acquire).to_ne_bytes() != board::MAGIC
        || head.version.load(Ordering::Relaxed) != board::VERSION
    {
        return None;
    }
    // SAFETY: as above, and the entries end where the map does.
    let slots =
        unsafe { std::slice::from_raw_parts(map.as_ptr().add(HEADER_LEN).cast::<Slot>(), ENTRIES) };
    Some(Shown {
        pid: head.pid.load(Ordering::Relaxed),
        identity: Identity {
            name: load_text(&head.name, head.name_len.load(Ordering::Relaxed)),
            command: load_text(&head.command, head.command_len.load(Ordering::Relaxed)),
        },
        entries: slots.iter().filter_map(read).collect(),
        missing: head.missing.load(Ordering::Relaxed),
    })
}

/// What an entry shows. One that changes all the time shows nothing.
fn read(slot: &Slot) -> Option<(Posting, Counters)> {
    for _ in 0..8 {
        let stamp = slot.stamp.load(Ordering::Acquire); // POST: the fields before the stamp
        let form = slot.form.load(Ordering::Relaxed);
        let way = slot.way.load(Ordering::Relaxed);
        let pair = |[dev, ino]: &[crate::sync::AtomicU64; 2]| {
            (dev.load(Ordering::Relaxed), ino.load(Ordering::Relaxed))
        };
        let (pipe, medium) = (pair(&slot.pipe), pair(&slot.medium));
        let side = side(&slot.side);
        let what = load_text(&slot.what, slot.what_len.load(Ordering::Relaxed));
        fence(Ordering::Acquire); // POST: an odd stamp before the fields
        if stamp.is_multiple_of(2) && slot.stamp.load(Ordering::Relaxed) == stamp {
            let form = match form {
                1 => Form::Waiting,
                2 => Form::Pipe,
                3 => Form::Capture,
                4 => Form::Edge,
                5 => Form::Tally,
                6 => Form::Aside,
                _ => return None, // free
            };
            let way = match way {
                1 => Way::Out,
                2 => Way::In,
                _ => Way::Either,
            };
            let Side { label, counters, .. } = side;
            return Some((Posting { form, way, pipe, medium, label, what }, counters));
        }
        std::hint::spin_loop();
    }
    None
}

fn view(file: &File, inode: u64, maps: &mut Vec<Mmap>) -> Option<RingView> {
    maps.push(map(file, HEADER_LEN)?);
    let page = maps.last()?;
    // SAFETY: the page is mapped and aligned, outlives the reference, and is
    // nothing but atomics; its holders may write meanwhile. Relaxed loads of up to
    // a word are loads on every machine, so that it is read-only does no harm.
    let header = unsafe { &*page.as_ptr().cast::<Header>() };
    let magic = header.magic.load(Ordering::Relaxed).to_ne_bytes();
    if magic != MAGIC || header.version.load(Ordering::Relaxed) != VERSION {
        return None;
    }
    let capacity = header.capacity.load(Ordering::Relaxed);
    let pipe = (header.pipe_dev.load(Ordering::Relaxed), header.pipe_ino.load(Ordering::Relaxed));
    let head = header.head.load(Ordering::Relaxed);
    let used = header.tail.load(Ordering::Relaxed).wrapping_sub(head);
    Some(RingView {
        inode,
        pipe,
        capacity,
        // The two indices are read one after the other.
        used: if used <= capacity { used } else { 0 },
        producer: side(&header.producer),
        consumer: side(&header.consumer),
    })
}

fn side(block: &SideBlock) -> Side {
    Side {
        pid: block.pid.load(Ordering::Relaxed),
        label: load_text(&block.label, block.label_len.load(Ordering::Relaxed).into()),
        counters: Counters::load(block),
    }
}
