//! The `stdpkt` command.
fn main() {}
