//! Who looks, who sleeps, who is woken: nobody sleeps on while there is a frame.

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::duty::Duty;
use crate::looks::Looks;
use crate::ring::{Doorbell, Ring};
use crate::sem::Sem;

/// The receiving side of a device, as `receive.rs` has it.
struct Side {
    duty: Duty,
    /// LKL found nothing, and was not told since that there is a frame.
    wanted: bool,
}

struct Model {
    ring: Ring,
    bell: Doorbell,
    side: Mutex<Side>,
    /// Who has it looks.
    role: Mutex<()>,
    callers: AtomicU32,
    looks: Looks,
    removed: AtomicBool,
    sem: Sem<()>,
}

impl Model {
    fn new() -> Arc<Model> {
        Arc::new(Model {
            ring: Ring::default(),
            bell: Doorbell::new(),
            side: Mutex::new(Side { duty: Duty::new(), wanted: true }),
            role: Mutex::new(()),
            callers: AtomicU32::new(0),
            looks: Looks::default(),
            removed: AtomicBool::new(false),
            sem: Sem::new(),
        })
    }

    /// Has LKL take what there is, if it was not told before; whether there was something.
    fn serve(&self) -> bool {
        {
            let mut side = self.side.lock().unwrap();
            if !(side.wanted && self.ring.has_frame()) {
                return false;
            }
            side.wanted = false;
        }
        loop {
            let mut side = self.side.lock().unwrap();
            if self.ring.has_frame() {
                side.duty.found();
                self.ring.take();
                // Where a looker took it, the poll thread is to hear of the end of the model.
                self.bell.ring();
            } else if side.duty.empty(&mut &self.ring) {
                side.wanted = true;
                return true;
            }
        }
    }

    /// A thread of the program waits: `look.rs`.
    fn until_posted(&self) {
        if self.sem.try_down() {
            return;
        }
        if let Ok(role) = self.role.try_lock() {
            let posted = loop {
                let served = self.serve();
                if self.sem.try_down() {
                    break true;
                }
                if self.callers.load(Ordering::Relaxed) > 0 {
                    break false;
                }
                if !served && self.side.lock().unwrap().duty.left_alone(&mut &self.ring) {
                    break false;
                }
            };
            self.looks.end(posted);
            drop(role);
            if posted {
                return;
            }
        }
        self.sem.sleep();
    }

    /// LKL's poll thread, until `frames` were taken or the device is removed: `poller.rs`.
    fn poll(&self, frames: u32) {
        let mut seen = 0;
        while self.ring.taken() < frames && !self.removed.load(Ordering::Acquire) {
            if self.serve() {
                continue;
            }
            if self.looks.go_on(&mut seen) || self.role.try_lock().is_err() {
                self.side.lock().unwrap().duty.doze();
                // For so long at most.
                thread::yield_now();
            } else {
                let mut side = self.side.lock().unwrap();
                let wanted = side.wanted;
                if !side.duty.sleep(&mut &self.ring, wanted) {
                    continue;
                }
                let deaf = side.duty.is_deaf();
                drop(side);
                match deaf {
                    true => thread::yield_now(),
                    false => self.bell.wait(),
                }
            }
            self.side.lock().unwrap().duty.wake(&mut &self.ring);
        }
    }

    /// Nobody else serves the device when this returns.
    fn leave(&self) {
        self.callers.fetch_add(1, Ordering::Relaxed);
        let role = self.role.lock().unwrap();
        self.callers.fetch_sub(1, Ordering::Relaxed);
        drop(role);
    }
}

/// The poll thread ends only when the frame was taken, by whomever.
#[test]
fn a_frame_that_comes_while_a_looker_gives_up_is_found() {
    loom::model(|| {
        let model = Model::new();
        let (poll, look) = (model.clone(), model.clone());
        let poller = thread::spawn(move || {
            poll.poll(1);
            // The frame was what the program waited for.
            assert!(poll.sem.up().is_none());
        });
        let looker = thread::spawn(move || look.until_posted());
        model.ring.send(&model.bell);
        poller.join().unwrap();
        looker.join().unwrap();
        assert_eq!(model.ring.taken(), 1);
    });
}

#[test]
fn a_looker_whose_semaphore_was_posted_leaves_the_rest_to_the_poll_thread() {
    loom::model(|| {
        let model = Model::new();
        let (poll, look) = (model.clone(), model.clone());
        let poller = thread::spawn(move || poll.poll(1));
        let looker = thread::spawn(move || look.until_posted());
        assert!(model.sem.up().is_none());
        looker.join().unwrap();
        // Nobody looks any more, and no ring but the frame's.
        model.ring.send(&model.bell);
        poller.join().unwrap();
    });
}

#[test]
fn two_look_and_both_go_on_when_posted() {
    loom::model(|| {
        let model = Model::new();
        let lookers = [(); 2].map(|()| {
            let model = model.clone();
            thread::spawn(move || model.until_posted())
        });
        assert!(model.sem.up().is_none() && model.sem.up().is_none());
        lookers.into_iter().for_each(|looker| looker.join().unwrap());
    });
}

/// Nobody uses a device that was removed, and its removal does not wait for traffic to end.
#[test]
fn a_device_that_is_removed_is_left_by_who_looks() {
    loom::model(|| {
        let model = Model::new();
        let (poll, look) = (model.clone(), model.clone());
        let poller = thread::spawn(move || {
            poll.poll(u32::MAX);
            poll.leave();
            // LKL's thread has ended: who called lkl_netdev_remove goes on.
            assert!(poll.sem.up().is_none());
        });
        let looker = thread::spawn(move || look.until_posted());
        model.ring.send(&model.bell);
        model.removed.store(true, Ordering::Release);
        model.bell.ring();
        poller.join().unwrap();
        looker.join().unwrap();
    });
}
