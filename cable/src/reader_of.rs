//! Whether whoever reads a pipe that we write is one like us.

use shmring::holders::{Holder, exe, holders};

/// What is known of the other end of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// A program like this one, which will be ready in a moment.
    Aware,
    /// Another program.
    Other,
    /// Nobody yet, a shell that may become either, or not ours to look at.
    Unknown,
}

/// Looks for the readers of a pipe.
pub(super) fn reader_of(pipe: (u64, u64)) -> Reader {
    let us = exe(std::process::id());
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let parent = exe(parent as u32);
    let kind = |holder: Holder| match holder.exe {
        exe if exe.is_none() || exe == parent => Reader::Unknown,
        exe if exe == us => Reader::Aware,
        _ => Reader::Other,
    };
    let readers = holders(pipe).found.into_iter().filter(|holder| holder.reads).map(kind);
    readers.fold(Reader::Unknown, |known, it| match (known, it) {
        (Reader::Aware, _) | (_, Reader::Aware) => Reader::Aware,
        (Reader::Other, _) | (_, Reader::Other) => Reader::Other,
        _ => Reader::Unknown,
    })
}
