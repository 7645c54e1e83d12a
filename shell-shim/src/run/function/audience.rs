//! Who has to be there before frames come in.

use std::time::Instant;

use cable::{Audience, Jack};

use super::Function;

impl Function {
    /// Lets frames in once all neighbours have come, those of a recording once CMD has.
    pub(super) fn let_in(&mut self) {
        let held = self.jacks.iter().any(|jack| jack.audience == Audience::Neighbours);
        if held && self.jacks.iter().all(Jack::is_complete) {
            let has_command = !self.command.is_empty();
            let next = if has_command { Audience::Awaited } else { Audience::Nobody };
            self.jacks.iter_mut().for_each(|jack| jack.audience = next);
        }
    }

    /// Whether frames wait for CMD.
    pub(super) fn holds_back(&self) -> bool {
        self.jacks.iter().any(Jack::holds_back)
    }

    /// Looks whether CMD has come to rest, where a recording waits for that.
    pub(super) fn settle(&mut self) {
        let holds = self.holds_back();
        let (Some(settling), Some(keeper), true) = (&mut self.settling, &self.keeper, holds) else {
            return;
        };
        if let Some(since) = settling.look(Instant::now(), || keeper.is_busy()) {
            let there = Audience::Since(since);
            self.jacks.iter_mut().for_each(|jack| jack.audience = there);
            self.settling = None;
        }
    }
}
