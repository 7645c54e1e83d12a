//! Payload for the model checker: whole words, each a loom cell.
#![allow(unsafe_code)]
// Unsafe lives here for the reason given in `model/region.rs`.

use std::marker::PhantomData;

use loom::cell::UnsafeCell;

/// A frame that lies in the ring.
#[derive(Clone, Copy)]
pub struct Bytes<'a>(Place, PhantomData<&'a ()>);

/// Room for a frame in the ring.
pub struct BytesMut<'a>(Place, PhantomData<&'a mut ()>);

#[derive(Clone, Copy)]
struct Place {
    words: *const [UnsafeCell<u64>],
    first: usize,
    len: usize,
}

impl Place {
    fn cells(&self) -> impl Iterator<Item = &UnsafeCell<u64>> {
        // SAFETY: the region, which holds the words, outlives the place.
        let words = unsafe { &*self.words };
        (0..self.len.div_ceil(8)).map(|i| &words[(self.first + i) % words.len()])
    }
}

impl Bytes<'_> {
    /// # Safety
    /// `words` outlives the result.
    pub(crate) unsafe fn new(words: *const [UnsafeCell<u64>], first: usize, len: usize) -> Self {
        Bytes(Place { words, first, len }, PhantomData)
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "the model needs no more")]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// All words of the frame.
    pub fn words(&self) -> Vec<u64> {
        // SAFETY: loom checks that nobody writes the word now.
        self.0.cells().map(|cell| cell.with(|word| unsafe { *word })).collect()
    }
}

impl BytesMut<'_> {
    /// # Safety
    /// `words` outlives the result.
    pub(crate) unsafe fn new(words: *const [UnsafeCell<u64>], first: usize, len: usize) -> Self {
        BytesMut(Place { words, first, len }, PhantomData)
    }

    /// Length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "the model needs no more")]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Fills the whole room with `value`.
    pub fn fill(&mut self, value: u64) {
        for cell in self.0.cells() {
            // SAFETY: loom checks that nobody else touches the word now.
            cell.with_mut(|word| unsafe { *word = value });
        }
    }
}
