//! What a program says to people, on standard error: a line at a time.
//!
//! The programs of a chain share one terminal. Each line is put together first
//! and then written by one write(2), so that it is not torn by the lines of
//! others (a pipe takes up to `PIPE_BUF`, 4096 bytes, whole). What stands in a
//! line may come from a neighbour, a file or the command line: control characters
//! are escaped, so that it stays one line and a terminal only shows it.
//!
//! [`error!`] is what went wrong: whoever says it ends with a status that is not
//! 0, see [`has_failed`]. [`note!`] is what users want to know and can live with,
//! [`detail!`] what only those want to know who ask (`-v`).
//!
//! Not by `eprintln!`, which writes piece by piece, panics where nobody reads
//! standard error, and in a program with LKL would pass through a hijacked libc.

use std::fmt::{Arguments, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// An error, after the name of the program. The process has failed.
#[macro_export]
macro_rules! error {
    ($($arg:tt)+) => { $crate::say_error(format_args!($($arg)+)) };
}

/// What is no error, after the name of the program.
#[macro_export]
macro_rules! note {
    ($($arg:tt)+) => { $crate::say_note(format_args!($($arg)+)) };
}

/// What only those want to know who ask for more, see [`set_verbose`].
#[macro_export]
macro_rules! detail {
    ($($arg:tt)+) => { if $crate::is_verbose() { $crate::note!($($arg)+) } };
}

/// A line as it is.
#[macro_export]
macro_rules! line {
    ($($arg:tt)+) => { $crate::say_line(format_args!($($arg)+)) };
}

static FAILED: AtomicBool = AtomicBool::new(false);

/// Whether this process has said an error.
pub fn has_failed() -> bool {
    // Nothing else is read because of it; threads that say something are joined before.
    FAILED.load(Ordering::Relaxed)
}

/// A failure of which a line tells already: an error that is not to be said again.
#[derive(Debug)]
pub struct Said;

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("this was said already")
    }
}

impl std::error::Error for Said {}

static VERBOSE: AtomicBool = AtomicBool::new(false);

/// From now on, [`detail!`] says what it has to.
pub fn set_verbose() {
    // Said before there are other threads or processes that could say something.
    VERBOSE.store(true, Ordering::Relaxed);
}

#[doc(hidden)]
pub fn is_verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed) // see `set_verbose`
}

/// The process has failed, and somebody else has said why.
pub fn fail() {
    FAILED.store(true, Ordering::Relaxed); // see `has_failed`
}

#[doc(hidden)]
pub fn say_error(what: Arguments<'_>) {
    fail();
    say_note(what);
}

static NAME: OnceLock<String> = OnceLock::new();

/// From now on, lines say which function speaks. Said once.
pub fn set_name(name: &str) {
    let _ = NAME.set(name.to_owned());
}

#[doc(hidden)]
pub fn say_note(what: Arguments<'_>) {
    match NAME.get() {
        Some(name) => say_line(format_args!("stdpkt: {name}: {what}")),
        None => say_line(format_args!("stdpkt: {what}")),
    }
}

#[doc(hidden)]
pub fn say_line(what: Arguments<'_>) {
    let mut line = String::new();
    for c in what.to_string().chars() {
        // Writing to a string cannot fail.
        let _ = match c.is_control() {
            true => write!(line, "{}", c.escape_default()),
            false => line.write_char(c),
        };
    }
    line.push('\n');
    text(line);
}

/// Several lines, or what another program said, as it is.
pub fn text(text: impl AsRef<[u8]>) {
    let mut bytes = text.as_ref();
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), bytes) {
            Ok(written @ 1..) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if there_is_room() => {}
            // Nobody can be told that standard error is closed.
            Ok(_) | Err(_) => return,
        }
    }
}

/// Waits for a standard error that does not block; a second is enough for any
/// reader that reads at all.
fn there_is_room() -> bool {
    let stderr = rustix::stdio::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let limit = Timespec { tv_sec: 1, tv_nsec: 0 };
    poll(&mut fds, Some(&limit)).is_ok_and(|ready| ready > 0)
}
