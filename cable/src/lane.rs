//! Frames from one cable to another, with one copy.

use shmring::{Bytes, BytesMut, RecvError, SendError};

use super::{BATCH, Cable, PUBLISH_EVERY, Sender};

/// One direction between two cables.
#[derive(Debug, Default, Clone, Copy)]
pub struct Lane {
    /// Frames wait for room where they go, not for frames.
    blocked: bool,
}

impl Lane {
    /// Moves some frames; `true` when there were any. `look` sees each where it comes from and where it was
    /// copied to, and says whether it goes on.
    pub fn turn(
        &mut self,
        from: &mut Cable,
        to: &mut Cable,
        mut look: impl FnMut(&Bytes<'_>, &mut BytesMut<'_>) -> bool,
    ) -> bool {
        let mut busy = false;
        self.blocked = false;
        let waiting = !to.was_up || to.is_held();
        let Some(tx) = to.sender() else {
            // Frames wait for the first neighbour, and for one that changes; a later gap
            // loses them, as a cable that is not plugged in does.
            self.blocked = waiting;
            match waiting {
                true => take_out_ended(from),
                false => self.discard(from, &mut busy),
            }
            return busy;
        };
        let blocked = &mut self.blocked;
        from.retain(|joined| {
            let Some(rx) = &mut joined.rx else { return true };
            let mut staged = 0;
            let mut end = None;
            for _ in 0..BATCH {
                let moved = rx.receive(|bytes| match pass(tx, bytes, &mut look) {
                    Ok(len) => (true, Ok(len)),
                    Err(SendError::Full) => (false, Err(SendError::Full)),
                    Err(error) => (true, Err(error)),
                });
                match moved {
                    Ok(Ok(len)) => {
                        busy = true;
                        staged += len;
                    }
                    Ok(Err(SendError::Full)) => {
                        *blocked = true;
                        break;
                    }
                    // Too long for the link, or the link is about to end.
                    Ok(Err(_)) => rx.count_drop(),
                    Err(RecvError::Empty) => break,
                    Err(error) => {
                        end = Some(error);
                        break;
                    }
                }
                if staged >= PUBLISH_EVERY {
                    tx.publish();
                    staged = 0;
                }
            }
            rx.return_room();
            end.iter().for_each(|error| joined.end_rx(error));
            joined.is_alive()
        });
        tx.publish();
        busy
    }

    fn discard(&mut self, from: &mut Cable, busy: &mut bool) {
        from.retain(|joined| {
            let Some(rx) = &mut joined.rx else { return true };
            let mut end = None;
            for _ in 0..BATCH {
                match rx.receive(|_| (true, ())) {
                    Ok(()) => rx.count_drop(),
                    Err(RecvError::Empty) => break,
                    Err(error) => {
                        end = Some(error);
                        break;
                    }
                }
                *busy = true;
            }
            rx.return_room();
            end.iter().for_each(|error| joined.end_rx(error));
            joined.is_alive()
        });
    }

    /// Before a sleep: asks to be woken. `false` when there is something to do.
    pub fn arm(&self, from: &mut Cable, to: &mut Cable) -> bool {
        if self.blocked {
            return to.sender().is_none_or(Sender::arm);
        }
        from.links().filter_map(|joined| joined.rx.as_mut()).all(|rx| rx.arm())
    }
}

/// Takes out the links that have ended and hold no more frames, where nobody takes frames yet.
pub fn take_out_ended(from: &mut Cable) {
    from.retain(|joined| {
        if let Some(rx) = &mut joined.rx
            && let Err(error) = rx.receive(|_| (false, ()))
            && error != RecvError::Empty
        {
            joined.end_rx(&error);
        }
        joined.is_alive()
    });
}

fn pass(
    tx: &mut Sender,
    bytes: Bytes<'_>,
    look: &mut impl FnMut(&Bytes<'_>, &mut BytesMut<'_>) -> bool,
) -> Result<usize, SendError> {
    let len = bytes.len();
    let sent = tx.put(len, |room| {
        room.copy_from_bytes(0, bytes);
        if look(&bytes, room) { Ok(len) } else { Err(()) }
    })?;
    Ok(if sent.is_ok() { len } else { 0 })
}
