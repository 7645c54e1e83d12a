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
    /// Bytes at an address, such as those of a virtual machine's memory.
    ///
    /// # Safety
    /// `ptr` is valid for reads of `len` bytes during `'a`. Others may write them.
    pub unsafe fn new(ptr: *const u8, len: usize) -> Self {
        Bytes { ptr, len, _ring: PhantomData }
    }

    /// A frame in ordinary memory, for a channel that is a pipe.
    pub fn of_slice(slice: &'a [u8]) -> Self {
        Bytes { ptr: slice.as_ptr(), len: slice.len(), _ring: PhantomData }
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// At most `len` of the bytes, from `offset` on.
    #[inline]
    pub fn part(&self, offset: usize, len: usize) -> Bytes<'a> {
        let offset = offset.min(self.len);
        let len = len.min(self.len - offset);
        Bytes { ptr: self.ptr.wrapping_add(offset), len, _ring: PhantomData }
    }

    /// Where the bytes are, for system calls and foreign code.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr
    }

    /// Copies bytes from `offset` on; returns how many fitted or were there.
    #[inline]
    pub fn copy_to(&self, offset: usize, out: &mut [u8]) -> usize {
        let n = out.len().min(self.len.saturating_sub(offset));
        // SAFETY: `offset + n <= len`, the source is mapped, and `out` is
        // private memory that cannot overlap it.
        unsafe { copy(self.ptr.wrapping_add(offset), out.as_mut_ptr(), n) };
        n
    }

    /// Makes `copy` a private copy of all bytes, to be looked at: the neighbour may
    /// change its own meanwhile.
    pub fn copy_into(&self, copy: &mut Vec<u8>) {
        copy.clear();
        self.append_to(copy);
    }

    /// Appends a private copy of all bytes.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.len);
        let begin = out.len();
        // SAFETY: the source is mapped, and `out` is private memory with room for `len` bytes
        // from `begin` on, all of which are written before they belong to it.
        unsafe {
            copy(self.ptr, out.as_mut_ptr().add(begin), self.len);
            out.set_len(begin + self.len);
        }
    }

    /// A private copy of all bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut copy = Vec::new();
        self.copy_into(&mut copy);
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

    /// One `writev(2)` of `head` and then all bytes, straight from the ring; to a socket without
    /// waiting and without SIGPIPE.
    ///
    /// # Errors
    /// Those of `writev(2)` and `sendmsg(2)`.
    pub fn write_after(&self, head: &[u8], fd: impl AsFd) -> io::Result<usize> {
        let part =
            |ptr: *const u8, len| libc::iovec { iov_base: ptr.cast_mut().cast(), iov_len: len };
        let mut parts = [part(head.as_ptr(), head.len()), part(self.ptr, self.len)];
        // SAFETY: msghdr is a C struct for which all zeroes is a valid value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = parts.len() as _; // its type is each C library's own
        let (fd, flags) = (fd.as_fd().as_raw_fd(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        // SAFETY: the kernel reads `head` and `len` mapped bytes; no Rust reference is made to
        // the latter.
        let mut n = unsafe { libc::sendmsg(fd, &message, flags) };
        if n < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOTSOCK) {
            // SAFETY: as above.
            n = unsafe { libc::writev(fd, parts.as_ptr(), parts.len() as libc::c_int) };
        }
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }
}

/// Room for a frame in the ring. What is read from it is the neighbour's, as in [`Bytes`].
pub struct BytesMut<'a> {
    ptr: *mut u8,
    len: usize,
    _ring: PhantomData<&'a mut ()>,
}

impl<'a> BytesMut<'a> {
    /// Room at an address, such as in a virtual machine's memory.
    ///
    /// # Safety
    /// `ptr` is valid for reads and writes of `len` bytes during `'a`, and no reference
    /// to them exists. Others may write them.
    pub unsafe fn new(ptr: *mut u8, len: usize) -> Self {
        BytesMut { ptr, len, _ring: PhantomData }
    }

    /// Room in ordinary memory, for a channel that is a pipe.
    pub fn of_slice(slice: &'a mut [u8]) -> Self {
        BytesMut { ptr: slice.as_mut_ptr(), len: slice.len(), _ring: PhantomData }
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no room.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written to it, to be looked at before it goes out.
    #[inline]
    pub fn as_bytes(&self) -> Bytes<'_> {
        Bytes { ptr: self.ptr, len: self.len, _ring: PhantomData }
    }

    /// Where the room is, for system calls and foreign code.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.ptr
    }

    /// Copies `from` to `offset`; returns how many bytes fitted.
    #[inline]
    pub fn copy_from(&mut self, offset: usize, from: &[u8]) -> usize {
        let n = from.len().min(self.len.saturating_sub(offset));
        // SAFETY: `offset + n <= len`, the target is mapped, and `from` cannot
        // overlap it: no reference to ring memory exists.
        unsafe { copy(from.as_ptr(), self.ptr.wrapping_add(offset), n) };
        n
    }

    /// Copies a frame of another ring, or of a virtual machine, to `offset`: the one
    /// copy of a pass-through.
    pub fn copy_from_bytes(&mut self, offset: usize, from: Bytes<'_>) -> usize {
        let n = from.len.min(self.len.saturating_sub(offset));
        // SAFETY: both ranges are mapped and long enough. They do not overlap:
        // each ring has a mapping of its own, and there is one way to borrow
        // from a mapping at a time. A hostile neighbour that passed one memfd
        // for two rings gets torn content, at other addresses.
        unsafe { copy(from.ptr, self.ptr.wrapping_add(offset), n) };
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

/// From this length on the C library's `memcpy` uses `rep movsb` on x86-64
/// processors that promise it to be fast.
#[cfg(target_arch = "x86_64")]
const LONG: usize = 2048;

/// As `copy_nonoverlapping`, and fast wherever the two lie.
///
/// `rep movsb` is 15 to 30 times slower (measured on Zen 3) where the target
/// lies up to 63 bytes behind the source modulo 4096. A frame in the ring may
/// lie anywhere, so every few frames would be hit by that, or, when the length
/// fits the page, all of them.
///
/// # Safety
/// Both are valid for `n` bytes and do not overlap.
#[inline]
unsafe fn copy(from: *const u8, to: *mut u8, n: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if n >= LONG && std::is_x86_feature_detected!("avx") {
        // SAFETY: as promised to this function; the processor knows AVX.
        return unsafe { copy_long(from, to, n) };
    }
    // SAFETY: as promised to this function.
    unsafe { std::ptr::copy_nonoverlapping(from, to, n) }
}

/// # Safety
/// As [`copy`]; the processor knows AVX.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn copy_long(from: *const u8, to: *mut u8, n: usize) {
    use std::arch::x86_64::{__m256i, _mm256_loadu_si256, _mm256_storeu_si256};
    const VECTOR: usize = size_of::<__m256i>();
    // Four at a time: the compiler makes a single one a call of `memcpy` again.
    const STEP: usize = 4 * VECTOR;
    let mut at = 0;
    while n - at >= STEP {
        // SAFETY: `at + STEP <= n`, and both are valid for `n` bytes.
        unsafe {
            let from = from.add(at).cast::<__m256i>();
            let to = to.add(at).cast::<__m256i>();
            let vectors = [0, 1, 2, 3].map(|i| _mm256_loadu_si256(from.add(i)));
            for (i, vector) in vectors.into_iter().enumerate() {
                _mm256_storeu_si256(to.add(i), vector);
            }
        }
        at += STEP;
    }
    // SAFETY: `at <= n`; less than `LONG` is left.
    unsafe { std::ptr::copy_nonoverlapping(from.add(at), to.add(at), n - at) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_exact_at_every_length_and_place() {
        let source: Vec<u8> = (0..9000u32).map(|i| (i * 7 + i / 256) as u8).collect();
        for (from, to) in [(0, 0), (8, 24), (1, 9), (63, 62)] {
            for n in (0..300).chain(2000..2400).chain([4096, 8191]) {
                let mut target = vec![0xa5; 9000];
                let room = &mut target[to..];
                let bytes = Bytes::of_slice(&source[from..from + n]);
                assert_eq!(bytes.copy_to(0, room), n);
                assert_eq!(target[to..to + n], source[from..from + n]);
                assert!(target[..to].iter().chain(&target[to + n..]).all(|&b| b == 0xa5));
                let mut appended = vec![0xa5; to];
                bytes.append_to(&mut appended);
                assert_eq!(appended, target[..to + n]);
            }
        }
    }
}
