//! What a function does when its CMD has ended: it ends, too, or stays (`--keep`), or starts
//! CMD again (`--restart`), with the links that it has.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;

use super::held;
use crate::counted::{self, Counted};

/// Before CMD is started again for the first time; twice as long each time after that...
const FIRST: Duration = Duration::from_millis(100);
/// ...up to this.
const LONGEST: Duration = Duration::from_secs(10);
/// A CMD that lived so long was well: it begins at [`FIRST`] again.
const WELL: Duration = Duration::from_secs(10);
/// After so many lives in a row that were shorter, it is given up.
const MOST: u32 = 10;
/// What is counted under this name: how often, and after which status last.
pub const LABEL: &str = "restarts";

/// When CMD is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RestartArg {
    /// Whenever it has ended
    Always,
    /// When its status was not 0
    OnFailure,
}

/// What becomes of a CMD that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is not started again.
    End,
    /// Nor is this one, for it has ended so often in a row.
    GiveUp(u32),
    /// It is, after this time.
    Again(Duration),
}

/// What happens after CMD.
#[derive(Default)]
pub struct After {
    /// The function stays.
    keep: bool,
    /// None where CMD is not started again.
    when: Option<RestartArg>,
    /// CMD, and when it was started.
    argv: Vec<OsString>,
    started: Option<Instant>,
    /// When it is started again.
    again: Option<Instant>,
    /// Short lives in a row.
    short: u32,
    /// How often it was started again, and after which status last.
    restarts: [u64; 2],
    /// What `stdpkt ls` shows.
    counted: Option<Counted>,
}

impl After {
    /// As `--keep` and `--restart` say.
    ///
    /// # Errors
    /// Where there is no memory for what `stdpkt ls` shows.
    pub fn new(keep: bool, when: Option<RestartArg>) -> Result<After> {
        let counted = when.map(|_| Counted::new(LABEL)).transpose()?;
        let [count, status, ..] = counted::before(LABEL);
        let mut after =
            After { keep, when, counted, restarts: [count, status], ..After::default() };
        after.show();
        Ok(after)
    }

    fn show(&mut self) {
        let [count, status] = self.restarts;
        self.counted.iter_mut().for_each(|it| it.show([count, status, 0, 0]));
    }

    /// What comes after the function itself, which its holder sees to.
    pub fn of_holder(when: Option<RestartArg>) -> After {
        After { when, ..After::default() }
    }

    /// The function, the last life of which has begun a moment ago or long ago, was killed.
    pub fn died(&mut self, status: u8, now: Instant) -> Verdict {
        let started = self.started.unwrap_or(now);
        self.verdict(status, started, now)
    }

    /// A life of the function begins.
    pub fn lives(&mut self, now: Instant) {
        self.started = Some(now);
    }

    /// How often CMD or the function was started again, and after which status last.
    pub fn restarts(&self) -> [u64; 2] {
        self.restarts
    }

    /// The same, as the function says.
    pub fn set_restarts(&mut self, restarts: [u64; 2]) {
        self.restarts = restarts;
    }

    /// CMD was started.
    pub fn started(&mut self, argv: Vec<OsString>, now: Instant) {
        (self.argv, self.started) = (argv, Some(now));
    }

    /// From now on CMD is not started again: somebody wants it to end.
    pub fn cancel(&mut self) {
        (self.when, self.again) = (None, None);
    }

    /// When CMD is to be started again, if it is.
    pub fn deadline(&self) -> Option<Instant> {
        self.again
    }

    /// CMD, once, when it is to be started again.
    pub fn due(&mut self, now: Instant) -> Option<Vec<OsString>> {
        self.again.take_if(|at| now >= *at)?;
        Some(std::mem::take(&mut self.argv))
    }

    /// CMD has ended with this status; whether the function lives on, which the user is told.
    pub fn lives_on(&mut self, status: u8, now: Instant) -> bool {
        match self.verdict(status, self.started.unwrap_or(now), now) {
            Verdict::Again(wait) => {
                let seconds = wait.as_secs_f64();
                say::note!("CMD ended with status {status}: again in {seconds} s");
                self.again = Some(now + wait);
                held::restarted(self.restarts);
                true
            }
            Verdict::GiveUp(times) => {
                say::note!(
                    "CMD ended {times} times in a row, at last with status {status}: it is not started again"
                );
                false
            }
            Verdict::End => {
                if self.keep && status != 0 {
                    say::note!("CMD ended with status {status}, and the function stays (--keep)");
                }
                self.keep
            }
        }
    }

    /// CMD, started at `started`, has ended with this status.
    fn verdict(&mut self, status: u8, started: Instant, now: Instant) -> Verdict {
        let wanted = match self.when {
            // Whoever has failed and said so does not want to be started again.
            _ if status == crate::FAILED => false,
            None => false,
            Some(RestartArg::Always) => true,
            Some(RestartArg::OnFailure) => status != 0,
        };
        if !wanted {
            return Verdict::End;
        }
        let well = now.saturating_duration_since(started) >= WELL;
        self.short = if well { 0 } else { self.short + 1 };
        if self.short >= MOST {
            return Verdict::GiveUp(self.short);
        }
        self.restarts = [self.restarts[0] + 1, status.into()];
        self.show();
        let doubled = FIRST.saturating_mul(1 << self.short.saturating_sub(1));
        Verdict::Again(doubled.min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(when: Option<RestartArg>) -> After {
        After { when, ..After::default() }
    }

    #[test]
    fn what_was_asked_for_is_started_again_and_125_never() {
        let now = Instant::now();
        for (when, status, again) in [
            (None, 1, false),
            (Some(RestartArg::Always), 0, true),
            (Some(RestartArg::Always), 137, true),
            (Some(RestartArg::Always), 125, false),
            (Some(RestartArg::OnFailure), 0, false),
            (Some(RestartArg::OnFailure), 1, true),
            (Some(RestartArg::OnFailure), 125, false),
        ] {
            let verdict = after(when).verdict(status, now, now);
            let expected = if again { Verdict::Again(FIRST) } else { Verdict::End };
            assert_eq!(verdict, expected, "{when:?} {status}");
        }
        let mut cancelled = after(Some(RestartArg::Always));
        cancelled.cancel();
        assert_eq!(cancelled.verdict(1, now, now), Verdict::End);
    }

    #[test]
    fn short_lives_wait_longer_each_time_until_they_are_given_up() {
        let mut restart = after(Some(RestartArg::Always));
        let start = Instant::now();
        let mut waits = Vec::new();
        let last = loop {
            match restart.verdict(1, start, start + WELL / 2) {
                Verdict::Again(wait) => waits.push(wait.as_millis()),
                other => break other,
            }
        };
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(last, Verdict::GiveUp(MOST));
    }

    #[test]
    fn a_long_life_is_a_new_beginning() {
        let mut restart = after(Some(RestartArg::Always));
        let start = Instant::now();
        for _ in 0..3 * MOST {
            assert_eq!(restart.verdict(1, start, start), Verdict::Again(FIRST));
            assert_eq!(restart.verdict(1, start, start + WELL), Verdict::Again(FIRST));
        }
    }
}
