//! What a process is to a pipe.

use std::fmt;

/// Which end of a pipe a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads the pipe.
    Reader,
    /// Writes the pipe.
    Writer,
    /// Holds a FIFO by path, as its neighbour does.
    Either,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Reader => "reader",
            Role::Writer => "writer",
            Role::Either => "pair of neighbours",
        })
    }
}
