//! Whether a connection is a near one: how long it takes from one of its frames to what its
//! sender makes of the answer.

use std::time::{Duration, Instant};

use frames::Segment;

/// No round of a near connection takes longer. In as many rounds as it has packets under way, half of
/// them, TCP regains what it gave up (RFC 5681, section 3.1): at 10 Gbit/s within two seconds if a
/// round takes 2 ms, in twenty minutes if it takes 50.
const NEAR: Duration = Duration::from_millis(2);

/// So long it is then believed to be a near one.
pub(crate) const BELIEVED: Duration = Duration::from_millis(100);

/// So long after one that took longer none is looked at.
pub(crate) const REST: Duration = Duration::from_millis(10);

/// Looks at one connection at a time, as well in the middle of its path as at its end.
#[derive(Debug)]
pub enum Round {
    /// None is looked at.
    Rests { until: Option<Instant> },
    /// A frame has passed...
    Asked { at: Instant, frame: Segment },
    /// ...and its answer; a frame of who got a later one ends the round.
    Answered { asked: Instant, answer: Segment },
    /// Whoever sent this frame is near.
    Near { frame: Segment, until: Instant },
}

impl Default for Round {
    fn default() -> Round {
        Round::Rests { until: None }
    }
}

impl Round {
    /// Whether an answer is waited for.
    #[inline]
    pub fn is_asked(&self) -> bool {
        matches!(self, Round::Asked { .. })
    }

    /// Whether the next frame may end the round.
    #[inline]
    pub fn is_answered(&self) -> bool {
        matches!(self, Round::Answered { .. })
    }

    /// Whether it makes no difference which frame passes.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Round::Rests { until: Some(_) } | Round::Asked { .. })
    }

    /// A frame passes now, which may end the round.
    pub fn look_for_end(&mut self, seen: &Segment, now: Instant) {
        // The sender may have got an answer of before with the same timestamp, so that it takes a
        // later one: the round seems to take up to a tick longer than it does, and never less.
        if let Round::Answered { answer, .. } = self
            && seen.is_after_answer(answer)
        {
            *self = Round::Near { frame: *seen, until: now + BELIEVED };
        }
    }

    /// Whether the sender of this frame, which passes now, is known to be near. If nothing is known
    /// of anybody it is asked.
    pub fn is_near(&mut self, seen: &Segment, now: Instant) -> bool {
        if let Round::Rests { until: None } = self {
            *self = Round::Asked { at: now, frame: *seen };
        }
        matches!(self, Round::Near { frame, .. } if seen.is_of_sender_of(frame))
    }

    /// A frame passes the other way.
    pub fn look_for_answer(&mut self, seen: &Segment) {
        // By its number: many frames have one timestamp, and where this thread had no processor
        // the answer to the first of them waits here when the last is read.
        if let Round::Asked { at, frame } = self
            && seen.acknowledges(frame)
        {
            *self = Round::Answered { asked: *at, answer: *seen };
        }
    }

    /// Gives up what has taken too long, and forgets what was known for long enough.
    pub fn expire(&mut self, now: Instant) {
        match *self {
            Round::Asked { at: asked, .. } | Round::Answered { asked, .. }
                if now - asked > NEAR =>
            {
                *self = Round::Rests { until: Some(now + REST) };
            }
            Round::Rests { until: Some(until) } | Round::Near { until, .. } if now >= until => {
                *self = Round::default();
            }
            _ => {}
        }
    }
}
