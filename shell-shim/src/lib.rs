//! The `stdpkt` command.

pub mod perf;
