//! Frames for a neighbour that takes less than the guest leaves undone.

use std::collections::VecDeque;

use frames::{FEATURES, MAX_FRAME, Packets, push_frame};
use shmring::BytesMut;

/// What the neighbour takes, and complete packets that wait for it.
#[derive(Default)]
pub struct Neighbour {
    is_poor: bool,
    packets: Packets,
    frame: Vec<u8>,
    waiting: VecDeque<Vec<u8>>,
}

impl Neighbour {
    /// One that takes unfinished what these virtio-net features say.
    pub fn takes(&mut self, features: u64) {
        self.is_poor = features & FEATURES != FEATURES;
        self.waiting.clear();
    }

    /// Whether packets wait.
    pub fn has_packets(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next frame of those that `send` gets from the guest, as the neighbour takes it.
    ///
    /// # Errors
    /// Those of `send`.
    pub fn fill<E>(
        &mut self,
        room: &mut BytesMut<'_>,
        mut send: impl FnMut(&mut BytesMut<'_>) -> Result<Option<usize>, E>,
    ) -> Result<Option<usize>, E> {
        if !self.is_poor {
            return send(room);
        }
        if self.waiting.is_empty() {
            self.frame.resize(MAX_FRAME, 0);
            let len = send(&mut BytesMut::of_slice(&mut self.frame))?;
            let Neighbour { packets, frame, waiting, .. } = self;
            // What has no form on a wire is none that a guest would send.
            let _ = packets.each(&frame[..len.unwrap_or(0)], |packet| {
                let mut frame = Vec::new();
                push_frame(&mut frame, packet);
                waiting.push_back(frame);
            });
        }
        Ok(self.waiting.pop_front().map(|packet| room.copy_from(0, &packet)))
    }
}
