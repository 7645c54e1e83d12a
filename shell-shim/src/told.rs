//! Who of a chain tells what went wrong: where one function fails, the others
//! lose their neighbours one after the other, and have nothing to add.
//!
//! Whoever says an error sets the sticky bit of the pipes to its neighbours. On a
//! pipe that means nothing to the kernel or to any program, it goes with the pipe,
//! and both of its ends see it, whoever starts or ends first. A neighbour that
//! finds it there ends without a line, with the same status, and sets it in turn.
//! FIFOs are files of the user's, and are not touched.

use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use crate::succession::heir;
use rustix::fs::{FileType, Mode, fchmod, fstat, fstatfs};
use shmring::LinkError;

/// `PIPEFS_MAGIC` (`include/uapi/linux/magic.h`): where pipes without a name live.
const PIPEFS: i64 = 0x5049_5045;

/// Whether a neighbour had said an error when this process marked its pipes.
static BEFORE: OnceLock<bool> = OnceLock::new();

/// This process has said an error, or its neighbour has: others need not.
pub fn mark() {
    if heir::is_waiting() {
        return; // they are not this process's
    }
    BEFORE.get_or_init(is_marked);
    each_pipe(|pipe, mode| {
        // Refused where the pipe is another user's: then there are two lines.
        let _ = fchmod(pipe, mode | Mode::SVTX);
    });
}

/// Says an error that comes of a neighbour's end, unless that told why.
pub fn say_of_neighbour(what: impl Display) {
    match is_told() {
        true => say::fail(),
        false => say::error!("{what}"),
    }
    mark();
}

/// Whether an error was said already, here or by the neighbour whose end it is.
pub fn is_said(error: &anyhow::Error) -> bool {
    let gone = matches!(error.downcast_ref(), Some(LinkError::NeighbourGone { .. }));
    error.is::<say::Said>() || gone && is_told()
}

fn is_told() -> bool {
    BEFORE.get().copied().unwrap_or_else(is_marked)
}

fn is_marked() -> bool {
    let mut marked = false;
    each_pipe(|_, mode| marked |= mode.contains(Mode::SVTX));
    marked
}

fn each_pipe(mut each: impl FnMut(BorrowedFd<'_>, Mode)) {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    for fd in [stdin.as_fd(), stdout.as_fd()] {
        let Ok(stat) = fstat(fd) else { continue };
        let is_pipe = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo
            && fstatfs(fd).is_ok_and(|fs| fs.f_type == PIPEFS);
        if is_pipe {
            each(fd, Mode::from_raw_mode(stat.st_mode));
        }
    }
}
