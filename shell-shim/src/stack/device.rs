//! What an interface of a function is: a TAP, or one end of a veth pair.

use std::time::Instant;

use anyhow::Result;
use cable::Edge;
use cable::edge::{Burst, NotNow, NotTaken, Watch};
use edges::tap::Tap;
use shmring::{Bytes, BytesMut};

use super::veth::Veth;

/// An interface of a function.
pub enum Device {
    /// Frames come and go by this process.
    Tap(Tap),
    /// Frames go to the neighbour's kernel.
    Veth(Veth),
}

impl Device {
    /// Whether the neighbour is ready for frames, as far as the interface knows.
    pub fn is_ready(&self) -> bool {
        match self {
            Device::Tap(_) => true,
            Device::Veth(veth) => veth.is_ready(),
        }
    }

    /// One end of a veth pair, if it is.
    pub fn veth(&mut self) -> Option<&mut Veth> {
        match self {
            Device::Tap(_) => None,
            Device::Veth(veth) => Some(veth),
        }
    }
}

/// Calls the same method of whichever it is.
macro_rules! either {
    ($self:expr, $device:ident => $call:expr) => {
        match $self {
            Device::Tap($device) => $call,
            Device::Veth($device) => $call,
        }
    };
}

impl Edge for Device {
    #[inline]
    fn features(&self) -> u64 {
        either!(self, it => it.features())
    }

    fn plugged(&mut self, features: u64) -> Result<()> {
        either!(self, it => it.plugged(features))
    }

    fn unplugged(&mut self) -> Result<()> {
        either!(self, it => it.unplugged())
    }

    #[inline]
    fn has_frames(&mut self) -> bool {
        either!(self, it => it.has_frames())
    }

    fn is_empty(&mut self) -> bool {
        either!(self, it => it.is_empty())
    }

    #[inline]
    fn has_room(&mut self) -> bool {
        either!(self, it => it.has_room())
    }

    #[inline]
    fn fill(&mut self, room: &mut BytesMut<'_>) -> Result<usize, NotNow> {
        either!(self, it => it.fill(room))
    }

    #[inline]
    fn filled(&mut self, burst: Burst) {
        either!(self, it => it.filled(burst));
    }

    #[inline]
    fn take(&mut self, frame: Bytes<'_>) -> Result<(), NotTaken> {
        either!(self, it => it.take(frame))
    }

    fn taken(&mut self) {
        either!(self, it => it.taken());
    }

    fn arm(&mut self) -> bool {
        either!(self, it => it.arm())
    }

    fn watch(&self, watch: &mut Watch<'_>) -> Result<()> {
        either!(self, it => it.watch(watch))
    }

    fn woken(&mut self) {
        either!(self, it => it.woken());
    }

    fn deadline(&self) -> Option<Instant> {
        either!(self, it => it.deadline())
    }

    fn close(&mut self) -> bool {
        either!(self, it => it.close())
    }

    fn is_over(&self) -> bool {
        either!(self, it => it.is_over())
    }
}
