//! Every interleaving of the threads that look at a device's ring, of its poll thread
//! and of a neighbour, as far as `LOOM_MAX_PREEMPTIONS` goes.
//!
//! The poll thread's states and the semaphores are the text of `lkl-netdev`. The ring is
//! one of frames that are counted, with the order of stores and loads that `shmring` has,
//! where its own models are. A sleep that nobody ends is a deadlock, which loom reports.
//! Run by `ci/loom.sh`.

#[cfg(all(loom, test))]
#[allow(dead_code, reason = "a model needs less of it")]
#[path = "../../src/duty.rs"]
mod duty;
#[cfg(all(loom, test))]
mod halt;
#[cfg(all(loom, test))]
mod handover;
#[cfg(all(loom, test))]
#[path = "../../src/looks.rs"]
mod looks;
#[cfg(all(loom, test))]
mod ring;
#[cfg(all(loom, test))]
#[allow(dead_code, reason = "a model needs less of it")]
#[path = "../../src/guest/sem.rs"]
mod sem;
#[cfg(all(loom, test))]
mod semaphores;
#[cfg(all(loom, test))]
mod sync;
