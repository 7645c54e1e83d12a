//! Another neighbour after one has ended.

use anyhow::Result;
use shmring::{LinkError, PipeEnd, RuntimeDir};

use super::{Cable, handover, look_at, rendezvous};

impl Cable {
    /// After links have ended: looks for another neighbour where one may come, on a
    /// FIFO always, on a `|` as long as somebody holds its other end, as in
    /// `{ a; b; } | c`. Returns whether there is a new rendezvous to watch.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn renew(&mut self, dir: &RuntimeDir) -> Result<bool> {
        if let Some(end) = self.resting.take() {
            if self.is_up() && !handover::may_have_more(self.parts.vital, &end) {
                self.resting = Some(end);
                return Ok(false);
            }
            return self.look_again(end, dir);
        }
        // The next one may have come before the end of the last was heard of.
        if self.is_up() {
            return Ok(false);
        }
        let Some(mut old) = self.rendezvous.take() else { return Ok(false) };
        if self.parts.vital {
            if self.broken {
                return Ok(false); // whoever is still there is not to be trusted
            }
            self.notice.waits();
        }
        if !old.is_over() {
            if self.parts.vital {
                old.await_next()?;
            }
            self.rendezvous = Some(old);
            return Ok(false);
        }
        self.look_again(old.into_end(), dir)
    }

    fn look_again(&mut self, end: PipeEnd, dir: &RuntimeDir) -> Result<bool> {
        match rendezvous(end, dir, &self.parts.offer) {
            Ok(new) => {
                self.look_at = look_at(self.fallback, new.end());
                self.looks = 0;
                self.shown.waits();
                self.rendezvous = Some(new);
                Ok(true)
            }
            Err(LinkError::NeighbourGone { .. }) if self.parts.vital => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
