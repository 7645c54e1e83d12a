//! Neighbours that mean no good. Whatever they do, this side gets an error or
//! drops the link: no panic, no signal, no hang, nothing left behind.
#![cfg(not(loom))]
#![allow(clippy::disallowed_types, reason = "atomics of a test, not of the ring")]

mod descriptors;
mod greeting;
mod leaks;
mod memory;
mod neighbour;
mod scarcity;
mod support;
mod users;
