//! The device: two directions and the thread that takes care of both.

use std::ffi::c_int;
use std::sync::{Mutex, MutexGuard, PoisonError};

use shmring::LinkError;

use crate::buffers::Buffers;
use crate::config::Config;
use crate::control::Control;
use crate::ifname::Ends;
use crate::poller::Poller;
use crate::receive::Receive;
use crate::transmit::Transmit;

pub(crate) struct Device {
    /// For people.
    pub name: String,
    pub control: Control,
    pub rx: Mutex<Receive>,
    pub tx: Mutex<Transmit>,
    /// Held by the thread in `poll`, and by nobody else.
    poller: Mutex<Poller>,
}

/// A panic elsewhere was reported there; the state is consistent between calls.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    pub fn new(ends: Ends, offload: u32, config: Config) -> Result<Device, LinkError> {
        let name = match &ends {
            Ends::Each { rx, tx } => format!("{}|{}", rx.what(), tx.what()),
            Ends::Both(end) => end.what().to_owned(),
        };
        let system = |errno| LinkError::System { what: name.clone(), call: "eventfd", errno };
        let control = Control::new().map_err(system)?;
        let poller = Poller::new(&name, &control, ends, offload, config)?;
        Ok(Device {
            control,
            rx: Mutex::new(Receive::new(offload)),
            tx: Mutex::new(Transmit::new()),
            poller: Mutex::new(poller),
            name,
        })
    }

    /// Sends one frame; -1 when there is no room.
    pub fn tx(&self, buffers: Buffers<'_>) -> c_int {
        lock(&self.tx).send(self, buffers)
    }

    /// Receives one frame; -1 when there is none.
    pub fn rx(&self, buffers: Buffers<'_>) -> c_int {
        // LKL calls again for as long as there are frames, and a neighbour that
        // never stops sending must not keep its thread from the way to `poll`.
        if self.control.is_removed() {
            return -1;
        }
        lock(&self.rx).receive(self, buffers)
    }

    /// Waits until there is something to do.
    pub fn poll(&self) -> c_int {
        lock(&self.poller).poll(self)
    }

    /// Makes `poll` end.
    pub fn remove(&self) {
        self.control.remove();
    }
}
