//! Whether a connection is a near one: how long it takes from one of its frames to what its
//! sender makes of the answer.

use std::time::{Duration, Instant};

use frames::Timestamps;

/// No round of a near connection takes longer. In as many rounds as it has packets under way, half of
/// them, TCP regains what it gave up (RFC 5681, section 3.1): at 10 Gbit/s within two seconds if a
/// round takes 2 ms, in twenty minutes if it takes 50.
const NEAR: Duration = Duration::from_millis(2);

/// So long it is then believed to be a near one.
pub(crate) const BELIEVED: Duration = Duration::from_millis(100);

/// So long after one that took longer none is looked at, so that looking costs nothing.
pub(crate) const REST: Duration = Duration::from_millis(10);

/// Looks at one connection at a time, as well in the middle of its path as at its end.
#[derive(Debug)]
pub enum Round {
    /// None is looked at.
    Rests { until: Option<Instant> },
    /// A frame has passed...
    Asked { at: Instant, frame: Timestamps },
    /// ...and its answer; a frame of who got that ends the round.
    Answered { asked: Instant, frame: Timestamps, answer: Timestamps },
    /// Whoever sent this frame is near.
    Near { frame: Timestamps, until: Instant },
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

    /// Whether the sender of this frame, which passes now, is known to be near. If nothing is known
    /// of anybody it is asked.
    pub fn is_near(&mut self, seen: &Timestamps, now: Instant) -> bool {
        match self {
            Round::Rests { until: None } => *self = Round::Asked { at: now, frame: *seen },
            Round::Answered { frame, answer, .. } if seen.answers(answer) => {
                *self = Round::Near { frame: *frame, until: now + BELIEVED };
            }
            _ => {}
        }
        matches!(self, Round::Near { frame, .. } if seen.is_of_sender_of(frame))
    }

    /// A frame passes the other way.
    pub fn look_for_answer(&mut self, seen: &Timestamps) {
        if let Round::Asked { at, frame } = self
            && seen.answers(frame)
        {
            *self = Round::Answered { asked: *at, frame: *frame, answer: *seen };
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
