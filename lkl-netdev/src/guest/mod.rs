//! LKL's kernel as a guest of this process, run by whoever waits for it.
//!
//! What the kernel needs of its host is a structure of function pointers, which it
//! reads at each call. [`take_over`] puts functions of this module there: kernel threads
//! become coroutines ([`fiber`]), semaphores can be looked at while one waits ([`sem`]),
//! the timer is asked for less often ([`timer`]), and the threads of the program look at
//! the devices' rings ([`crate::look`]).
#![allow(unsafe_code)]
// Unsafe lives here to be called by LKL and to call what it had before. The invariant:
// a semaphore's pointer is one that `sem_alloc` gave, and LKL uses it until `sem_free`.

pub(crate) mod fiber;
pub(crate) mod own;
pub(crate) mod sem;
mod timer;

use std::ffi::{c_int, c_void};
use std::ptr::{from_ref, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lkl_sys::{HostOperations, ProcessQueue, Thread, ThreadMain};

use crate::sync::lock;
use crate::{cores, fork, look, whose};
use fiber::Semaphore;
use own::{Own, own};

/// Has LKL's kernel run on the threads that wait for it, and has those look at the rings
/// of the devices that are added from now on.
///
/// To be called once, before `lkl_start_kernel` and before `lkl_netdev_add`. Returns
/// `false`, and changes nothing, where an operation is missing.
///
/// # Safety
/// `host` is LKL's `lkl_host_ops`, laid out as [`HostOperations`]; `process_queue` its
/// `virtio_process_queue`; both live as long as the process. The kernel does not run.
pub unsafe fn take_over(host: *mut HostOperations, process_queue: ProcessQueue) -> bool {
    // SAFETY: the caller's promise; nobody else uses it before the kernel runs.
    let host = unsafe { &mut *host };
    let read = || {
        Some(Own {
            process_queue,
            thread_create: host.thread_create?,
            thread_exit: host.thread_exit?,
            thread_join: host.thread_join?,
            thread_self: host.thread_self?,
            tls_get: host.tls_get?,
            longjmp: host.jmp_buf_longjmp?,
            timer_alloc: host.timer_alloc?,
            timer_set_oneshot: host.timer_set_oneshot?,
            timer_free: host.timer_free?,
        })
    };
    let Some(found) = read() else { return false };
    if !own::take(found) {
        return true;
    }
    fork::watch();
    host.sem_alloc = Some(sem_alloc);
    host.sem_free = Some(sem_free);
    host.sem_up = Some(sem_up);
    host.sem_down = Some(sem_down);
    host.thread_create = Some(thread_create);
    host.thread_exit = Some(thread_exit);
    host.thread_join = Some(thread_join);
    host.thread_self = Some(thread_self);
    host.tls_get = Some(tls_get);
    host.jmp_buf_longjmp = Some(longjmp);
    host.timer_alloc = Some(timer::alloc);
    host.timer_set_oneshot = Some(timer::set_oneshot);
    host.timer_free = Some(timer::free);
    true
}

/// Semaphores to be used again. Their memory is never given back: who posted one may
/// still be in `up` when the other has gone on and freed it.
static SPARE: Mutex<Vec<&'static Semaphore>> = Mutex::new(Vec::new());

unsafe extern "C" fn sem_alloc(count: c_int) -> *mut c_void {
    let spare = lock(&SPARE).pop();
    let sem = spare.unwrap_or_else(|| Box::leak(Box::new(Semaphore::new())));
    sem.reset(count as u32);
    from_ref(sem).cast_mut().cast()
}

/// # Safety
/// `sem` comes from [`sem_alloc`].
unsafe fn semaphore(sem: *mut c_void) -> &'static Semaphore {
    // SAFETY: the caller's promise; such a thing is never given back.
    unsafe { &*sem.cast() }
}

unsafe extern "C" fn sem_free(sem: *mut c_void) {
    // SAFETY: LKL's promise.
    lock(&SPARE).push(unsafe { semaphore(sem) });
}

unsafe extern "C" fn sem_up(sem: *mut c_void) {
    // SAFETY: LKL's promise.
    if let Some(fiber) = unsafe { semaphore(sem) }.up() {
        fiber::ready(fiber);
    }
}

unsafe extern "C" fn sem_down(sem: *mut c_void) {
    // SAFETY: LKL's promise.
    let sem = unsafe { semaphore(sem) };
    match fiber::id() {
        _ if sem.try_down() => {}
        Some(_) => fiber::down(sem),
        None if !whose::is_programs() => sem.sleep(),
        None => look::until_posted(sem),
    }
}

/// What a thread of LKL's library begins with.
struct Start {
    main: ThreadMain,
    argument: *mut c_void,
}

/// The kernel's threads become coroutines, those of LKL's library do not: they wait for
/// the host. The kernel's first one is made with no argument; it makes the next ones,
/// all of which begin with the same function.
unsafe extern "C" fn thread_create(main: ThreadMain, argument: *mut c_void) -> Thread {
    static FIRST: AtomicUsize = AtomicUsize::new(0);
    static FURTHER: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: written by the thread that boots the kernel, or those that it runs.
    let is_or_becomes = |known: &AtomicUsize| {
        let _ = known.compare_exchange(0, main as usize, Ordering::Relaxed, Ordering::Relaxed);
        known.load(Ordering::Relaxed) == main as usize
    };
    let is_kernel = match fiber::id() {
        Some(_) => is_or_becomes(&FURTHER),
        None => argument.is_null() && is_or_becomes(&FIRST),
    };
    if is_kernel {
        return fiber::spawn(main, argument);
    }
    let start = Box::into_raw(Box::new(Start { main, argument }));
    // SAFETY: LKL's own operation, with a function of its kind.
    let thread = unsafe { (own().thread_create)(own_thread, start.cast()) };
    if thread == 0 {
        // SAFETY: from above, and no thread has it.
        drop(unsafe { Box::from_raw(start) });
    }
    thread
}

unsafe extern "C-unwind" fn own_thread(start: *mut c_void) {
    // SAFETY: `thread_create` made it for this thread.
    let Start { main, argument } = *unsafe { Box::from_raw(start.cast::<Start>()) };
    whose::becomes_librarys(argument);
    keep_signals_away();
    cores::helps();
    // Nothing here needs to be dropped: the thread may end in `main`, by pthread_exit(3).
    // SAFETY: what LKL gave for this.
    unsafe { main(argument) };
    cores::ends();
}

/// The program's handlers run on the program's threads, as if there were no others.
fn keep_signals_away() {
    // SAFETY: a signal set is plain bits.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: pointers to sets, or none. Neither call can fail.
    unsafe {
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, null_mut());
    }
}

unsafe extern "C-unwind" fn thread_exit() {
    if fiber::id().is_some() {
        fiber::exit();
    }
    cores::ends();
    // SAFETY: LKL's own operation.
    unsafe { (own().thread_exit)() };
}

unsafe extern "C" fn thread_join(thread: Thread) -> c_int {
    if fiber::is_fiber(thread) {
        fiber::join(thread);
        return 0;
    }
    // SAFETY: LKL's own operation.
    unsafe { (own().thread_join)(thread) }
}

unsafe extern "C" fn thread_self() -> Thread {
    // SAFETY: LKL's own operation.
    fiber::id().unwrap_or_else(|| unsafe { (own().thread_self)() })
}

/// The kernel asks for this in each system call, on the program's thread, when it has
/// its processor: the time to look at the rings, for a program that never waits.
unsafe extern "C" fn tls_get(key: *mut c_void) -> *mut c_void {
    look::in_passing();
    // SAFETY: LKL's own operation.
    unsafe { (own().tls_get)(key) }
}

/// With this a thread of the host leaves the kernel when it has switched to another of
/// the kernel's threads, which may be one that it has to run.
unsafe extern "C-unwind" fn longjmp(buffer: *mut c_void, value: c_int) {
    // LKL's own threads, and who serves a device, do so a moment later.
    if fiber::id().is_none() && whose::is_programs() && !whose::is_serving() {
        fiber::run_all();
    }
    // SAFETY: LKL's own operation.
    unsafe { (own().longjmp)(buffer, value) };
}
