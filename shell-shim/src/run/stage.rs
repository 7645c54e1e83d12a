//! Where a function is in its life, and why it has to end.

use super::stop::Stop;

/// Where a function is in its life.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Living,
    /// CMD has to end, for this reason.
    Stopping(Stop, Why),
    /// CMD has ended or there is none; what it sent still leaves. The exit status.
    Leaving(u8),
    /// That has left, and edges in the place of neighbours hand over the rest of it.
    Closing(u8),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its link has ended: it may read what had arrived before.
    LinkEnded,
    /// A signal said so.
    Told,
    /// A second one: what it sent is not waited for.
    Hurried,
}
