//! What the tests have in common.

pub mod chains;
pub mod need;
pub mod procs;
pub mod scene;
pub mod terminal;

use std::time::{Duration, Instant};

/// No test may take longer for one step. A watchdog, not a claim.
pub const WATCHDOG: Duration = Duration::from_secs(60);
/// Within this time whatever must go is gone; tests say how long it took.
pub const SOON: Duration = Duration::from_secs(10);

/// Looks again and again until `done` is `Ok`; returns how long that took.
///
/// # Panics
/// With what `done` said last, after `limit`. The time in which we were stopped
/// does not count.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> Result<(), String>) -> Duration {
    let start = Instant::now();
    let mut waited = Duration::ZERO;
    loop {
        let look = Instant::now();
        let Err(why) = done() else { return start.elapsed() };
        assert!(waited < limit, "not within {limit:?}: {why}");
        std::thread::sleep(Duration::from_millis(5));
        waited += look.elapsed().min(Duration::from_secs(1));
    }
}
