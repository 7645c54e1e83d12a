//! The two directions of a device, and the bell between them and its thread.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::control::Control;
use crate::receive::Receive;
use crate::transmit::Transmit;

/// What LKL's calls and the thread in `poll` share.
pub(crate) struct Sides {
    pub control: Control,
    pub rx: Mutex<Receive>,
    pub tx: Mutex<Transmit>,
}

/// A panic elsewhere was reported there; the state is consistent between calls.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
