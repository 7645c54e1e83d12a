//! The kernel is halted while another thread of the program waits in it and looks.
//!
//! Who halts posts the kernel's last thread, a coroutine, and waits for what that one
//! posts. Whoever looks may be the one who runs it.

use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::sem::Sem;

/// What the kernel's last thread does when it runs: `arch_cpu_idle` of LKL.
struct Last;

struct Kernel {
    /// Kernel threads that are ready, and how many: `fiber.rs`.
    run: Mutex<Vec<Last>>,
    ready: AtomicUsize,
    role: Mutex<()>,
    /// How often a device was served, and whether that may still be done.
    served: AtomicU32,
    device: AtomicBool,
    /// The last thread waits here.
    idle: Sem<Last>,
    /// Who halts waits here.
    shutdown: Sem<Last>,
    /// Another thread of the program waits here, for good: nothing comes any more.
    other: Sem<Last>,
}

impl Kernel {
    fn ready(&self, thread: Last) {
        let mut run = self.run.lock().unwrap();
        run.push(thread);
        self.ready.store(run.len(), Ordering::Relaxed);
    }

    fn run_all(&self) {
        while self.ready.load(Ordering::Relaxed) != 0 {
            let mut run = self.run.lock().unwrap();
            let next = run.pop();
            self.ready.store(run.len(), Ordering::Relaxed);
            drop(run);
            if next.is_some() {
                assert!(self.shutdown.up().is_none());
            }
        }
    }

    /// A thread of the program waits: `look.rs`. It looks so often at most.
    fn until_posted(&self, sem: &Sem<Last>) {
        self.run_all();
        if sem.try_down() {
            return;
        }
        if let Ok(_role) = self.role.try_lock() {
            for _ in 0..2 {
                if self.device.load(Ordering::Relaxed) {
                    self.served.fetch_add(1, Ordering::Relaxed);
                }
                self.run_all();
                if sem.try_down() {
                    return;
                }
                thread::yield_now();
            }
        }
        sem.sleep();
    }

    /// `lkl_netdev_remove`: nobody uses the device when it returns.
    fn remove(&self) {
        let _role = self.role.lock().unwrap();
        self.device.store(false, Ordering::Relaxed);
    }

    /// `lkl_sys_halt`.
    fn halt(&self) {
        if let Some(last) = self.idle.up() {
            self.ready(last);
        }
        self.until_posted(&self.shutdown);
    }
}

#[test]
fn a_kernel_is_halted_while_somebody_looks() {
    loom::model(|| {
        let zero = Sem::new;
        let kernel = Arc::new(Kernel {
            run: Mutex::new(Vec::new()),
            ready: AtomicUsize::new(0),
            role: Mutex::new(()),
            served: AtomicU32::new(0),
            device: AtomicBool::new(true),
            idle: zero(),
            shutdown: zero(),
            other: zero(),
        });
        assert!(kernel.idle.queue(Last).is_none());
        let other = kernel.clone();
        let looker = thread::spawn(move || other.until_posted(&other.other));
        kernel.remove();
        let served = kernel.served.load(Ordering::Relaxed);
        kernel.halt();
        // The memory that a device's queues lie in is given back now.
        assert_eq!(kernel.served.load(Ordering::Relaxed), served);
        // Only for the model to end: LKL leaves it there until the process does.
        assert!(kernel.other.up().is_none());
        looker.join().unwrap();
    });
}
