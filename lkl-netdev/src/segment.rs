//! Frames that are too large for the guest's buffers, in pieces.

use shmring::Bytes;

use crate::buffers::Buffers;

pub(crate) struct Segments {}

impl Segments {
    pub fn of(_frame: Bytes<'_>) -> Option<Segments> {
        None
    }
    pub fn next(&mut self, _frame: Bytes<'_>, _buffers: Buffers<'_>, _room: usize) -> Option<usize> {
        None
    }
    pub fn is_done(&self) -> bool {
        true
    }
}
