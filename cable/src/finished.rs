//! Frames made complete for an edge that takes no others.

use frames::{ETHERNET_LEN, Packets, VNET_LEN, push_frame};
use shmring::Bytes;

use crate::edge::{Edge, NotTaken};
use crate::stream_tx::Malformed;

/// Segments and fills in checksums in software; holds the packets of one frame
/// until the edge has taken them. Dropped, it says how many had no such form.
pub(crate) struct Finished {
    /// The edge's name for people.
    what: String,
    malformed: Malformed,
    packets: Packets,
    frame: Vec<u8>,
    /// Complete frames, one behind the other.
    bytes: Vec<u8>,
    /// Where each of them ends; the first `gone` were taken.
    ends: Vec<usize>,
    gone: usize,
}

impl Finished {
    /// For an edge of that name.
    pub fn new(what: &str) -> Finished {
        Finished {
            what: what.to_owned(),
            malformed: Malformed::default(),
            packets: Packets::default(),
            frame: Vec::new(),
            bytes: Vec::new(),
            ends: Vec::new(),
            gone: 0,
        }
    }

    /// As [`Edge::take`], for a frame that may be unfinished.
    #[inline(never)] // beside the way of a frame that needs nothing
    pub fn take(&mut self, frame: Bytes<'_>, edge: &mut impl Edge) -> Result<(), NotTaken> {
        let earlier = match self.hand_over(edge) {
            Err(NotTaken::NotNow) => return Err(NotTaken::NotNow),
            earlier => earlier,
        };
        if earlier.is_ok() && is_complete(&frame) {
            return edge.take(frame); // as it lies there, without a copy
        }
        frame.copy_into(&mut self.frame);
        let Finished { packets, frame, bytes, ends, .. } = self;
        let finish = packets.each(frame, |packet| {
            push_frame(bytes, packet);
            ends.push(bytes.len());
        });
        if let Err(error) = finish {
            self.malformed.count(error);
            return Err(NotTaken::Refused);
        }
        match self.hand_over(edge) {
            Err(NotTaken::NotNow) => earlier, // the rest is kept here
            handed => earlier.and(handed),
        }
    }

    /// Hands over what is still here.
    #[inline]
    pub fn hand_over(&mut self, edge: &mut impl Edge) -> Result<(), NotTaken> {
        if self.ends.is_empty() { Ok(()) } else { self.hand_over_some(edge) }
    }

    #[cold]
    fn hand_over_some(&mut self, edge: &mut impl Edge) -> Result<(), NotTaken> {
        let mut result = Ok(());
        while let Some(&end) = self.ends.get(self.gone) {
            let begin = self.gone.checked_sub(1).map_or(0, |last| self.ends[last]);
            match edge.take(Bytes::of_slice(&self.bytes[begin..end])) {
                Err(NotTaken::NotNow) => return Err(NotTaken::NotNow),
                Err(NotTaken::Refused) => result = Err(NotTaken::Refused),
                Ok(()) => {}
            }
            self.gone += 1;
        }
        self.bytes.clear();
        self.ends.clear();
        self.gone = 0;
        result
    }
}

/// Whether a frame is as [`push_frame`] makes it: its header asks for nothing.
fn is_complete(frame: &Bytes<'_>) -> bool {
    let mut header = [0; VNET_LEN];
    frame.copy_to(0, &mut header);
    header == [0; VNET_LEN] && frame.len() >= VNET_LEN + ETHERNET_LEN
}

impl Drop for Finished {
    fn drop(&mut self) {
        self.malformed.tell(&self.what);
    }
}
