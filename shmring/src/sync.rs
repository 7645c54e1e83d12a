//! The one seam for atomics, so that a model checker can stand in for them.

pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
