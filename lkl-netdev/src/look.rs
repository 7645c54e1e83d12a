//! Whoever waits looks: the threads of the program serve the devices.
//!
//! A thread of the program that waits in LKL's kernel runs the kernel's own threads
//! ([`crate::guest::fiber`]) and looks at the rings. When there is a frame, it has LKL
//! process the device's queue, on its own stack: the interrupt, TCP's work and, more
//! often than not, the post that this very thread waits for. No thread is woken and none
//! is switched to. A program that never waits looks [in passing](in_passing).
//!
//! One looks at a time, who has the [`Role`]. What a device's poll thread does meanwhile
//! is in [`crate::duty`].
#![allow(unsafe_code)]
// Unsafe lives here to reach devices from threads that LKL knows nothing of, and to call
// LKL with them. The invariant: what is in `DEVICES` is a device whose poll thread has
// not ended, so that neither LKL nor this crate has freed it; it is used with the lock
// held.

use std::cell::Cell;
use std::ffi::c_void;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use crate::guest::fiber::{self, Semaphore};
use crate::guest::own;
use crate::looks::Looks;
use crate::passing::Passing;
use crate::patience::Patience;
use crate::sides::Sides;
use crate::sync::lock;
use crate::{cores, fork, whose};

/// How long a poll thread dozes while somebody looks.
pub(crate) const TICK: Duration = Duration::from_micros(200);
/// Longest look of a program's thread.
const LOOK: Duration = Duration::from_micros(100);
/// After so long it gives way between looks: who it waits for may need this core.
const ALONE: Duration = Duration::from_micros(5);
/// Turns of `spin_loop` between two looks: each takes a line from the neighbour.
const PAUSE: u32 = 8;

/// LKL's queues of a network device.
const RX_QUEUE: u32 = 0;
const TX_QUEUE: u32 = 1;
/// `VIRTIO_ID_NET`, the first field of LKL's device.
const VIRTIO_NET: u32 = 1;

struct Entry {
    device: *const Sides,
    /// What LKL knows it by.
    lkl: *mut c_void,
}

// SAFETY: a device is used by many threads; LKL's functions may be called by any.
unsafe impl Send for Entry {}

static DEVICES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
/// Threads that wait for the lock, for which a looker gives it up.
static CALLERS: AtomicU32 = AtomicU32::new(0);
static LOOKS: LazyLock<Looks> = LazyLock::new(Looks::default);

thread_local! {
    static PATIENCE: Cell<Patience> = const { Cell::new(Patience::new(LOOK)) };
}

/// From now on, others may serve the device. On its poll thread.
pub(crate) fn join(device: &Sides) {
    let lkl = whose::argument();
    // SAFETY: what LKL's library gave to the thread that calls `poll`: its device, of
    // which this is the first field, as its virtio.h has it.
    if own::taken().is_some() && !lkl.is_null() && unsafe { *lkl.cast::<u32>() } == VIRTIO_NET {
        with_devices(|devices| devices.push(Entry { device, lkl }));
    }
}

/// Nobody else serves the device any more when this returns.
pub(crate) fn leave(device: &Sides) {
    with_devices(|devices| devices.retain(|entry| !std::ptr::eq(entry.device, device)));
}

fn with_devices(change: impl FnOnce(&mut Vec<Entry>)) {
    // Relaxed: a hint to who has the lock.
    CALLERS.fetch_add(1, Ordering::Relaxed);
    let mut devices = lock(&DEVICES);
    CALLERS.fetch_sub(1, Ordering::Relaxed);
    change(&mut devices);
}

/// Being the one who looks.
struct Role(MutexGuard<'static, Vec<Entry>>);

/// The role, unless somebody else has it, or is to have it.
fn role() -> Option<Role> {
    match DEVICES.try_lock() {
        _ if CALLERS.load(Ordering::Relaxed) > 0 => None,
        Ok(devices) => Some(Role(devices)),
        Err(TryLockError::Poisoned(poisoned)) => Some(Role(poisoned.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Whether somebody of the program looks, or may soon look again.
pub(crate) fn others_look(seen: &mut u32) -> bool {
    own::taken().is_some() && (LOOKS.go_on(seen) || role().is_none())
}

impl Role {
    /// Has LKL take what there is, for all devices; whether there was something.
    fn serve(&self) -> bool {
        whose::serving(|| {
            let mut any = false;
            for Entry { device, lkl } in &*self.0 {
                // SAFETY: see the invariant.
                any |= serve(unsafe { &**device }, *lkl);
            }
            any
        })
    }

    fn devices(&self) -> impl Iterator<Item = &Sides> {
        // SAFETY: see the invariant.
        self.0.iter().map(|entry| unsafe { &*entry.device })
    }

    /// Whether a look costs no system call.
    fn can_look(&self) -> bool {
        self.devices().any(|device| lock(&device.rx).is_rings())
    }

    /// Nobody looks any more; `false` when there is something to take.
    fn leaves_alone(&self) -> bool {
        self.devices().all(|device| lock(&device.rx).left_alone() && lock(&device.tx).left_alone())
    }

    /// Whether another thread waits for the role.
    fn is_called_for(&self) -> bool {
        CALLERS.load(Ordering::Relaxed) > 0
    }
}

/// LKL may miss, on the way out of a queue, what its driver puts there: so it looks once
/// more. Each side stores one index and loads the other's, with a lock between, so that
/// the second look finds what the first one missed.
fn serve(device: &Sides, lkl: *mut c_void) -> bool {
    let Some(own) = own::taken() else { return false };
    // SAFETY: LKL's function, and its device.
    let process = |queue| unsafe { (own.process_queue)(lkl, queue) };
    let tx = lock(&device.tx).take_ready();
    if tx {
        process(TX_QUEUE);
        if !lock(&device.tx).is_wanted() {
            process(TX_QUEUE);
        }
    }
    let rx = {
        let mut rx = lock(&device.rx);
        rx.begin_row();
        rx.take_ready(&device.control)
    };
    if rx {
        process(RX_QUEUE);
        if !lock(&device.rx).wanted {
            process(RX_QUEUE);
        }
    }
    tx || rx
}

/// Looks if it is time to. In a system call of LKL's, on a thread of the program, which
/// has the kernel's processor.
pub(crate) fn in_passing() {
    static PASSING: Passing = Passing::new();
    if !PASSING.is_due() || fork::is_child() {
        return;
    }
    if let Some(role) = role() {
        role.serve();
        PASSING.looked(role.devices().map(|device| lock(&device.tx).bytes).sum());
        LOOKS.end(true);
    }
}

/// A thread of the program waits at a semaphore of the kernel's.
pub(crate) fn until_posted(sem: &'static Semaphore) {
    if fork::is_child() {
        fork::end();
    }
    fiber::run_all();
    if sem.try_down() {
        return;
    }
    let mut patience = PATIENCE.get();
    let posted = role().is_some_and(|role| {
        let posted = look(sem, &role, &mut patience);
        LOOKS.end(posted);
        posted
    });
    if !posted {
        patience.slept(|| sem.sleep());
    }
    PATIENCE.set(patience);
}

/// Looks until the semaphore was posted, there was nothing for so long, or another thread
/// wants the role; whether it was posted.
fn look(sem: &Semaphore, role: &Role, patience: &mut Patience) -> bool {
    cores::follow();
    role.devices().for_each(|device| lock(&device.tx).waits());
    let budget = if role.can_look() { patience.budget() } else { Duration::ZERO };
    let mut start = Instant::now();
    loop {
        let served = role.serve();
        fiber::run_all();
        if sem.try_down() {
            return true;
        }
        if role.is_called_for() {
            // Poll threads that doze look within that; those that sleep are rung for.
            return false;
        }
        let elapsed = start.elapsed();
        if served {
            patience.found();
            start = Instant::now();
        } else if elapsed >= budget || elapsed >= ALONE && cores::is_crowded() {
            if role.leaves_alone() {
                return false;
            }
        } else if elapsed < ALONE {
            (0..PAUSE).for_each(|_| spin_loop());
        } else {
            cores::give_way();
        }
    }
}
