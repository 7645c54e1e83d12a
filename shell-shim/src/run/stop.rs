//! How a CMD that has to end is told: after a while in which it may notice by itself
//! SIGTERM, and then SIGKILL.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

/// A CMD whose link has ended has this long to notice by itself...
const GRACE: Duration = Duration::from_millis(200);
/// ...and then this long after SIGTERM, before it is killed.
const TERM: Duration = Duration::from_millis(300);

/// What comes next, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop {
    at: Instant,
    next: Signal,
}

impl Stop {
    /// From now on.
    pub fn begin() -> Stop {
        Stop { at: Instant::now() + GRACE, next: Signal::SIGTERM }
    }

    /// SIGKILL, without waiting.
    pub fn at_once() -> Stop {
        Stop { at: Instant::now(), next: Signal::SIGKILL }
    }

    /// When the next signal is due.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// The signal that is due, if one is, once.
    pub fn due(&mut self) -> Option<Signal> {
        let now = Instant::now();
        (now >= self.at).then(|| {
            self.at = now + TERM;
            std::mem::replace(&mut self.next, Signal::SIGKILL)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_nothing_then_sigterm_then_sigkill_again_and_again() {
        let mut stop = Stop::begin();
        assert_eq!(stop.due(), None);
        for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGKILL] {
            stop.at = Instant::now();
            assert_eq!(stop.due(), Some(signal));
            assert_eq!(stop.due(), None);
        }
        assert_eq!(Stop::at_once().due(), Some(Signal::SIGKILL));
    }
}
