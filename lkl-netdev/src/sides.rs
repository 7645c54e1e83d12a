//! The two directions of a device, and the bell between them and its thread.

use std::sync::Mutex;

use crate::control::Control;
use crate::receive::Receive;
pub(crate) use crate::sync::lock;
use crate::transmit::Transmit;

/// What LKL's calls and the thread in `poll` share.
pub(crate) struct Sides {
    pub control: Control,
    pub rx: Mutex<Receive>,
    pub tx: Mutex<Transmit>,
}
