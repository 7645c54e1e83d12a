//! LKL's own host operations.

use std::sync::OnceLock;

use lkl_sys::{
    LongJump, ProcessQueue, ThreadCreate, ThreadJoin, ThreadSelf, TimerAlloc, TimerFree, TimerSet,
    TlsGet,
};

/// What LKL had, and is called from here.
pub(crate) struct Own {
    pub process_queue: ProcessQueue,
    pub thread_create: ThreadCreate,
    pub thread_exit: unsafe extern "C-unwind" fn(),
    pub thread_join: ThreadJoin,
    pub thread_self: ThreadSelf,
    pub tls_get: TlsGet,
    pub longjmp: LongJump,
    pub timer_alloc: TimerAlloc,
    pub timer_set_oneshot: TimerSet,
    pub timer_free: TimerFree,
}

static OWN: OnceLock<Own> = OnceLock::new();

/// From now on, these are known; `false` if others were before.
pub(crate) fn take(found: Own) -> bool {
    OWN.set(found).is_ok()
}

/// LKL's own operations; the guest was taken over.
pub(crate) fn own() -> &'static Own {
    OWN.get().expect("set before LKL is given any function of this crate")
}

/// LKL's own operations, if the guest was taken over.
pub(crate) fn taken() -> Option<&'static Own> {
    OWN.get()
}
