//! What a cable does to packets on their way.

use std::time::Duration;

use anyhow::{Result, ensure};

/// Packets that wait at most, unless said otherwise.
pub const USUAL_LIMIT: usize = 10_000;

/// What one direction of a cable does. Shares are parts of all packets, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// How long a packet is on its way...
    pub delay: Duration,
    /// ...and how much longer or shorter than that, evenly distributed.
    pub jitter: Duration,
    /// Share that is lost.
    pub loss: f64,
    /// Share that arrives twice.
    pub duplicate: f64,
    /// Share that is not delayed and thereby overtakes those that are.
    pub reorder: f64,
    /// Share with one bit changed.
    pub corrupt: f64,
    /// Bits in a second; without it, there is no limit.
    pub rate: Option<u64>,
    /// Packets that wait at most.
    pub limit: usize,
}

impl Default for Conditions {
    fn default() -> Conditions {
        Conditions {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            corrupt: 0.0,
            rate: None,
            limit: USUAL_LIMIT,
        }
    }
}

impl Conditions {
    /// Whether nothing happens to packets.
    pub fn are_perfect(&self) -> bool {
        *self == Conditions { limit: self.limit, ..Conditions::default() }
    }

    /// Whether all of it can be.
    ///
    /// # Errors
    /// One line that says what cannot.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.jitter <= self.delay,
            "--jitter: more than the delay, which it makes longer or shorter: give a --delay of at least as much"
        );
        ensure!(
            self.reorder == 0.0 || !self.delay.is_zero(),
            "--reorder: without a delay there is nobody to overtake: give --delay as well"
        );
        Ok(())
    }
}
