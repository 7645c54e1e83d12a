//! Benchmarks: what the measuring programs share.

pub mod machine;
pub mod stats;
