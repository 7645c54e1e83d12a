//! `stdpkt wire`: an imperfect cable.

mod change;
mod conditions;
mod fate;
mod line;
#[cfg(test)]
mod tests;
mod values;
mod way;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::filter::Direction;
use super::{Part, Work, left, right};
use crate::door::Call;
use crate::door::messages::{Reply, Request};
use crate::name::NameArg;
use crate::run::signals::Signals;
use cable::Cable;
pub use conditions::Conditions;
use shmring::RuntimeDir;
use values::Value;
use way::Way;

/// `stdpkt wire`. Each value is for both directions, or, as in `--loss
/// right-to-left=5%`, for one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stdpkt run --right 10.0.0.1/24 -- ping 10.0.0.2 |
    stdpkt wire --delay 20ms --loss 1% |
    stdpkt run --left 10.0.0.2/24
  stdpkt wire --rate 10mbit --limit 100 --seed 7
  stdpkt wire --loss right-to-left=5%")]
pub struct WireArgs {
    /// Change the wire that runs and has this name or process id, instead of being one; what
    /// is not said stays
    #[arg(long, value_name = "NAME", conflicts_with_all = ["seed", "name"])]
    pub set: Option<String>,

    /// How long packets are on their way
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub delay: Vec<Value<Duration>>,

    /// How much longer or shorter than that it takes, at most
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub jitter: Vec<Value<Duration>>,

    /// Part of the packets that is lost
    #[arg(long, value_name = "PERCENT", value_parser = values::share)]
    pub loss: Vec<Value<f64>>,

    /// Part of the packets that arrives twice
    #[arg(long, value_name = "PERCENT", value_parser = values::share)]
    pub duplicate: Vec<Value<f64>>,

    /// Part of the packets that is not delayed and overtakes others
    #[arg(long, value_name = "PERCENT", value_parser = values::share)]
    pub reorder: Vec<Value<f64>>,

    /// Part of the packets that arrives with one bit changed
    #[arg(long, value_name = "PERCENT", value_parser = values::share)]
    pub corrupt: Vec<Value<f64>>,

    /// Bits in a second, as 100mbit; what comes faster waits
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    pub rate: Vec<Value<u64>>,

    /// Packets that wait or are on their way at most, 10000 by default; more are dropped
    #[arg(long, value_name = "N", value_parser = values::limit)]
    pub limit: Vec<Value<usize>>,

    /// With the same number the same packets are lost, doubled and so on; any by default
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// What it is called.
    #[command(flatten)]
    pub name: NameArg,
}

impl WireArgs {
    /// What was asked for one direction; the rest is as `before`.
    fn conditions(&self, direction: Direction, before: Conditions) -> Conditions {
        let share =
            |values: &[Value<f64>], before| values::choose(values, direction).unwrap_or(before);
        let time = |values: &[Value<Duration>], before| {
            values::choose(values, direction).unwrap_or(before)
        };
        Conditions {
            delay: time(&self.delay, before.delay),
            jitter: time(&self.jitter, before.jitter),
            loss: share(&self.loss, before.loss),
            duplicate: share(&self.duplicate, before.duplicate),
            reorder: share(&self.reorder, before.reorder),
            corrupt: share(&self.corrupt, before.corrupt),
            rate: values::choose(&self.rate, direction).or(before.rate),
            limit: values::choose(&self.limit, direction).unwrap_or(before.limit),
        }
    }
}

/// Passes packets on, as a bad cable does, until a neighbour ends.
///
/// # Errors
/// One line that names the option or link.
pub fn run(args: &WireArgs) -> Result<u8> {
    if let Some(name) = &args.set {
        return change::request(name);
    }
    args.name.introduce(&[], "wire");
    let seed = args.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let mut wire = Wire::new(seed)?;
    wire.change(args)?;
    let plans = vec![left()?, right()?];
    let status = super::run(plans, Some(Signals::new()?), &mut wire)?;
    wire.there.tell("left to right", seed);
    wire.back.tell("right to left", seed);
    Ok(status)
}

struct Wire {
    there: Way,
    back: Way,
    /// Rings when the next packet is due.
    timer: OwnedFd,
}

impl Wire {
    /// A perfect one.
    fn new(seed: u64) -> Result<Wire> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("timerfd_create")?;
        let [there, back] =
            [Direction::LeftToRight, Direction::RightToLeft].map(|it| Way::new(seed, it));
        Ok(Wire { there, back, timer })
    }

    /// What happens from now on to packets that go in this direction. Those that are on their
    /// way arrive when they would have.
    ///
    /// # Errors
    /// One line that says what cannot be; nothing has changed then.
    fn set(&mut self, direction: Direction, conditions: Conditions) -> Result<()> {
        conditions.check()?;
        match direction {
            Direction::LeftToRight => self.there.set(conditions),
            Direction::RightToLeft => self.back.set(conditions),
        }
        Ok(())
    }

    /// The same in both directions, as options say.
    fn change(&mut self, args: &WireArgs) -> Result<()> {
        let there = args.conditions(Direction::LeftToRight, self.there.conditions());
        let back = args.conditions(Direction::RightToLeft, self.back.conditions());
        // Before any of it is done.
        back.check()?;
        self.set(Direction::LeftToRight, there)?;
        self.set(Direction::RightToLeft, back)
    }

    /// Wakes us when the next packet is due.
    fn wind(&self, due: Option<Instant>, now: Instant) {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would stop it.
        let after = due.map(|due| due.saturating_duration_since(now).max(Duration::from_nanos(1)));
        let after = after.and_then(|it| Timespec::try_from(it).ok()).unwrap_or(zero);
        let once = Itimerspec { it_interval: zero, it_value: after };
        // Fails only for what is no time.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }
}

impl Work for Wire {
    fn part(&self) -> Part {
        Part::Through
    }

    fn turn(&mut self, cables: &mut [Cable]) -> Result<bool> {
        let [left, right] = cables else { return Ok(false) };
        let there = self.there.turn(left, right);
        let back = self.back.turn(right, left);
        Ok(there || back)
    }

    fn arm(&mut self, cables: &mut [Cable]) -> bool {
        let [left, right] = cables else { return true };
        let now = Instant::now();
        let sleep = self.there.arm(left, right, now) & self.back.arm(right, left, now);
        if sleep {
            self.wind(self.there.due(now).into_iter().chain(self.back.due(now)).min(), now);
        }
        sleep
    }

    fn flush(&mut self, cables: &mut [Cable]) -> bool {
        let [left, right] = cables else { return true };
        let (there, back) = (self.there.flush(right), self.back.flush(left));
        there && back
    }

    fn asked(&mut self, call: &Call, _: &mut Vec<Cable>, _: &RuntimeDir) -> Result<Reply> {
        let Request::Conditions { options } = &call.request else {
            return Err(call.request.not_here());
        };
        self.change(&change::parse(options)?)?;
        Ok(Reply::Done)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.timer.as_fd())
    }

    fn ready(&mut self, _: &mut Vec<Cable>, _: &RuntimeDir) -> Result<()> {
        // Nobody else reads it.
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
        Ok(())
    }

    fn is_over(&self, cables: &[Cable]) -> bool {
        let [left, right] = cables else { return true };
        // What is on its way arrives, if somebody is there.
        (left.is_gone() || right.is_gone())
            && (self.there.is_empty() || right.is_gone())
            && (self.back.is_empty() || left.is_gone())
    }
}
