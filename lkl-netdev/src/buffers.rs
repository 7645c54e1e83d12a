//! The buffers that LKL hands to `tx` and `rx`.
#![allow(unsafe_code)]
// Unsafe lives here to read and write the guest's memory. The invariant: a
// `Buffers` holds an array of `count` iovecs, each valid for its length, during
// `'a`; LKL promises so for the duration of the call.

use std::marker::PhantomData;

use lkl_sys::Iovec;
use shmring::{Bytes, BytesMut};

/// LKL counts the bytes of a frame, with its vnet header, in 16 bits where all of it lies in
/// one chain of descriptors: whatever it sends, and what it receives in buffers that do not
/// merge (`virtio_req_complete` in its lib/virtio.c). At one more it takes further
/// descriptors for used, and the queue is broken for good.
pub(crate) const MAX_CHAIN: usize = 65_535;

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

    /// Each of them: its place and its length in bytes.
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
        let mut done = 0;
        for (base, len) in self.iter().filter(|(base, len)| !base.is_null() && *len > 0) {
            // SAFETY: valid for `len` bytes and nobody else's during the call, see `new`.
            let buffer = unsafe { std::slice::from_raw_parts(base, len) };
            done += room.copy_from(done, buffer);
        }
        done
    }

    /// Copies bytes `from..from + len` of a frame to byte `at` of the buffers.
    /// The caller made sure that they fit; what does not is left out.
    pub fn scatter(&self, at: usize, bytes: Bytes<'_>, from: usize, len: usize) {
        let (mut skip, mut done) = (at, 0);
        for (base, room) in self.iter().filter(|(base, len)| !base.is_null() && *len > 0) {
            let begin = skip.min(room);
            skip -= begin;
            let n = (room - begin).min(len - done);
            // SAFETY: valid for `room` bytes and nobody else's during the call, see `new`.
            let buffer = unsafe { std::slice::from_raw_parts_mut(base, room) };
            done += bytes.copy_to(from + done, &mut buffer[begin..begin + n]);
            if done == len {
                return;
            }
        }
    }

    /// Copies bytes from `at` on to `out`, as many as there are.
    pub fn peek(&self, at: usize, out: &mut [u8]) {
        let (mut skip, mut done) = (at, 0);
        for (base, len) in self.iter().filter(|(base, len)| !base.is_null() && *len > 0) {
            // SAFETY: valid for `len` bytes and nobody else's during the call, see `new`.
            let buffer = unsafe { std::slice::from_raw_parts(base, len) };
            let begin = skip.min(len);
            skip -= begin;
            let n = (len - begin).min(out.len() - done);
            out[done..done + n].copy_from_slice(&buffer[begin..begin + n]);
            done += n;
        }
    }

    /// Copies `bytes` to byte `at` of the buffers.
    pub fn scatter_slice(&self, at: usize, bytes: &[u8]) {
        self.scatter(at, Bytes::of_slice(bytes), 0, bytes.len());
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
        let mut peeked = [b'?'; 4];
        buffers.peek(6, &mut peeked);
        assert_eq!(&peeked, b"\0\0z?");
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
