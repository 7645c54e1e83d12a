//! Packets on their way into a link: those that follow each other within a connection go as one
//! frame, where the neighbour takes such frames.
//!
//! Only what is there already is looked at, so no packet waits for another.

use frames::{Train, VNET_LEN};
use shmring::BytesMut;

use crate::tap::Offloads;

/// Complete packets, of which the next one can be looked at before it is taken.
pub(crate) trait Source {
    /// The next one, until it is taken; `None` where there is none at the moment.
    fn peek(&mut self) -> Option<&[u8]>;

    /// Takes it out.
    fn take(&mut self);
}

/// What the neighbour takes unfinished.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Joining {
    v4: bool,
    v6: bool,
}

impl Joining {
    /// For a neighbour with these virtio-net features.
    pub fn of(features: u64) -> Joining {
        let Offloads { csum, tso4, tso6 } = Offloads::of(features);
        Joining { v4: csum && tso4, v6: csum && tso6 }
    }

    /// Fills `room` with the next packet and what there is of those that follow it; the length of the
    /// frame.
    pub fn fill(self, source: &mut impl Source, room: &mut BytesMut<'_>) -> Option<usize> {
        let packet = source.peek()?;
        let train = if self.v4 || self.v6 { Train::begin(packet) } else { None };
        let at = room.copy_from(0, &[0; VNET_LEN]); // it asks for nothing
        let mut len = at + room.copy_from(at, packet);
        source.take();
        let joins = |train: &Train| if train.is_v6() { self.v6 } else { self.v4 };
        let Some(mut train) = train.filter(joins) else { return Some(len) };
        while train.is_open()
            && let Some(packet) = source.peek()
            && let Some(payload) = train.append(packet)
        {
            len += room.copy_from(len, payload);
            source.take();
        }
        if let Some(headers) = train.headers() {
            room.copy_from(0, &headers);
        }
        Some(len)
    }
}
