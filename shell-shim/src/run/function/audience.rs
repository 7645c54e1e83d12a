//! Who has to be there before frames come in.

use std::time::Instant;

use cable::{Audience, Jack};

use super::Function;

/// Says to a function that it is started for a frame which waits for it. What it runs does not
/// inherit it.
pub const VARIABLE: &str = "STDPKT_AWAITED";

impl Function {
    /// Says whether it was started for a frame that waits.
    pub fn awaited(self, awaited: bool) -> Function {
        Function { awaited, ..self }
    }

    /// Lets frames in once all neighbours have come, those of a recording once CMD has, and all
    /// once CMD has where the function was started for one: nobody would listen before.
    pub(super) fn let_in(&mut self) {
        let held = self.jacks.iter().any(|jack| jack.audience == Audience::Neighbours);
        if held && self.jacks.iter().all(Jack::is_complete) {
            let next = match self.command.is_empty() {
                true => Audience::Nobody,
                false if self.awaited && self.is_ready() => return,
                false => Audience::Awaited,
            };
            self.jacks.iter_mut().for_each(|jack| jack.audience = next);
        }
    }

    /// Whether frames get away on every interface, so that CMD can start.
    pub(super) fn is_ready(&self) -> bool {
        self.jacks.iter().all(|jack| jack.is_ready() && jack.edge().is_ready())
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
