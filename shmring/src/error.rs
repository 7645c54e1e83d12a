//! What can go wrong: one small type for each group of operations.

#[cfg(not(loom))]
use crate::role::Role;

/// Why [`Producer::reserve`](crate::Producer::reserve) or a framed pipe gave no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No room now; [`Producer::wait`](crate::Producer::wait) or poll the descriptor.
    #[error("there is no room at the moment")]
    Full,
    /// The frame is longer than the link's largest frame.
    #[error("a frame of {len} bytes is longer than the link's largest of {max} bytes")]
    TooLong {
        /// Bytes asked for.
        len: usize,
        /// The link's largest frame in bytes.
        max: usize,
    },
    /// The neighbour closed its end or died.
    #[error("the neighbour closed the link")]
    Closed,
    /// The neighbour wrote an impossible index or state into the shared memory; how it is wrong.
    #[error("the neighbour does not keep to the link's format ({0})")]
    Corrupt(&'static str),
}

/// Why [`Consumer::borrow`](crate::Consumer::borrow) or a framed pipe gave no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// Nothing there now; [`Consumer::wait`](crate::Consumer::wait) or poll the descriptor.
    #[error("there is no frame at the moment")]
    Empty,
    /// Every committed frame was delivered and no more will come.
    #[error("end of file: the neighbour closed the link")]
    Ended,
    /// The neighbour wrote an impossible index or length, into shared memory or a pipe;
    /// how it is wrong.
    #[error("the neighbour does not keep to the link's format ({0})")]
    Corrupt(&'static str),
}

/// Why a rendezvous came to no link.
#[cfg(not(loom))]
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The descriptor is neither a pipe, a FIFO nor a Unix socket.
    #[error("{what} is {found}, not a pipe, FIFO or Unix socket")]
    NotAPipe {
        /// The descriptor's name for people.
        what: String,
        /// What it is instead.
        found: &'static str,
    },
    /// Somebody else already reads this pipe.
    #[error(
        "{what} already has a {role}, {by}; a pipe joins one reader to its writers: use another pipe or FIFO"
    )]
    Taken {
        /// The descriptor's name for people.
        what: String,
        /// The role that is taken.
        role: Role,
        /// Who has it.
        by: String,
    },
    /// Who holds the other end is of another user.
    #[error(
        "{what}: {who} is at its other end, and a link joins processes of one user: start both as the same user"
    )]
    OtherUser {
        /// The descriptor's name for people.
        what: String,
        /// Who that is.
        who: String,
    },
    /// Who holds the other end cannot be reached.
    #[error(
        "{what}: {who} is at its other end, but out of reach in another network namespace: start both in the same one, or set SHMRING_RUNTIME_DIR for both to one directory that both see"
    )]
    OutOfReach {
        /// The descriptor's name for people.
        what: String,
        /// Who that is.
        who: String,
    },
    /// The pipe was made by another user, who alone may open it anew.
    #[error("{what} belongs to {owner}: start all that it joins as one user")]
    NotOurs {
        /// The descriptor's name for people.
        what: String,
        /// Whose it is.
        owner: String,
    },
    /// Every other holder of the pipe is gone.
    #[error("the neighbour on {what} ended before the link was up")]
    NeighbourGone {
        /// The descriptor's name for people.
        what: String,
    },
    /// The pipe carries bytes: whoever writes there does not know of rings.
    #[error("{what} carries a byte stream, its writer does not speak to rings")]
    UnawareNeighbour {
        /// The descriptor's name for people.
        what: String,
    },
    /// The neighbour speaks another version.
    #[error(
        "the neighbour on {what} speaks version {theirs} of the handshake, this program {ours}"
    )]
    Version {
        /// The descriptor's name for people.
        what: String,
        /// Its version.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// The neighbour sent something that the handshake does not allow.
    #[error("the neighbour on {what} broke the handshake: {why}")]
    Protocol {
        /// The descriptor's name for people.
        what: String,
        /// The broken rule.
        why: &'static str,
    },
    /// The runtime directory cannot be trusted or used.
    #[error("runtime directory {path}: {why}")]
    RuntimeDir {
        /// The directory.
        path: String,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// A system call failed.
    #[error("{what}: {call}: {errno}")]
    System {
        /// The descriptor's name for people.
        what: String,
        /// The call.
        call: &'static str,
        /// Its error. Not a `source`: the text above has it already.
        errno: rustix::io::Errno,
    },
}
