//! The frames between libvdeplug and a cable.

use std::collections::VecDeque;

use anyhow::Result;
use cable::Edge;
use cable::edge::{NotNow, NotTaken, Watch};
use frames::{MAX_FRAME, VNET_LEN};
use shmring::{Bytes, BytesMut};

/// Frames that wait in one direction: as many as a cable moves at once.
const MOST: usize = cable::BATCH;

/// Frames as an edge. VDE knows no offloads: they are complete packets.
#[derive(Default)]
pub(crate) struct Port {
    /// For the program.
    inward: VecDeque<Vec<u8>>,
    /// For the neighbour.
    outward: VecDeque<Vec<u8>>,
    /// Memory of frames that are through.
    spare: Vec<Vec<u8>>,
    /// There was a neighbour.
    was_up: bool,
    is_up: bool,
}

impl Port {
    /// The next frame for the program.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        self.inward.pop_front()
    }

    /// Whether there is one.
    pub fn has_next(&self) -> bool {
        !self.inward.is_empty()
    }

    /// Takes the memory of a frame back.
    pub fn recycle(&mut self, frame: Vec<u8>) {
        if self.spare.len() < MOST {
            self.spare.push(frame);
        }
    }

    /// A frame for the neighbour; `false` when too many wait already. Before the first
    /// neighbour they wait for it; where one has gone they are lost, as on a cable
    /// without a plug.
    pub fn push(&mut self, frame: &[u8]) -> bool {
        if self.was_up && !self.is_up {
            return true;
        }
        let has_room = self.outward.len() < MOST;
        if has_room {
            let copy = self.copy(|copy| copy.extend_from_slice(frame));
            self.outward.push_back(copy);
        }
        has_room
    }

    fn copy(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        fill(&mut copy);
        copy
    }
}

impl Edge for Port {
    fn features(&self) -> u64 {
        0
    }

    fn plugged(&mut self, _features: u64) -> Result<()> {
        (self.was_up, self.is_up) = (true, true);
        Ok(())
    }

    fn unplugged(&mut self) -> Result<()> {
        self.is_up = false;
        self.outward.clear();
        Ok(())
    }

    fn has_frames(&mut self) -> bool {
        !self.outward.is_empty()
    }

    fn has_room(&mut self) -> bool {
        self.inward.len() < MOST
    }

    fn fill(&mut self, room: &mut BytesMut<'_>) -> Result<usize, NotNow> {
        let frame = self.outward.pop_front().ok_or(NotNow)?;
        let at = room.copy_from(0, &[0; VNET_LEN]); // it asks for nothing
        let len = at + room.copy_from(at, &frame);
        self.recycle(frame);
        Ok(len)
    }

    fn take(&mut self, frame: Bytes<'_>) -> Result<(), NotTaken> {
        if !self.has_room() {
            return Err(NotTaken::NotNow);
        }
        let copy = self.copy(|copy| {
            copy.resize(frame.len().saturating_sub(VNET_LEN).min(MAX_FRAME), 0);
            frame.copy_to(VNET_LEN, copy);
        });
        self.inward.push_back(copy);
        Ok(())
    }

    fn watch(&self, _watch: &mut Watch<'_>) -> Result<()> {
        Ok(())
    }

    fn woken(&mut self) {}
}
