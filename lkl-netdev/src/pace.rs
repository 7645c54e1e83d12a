//! When the poll thread lingers before it sleeps.

use std::time::{Duration, Instant};

use crate::device::{Device, lock};

/// What was learned from the last waits.
pub(crate) struct Pace {
    spin: Duration,
    nap: Duration,
    naps: u32,
    last: u64,
    busy: bool,
}

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

impl Pace {
    pub fn new() -> Pace {
        Pace {
            spin: Duration::from_micros(env("P_SPIN", 0)),
            nap: Duration::from_micros(env("P_NAP", 0)),
            naps: env("P_NAPS", 1) as u32,
            last: 0,
            busy: false,
        }
    }

    /// `poll` reports frames; `served` were delivered so far.
    pub fn reported(&mut self, served: u64) {
        self.busy = served - self.last > 2;
        self.last = served;
    }

    /// Waits a moment; `true` when there is something to do.
    pub fn linger(&mut self, device: &Device) -> bool {
        let ready = || {
            let mut rx = lock(&device.rx);
            rx.wanted && rx.is_ready(device)
        };
        if !self.spin.is_zero() {
            let start = Instant::now();
            while start.elapsed() < self.spin {
                if ready() {
                    return true;
                }
                std::hint::spin_loop();
            }
        }
        if !self.nap.is_zero() && self.busy {
            for _ in 0..self.naps {
                let _ = rustix::thread::nanosleep(&rustix::thread::Timespec {
                    tv_sec: 0,
                    tv_nsec: self.nap.as_nanos() as i64,
                });
                if ready() {
                    return true;
                }
            }
        }
        false
    }

    pub fn slept<T>(&mut self, sleep: impl FnOnce() -> T) -> T {
        sleep()
    }
}
