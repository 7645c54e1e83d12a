//! The `stdpkt` command.

pub mod perf;
pub mod stack;
