//! The buffers that LKL hands to `tx` and `rx`.
#![allow(unsafe_code)]
// Unsafe lives here to read and write the guest's memory. The invariant: a
// `Buffers` holds an array of `count` iovecs, each valid for its length, during
// `'a`; LKL promises so for the duration of the call.

use std::marker::PhantomData;

use lkl_sys::Iovec;
use shmring::{Bytes, BytesMut};

/// Scattered memory of the guest.
#[derive(Clone, Copy)]
pub(crate) struct Buffers<'a> {
    iov: *const Iovec,
    count: usize,
    _call: PhantomData<&'a mut ()>,
}

impl Buffers<'_> {
    /// # Safety
    /// `iov` points to `count` iovecs, each valid for reads and writes of its
    /// length during `'a`, touched by nobody else meanwhile.
    pub unsafe fn new(iov: *mut Iovec, count: i32) -> Self {
        let count = if iov.is_null() { 0 } else { usize::try_from(count).unwrap_or(0) };
        Buffers { iov, count, _call: PhantomData }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    fn iter(&self) -> impl Iterator<Item = (*mut u8, usize)> {
        (0..self.count).map(|at| {
            // SAFETY: `at < count`, see `new`.
            let iov = unsafe { self.iov.add(at).read() };
            (iov.iov_base.cast::<u8>(), iov.iov_len)
        })
    }

    /// Bytes in all.
    pub fn total(&self) -> usize {
        self.iter().map(|(_, len)| len).fold(0, usize::saturating_add)
    }

    /// Copies all bytes to `room`, as far as it reaches; returns how many.
    pub fn gather(&self, room: &mut BytesMut<'_>) -> usize {
        let to = room.as_mut_ptr();
        let mut done = 0;
        for (base, len) in self.iter() {
            let n = len.min(room.len() - done);
            // SAFETY: `done + n <= room.len()` and `n <= len`; the ring and the
            // guest's memory do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(base, to.add(done), n) };
            done += n;
        }
        done
    }

    /// Copies bytes `from..from + len` of a frame to byte `at` of the buffers.
    /// The caller made sure that they fit; what does not is left out.
    pub fn scatter(&self, at: usize, bytes: Bytes<'_>, from: usize, len: usize) {
        let len = len.min(bytes.len().saturating_sub(from));
        // SAFETY: `from + len <= bytes.len()`.
        let source = unsafe { bytes.as_ptr().add(from.min(bytes.len())) };
        // SAFETY: `source` is valid for `len` bytes, which are not the guest's.
        unsafe { self.write(at, source, len) };
    }

    /// Copies `bytes` to byte `at` of the buffers.
    pub fn scatter_slice(&self, at: usize, bytes: &[u8]) {
        // SAFETY: a slice is valid for its length and is not the guest's.
        unsafe { self.write(at, bytes.as_ptr(), bytes.len()) };
    }

    /// # Safety
    /// `source` is valid for reads of `len` bytes outside of the buffers.
    unsafe fn write(&self, at: usize, source: *const u8, len: usize) {
        let (mut skip, mut done) = (at, 0);
        for (base, room) in self.iter() {
            let begin = skip.min(room);
            skip -= begin;
            let n = (room - begin).min(len - done);
            // SAFETY: `begin + n <= room` and `done + n <= len`.
            unsafe { std::ptr::copy_nonoverlapping(source.add(done), base.add(begin), n) };
            done += n;
            if done == len {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iov(parts: &mut [Vec<u8>]) -> Vec<Iovec> {
        let entry = |p: &mut Vec<u8>| Iovec { iov_base: p.as_mut_ptr().cast(), iov_len: p.len() };
        parts.iter_mut().map(entry).collect()
    }

    #[test]
    fn bytes_land_where_they_belong() {
        let mut parts = vec![vec![0; 2], vec![], vec![0; 3], vec![0; 4]];
        let mut array = iov(&mut parts);
        // SAFETY: the vectors outlive the use and are not touched meanwhile.
        let buffers = unsafe { Buffers::new(array.as_mut_ptr(), 4) };
        assert_eq!((buffers.count(), buffers.total()), (4, 9));
        buffers.scatter_slice(1, b"abcde");
        buffers.scatter_slice(8, b"zzz");
        assert_eq!(parts, [b"\0a".to_vec(), vec![], b"bcd".to_vec(), b"e\0\0z".to_vec()]);
    }

    #[test]
    fn no_buffers_are_no_room() {
        // SAFETY: a null pointer is taken for no buffers.
        let buffers = unsafe { Buffers::new(std::ptr::null_mut(), 3) };
        assert_eq!(buffers.total(), 0);
        buffers.scatter_slice(0, b"x");
    }
}
