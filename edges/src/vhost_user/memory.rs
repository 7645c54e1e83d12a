//! The memory of a virtual machine, mapped by vm-memory from the files that the front end
//! passed.
//!
//! Unsafe lives here to hand out addresses for copies. It owns one invariant: bytes that are
//! handed out lie in a mapping of the `Memory` that they are borrowed from, and nobody
//! makes a reference to them.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::OwnedFd;

use shmring::{Bytes, BytesMut};
use vm_memory::{
    FileOffset, GuestAddress, GuestMemory, GuestMemoryMmap, GuestRegionMmap, MmapRegion,
    Permissions,
};

use super::messages::Region;
use super::vanished::Guard;

/// Mapped memory.
pub struct Memory {
    // In this order: a guard ends before its mapping, and what refers to a mapping, too.
    guards: Vec<Guard>,
    guest: GuestMemoryMmap,
    regions: Vec<Region>,
    _mappings: Vec<MmapRegion>,
}

impl Memory {
    /// Maps each region of its file.
    ///
    /// # Errors
    /// A sentence about the front end.
    pub fn new(mut regions: Vec<Region>, fds: Vec<OwnedFd>) -> Result<Memory, String> {
        if fds.is_empty() {
            return Err(NOT_SHARED.to_owned());
        }
        if fds.len() != regions.len() {
            let (fds, regions) = (fds.len(), regions.len());
            return Err(format!("{regions} regions of memory with {fds} descriptors"));
        }
        let mut parts = Vec::new();
        for (region, fd) in regions.iter().zip(fds) {
            parts.push((region.guest, map(region, File::from(fd))?));
        }
        parts.sort_by_key(|(guest, _)| *guest);
        regions.sort_by_key(|region| region.guest);
        let (mut guards, mut mappings, mut guest) = (Vec::new(), Vec::new(), Vec::new());
        for ((start, (mapping, skip)), region) in parts.into_iter().zip(&regions) {
            let address = mapping.as_ptr() as usize;
            let guard = Guard::new(address, mapping.size());
            guards.push(guard.ok_or("more regions of memory than can be watched")?);
            let (begin, size) = (mapping.as_ptr().wrapping_add(skip), region.size as usize);
            // SAFETY: `map` made the mapping that much longer than the region. It is kept
            // beside, and for longer.
            let part =
                unsafe { MmapRegion::build_raw(begin, size, mapping.prot(), mapping.flags()) };
            let part = part.map_err(|error| format!("its memory: {error}"))?;
            let part = GuestRegionMmap::new(part, GuestAddress(start));
            guest.push(part.ok_or("a region of memory beyond the last address")?);
            mappings.push(mapping);
        }
        let guest = GuestMemoryMmap::from_regions(guest)
            .map_err(|_| "regions of memory that overlap".to_owned())?;
        Ok(Memory { guards, guest, regions, _mappings: mappings })
    }

    /// As virtio-queue wants it.
    pub fn guest(&self) -> &GuestMemoryMmap {
        &self.guest
    }

    /// Where the guest has what the front end has at an address.
    pub fn guest_address(&self, user: u64) -> Option<u64> {
        self.regions.iter().find_map(|region| {
            let at = user.checked_sub(region.user).filter(|at| *at < region.size)?;
            region.guest.checked_add(at)
        })
    }

    /// Whether its owner has taken some of it away.
    pub fn is_gone(&self) -> bool {
        self.guards.iter().any(Guard::is_gone)
    }

    /// Calls `each` with the bytes from `address` on, region by region; `None` when they
    /// are not all there.
    pub fn read(
        &self,
        address: GuestAddress,
        len: usize,
        mut each: impl FnMut(Bytes<'_>),
    ) -> Option<()> {
        for slice in self.guest.get_slices(address, len, Permissions::Read).ok()? {
            let slice = slice.ok()?;
            // SAFETY: vm-memory checked that the slice lies in a mapping, which lives as
            // long as `self`.
            each(unsafe { Bytes::new(slice.ptr_guard().as_ptr(), slice.len()) });
        }
        Some(())
    }

    /// The same for room.
    pub fn write(
        &self,
        address: GuestAddress,
        len: usize,
        mut each: impl FnMut(BytesMut<'_>),
    ) -> Option<()> {
        for slice in self.guest.get_slices(address, len, Permissions::Write).ok()? {
            let slice = slice.ok()?;
            // SAFETY: as in `read`; the mapping is writable.
            each(unsafe { BytesMut::new(slice.ptr_guard_mut().as_ptr(), slice.len()) });
        }
        Some(())
    }
}

/// What to say of memory that is not shared.
pub const NOT_SHARED: &str = "the machine's memory is not shared: give QEMU -object memory-backend-memfd,id=mem,size=1G,share=on -machine memory-backend=mem, with the size that -m says";

/// Maps the file of a region; returns how far into the mapping the region begins. Files of
/// huge pages are mapped in whole ones.
fn map(region: &Region, file: File) -> Result<(MmapRegion, usize), String> {
    let meta = rustix::fs::fstat(&file).map_err(|errno| format!("its memory: {errno}"))?;
    let end = region.offset.checked_add(region.size);
    let there = u64::try_from(meta.st_size).unwrap_or(0);
    if region.size == 0 || end.is_none_or(|end| end > there) {
        let Region { offset, size, .. } = region;
        return Err(format!("a region of {size} bytes from {offset} on in a file of {there}"));
    }
    let page = (meta.st_blksize as u64).max(4096);
    let skip = region.offset % page;
    let size = (region.size + skip).next_multiple_of(page);
    let file = FileOffset::new(file, region.offset - skip);
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_NORESERVE);
    let mapping = MmapRegion::build(Some(file), size as usize, protection, flags);
    Ok((mapping.map_err(|error| format!("its memory: {error}"))?, skip as usize))
}
