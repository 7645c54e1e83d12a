//! How long a thread looks for frames before it sleeps.

use std::time::{Duration, Instant};

/// After a shorter sleep than this, a look would have been worth it.
const SHORT: Duration = Duration::from_micros(400);
/// Below this, a look finds nothing.
const LEAST: Duration = Duration::from_micros(2);

/// How long a look may take, learnt from how long the last sleeps took.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    longest: Duration,
    budget: Duration,
}

impl Patience {
    pub const fn new(longest: Duration) -> Patience {
        Patience { longest, budget: Duration::ZERO }
    }

    pub fn budget(&self) -> Duration {
        self.budget
    }

    /// Learns from how long `sleep` took.
    pub fn slept<T>(&mut self, sleep: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = sleep();
        self.budget = if start.elapsed() < SHORT { self.longest } else { self.budget / 2 };
        if self.budget < LEAST {
            self.budget = Duration::ZERO;
        }
        result
    }
}
