//! Benchmarks: frames between two processes over every channel there is, and
//! what the measuring programs share.
//!
//! [`channels`] has the channels, [`harness`] runs one of them between this
//! process and another and checks every frame, [`report`] makes tables and
//! plots of it. The rivals in `comparison/` go through the same three.

pub mod channels;
pub mod harness;
pub mod links;
pub mod machine;
pub mod netperf;
pub mod programs;
pub mod report;
pub mod spent;
pub mod stats;
