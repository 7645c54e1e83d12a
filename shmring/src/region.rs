//! The mapping of one ring's memfd.
#![allow(unsafe_code)]
// Unsafe lives here because memory is mapped here. The module owns two
// invariants: `base` is valid for `HEADER_LEN + 2 * capacity` bytes as long as
// the `Region` lives, and the file behind it can neither shrink nor grow
// (sealed and checked before mapping), so no access can raise SIGBUS.

use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use memmap2::{MmapMut, MmapOptions};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::layout::{
    HEADER_LEN, Header, MAGIC, MAX_CAPACITY, MIN_CAPACITY, RECORD_HEADER, VERSION, fit_capacity,
    record_len,
};
use crate::slot::{Bytes, BytesMut};
use crate::sync::{AtomicU64, Ordering};

/// `TMPFS_MAGIC` of linux/magic.h: what a plain memfd lies on. A memfd of huge
/// pages lies on hugetlbfs, where touching a page can raise SIGBUS.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Whether a file's pages are plain memory.
pub(crate) fn is_tmpfs(file: impl AsFd) -> Result<bool, Errno> {
    Ok(rustix::fs::fstatfs(file)?.f_type as u64 == TMPFS_MAGIC)
}

/// Name of the memfd, as `/proc/PID/fd` shows it.
pub(crate) const MEMFD_NAME: &str = "shmring";

/// Memory that stays as long as it is. An error names the call that failed.
pub(crate) fn sealed_memfd(name: &str, len: usize) -> Result<OwnedFd, (&'static str, Errno)> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know NOEXEC_SEAL, later ones may insist on it.
    let memfd = rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| rustix::fs::memfd_create(name, flags))
        .map_err(|e| ("memfd_create", e))?;
    rustix::fs::ftruncate(&memfd, len as u64).map_err(|e| ("ftruncate", e))?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&memfd, seals).map_err(|e| ("fcntl(F_ADD_SEALS)", e))?;
    Ok(memfd)
}

/// What both sides of a ring agreed on in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub capacity: usize,
    pub max_frame: usize,
    /// `(st_dev, st_ino)` of the pipe; zeros where there is none.
    pub pipe: (u64, u64),
}

impl Geometry {
    pub fn new(wish: usize, max_frame: usize, pipe: (u64, u64)) -> Self {
        let max_frame = max_frame.min(MAX_CAPACITY / 4);
        Geometry { capacity: fit_capacity(wish, max_frame), max_frame, pipe }
    }

    /// What a neighbour may claim.
    pub fn is_valid(&self) -> bool {
        self.capacity.is_power_of_two()
            && (MIN_CAPACITY..=MAX_CAPACITY).contains(&self.capacity)
            && self.max_frame <= MAX_CAPACITY / 4
            && 2 * record_len(self.max_frame) <= self.capacity
    }

    fn file_len(&self) -> usize {
        HEADER_LEN + self.capacity
    }
}

/// A mapped ring: header page, records, records again.
pub(crate) struct Region {
    base: NonNull<u8>,
    capacity: usize,
    memfd: OwnedFd,
    /// Owns the address range; unmaps it.
    _range: MmapMut,
}

// SAFETY: the region is a range of shared memory; what may be done with it from
// several threads is decided by `Header` (atomics) and by the single `Producer`
// and `Consumer` that copy records.
unsafe impl Send for Region {}
// SAFETY: as above; `&Region` only gives out `&Header` and raw pointers.
unsafe impl Sync for Region {}

/// Why a neighbour's memfd was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RegionError {
    Refused(&'static str),
    System(&'static str, Errno),
}

impl Region {
    /// Makes the memfd, fills in the header, seals it.
    pub fn create(geometry: Geometry) -> Result<Self, RegionError> {
        debug_assert!(geometry.is_valid());
        let memfd = sealed_memfd(MEMFD_NAME, geometry.file_len())
            .map_err(|(call, errno)| RegionError::System(call, errno))?;
        let region = Self::map(memfd, geometry.capacity)?;
        let header = region.header();
        // Relaxed: nobody else has the memfd yet, and sendmsg(2) hands it over.
        header.magic.store(u64::from_ne_bytes(MAGIC), Ordering::Relaxed);
        header.version.store(VERSION, Ordering::Relaxed);
        header.max_frame.store(geometry.max_frame as u32, Ordering::Relaxed);
        header.capacity.store(geometry.capacity as u64, Ordering::Relaxed);
        header.pipe_dev.store(geometry.pipe.0, Ordering::Relaxed);
        header.pipe_ino.store(geometry.pipe.1, Ordering::Relaxed);
        Ok(region)
    }

    /// Maps a neighbour's memfd after checking that it is what was agreed.
    pub fn attach(memfd: OwnedFd, geometry: Geometry) -> Result<Self, RegionError> {
        if !geometry.is_valid() {
            return Err(RegionError::Refused("impossible ring size"));
        }
        let seals = rustix::fs::fcntl_get_seals(&memfd)
            .map_err(|_| RegionError::Refused("the ring's memory is no memfd"))?;
        if !seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL) {
            return Err(RegionError::Refused("the ring's memory is not sealed"));
        }
        if !is_tmpfs(&memfd).map_err(|e| RegionError::System("fstatfs", e))? {
            return Err(RegionError::Refused("the ring's memory is no plain memfd"));
        }
        let stat = rustix::fs::fstat(&memfd).map_err(|e| RegionError::System("fstat", e))?;
        if stat.st_size != geometry.file_len() as i64 {
            return Err(RegionError::Refused("the ring's memory has another size than agreed"));
        }
        let region = Self::map(memfd, geometry.capacity)?;
        let header = region.header();
        // Relaxed: recvmsg(2) came before. Read once: the neighbour may write
        // meanwhile, and only these copies are compared.
        let magic = header.magic.load(Ordering::Relaxed).to_ne_bytes();
        let version = header.version.load(Ordering::Relaxed);
        let max_frame = header.max_frame.load(Ordering::Relaxed);
        let capacity = header.capacity.load(Ordering::Relaxed);
        if magic != MAGIC || version != VERSION {
            return Err(RegionError::Refused("the ring's memory has another layout version"));
        }
        if max_frame as usize != geometry.max_frame || capacity as usize != geometry.capacity {
            return Err(RegionError::Refused("the ring's header differs from the handshake"));
        }
        Ok(region)
    }

    /// Maps header and records, then the records once more behind them.
    fn map(memfd: OwnedFd, capacity: usize) -> Result<Self, RegionError> {
        // The anonymous range reserves the addresses and unmaps them when dropped.
        let mut range = MmapOptions::new()
            .len(HEADER_LEN + 2 * capacity)
            .no_reserve_swap()
            .map_anon()
            .map_err(|e| {
                RegionError::System("mmap", Errno::from_io_error(&e).unwrap_or(Errno::NOMEM))
            })?;
        let base = range.as_mut_ptr();
        let map_at = |offset: usize, len: usize, file_offset: u64| {
            // SAFETY: `offset + len` lies inside the range reserved above, which
            // nothing else uses; MAP_FIXED replaces just that part.
            unsafe {
                mmap(
                    base.add(offset).cast::<c_void>(),
                    len,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::SHARED | MapFlags::FIXED,
                    &memfd,
                    file_offset,
                )
            }
            .map_err(|e| RegionError::System("mmap", e))
        };
        map_at(0, HEADER_LEN + capacity, 0)?;
        map_at(HEADER_LEN + capacity, capacity, HEADER_LEN as u64)?;
        let base = NonNull::new(base).ok_or(RegionError::System("mmap", Errno::NOMEM))?;
        Ok(Region { base, capacity, memfd, _range: range })
    }

    pub fn header(&self) -> &Header {
        // SAFETY: the page is mapped while `self` lives, every bit pattern is a
        // valid `Header`, and it consists of atomics, which may change at any time.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Where the record at byte position `position` lies. Valid for `capacity`
    /// bytes from there, whatever the position, thanks to the second mapping.
    #[inline]
    fn record(&self, position: u64) -> *mut u8 {
        let offset = position as usize & (self.capacity - 1);
        // SAFETY: `offset < capacity`, so the result is inside the mapping.
        unsafe { self.base.as_ptr().add(HEADER_LEN + offset) }
    }

    /// What the record at `position` says about its length; the neighbour may
    /// say something else the next time.
    ///
    /// # Safety
    /// `position` is a multiple of 8.
    #[inline]
    pub unsafe fn length(&self, position: u64) -> u64 {
        // SAFETY: mapped, see `record`, and aligned as the caller promises. An
        // atomic, since the neighbour may write it meanwhile.
        let length = unsafe { AtomicU64::from_ptr(self.record(position).cast()) };
        length.load(Ordering::Relaxed) // after PUBLISH
    }

    /// Writes the length of the record at `position`.
    ///
    /// # Safety
    /// `position` is a multiple of 8, and the producer owns the record.
    #[inline]
    pub unsafe fn set_length(&self, position: u64, len: usize) {
        // SAFETY: as in `length`.
        let length = unsafe { AtomicU64::from_ptr(self.record(position).cast()) };
        length.store(len as u64, Ordering::Relaxed); // before PUBLISH
    }

    /// The frame of `len` bytes in the record at `position`.
    ///
    /// # Safety
    /// `record_len(len) <= capacity`; the region outlives `'a`, and the consumer
    /// owns the record meanwhile.
    #[inline]
    pub unsafe fn frame<'a>(&self, position: u64, len: usize) -> Bytes<'a> {
        // SAFETY: the record is mapped as a whole, see `record`.
        unsafe { Bytes::new(self.record(position).add(RECORD_HEADER), len) }
    }

    /// Room for a frame of `len` bytes in the record at `position`.
    ///
    /// # Safety
    /// `record_len(len) <= capacity`; the region outlives `'a`, and the producer
    /// owns the record meanwhile.
    #[inline]
    pub unsafe fn room<'a>(&self, position: u64, len: usize) -> BytesMut<'a> {
        // SAFETY: the record is mapped as a whole, see `record`.
        unsafe { BytesMut::new(self.record(position).add(RECORD_HEADER), len) }
    }

    /// Has the cache line at `position` fetched, where the processor can be asked to.
    #[inline]
    pub fn prefetch(&self, position: u64) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: a prefetch accesses nothing as far as the program is
        // concerned, and every x86-64 processor has this one.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.record(position).cast());
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = position;
    }

    pub fn memfd(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry() -> Geometry {
        Geometry::new(64 << 10, 1000, (1, 2))
    }

    #[test]
    fn the_records_are_mapped_twice() {
        let region = Region::create(geometry()).unwrap();
        let capacity = region.capacity();
        let first = region.record(0);
        // SAFETY: both positions are inside the mapping, see `Region::record`.
        unsafe {
            first.write(7);
            assert_eq!(first.add(capacity).read(), 7);
        }
    }

    #[test]
    fn a_second_mapping_sees_the_same_ring() {
        let region = Region::create(geometry()).unwrap();
        let memfd = region.memfd().try_clone_to_owned().unwrap();
        let other = Region::attach(memfd, geometry()).unwrap();
        region.header().tail.store(42, crate::sync::Ordering::Release);
        assert_eq!(other.header().tail.load(crate::sync::Ordering::Acquire), 42);
    }

    fn refused(memfd: OwnedFd) -> &'static str {
        match Region::attach(memfd, geometry()) {
            Err(RegionError::Refused(why)) => why,
            Err(e) => panic!("{e:?}"),
            Ok(_) => panic!("accepted"),
        }
    }

    #[test]
    fn wrong_memory_is_refused_before_it_is_mapped() {
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        let _ = refused(file);
        let unsealed =
            rustix::fs::memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        assert_eq!(refused(unsealed), "the ring's memory is not sealed");
        let small =
            rustix::fs::memfd_create("x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&small, 4096).unwrap();
        rustix::fs::fcntl_add_seals(&small, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .unwrap();
        assert_eq!(refused(small), "the ring's memory has another size than agreed");
        let other = Region::create(Geometry { max_frame: 999, ..geometry() }).unwrap();
        let other = other.memfd().try_clone_to_owned().unwrap();
        assert_eq!(refused(other), "the ring's header differs from the handshake");
        let (pipe, _write) = rustix::pipe::pipe().unwrap();
        assert_eq!(refused(pipe), "the ring's memory is no memfd");
    }
}
