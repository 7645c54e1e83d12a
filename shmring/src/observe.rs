//! The rings of other processes, without asking them.
//!
//! A ring's memfd shows up in `/proc/PID/fd` of both its holders. Who may look
//! there (the same user, or root) may map its first page read-only and read the
//! counters; nobody is woken for it, and a stopped process can be looked at too.
#![allow(unsafe_code)]
// Unsafe lives here to map and read the header page of foreign rings. The
// invariant: the page is mapped read-only from a file that is at least one page
// long, lies on tmpfs and is sealed against shrinking, and only atomics are read through it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use memmap2::MmapOptions;
use rustix::fs::SealFlags;

use crate::layout::{HEADER_LEN, Header, LABEL_LEN, MAGIC, SideBlock, VERSION};
use crate::region::{MEMFD_NAME, is_tmpfs};
use crate::ring::Counters;
use crate::sync::Ordering;

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

/// The rings of every process this user may look at, by inode.
///
/// # Errors
/// Those of reading `/proc`.
pub fn rings() -> std::io::Result<Vec<RingView>> {
    let target = format!("/memfd:{MEMFD_NAME} (deleted)");
    let mut found: BTreeMap<u64, (Vec<u32>, Option<RingView>)> = BTreeMap::new();
    for process in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Processes end while we look, and others are not ours to look at.
        let Ok(fds) = std::fs::read_dir(process.path().join("fd")) else { continue };
        for fd in fds.flatten().map(|entry| entry.path()) {
            if std::fs::read_link(&fd).is_ok_and(|link| link.as_os_str() == target.as_str())
                && let Ok(file) = open(&fd)
                && let Ok(stat) = rustix::fs::fstat(&file)
            {
                let (holders, view) =
                    found.entry(stat.st_ino).or_insert_with(|| (vec![], view(&file, stat.st_ino)));
                holders.push(pid);
                let _ = view;
            }
        }
    }
    let known = |(holders, view): (Vec<u32>, Option<RingView>)| {
        let mut view = view?;
        for side in [&mut view.producer, &mut view.consumer] {
            if !holders.contains(&side.pid) {
                side.pid = 0;
            }
        }
        Some(view)
    };
    Ok(found.into_values().filter_map(known).collect())
}

/// Opens without waiting: who names a file of its own like a ring may make it a FIFO.
fn open(fd: &Path) -> std::io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NONBLOCK).open(fd)
}

fn view(file: &File, inode: u64) -> Option<RingView> {
    let seals = rustix::fs::fcntl_get_seals(file).ok()?;
    let len = file.metadata().ok()?.len();
    if !seals.contains(SealFlags::SHRINK) || !is_tmpfs(file).ok()? || len <= HEADER_LEN as u64 {
        return None;
    }
    // SAFETY: sealed and long enough, so reading the page cannot raise SIGBUS.
    let page = unsafe { MmapOptions::new().len(HEADER_LEN).map(file) }.ok()?;
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
    let mut label = [0u8; LABEL_LEN];
    for (chunk, word) in label.chunks_exact_mut(8).zip(&block.label) {
        chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
    let len = (block.label_len.load(Ordering::Relaxed) as usize).min(LABEL_LEN);
    let label = String::from_utf8_lossy(&label[..len]);
    Side {
        pid: block.pid.load(Ordering::Relaxed),
        // Terminals obey control characters, and the neighbour chose these.
        label: label.chars().filter(|c| !c.is_control()).collect(),
        counters: Counters {
            frames: block.frames.load(Ordering::Relaxed),
            bytes: block.bytes.load(Ordering::Relaxed),
            drops: block.drops.load(Ordering::Relaxed),
            stalls: block.stalls.load(Ordering::Relaxed),
            wakeups: block.wakeups.load(Ordering::Relaxed),
        },
    }
}
