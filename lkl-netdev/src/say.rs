//! What a device has to say, on standard error.

use std::fmt::Display;

/// One line.
pub fn say(name: &str, what: impl Display) {
    ::say::line!("lkl-netdev: {name}: {what}");
}
