//! What those who change a chain have to know of each function in it.

use std::time::{Duration, Instant};

use anyhow::Result;
use cable::Driver;

/// So long the new function may take for the links. It has nothing else to do.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// So long frames that are on their way out may take to get into links that change hands.
pub const FLUSH: Duration = Duration::from_millis(100);

/// Has links that can change hands.
pub trait Member: Driver {
    /// Sends what is inside, as far as there is room before `until`, and takes nothing in;
    /// whether nothing is left.
    fn flush(&mut self, until: Instant) -> bool;

    /// Whether another one can take its place.
    ///
    /// # Errors
    /// A line for the user: why not.
    fn can_hand_over(&self) -> Result<()> {
        Ok(())
    }

    /// Whether frames can wait for a moment before they are sent.
    ///
    /// # Errors
    /// A line for the user: why not.
    fn can_hold(&self) -> Result<()>;

    /// Whether it can be taken out of its chain: what it gets on one side it sends on the
    /// other, and its neighbours would understand each other.
    ///
    /// # Errors
    /// A line for the user: why not.
    fn can_leave(&self) -> Result<()>;
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// It was answered, and life goes on.
    Done,
    /// Another function has the links: this one is to end at once.
    Gone,
}
