//! Who is to see frames, and which of them wait for that.

use std::time::Instant;

use frames::VNET_LEN;
use frames::recorded::head_start;
use shmring::{Bytes, RecvError};

use crate::Receiver;

/// Who is to see all of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Nobody: it is not held back.
    Nobody,
    /// Neighbours that have not come yet: frames of any kind wait for them, since what
    /// is to go on to them would be lost.
    Neighbours,
    /// A program that will be started, or has not come to rest yet.
    Awaited,
    /// One that is there since then.
    Since(Instant),
}

/// Whether frames are held back...
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Held {
    pub any: bool,
    /// ...and until when, if that is known.
    pub until: Option<Instant>,
}

impl Held {
    /// Whether this frame is to wait, and until when.
    #[inline]
    fn holds(&mut self, frame: &Bytes<'_>, audience: Audience) -> bool {
        let mut header = [0; VNET_LEN];
        frame.copy_to(0, &mut header);
        let wait = head_start(&header);
        let holds = match audience {
            Audience::Nobody => false,
            Audience::Neighbours => true,
            Audience::Awaited => !wait.is_zero(),
            Audience::Since(start) => !wait.is_zero() && wait > start.elapsed(),
        };
        self.any |= holds;
        if let (true, Audience::Since(start)) = (holds, audience) {
            self.until = Some(self.until.map_or(start + wait, |until| until.min(start + wait)));
        }
        holds
    }
}

/// Whether the next frame is to wait. Where it would have an audience, and is not there, that
/// is the error.
///
/// # Errors
/// Those of [`Receiver::receive`].
#[inline]
pub(crate) fn is_held(
    rx: &mut Receiver,
    audience: Audience,
    held: &mut Held,
) -> Result<bool, RecvError> {
    if audience == Audience::Nobody { Ok(false) } else { is_held_for(rx, audience, held) }
}

/// The same where there is an audience; apart, so that all else stays inlined.
#[cold]
#[inline(never)]
fn is_held_for(rx: &mut Receiver, audience: Audience, held: &mut Held) -> Result<bool, RecvError> {
    rx.receive(|frame| (false, held.holds(&frame, audience)))
}
