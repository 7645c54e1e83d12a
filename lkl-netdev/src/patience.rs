//! How long a thread looks for frames before it sleeps.

use std::time::{Duration, Instant};

/// After a shorter sleep than this, a look would have been worth it.
const SHORT: Duration = Duration::from_micros(400);
/// Below this, a look finds nothing.
const LEAST: Duration = Duration::from_micros(2);
/// So many looks in vain in a row, each before a short sleep, show that what it waits for does not
/// come sooner for its looking.
const IN_VAIN: u32 = 32;
/// Sleeps until it is tried again.
const HOLDOFF: u32 = 256;

/// How long a look may take, learnt from how long the last sleeps took.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    longest: Duration,
    budget: Duration,
    in_vain: u32,
    holdoff: u32,
}

impl Patience {
    pub const fn new(longest: Duration) -> Patience {
        Patience { longest, budget: Duration::ZERO, in_vain: 0, holdoff: 0 }
    }

    pub fn budget(&self) -> Duration {
        self.budget
    }

    /// A look found something.
    pub fn found(&mut self) {
        self.in_vain = 0;
    }

    /// Learns from how long `sleep` took.
    pub fn slept<T>(&mut self, sleep: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = sleep();
        if self.holdoff > 0 {
            self.holdoff -= 1;
        } else if start.elapsed() >= SHORT {
            self.budget = if self.budget < LEAST { Duration::ZERO } else { self.budget / 2 };
        } else {
            self.in_vain += u32::from(self.budget == self.longest);
            self.budget = self.longest;
            if self.in_vain == IN_VAIN {
                *self = Patience { holdoff: HOLDOFF, ..Patience::new(self.longest) };
            }
        }
        result
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_micros(100);

    fn slept_for(patience: &mut Patience, time: Duration) {
        patience.slept(|| std::thread::sleep(time));
    }

    #[test]
    fn short_sleeps_buy_a_look_and_long_ones_take_it_back() {
        let mut patience = Patience::new(LOOK);
        assert!(patience.budget().is_zero());
        patience.slept(|| ());
        assert_eq!(patience.budget(), LOOK);
        for _ in 0..8 {
            slept_for(&mut patience, SHORT);
        }
        assert!(patience.budget().is_zero());
    }

    #[test]
    fn looks_in_vain_are_given_up_for_a_while() {
        let mut patience = Patience::new(LOOK);
        for _ in 0..IN_VAIN {
            patience.slept(|| ());
            assert_eq!(patience.budget(), LOOK);
        }
        for _ in 0..=HOLDOFF {
            patience.slept(|| ());
            assert!(patience.budget().is_zero());
        }
        for _ in 0..10 * IN_VAIN {
            patience.slept(|| ());
            assert_eq!(patience.budget(), LOOK);
            patience.found();
        }
    }
}
