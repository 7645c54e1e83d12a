//! How long a reader that takes nothing is waited for.

use std::time::{Duration, Instant};

use cable::edge::NotTaken;

/// A reader that takes nothing for so long gets no more until it does: what was
/// meant for it is dropped and counted, so that nobody behind the link waits for it.
const LIMIT: Duration = Duration::from_secs(1);

/// Whether somebody is there who could take frames.
#[derive(Debug, Default)]
pub(crate) struct Absence {
    /// Since when nobody is.
    since: Option<Instant>,
    told: bool,
}

impl Absence {
    /// Somebody took a frame.
    pub fn is_over(&mut self) {
        *self = Absence::default();
    }

    /// A frame found nobody, of which `who` tells: said once, after some time.
    pub fn missed(&mut self, who: impl FnOnce() -> String) {
        let since = *self.since.get_or_insert_with(Instant::now);
        if !self.told && since.elapsed() >= LIMIT {
            self.told = true;
            say::note!("{}: frames are dropped until somebody does (stdpkt ls counts them)", who());
        }
    }
}

/// Of one reader.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// Since when it takes nothing.
    since: Option<Instant>,
    /// Something waits for it.
    wanted: bool,
    /// That it takes nothing was said.
    told: bool,
}

impl Patience {
    /// It takes nothing at the moment.
    pub fn blocked(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// It may take something again.
    pub fn unblocked(&mut self) {
        self.since = None;
    }

    /// It took something.
    pub fn moved(&mut self) {
        *self = Patience::default();
    }

    /// Whether it takes nothing.
    pub fn is_blocked(&self) -> bool {
        self.since.is_some()
    }

    /// Whether it is not waited for any more.
    pub fn is_over(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= LIMIT)
    }

    /// Before a sleep: whether the time of what waits for it is over.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.wanted && self.is_over();
        self.wanted &= !is_due;
        is_due
    }

    /// Whether what is for the reader, for which it has no room, is not kept any longer.
    pub fn gives_up(&mut self) -> bool {
        let is_over = self.is_over();
        self.wanted = !is_over;
        is_over
    }

    /// What becomes of a frame that the reader, `what`, has no room for.
    pub fn turn_away(&mut self, what: &str) -> NotTaken {
        if !self.gives_up() {
            return NotTaken::NotNow;
        }
        if !std::mem::replace(&mut self.told, true) {
            say::note!(
                "{what} takes nothing for {} s: frames to it are dropped until it does \
                 (stdpkt ls counts them)",
                LIMIT.as_secs()
            );
        }
        NotTaken::Refused
    }

    /// When what waits for the reader is to be tried again.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.filter(|_| self.wanted).map(|since| since + LIMIT)
    }
}
