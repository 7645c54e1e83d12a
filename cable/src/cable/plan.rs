//! What a cable is to be.

use shmring::Offer;

use crate::outlet::Outlet;

/// A pipe to be used as a cable, or what is in the place of one.
pub struct CablePlan {
    /// The pipe.
    pub end: Outlet,
    /// What to offer the neighbour.
    pub offer: Offer,
    /// Whether the function ends when nobody holds the other end any more, as that of
    /// a `|`. A FIFO that was opened by its path may always get a new neighbour.
    pub vital: bool,
    /// Whether to tell the user of a link that carries frames one way only.
    pub expects_both_ways: bool,
    /// What to do when no neighbour turns up that knows of rings.
    pub fallback: Fallback,
}

/// When frames go into the pipe itself as a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Never: a FIFO waits for whom it is meant for.
    Never,
    /// When the reader is another program, or nothing is known of it in time.
    IfUnaware,
    /// From the start, until a neighbour turns up.
    AtOnce,
}
