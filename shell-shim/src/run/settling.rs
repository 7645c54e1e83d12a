//! When a CMD that has just been started is there: a recording's head start counts from
//! when its programs wait for something, not from when they began to be loaded. On
//! a machine with much to do that may be seconds later.

use std::time::{Duration, Instant};

/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(10);
/// One that computes for so long is there all the same.
const LONGEST: Duration = Duration::from_secs(5);

/// Of a CMD that was not yet seen at rest.
#[derive(Debug, Clone, Copy)]
pub struct Settling {
    started: Instant,
    next: Instant,
    was_busy: bool,
}

impl Settling {
    /// Of one that was started now.
    pub fn new(now: Instant) -> Settling {
        Settling { started: now, next: now, was_busy: false }
    }

    /// When to look next, if anything depends on it.
    pub fn next_look(&self) -> Instant {
        self.next
    }

    /// Looks, if it is time to: since when CMD is there, if it is.
    pub fn look(&mut self, now: Instant, is_busy: impl FnOnce() -> bool) -> Option<Instant> {
        if now < self.next {
            return None;
        }
        if now < self.started + LONGEST && is_busy() {
            (self.next, self.was_busy) = (now + PAUSE, true);
            return None;
        }
        Some(if self.was_busy { now } else { self.started })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_once_it_rests() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        // Nobody looked while it was busy, if it was.
        assert_eq!(Settling::new(start).look(at(900), || false), Some(start));
        let mut busy = Settling::new(start);
        assert_eq!(busy.look(at(0), || true), None);
        assert_eq!(busy.look(at(1), || panic!("too early")), None);
        assert_eq!(busy.look(at(700), || true), None);
        assert_eq!(busy.look(at(800), || false), Some(at(800)));
        assert_eq!(busy.look(at(5000), || panic!("late enough")), Some(at(5000)));
    }
}
