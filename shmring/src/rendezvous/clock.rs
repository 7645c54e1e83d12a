//! The waits of a rendezvous. None of them is for what has an event; each bounds what
//! one that is stopped, hostile or out of reach can keep from others.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use super::TIMER;
use super::common::Common;
use crate::error::LinkError;

/// How long a writer that has bytes to write holds them back for the first greeting. It
/// doubles each time, up to 32 s.
///
/// A reader that never answers is worth no more than none: the conversation ends, and
/// another one begins in case it was only slow (a stopped process, a debugger). Who
/// has nothing else to do waits on; it costs nothing, and keeps nobody out.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// The shortest wait before looking once more, for what is about to be gone. It doubles
/// each time, up to 1 s.
pub(super) const PAUSE: Duration = Duration::from_millis(1);
/// How long a promise waits for its READY once somebody else asks for the same.
pub(super) const PROMISE: Duration = Duration::from_secs(1);
/// How long the neighbour of a link may take to say that it lives, where another one can
/// do with less.
pub(super) const ANSWER: Duration = Duration::from_secs(3);
/// Who is to be seen for so long and cannot be reached never will be.
pub(super) const REACH: Duration = Duration::from_secs(1);

/// What there is to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    Look,
    Patience,
    Promise,
    Answer,
    Reach,
}

const ALARMS: [Alarm; 5] =
    [Alarm::Look, Alarm::Patience, Alarm::Promise, Alarm::Answer, Alarm::Reach];

#[derive(Default)]
pub(super) struct Clock {
    at: [Option<Instant>; ALARMS.len()],
    /// Made when the first alarm is set.
    timer: Option<OwnedFd>,
    /// For when the timer is set.
    armed: Option<Instant>,
}

impl Clock {
    pub fn set(&mut self, alarm: Alarm, at: Option<Instant>) {
        self.at[alarm as usize] = at;
    }

    /// Has the timer go off for the next alarm.
    pub fn arm(&mut self, common: &Common) -> Result<(), LinkError> {
        let next = self.at.iter().flatten().min().copied();
        if next == self.armed {
            return Ok(());
        }
        let timer = match self.timer.take() {
            Some(timer) => timer,
            None => {
                let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
                let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)
                    .map_err(|e| common.system("timerfd_create", e))?;
                common.add(&timer, TIMER, EventFlags::IN)?;
                timer
            }
        };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would stop it.
        let left =
            |at: Instant| at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let it_value = next.and_then(|at| Timespec::try_from(left(at)).ok()).unwrap_or(zero);
        let once = Itimerspec { it_interval: zero, it_value };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once)
            .map_err(|e| common.system("timerfd_settime", e))?;
        self.timer = Some(timer);
        self.armed = next;
        Ok(())
    }

    /// Takes out the alarms whose time has come.
    pub fn due(&mut self) -> Vec<Alarm> {
        let now = Instant::now();
        self.armed = None; // the timer has gone off
        if let Some(timer) = &self.timer {
            let _ = rustix::io::read(timer, &mut [0u8; 8]);
        }
        let mut due = ALARMS.to_vec();
        due.retain(|alarm| self.at[*alarm as usize].take_if(|at| *at <= now).is_some());
        due
    }
}
