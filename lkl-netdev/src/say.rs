//! What a device has to say, on standard error.

use std::fmt::Display;

/// One line. Not by `eprintln!`, which would pass through the hijacked libc.
pub fn say(name: &str, what: impl Display) {
    let line = format!("lkl-netdev: {name}: {what}\n");
    // Nobody can be told that standard error is closed.
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}
