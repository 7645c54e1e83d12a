//! The one seam for atomics, so that a model checker can stand in for them.
//!
//! `RUSTFLAGS="--cfg loom"` builds the ring over loom's atomics. They cannot be
//! laid over mapped bytes, so the modules under `model/` then stand in for
//! those that touch the system: `region` (a header and words on the heap, each
//! word a loom cell), `slot` (the payload) and `bell` (a condition variable).
//! `ring.rs`, what is to be checked, is the same text in both builds.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{Ordering, fence};
#[cfg(not(loom))]
pub(crate) use real::{AtomicU8, AtomicU32, AtomicU64};

/// By names of our own, so that clippy can tell who came through here: it refuses
/// the types themselves in all other files (`clippy.toml`).
#[cfg(not(loom))]
#[allow(clippy::disallowed_types, reason = "this is the seam")]
mod real {
    use core::sync::atomic;

    pub(crate) type AtomicU8 = atomic::AtomicU8;
    pub(crate) type AtomicU32 = atomic::AtomicU32;
    pub(crate) type AtomicU64 = atomic::AtomicU64;
}

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
