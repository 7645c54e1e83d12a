//! A ring for the model checker: header and records on the heap.
//!
//! Each word of the records is a loom cell. A word that one side touches while
//! the other may, which is what a missing ordering or a wrong bound comes to,
//! is a race that loom reports, not a wrong byte that somebody has to notice.
#![allow(unsafe_code)]
// Unsafe lives here because loom's cells hand out raw pointers; that they are
// used by one side at a time is what the models check.

use std::sync::Arc;

use loom::cell::UnsafeCell;

use crate::layout::Header;
use crate::slot::{Bytes, BytesMut};

/// One side's view of the ring.
pub(crate) struct Region(Arc<Ring>);

struct Ring {
    header: Header,
    /// The records, eight bytes a word.
    words: Box<[UnsafeCell<u64>]>,
}

// SAFETY: loom checks each access to the cells, the rest is loom's atomics.
unsafe impl Send for Region {}

impl Region {
    /// A ring of `capacity` bytes, seen from both sides.
    pub fn pair(capacity: usize) -> (Region, Region) {
        assert!(capacity.is_power_of_two() && capacity >= 16);
        let words = (0..capacity / 8).map(|_| UnsafeCell::new(0)).collect();
        #[expect(clippy::arc_with_non_send_sync, reason = "loom checks what crosses threads")]
        let ring = Arc::new(Ring { header: Header::new(), words });
        (Region(ring.clone()), Region(ring))
    }

    /// The same side once more.
    pub fn again(&self) -> Region {
        Region(self.0.clone())
    }

    pub fn header(&self) -> &Header {
        &self.0.header
    }

    pub fn capacity(&self) -> usize {
        self.0.words.len() * 8
    }

    fn word(&self, position: u64) -> usize {
        assert!(position.is_multiple_of(8));
        (position / 8) as usize % self.0.words.len()
    }

    pub fn prefetch(&self, _position: u64) {}

    /// # Safety
    /// The record's header was published.
    pub unsafe fn length(&self, position: u64) -> u64 {
        // SAFETY: loom checks that nobody writes the word now.
        self.0.words[self.word(position)].with(|word| unsafe { *word })
    }

    /// # Safety
    /// The producer owns the record.
    pub unsafe fn set_length(&self, position: u64, len: usize) {
        // SAFETY: loom checks that nobody else touches the word now.
        self.0.words[self.word(position)].with_mut(|word| unsafe { *word = len as u64 });
    }

    /// # Safety
    /// The frame was published, and the region outlives `'a`.
    pub unsafe fn frame<'a>(&self, position: u64, len: usize) -> Bytes<'a> {
        // SAFETY: the region outlives the frame.
        unsafe { Bytes::new(&raw const *self.0.words, self.word(position) + 1, len) }
    }

    /// # Safety
    /// The producer owns the record, and the region outlives `'a`.
    pub unsafe fn room<'a>(&self, position: u64, len: usize) -> BytesMut<'a> {
        // SAFETY: the region outlives the room.
        unsafe { BytesMut::new(&raw const *self.0.words, self.word(position) + 1, len) }
    }
}
