//! A network device for LKL, the Linux kernel as a library, whose cable is a
//! [`shmring`] link: whole TSO frames through shared memory.
//!
//! - [`Netdev`] is the device, for programs that embed LKL: make one, hand
//!   [`Netdev::into_raw`] to `lkl_netdev_add`.
//! - The crate `lkl-netdev-preload` is the same as a library to preload before
//!   `liblkl-hijack.so`: it takes the place of LKL's own pipe device.
//!
//! LKL calls a device from two sides. One thread per device loops on `poll` and
//! then serves the queue it was told about; kernel context calls `tx` (and `rx`
//! after the driver refilled an exhausted queue) and must never be blocked. So
//! there is one lock for each direction, held for one frame at a time; the
//! thread in `poll` takes care of everything that can wait: finding neighbours,
//! hang-ups, wake-ups.
//!
//! The process may have been hijacked: `liblkl-hijack.so` replaces libc's
//! system calls. Everything here goes to the kernel directly.

mod buffers;
mod config;
mod control;
mod cores;
mod device;
mod duty;
mod fork;
mod guest;
mod heir;
mod ifname;
mod inherited;
mod look;
mod looks;
mod ops;
mod pace;
mod passing;
mod patience;
mod plugs;
mod poller;
mod receive;
mod say;
mod sides;
mod sync;
mod transmit;
mod whose;

pub use config::{Config, ConfigError, Look};
pub use fork::is_child;
pub use guest::take_over;
pub use heir::up;
pub use ifname::{Ends, IfnameError};
pub use ops::Netdev;
pub use say::say;
pub use shmring;

/// A link: the number of its cable in the device, and the link's there.
type Key = (usize, u32);
