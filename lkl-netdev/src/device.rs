//! The device: two directions and the thread that takes care of both.

use std::ffi::c_int;
use std::sync::Mutex;

use anyhow::{Context, Result};

use crate::buffers::Buffers;
use crate::config::Config;
use crate::control::Control;
use crate::ifname::Ends;
use crate::look;
use crate::plugs::Plugs;
use crate::poller::Poller;
use crate::receive::Receive;
use crate::sides::{Sides, lock};
use crate::transmit::Transmit;

pub(crate) struct Device {
    /// For people.
    pub name: String,
    sides: Sides,
    /// Held by the thread in `poll`, and by nobody else.
    poller: Mutex<Poller>,
}

impl Device {
    pub fn new(ends: Ends, offload: u32, config: Config) -> Result<Device> {
        let name = match &ends {
            Ends::Each { rx, tx } => format!("{}|{}", rx.what(), tx.what()),
            Ends::Both(end) => end.what().to_owned(),
        };
        let control = Control::new().context("eventfd")?;
        let plugs = Plugs::new(&name, &control, ends, offload, config)?;
        Ok(Device {
            sides: Sides {
                control,
                rx: Mutex::new(Receive::new(offload)),
                tx: Mutex::new(Transmit::new()),
            },
            poller: Mutex::new(Poller::new(&name, plugs)),
            name,
        })
    }

    /// Sends one frame; -1 when there is no room.
    pub fn tx(&self, buffers: Buffers<'_>) -> c_int {
        lock(&self.sides.tx).send(&self.sides.control, buffers)
    }

    /// Receives one frame; -1 when there is none.
    pub fn rx(&self, buffers: Buffers<'_>) -> c_int {
        // LKL calls again for as long as there are frames, and a neighbour that
        // never stops sending must not keep its thread from the way to `poll`.
        if self.sides.control.is_removed() {
            return -1;
        }
        lock(&self.sides.rx).receive(&self.sides.control, buffers)
    }

    /// Waits until there is something to do.
    pub fn poll(&self) -> c_int {
        lock(&self.poller).poll(&self.sides)
    }

    /// `poll` is not called any more: when this returns, nobody else uses the device.
    pub fn leave(&self) {
        look::leave(&self.sides);
    }

    /// Makes `poll` end.
    pub fn remove(&self) {
        self.sides.control.remove();
    }
}
