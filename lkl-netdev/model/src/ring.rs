//! A ring of frames that are counted, and its bell.

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use loom::sync::{Condvar, Mutex};

use crate::duty::Bell;

#[derive(Default)]
pub(crate) struct Ring {
    sent: AtomicU32,
    taken: AtomicU32,
    /// The receiver asked for the bell.
    asked: AtomicBool,
}

/// An edge that stays until it is taken note of.
pub(crate) struct Doorbell(Mutex<bool>, Condvar);

impl Doorbell {
    pub fn new() -> Doorbell {
        Doorbell(Mutex::new(false), Condvar::new())
    }

    pub fn ring(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_one();
    }

    pub fn wait(&self) {
        let mut rung = self.0.lock().unwrap();
        while !*rung {
            rung = self.1.wait(rung).unwrap();
        }
        *rung = false;
    }
}

impl Ring {
    /// The neighbour sends.
    pub fn send(&self, bell: &Doorbell) {
        self.sent.fetch_add(1, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.asked.load(Ordering::Relaxed) {
            self.asked.store(false, Ordering::Relaxed);
            bell.ring();
        }
    }

    pub fn has_frame(&self) -> bool {
        self.sent.load(Ordering::Acquire) != self.taken.load(Ordering::Relaxed)
    }

    /// Takes a frame that there is.
    pub fn take(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Bell for &Ring {
    fn ask(&mut self) -> bool {
        self.asked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let empty = !self.has_frame();
        if !empty {
            self.asked.store(false, Ordering::Relaxed);
        }
        empty
    }

    fn take_back(&mut self) {
        self.asked.store(false, Ordering::Relaxed);
    }
}
