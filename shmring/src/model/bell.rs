//! Doorbells and hang-up for the model checker.
//!
//! What the kernel promises and the ring relies on, and nothing more: a ring
//! makes each of the neighbour's halves readable once, whenever it comes; the
//! end of a process's last half is a hang-up that wakes, once, whoever sleeps.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use loom::sync::{Condvar, Mutex};

/// One half of one side of a link.
pub(crate) struct Waiter {
    link: Arc<Link>,
    side: usize,
    half: usize,
    hung_up: bool,
}

struct Link {
    sides: Mutex<[Side; 2]>,
    changed: Condvar,
}

#[derive(Default)]
struct Side {
    /// Halves that live; none left is a hang-up for the other side.
    halves: usize,
    /// An edge that the half has not taken note of.
    rung: [bool; 2],
}

impl Waiter {
    /// Both sides of a link with one half each.
    pub fn pair() -> (Waiter, Waiter) {
        let side = || Side { halves: 1, ..Side::default() };
        let sides = Mutex::new([side(), side()]);
        let link = Arc::new(Link { sides, changed: Condvar::new() });
        let waiter = |side| Waiter { link: link.clone(), side, half: 0, hung_up: false };
        (waiter(0), waiter(1))
    }

    /// The other half of a duplex link, with which it shares the doorbell and the socket.
    pub fn other_half(&self) -> Waiter {
        self.link.sides.lock().unwrap()[self.side].halves += 1;
        Waiter { link: self.link.clone(), half: 1, ..*self }
    }

    /// The same half in another process, which comes before this one goes. It hears
    /// nothing of what was rung before, which is less than the kernel promises.
    pub fn successor(&self) -> Waiter {
        let half = 1 - self.half;
        let mut sides = self.link.sides.lock().unwrap();
        sides[self.side].halves += 1;
        sides[self.side].rung[half] = false;
        Waiter { link: self.link.clone(), side: self.side, half, hung_up: false }
    }

    pub fn ring(&self) {
        self.link.sides.lock().unwrap()[1 - self.side].rung = [true; 2];
        self.link.changed.notify_all();
    }

    pub fn hung_up(&self) -> bool {
        self.hung_up
    }

    /// Sleeps until the doorbell or the hang-up. Time does not pass in a model,
    /// so a sleep that nobody ends is the deadlock that loom reports.
    pub fn sleep(&mut self, _timeout: Option<Duration>) -> std::io::Result<()> {
        self.poll();
        self.clear()
    }

    /// Waits until the descriptor is readable.
    pub fn poll(&self) {
        let mut sides = self.link.sides.lock().unwrap();
        while !self.readable(&sides) {
            sides = self.link.changed.wait(sides).unwrap();
        }
    }

    pub fn clear(&mut self) -> std::io::Result<()> {
        let mut sides = self.link.sides.lock().unwrap();
        sides[self.side].rung[self.half] = false;
        self.hung_up |= sides[1 - self.side].halves == 0;
        Ok(())
    }

    fn readable(&self, sides: &[Side; 2]) -> bool {
        sides[self.side].rung[self.half] || (!self.hung_up && sides[1 - self.side].halves == 0)
    }
}

impl Drop for Waiter {
    /// The kernel closes the socket, whatever its process died of.
    fn drop(&mut self) {
        self.link.sides.lock().unwrap()[self.side].halves -= 1;
        self.link.changed.notify_all();
    }
}

impl AsFd for Waiter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unreachable!("a model has no descriptors")
    }
}
