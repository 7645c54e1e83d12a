//! What the threads of a guest meet at. The models in `lkl-netdev/model` have loom's in its place.

pub(crate) use std::sync::Mutex;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

use rustix::thread::futex;

/// Sleeps while `word` has this value, or for less: whoever sleeps looks again.
pub(crate) fn wait(word: &AtomicU32, value: u32) {
    // Fails where the value is another one, or for a signal.
    let _ = futex::wait(word, futex::Flags::PRIVATE, value, None);
}

/// Wakes one who sleeps at `word`.
pub(crate) fn wake(word: &AtomicU32) {
    // Cannot fail: the word is mapped.
    let _ = futex::wake(word, futex::Flags::PRIVATE, 1);
}

/// What a poisoned mutex holds is consistent: no panic happens while one is held.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> impl std::ops::DerefMut<Target = T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
