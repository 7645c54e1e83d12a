//! The semaphores of LKL's kernel.
//!
//! Either a host's thread waits at one, or kernel threads do, which are coroutines
//! (`F`) and need to be run by somebody to go on.

use std::collections::VecDeque;

use crate::sync::{AtomicU32, Mutex, Ordering, fence, lock, wait, wake};

pub(crate) struct Sem<F> {
    /// How often it was posted and not yet taken.
    count: AtomicU32,
    /// Threads of the host that sleep here, or are about to.
    sleepers: AtomicU32,
    /// Kernel threads that wait here, none of which runs.
    fibers: Mutex<VecDeque<F>>,
}

impl<F> Sem<F> {
    pub fn new() -> Sem<F> {
        let zero = || AtomicU32::new(0);
        Sem { count: zero(), sleepers: zero(), fibers: Mutex::new(VecDeque::new()) }
    }

    /// Makes it as good as new.
    pub fn reset(&self, count: u32) {
        self.count.store(count, Ordering::Relaxed);
    }

    /// Posts it: lets one who waits go on. The kernel thread that can is returned, and
    /// has to be run by somebody.
    #[must_use]
    pub fn up(&self) -> Option<F> {
        let mut fibers = lock(&self.fibers);
        if let Some(fiber) = fibers.pop_front() {
            return Some(fiber);
        }
        // Release, and Acquire in `try_down`: what was done before a post is seen after it.
        self.count.fetch_add(1, Ordering::Release);
        drop(fibers);
        // POST: each side stores one word and loads the other's. With a fence between, one
        // of the two sees what the other stored; see `sleep`.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) != 0 {
            wake(&self.count);
        }
        None
    }

    /// Takes it, if it was posted.
    pub fn try_down(&self) -> bool {
        let mut count = self.count.load(Ordering::Relaxed);
        while count > 0 {
            // Acquire: see `up`.
            match self.count.compare_exchange(
                count,
                count - 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => count = now,
            }
        }
        false
    }

    /// Takes it for a thread of the host, however long that takes.
    pub fn sleep(&self) {
        // POST, the other side.
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        while !self.try_down() {
            wait(&self.count, 0);
        }
        // Relaxed: who still sees this one wakes nobody.
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Lets a kernel thread wait here which does not run any more. It is given back if
    /// it need not wait.
    pub fn queue(&self, fiber: F) -> Option<F> {
        // Under the lock, so that no post comes between the look and the queue.
        let mut fibers = lock(&self.fibers);
        if self.try_down() {
            return Some(fiber);
        }
        fibers.push_back(fiber);
        None
    }
}
