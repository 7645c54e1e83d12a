//! How a side that connects learns that a listener has come, and that time is up.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use super::{Common, STATE};
use crate::error::LinkError;

pub(super) const WATCH: u64 = STATE;
pub(super) const TIMER: u64 = STATE + 2;

/// Changes of the directory that are looked at one by one.
const MANY: usize = 256;

pub(super) struct Watch {
    /// An inotify instance that watches the runtime directory. None until the
    /// listener is known not to be there yet: a user may have 128 of them.
    dir: Option<OwnedFd>,
    /// Runs while a greeting is unanswered, or until the next one.
    timer: OwnedFd,
}

impl Watch {
    pub fn new(common: &Common) -> Result<Watch, LinkError> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)
            .map_err(|e| common.system("timerfd_create", e))?;
        common.add(&timer, TIMER, EventFlags::IN)?;
        Ok(Watch { dir: None, timer })
    }

    /// Begins to watch the directory; `false` when it did before. A listener
    /// that comes after this is an event, one that came before has to be looked
    /// for.
    pub fn begin(&mut self, common: &Common) -> Result<bool, LinkError> {
        if self.dir.is_some() {
            return Ok(false);
        }
        let dir = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(|e| common.system("inotify_init", e))?;
        inotify::add_watch(&dir, common.dir.path(), inotify::WatchFlags::MOVED_TO)
            .map_err(|e| common.system("inotify_add_watch", e))?;
        common.add(&dir, WATCH, EventFlags::IN)?;
        self.dir = Some(dir);
        Ok(true)
    }

    /// Whether the directory's events tell of a listener at our address.
    pub fn sees_a_listener(&self, common: &Common) -> Result<bool, LinkError> {
        let Some(dir) = &self.dir else { return Ok(false) };
        let address = common.dir.address(common.end.id());
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(dir, &mut buffer);
        let mut there = false;
        for _ in 0..MANY {
            match events.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_bytes());
                    there |= name == address.file_name().map(|n| n.as_encoded_bytes());
                    there |= event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW);
                }
                Err(Errno::AGAIN) => return Ok(there),
                Err(Errno::INTR) => {}
                Err(e) => return Err(common.system("read(inotify)", e)),
            }
        }
        // There is no end of them: look.
        Ok(true)
    }

    /// Zero stops the timer.
    pub fn set_timer(&self, common: &Common, after: Duration) -> Result<(), LinkError> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec::try_from(after).unwrap_or(zero);
        let once = Itimerspec { it_interval: zero, it_value };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)
            .map_err(|e| common.system("timerfd_settime", e))?;
        Ok(())
    }

    /// The end of the watch, while a link is up already.
    pub fn close(self, common: &Common) -> Closing {
        common.remove(&self.timer);
        let Some(dir) = self.dir else { return Closing(None) };
        common.remove(&dir);
        // Where there can be no thread it is closed, and waited for, here.
        Closing(std::thread::Builder::new().spawn(move || drop(dir)).ok())
    }
}

/// An inotify instance on its way out. close(2) of one waits for a grace period
/// of the kernel, milliseconds in which a link that is up would carry nothing.
/// Dropping this waits for the rest of it, so that no descriptor outlives its link.
pub(crate) struct Closing(Option<JoinHandle<()>>);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(closing) = self.0.take() {
            // It does not panic.
            let _ = closing.join();
        }
    }
}
