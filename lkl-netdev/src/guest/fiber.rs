//! The threads of LKL's kernel, as coroutines.
//!
//! LKL has one processor: of its kernel's threads one runs at a time, and hands over
//! to the next by posting that one's semaphore and waiting at its own. As threads of
//! the host each hand-over is a wake-up and two context switches, and they may lie on
//! any core. As coroutines they run on the stack that is theirs and on the thread that
//! waits for them: [`run_all`] is called by whoever posted a semaphore and has nothing
//! else to do then.
//!
//! Who makes one ready runs it, or is run by one who does: a coroutine by [`run_one`],
//! a thread of the program when it waits or leaves the kernel, LKL's poll thread at
//! the next `poll`. So none that is ready is forgotten, and nobody is woken for it.
#![allow(unsafe_code)]
// Unsafe lives here to call into C on a stack of our own. The invariant: a fiber's
// coroutine is resumed by the one thread that took it out of `RUN` (or created it), and
// suspended from within only.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::ffi::c_void;
use std::ptr::null;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use lkl_sys::{Thread, ThreadMain};

use super::sem::Sem;
use crate::sync::lock;
use crate::whose;

/// Bytes of a stack. LKL's kernel is made for 16 KiB; a signal's handler may run on top.
const STACK: usize = 256 << 10;

/// What a kernel thread wants when it stops running.
enum Request {
    /// To go on when this was posted.
    Down(&'static Semaphore),
    /// To go on when that other one has ended.
    Join(Thread),
    Exit,
}

type Stack = Coroutine<(), Request, (), DefaultStack>;

pub(crate) struct Fiber {
    id: Thread,
    stack: Mutex<Option<Resumable>>,
    /// What suspends it, once it runs.
    yielder: AtomicPtr<Yielder<(), Request>>,
}

struct Resumable(Stack);

// SAFETY: what runs on the stack is C code of LKL's kernel, which keeps nothing of the
// thread that it runs on from one request to the next, and this file.
unsafe impl Send for Resumable {}

/// One to be run, or waiting at a semaphore.
pub(crate) type Ref = Arc<Fiber>;
/// Kernel threads wait at it, or a thread of the host's.
pub(crate) type Semaphore = Sem<Ref>;

/// Those that are ready.
static RUN: Mutex<VecDeque<Ref>> = Mutex::new(VecDeque::new());
/// How many there are, to be looked at often.
static READY: AtomicUsize = AtomicUsize::new(0);

/// Those that have not ended, with who waits for that.
static LIVING: LazyLock<Mutex<HashMap<Thread, Option<Ref>>>> = LazyLock::new(Mutex::default);

/// Threads of the host that run one. Where there is none, which is most of the time,
/// nobody need ask what runs on the own thread: that costs more than all the rest of it.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static CURRENT: Cell<*const Fiber> = const { Cell::new(null()) };
}

/// What runs on this thread now. Never inlined: a fiber goes on on another thread than
/// it stopped on, and must not keep where that one's variable was.
#[inline(never)]
fn current() -> *const Fiber {
    CURRENT.get()
}

#[inline(never)]
fn set_current(fiber: *const Fiber) {
    CURRENT.set(fiber);
    whose::runs_kernel(!fiber.is_null());
}

/// The kernel thread that asks; `None` on a thread of the host.
pub(crate) fn id() -> Option<Thread> {
    // Relaxed: who runs one has counted itself.
    if RUNNING.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let fiber = current();
    // SAFETY: what is current is held by `run_one` further up on this thread.
    (!fiber.is_null()).then(|| unsafe { (*fiber).id })
}

/// Whether this is the identity of a kernel thread: odd, where one of the host's is an
/// aligned address.
pub(crate) fn is_fiber(id: Thread) -> bool {
    id & 1 == 1
}

/// A kernel thread that is to do `main`; 0 for want of memory.
pub(crate) fn spawn(main: ThreadMain, argument: *mut c_void) -> Thread {
    let Ok(stack) = DefaultStack::new(STACK) else { return 0 };
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = NEXT.fetch_add(2, Ordering::Relaxed);
    let fiber = Arc::new(Fiber { id, stack: Mutex::new(None), yielder: AtomicPtr::default() });
    let argument = argument as usize;
    let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), Request>, ()| {
        // SAFETY: held by `run_one`, see `id`.
        let own = unsafe { &*current() };
        own.yielder.store(std::ptr::from_ref(yielder).cast_mut(), Ordering::Relaxed);
        // SAFETY: what the kernel gave for this.
        unsafe { main(argument as *mut c_void) };
    });
    *lock(&fiber.stack) = Some(Resumable(coroutine));
    lock(&LIVING).insert(id, None);
    ready(fiber);
    id
}

/// One can go on. The caller sees to it that it does, see above.
pub(crate) fn ready(fiber: Ref) {
    let mut run = lock(&RUN);
    run.push_back(fiber);
    // Relaxed, here and below: a hint. Who has to run one made it ready, or has
    // synchronized with who did.
    READY.store(run.len(), Ordering::Relaxed);
}

fn suspend(request: Request) {
    // SAFETY: held by `run_one`, see `id`.
    let yielder = unsafe { (*current()).yielder.load(Ordering::Relaxed) };
    // SAFETY: lives on this very stack, below all that runs here.
    unsafe { (*yielder).suspend(request) };
}

/// Stops the kernel thread that asks until `sem` was posted.
pub(crate) fn down(sem: &'static Semaphore) {
    suspend(Request::Down(sem));
}

/// Ends the kernel thread that asks: does not return.
pub(crate) fn exit() {
    suspend(Request::Exit);
}

/// Waits for the end of a kernel thread.
pub(crate) fn join(id: Thread) {
    if self::id().is_some() {
        return suspend(Request::Join(id));
    }
    while lock(&LIVING).contains_key(&id) {
        if !run_one() {
            // It runs on another thread, or is about to.
            rustix::thread::sched_yield();
        }
    }
}

/// Runs a kernel thread that is ready until it has to wait; `false` if there is none.
pub(crate) fn run_one() -> bool {
    if READY.load(Ordering::Relaxed) == 0 {
        return false;
    }
    let mut run = lock(&RUN);
    let next = run.pop_front();
    READY.store(run.len(), Ordering::Relaxed);
    drop(run);
    let Some(mut fiber) = next else { return false };
    while let Some(same) = go_on(fiber) {
        fiber = same;
    }
    true
}

/// Runs all that are ready, and all that become so.
pub(crate) fn run_all() {
    while run_one() {}
}

/// Runs it until it has to wait, and returns it if it need not, after all.
fn go_on(fiber: Ref) -> Option<Ref> {
    let before = current();
    let Resumable(mut coroutine) = lock(&fiber.stack).take()?;
    RUNNING.fetch_add(1, Ordering::Relaxed);
    set_current(Arc::as_ptr(&fiber));
    let result = coroutine.resume(());
    set_current(before);
    RUNNING.fetch_sub(1, Ordering::Relaxed);
    let request = match result {
        CoroutineResult::Yield(Request::Exit) => {
            // SAFETY: on the stack are frames of C, and of this file, with nothing to drop.
            unsafe { coroutine.force_reset() };
            None
        }
        CoroutineResult::Yield(request) => {
            *lock(&fiber.stack) = Some(Resumable(coroutine));
            Some(request)
        }
        CoroutineResult::Return(()) => None,
    };
    match request {
        Some(Request::Down(sem)) => sem.queue(fiber),
        Some(Request::Join(other)) => match lock(&LIVING).get_mut(&other) {
            Some(waiting) => {
                *waiting = Some(fiber);
                None
            }
            None => Some(fiber),
        },
        _ => {
            let waiting = lock(&LIVING).remove(&fiber.id).flatten();
            waiting.into_iter().for_each(ready);
            None
        }
    }
}
