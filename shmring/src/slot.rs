//! Payload bytes in shared memory.
#![allow(unsafe_code)]
// Unsafe lives here because this is the only file that touches payload bytes.
// It owns one invariant: a `Bytes` or `BytesMut` points at `len` bytes inside a
// live mapping, and no Rust reference to those bytes is ever made, since the
// neighbour may write them at any moment. Copies therefore may hold torn
// content when the neighbour misbehaves, and nothing worse: the length was
// checked against private values, and any byte pattern is a valid `u8`.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};

/// Bytes of a frame that lies in the ring; read-only.
///
/// The content is the neighbour's: it may change between two reads. Copy what
/// you decide on, then decide on the copy.
#[derive(Clone, Copy)]
pub struct Bytes<'a> {
    ptr: *const u8,
    len: usize,
    _ring: PhantomData<&'a ()>,
}

impl<'a> Bytes<'a> {
    /// # Safety
    /// `ptr` is valid for reads of `len` bytes during `'a`.
    pub(crate) unsafe fn new(ptr: *const u8, len: usize) -> Self {
        Bytes { ptr, len, _ring: PhantomData }
    }

    /// A frame in ordinary memory, for a channel that is a pipe.
    pub fn of_slice(slice: &'a [u8]) -> Self {
        Bytes { ptr: slice.as_ptr(), len: slice.len(), _ring: PhantomData }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the bytes are, for system calls and foreign code.
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr
    }

    /// Copies bytes from `offset` on; returns how many fitted or were there.
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) -> usize {
        let n = out.len().min(self.len.saturating_sub(offset));
        // SAFETY: `offset + n <= len`, the source is mapped, and `out` is
        // private memory that cannot overlap it.
        unsafe {
            std::ptr::copy_nonoverlapping(self.ptr.wrapping_add(offset), out.as_mut_ptr(), n)
        };
        n
    }

    /// A private copy of all bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut copy = vec![0; self.len];
        self.copy_to(0, &mut copy);
        copy
    }

    /// One `write(2)` of all bytes, straight from the ring.
    ///
    /// # Errors
    /// Those of `write(2)`; `WouldBlock` leaves the frame where it is.
    pub fn write_to(&self, fd: impl AsFd) -> io::Result<usize> {
        // SAFETY: the kernel reads `len` mapped bytes; no Rust reference is made.
        let n =
            unsafe { libc::syscall(libc::SYS_write, fd.as_fd().as_raw_fd(), self.ptr, self.len) };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }
}

/// Room for a frame in the ring; write-only by intent.
pub struct BytesMut<'a> {
    ptr: *mut u8,
    len: usize,
    _ring: PhantomData<&'a mut ()>,
}

impl<'a> BytesMut<'a> {
    /// # Safety
    /// `ptr` is valid for reads and writes of `len` bytes during `'a`.
    pub(crate) unsafe fn new(ptr: *mut u8, len: usize) -> Self {
        BytesMut { ptr, len, _ring: PhantomData }
    }

    /// Room in ordinary memory, for a channel that is a pipe.
    pub fn of_slice(slice: &'a mut [u8]) -> Self {
        BytesMut { ptr: slice.as_mut_ptr(), len: slice.len(), _ring: PhantomData }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no room.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the room is, for system calls and foreign code.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.ptr
    }

    /// Copies `from` to `offset`; returns how many bytes fitted.
    pub fn copy_from(&mut self, offset: usize, from: &[u8]) -> usize {
        let n = from.len().min(self.len.saturating_sub(offset));
        // SAFETY: `offset + n <= len`, the target is mapped, and `from` cannot
        // overlap it: no reference to ring memory exists.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.ptr.wrapping_add(offset), n) };
        n
    }

    /// Copies a frame of another ring to `offset`: the one copy of a pass-through.
    pub fn copy_from_bytes(&mut self, offset: usize, from: Bytes<'_>) -> usize {
        let n = from.len.min(self.len.saturating_sub(offset));
        // SAFETY: both ranges are mapped and long enough. They may overlap only
        // if a hostile neighbour passed one memfd twice, hence `copy`.
        unsafe { std::ptr::copy(from.ptr, self.ptr.wrapping_add(offset), n) };
        n
    }

    /// One `read(2)`, straight into the ring.
    ///
    /// # Errors
    /// Those of `read(2)`.
    pub fn read_from(&mut self, fd: impl AsFd) -> io::Result<usize> {
        // SAFETY: the kernel writes at most `len` mapped bytes; no Rust reference is made.
        let n =
            unsafe { libc::syscall(libc::SYS_read, fd.as_fd().as_raw_fd(), self.ptr, self.len) };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }
}
