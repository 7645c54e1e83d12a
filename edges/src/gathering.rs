//! How long small frames are left in a TAP to gather.

use std::time::{Duration, Instant};

use cable::edge::Burst;

use crate::backlog::SMALL;

/// How long a stream of small frames is left to itself before the next look.
/// As long as frames wait, more come, and one look and one doorbell serve them
/// all; their acknowledgements come later, too, and what the program writes
/// until then goes into larger frames. Taken at once, each small write would
/// cross the chain as a frame of its own.
const BRIEF: Duration = Duration::from_micros(20);

/// The same for a flood of them, whose sender waits for nothing. At a million frames a second a
/// fifth of what a TAP has room for (`txqueuelen`, 1000) comes in meanwhile.
const LONG: Duration = Duration::from_micros(200);

/// What is counted together: several times [`LONG`].
const WINDOW: Duration = Duration::from_millis(1);

/// So many frames in a [`WINDOW`] may be a flood.
const FLOOD: usize = 40;

/// For so many windows the better wait is kept before the other is tried for one: a trial in
/// vain costs half a percent.
const KEPT: u32 = 200;

/// The same where the long wait was left because hardly anything came any more. That may
/// have been a moment in which the sender had no processor.
const SLUMPED: u32 = 20;

/// Whether frames wait in a TAP on purpose, and until when.
///
/// A long wait holds back whoever has a small window or waits for an answer, and which sender does is not
/// seen in its frames. So the long wait is tried, and kept where three quarters of the bytes come that
/// came with the brief one, until less than half of them do.
#[derive(Debug)]
pub struct Gathering {
    until: Option<Instant>,
    wait: Wait,
    window: Option<Window>,
}

/// Rates are in bytes a millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// The long one may be tried after so many windows.
    Brief { windows: u32 },
    /// The long one for one window, after the brief one had this rate.
    Tried { brief: u64 },
    /// The brief one is tried after so many windows.
    Long { brief: u64, windows: u32 },
}

#[derive(Debug)]
struct Window {
    began: Instant,
    seen: Burst,
}

impl Default for Gathering {
    fn default() -> Gathering {
        Gathering { until: None, wait: Wait::Brief { windows: 0 }, window: None }
    }
}

impl Gathering {
    /// Whether frames wait on purpose.
    #[inline]
    pub fn is_on(&mut self) -> bool {
        self.until.take_if(|until| Instant::now() >= *until);
        self.until.is_some()
    }

    /// The TAP was read, at this time, until it was empty or for long enough.
    #[inline]
    pub fn look(&mut self, burst: Burst, is_empty: bool, now: Instant) {
        if burst.frames > 0 {
            self.count(burst, now);
        }
        // Where more waits already it is not to be so much that frames are dropped.
        let wait = if is_empty { self.wait.takes() } else { BRIEF };
        self.until = may_grow(burst).then(|| now + wait);
    }

    fn count(&mut self, burst: Burst, now: Instant) {
        let window = self.window.get_or_insert(Window { began: now, seen: Burst::default() });
        window.seen.frames += burst.frames;
        window.seen.bytes += burst.bytes;
        let took = now - window.began;
        if took < WINDOW {
            return;
        }
        // In one that took much longer nothing came, or this thread had no processor.
        if took < WINDOW * 3 / 2 {
            let rate = window.seen.bytes as u64 * 1000 / took.as_micros() as u64;
            self.wait = self.wait.after(window.seen.frames, rate);
        }
        *window = Window { began: now, seen: Burst::default() };
    }
}

impl Wait {
    fn takes(self) -> Duration {
        match self {
            Wait::Brief { .. } => BRIEF,
            Wait::Tried { .. } | Wait::Long { .. } => LONG,
        }
    }

    /// After a window with so many frames and this rate.
    fn after(self, frames: usize, rate: u64) -> Wait {
        match self {
            Wait::Brief { windows: 0 } if frames >= FLOOD => Wait::Tried { brief: rate },
            Wait::Brief { windows } => Wait::Brief { windows: windows.saturating_sub(1) },
            Wait::Tried { brief } if rate < brief / 4 * 3 => Wait::Brief { windows: KEPT },
            Wait::Tried { brief } => Wait::Long { brief, windows: KEPT },
            Wait::Long { brief, .. } if rate < brief / 2 => Wait::Brief { windows: SLUMPED },
            Wait::Long { windows: 0, .. } => Wait::Brief { windows: 0 },
            Wait::Long { brief, windows } => Wait::Long { brief, windows: windows - 1 },
        }
    }
}

/// Whether it is a stream of small frames with something in them: one frame
/// alone may be a question to which the answer is waited for, large ones
/// are full, and acknowledgements stay as small as they are.
fn may_grow(burst: Burst) -> bool {
    burst.frames > 1 && (256..SMALL).contains(&burst.mean())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender of so many bytes a frame: what has come after a wait, and for how long
    /// it is then waited.
    fn wait_after(
        gathering: &mut Gathering,
        now: &mut Instant,
        windows: u32,
        frame: usize,
        frames_in: impl Fn(Duration) -> usize,
    ) -> Duration {
        let end = *now + WINDOW * windows;
        let mut wait = BRIEF;
        while *now < end {
            *now += wait;
            let frames = frames_in(wait);
            gathering.look(Burst { frames, bytes: frames * frame }, true, *now);
            wait = gathering.until.map_or(BRIEF, |until| until - *now);
        }
        wait
    }

    /// Of 1000 windows those after which it is waited for so long.
    fn windows_with(
        wait: Duration,
        gathering: &mut Gathering,
        now: &mut Instant,
        frame: usize,
        frames_in: impl Fn(Duration) -> usize,
    ) -> usize {
        (0..1000).filter(|_| wait_after(gathering, now, 1, frame, &frames_in) == wait).count()
    }

    /// It sends 200 frames a millisecond whatever happens.
    fn floods(wait: Duration) -> usize {
        (wait.as_micros() / 5) as usize
    }

    /// It waits for an answer after each two.
    fn asks(_: Duration) -> usize {
        2
    }

    #[test]
    fn a_flood_is_waited_for() {
        let (mut gathering, mut now) = (Gathering::default(), Instant::now());
        assert_eq!(wait_after(&mut gathering, &mut now, 5, 1500, floods), LONG);
        // The brief wait is tried now and then, and is no better.
        let long = windows_with(LONG, &mut gathering, &mut now, 1500, floods);
        assert!((950..1000).contains(&long), "{long}");
    }

    #[test]
    fn whoever_waits_for_an_answer_is_held_back_for_one_window_in_many() {
        let (mut gathering, mut now) = (Gathering::default(), Instant::now());
        let brief = windows_with(BRIEF, &mut gathering, &mut now, 2000, asks);
        assert!((950..1000).contains(&brief), "{brief}");
    }

    #[test]
    fn after_a_flood_whoever_waits_for_an_answer_is_soon_served() {
        let (mut gathering, mut now) = (Gathering::default(), Instant::now());
        assert_eq!(wait_after(&mut gathering, &mut now, 50, 1500, floods), LONG);
        assert_eq!(wait_after(&mut gathering, &mut now, 3, 2000, asks), BRIEF);
    }

    #[test]
    fn a_sender_with_a_small_window_is_not_held_back() {
        // Of 40 frames, which a brief wait sees as often.
        let window = |_: Duration| 40;
        let (mut gathering, mut now) = (Gathering::default(), Instant::now());
        assert_eq!(wait_after(&mut gathering, &mut now, 50, 1500, window), BRIEF);
    }

    #[test]
    fn nothing_waits_for_long_where_more_wait_than_were_read() {
        let (mut gathering, mut now) = (Gathering::default(), Instant::now());
        assert_eq!(wait_after(&mut gathering, &mut now, 5, 1500, floods), LONG);
        gathering.look(Burst { frames: 64, bytes: 64 * 1500 }, false, now);
        assert_eq!(gathering.until, Some(now + BRIEF));
    }

    #[test]
    fn single_large_and_empty_frames_wait_for_nothing() {
        let (mut gathering, mut now) = (Gathering::default(), Instant::now());
        assert_eq!(wait_after(&mut gathering, &mut now, 5, 1500, floods), LONG);
        for (frames, bytes) in [(0, 0), (1, 1500), (5, 5 * SMALL), (5, 5 * 66)] {
            gathering.look(Burst { frames, bytes }, true, now);
            assert_eq!(gathering.until, None, "{frames} frames of {bytes} bytes");
        }
    }
}
