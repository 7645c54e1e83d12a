//! The seam: something that has frames, and that cables join to others.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use anyhow::Result;
use nix::sys::epoll::EpollFlags;
use shmring::{Bytes, BytesMut};

/// Something that has frames, such as a TAP. A [`Jack`](crate::Jack) joins it to cables.
///
/// The link keeps the memory; the edge fills it and drains it. So an edge that
/// moves frames by system calls costs no copy in user space, and one with memory of its
/// own costs one. No method waits.
///
/// A frame is a `virtio_net_hdr_v1` and an Ethernet frame ([`frames`]), of up to
/// [`frames::MAX_FRAME`] bytes.
pub trait Edge {
    /// What it takes unfinished: virtio-net features, as in [`frames::FEATURES`].
    /// They may change, as when a virtual machine boots another kernel. What the
    /// edge does not take is finished for it.
    fn features(&self) -> u64;

    /// A neighbour came, which takes unfinished what these virtio-net features say.
    ///
    /// # Errors
    /// One line for the user; it is the end of the function.
    fn plugged(&mut self, features: u64) -> Result<()>;

    /// There is no neighbour any more. May be called again.
    ///
    /// # Errors
    /// One line for the user; it is the end of the function.
    fn unplugged(&mut self) -> Result<()>;

    /// Whether [`Edge::fill`] may have a frame.
    fn has_frames(&mut self) -> bool;

    /// Whether all frames that there were have been taken out. One whose frames wait
    /// on purpose still has them, and knows better than this.
    fn is_empty(&mut self) -> bool {
        !self.has_frames()
    }

    /// Whether [`Edge::take`] may take one.
    fn has_room(&mut self) -> bool;

    /// Fills `room`, of [`frames::MAX_FRAME`] bytes, with one frame and returns its length.
    ///
    /// # Errors
    /// [`NotNow`]: there is none.
    fn fill(&mut self, room: &mut BytesMut<'_>) -> Result<usize, NotNow>;

    /// A batch of frames was filled.
    fn filled(&mut self, burst: Burst) {
        let _ = burst;
    }

    /// Takes one frame.
    ///
    /// # Errors
    /// [`NotTaken::NotNow`] leaves it the next one, [`NotTaken::Refused`] loses it.
    fn take(&mut self, frame: Bytes<'_>) -> Result<(), NotTaken>;

    /// A batch of frames was taken: no more come for the moment.
    fn taken(&mut self) {}

    /// Prepares to sleep until there is a frame where there was none, or room
    /// where there was none: `false` when there is something to do.
    fn arm(&mut self) -> bool {
        true
    }

    /// Shows `watch` each of its descriptors with what to wait for. An edge whose
    /// descriptors come and go shows an epoll instance of its own.
    ///
    /// # Errors
    /// Those of `watch`.
    fn watch(&self, watch: &mut Watch<'_>) -> Result<()>;

    /// One of its descriptors became ready.
    fn woken(&mut self);

    /// When it wants a turn although nothing woke it.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// No more frames come: it hands over what it still holds, as far as that is
    /// taken, and then ends what it can. Whether that is done or given up; until then
    /// it is to be called again.
    fn close(&mut self) -> bool {
        true
    }

    /// Whether there will be no more frames, from it or to it.
    fn is_over(&self) -> bool {
        false
    }

    /// Whether whoever was behind it has left, and another may come. An edge that it is
    /// joined to without a `|` hears of that.
    fn is_left(&self) -> bool {
        false
    }
}

/// For whoever does not know before which edge it has.
impl Edge for Box<dyn Edge> {
    fn features(&self) -> u64 {
        (**self).features()
    }

    fn plugged(&mut self, features: u64) -> Result<()> {
        (**self).plugged(features)
    }

    fn unplugged(&mut self) -> Result<()> {
        (**self).unplugged()
    }

    fn has_frames(&mut self) -> bool {
        (**self).has_frames()
    }

    fn is_empty(&mut self) -> bool {
        (**self).is_empty()
    }

    fn has_room(&mut self) -> bool {
        (**self).has_room()
    }

    fn fill(&mut self, room: &mut BytesMut<'_>) -> Result<usize, NotNow> {
        (**self).fill(room)
    }

    fn filled(&mut self, burst: Burst) {
        (**self).filled(burst);
    }

    fn take(&mut self, frame: Bytes<'_>) -> Result<(), NotTaken> {
        (**self).take(frame)
    }

    fn taken(&mut self) {
        (**self).taken();
    }

    fn arm(&mut self) -> bool {
        (**self).arm()
    }

    fn watch(&self, watch: &mut Watch<'_>) -> Result<()> {
        (**self).watch(watch)
    }

    fn woken(&mut self) {
        (**self).woken();
    }

    fn deadline(&self) -> Option<Instant> {
        (**self).deadline()
    }

    fn close(&mut self) -> bool {
        (**self).close()
    }

    fn is_over(&self) -> bool {
        (**self).is_over()
    }

    fn is_left(&self) -> bool {
        (**self).is_left()
    }
}

/// Waits for a descriptor.
pub type Watch<'a> = dyn FnMut(BorrowedFd<'_>, EpollFlags) -> Result<()> + 'a;

/// There is no frame at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotNow;

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// There is no room at the moment.
    NotNow,
    /// It is none, or nobody takes it: a network card would throw it away, too.
    Refused,
}

/// Frames that came from an edge one after the other.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// Their number.
    pub frames: usize,
    /// Their bytes, headers included.
    pub bytes: usize,
}

impl Burst {
    /// One more frame, of that many bytes.
    #[inline]
    pub fn push(&mut self, len: usize) {
        self.frames += 1;
        self.bytes += len;
    }

    /// Bytes of a frame, in the mean; 0 where there is none.
    #[inline]
    pub fn mean(self) -> usize {
        self.bytes.checked_div(self.frames).unwrap_or(0)
    }
}
