//! Loom's in the place of `lkl-netdev/src/sync.rs`.

pub(crate) use loom::sync::Mutex;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

use loom::sync::{Condvar, MutexGuard};

loom::lazy_static! {
    /// Where all sleep: nobody is woken by chance for ever, as all look again.
    static ref SLEEP: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
}

pub(crate) fn wait(word: &AtomicU32, value: u32) {
    let guard = SLEEP.0.lock().unwrap();
    // A futex compares and sleeps in one step, for those who wake.
    if word.load(Ordering::SeqCst) == value {
        drop(SLEEP.1.wait(guard).unwrap());
    }
}

pub(crate) fn wake(_word: &AtomicU32) {
    drop(SLEEP.0.lock().unwrap());
    SLEEP.1.notify_all();
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
