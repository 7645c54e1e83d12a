//! Memory that its owner takes away.
//!
//! A front end may shorten the file that a machine's memory is, unless it is sealed, which
//! only some seal. The next access would end this process by SIGBUS. Instead the mapping
//! is replaced, whole, by memory of our own, and whoever looks afterwards finds that out.
//!
//! Unsafe lives here for sigaction(2), and for mmap(2) in the handler. It owns one invariant: the
//! handler replaces nothing but a range that is listed, and a range is listed no longer
//! than its mapping exists.
#![allow(unsafe_code)]

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Ranges at a time: two machines with eight regions each, and as many again while
/// memory is exchanged.
const MOST: usize = 32;

struct Slot {
    /// First address, 0 in one that is free.
    start: AtomicUsize,
    len: AtomicUsize,
    gone: AtomicBool,
}

static SLOTS: [Slot; MOST] = [const {
    Slot { start: AtomicUsize::new(0), len: AtomicUsize::new(0), gone: AtomicBool::new(false) }
}; MOST];

/// A range that may vanish, as long as this lives. It ends before its mapping.
#[derive(Debug)]
pub struct Guard(usize);

impl Guard {
    /// `None` when there are too many.
    pub fn new(start: usize, len: usize) -> Option<Guard> {
        install();
        // Relaxed throughout: one thread has guards, and its own handler sees what it did.
        let free = |slot: &Slot| {
            let taken = slot.start.compare_exchange(0, start, Ordering::Relaxed, Ordering::Relaxed);
            taken.is_ok()
        };
        let number = SLOTS.iter().position(free)?;
        SLOTS[number].gone.store(false, Ordering::Relaxed);
        SLOTS[number].len.store(len, Ordering::Relaxed);
        Some(Guard(number))
    }

    /// Whether the range has vanished: it is other memory now.
    pub fn is_gone(&self) -> bool {
        SLOTS[self.0].gone.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        SLOTS[self.0].len.store(0, Ordering::Relaxed);
        SLOTS[self.0].start.store(0, Ordering::Relaxed);
    }
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: all zeros is an action without flags; the handler is a function of the
        // kind that SA_SIGINFO asks for, and calls nothing but mmap(2) and sigaction(2).
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_bus_error as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
        }
    });
}

extern "C" fn on_bus_error(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a siginfo_t, of a SIGBUS.
    let address = unsafe { (*info).si_addr() } as usize;
    for slot in &SLOTS {
        let (start, len) = (slot.start.load(Ordering::Relaxed), slot.len.load(Ordering::Relaxed));
        if start == 0 || address.wrapping_sub(start) >= len {
            continue;
        }
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
        );
        // SAFETY: a listed range is a mapping of its owner, who only asks for bytes there.
        let mapped = unsafe { libc::mmap(start as *mut _, len, protection, flags, -1, 0) };
        if mapped != libc::MAP_FAILED {
            slot.gone.store(true, Ordering::Relaxed);
            return;
        }
    }
    // Nobody's: the same access again ends the process.
    // SAFETY: as in `install`.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn memory_that_vanishes_is_other_memory() {
        let memfd = rustix::fs::memfd_create("vanishes", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&memfd, 8192).unwrap();
        // SAFETY: a new mapping.
        let at = unsafe {
            let flags = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), 8192, flags, libc::MAP_SHARED, memfd.as_raw_fd(), 0)
        };
        assert_ne!(at, libc::MAP_FAILED);
        let guard = Guard::new(at as usize, 8192).unwrap();
        let byte = at.cast::<u8>().wrapping_add(5000);
        // SAFETY: mapped above.
        unsafe { byte.write_volatile(7) };
        rustix::fs::ftruncate(&memfd, 0).unwrap();
        assert!(!guard.is_gone());
        // SAFETY: mapped, and replaced when it turns out to be gone.
        assert_eq!(unsafe { byte.read_volatile() }, 0);
        assert!(guard.is_gone());
        drop(guard);
        // SAFETY: what was mapped above; nothing refers to it any more.
        unsafe { libc::munmap(at, 8192) };
    }
}
