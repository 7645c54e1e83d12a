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
mod cable;
mod config;
mod control;
mod device;
mod fork;
mod ifname;
mod inherited;
mod ops;
mod pace;
mod poller;
mod receive;
mod say;
mod segment;
mod transmit;

pub use config::{Config, ConfigError};
pub use fork::is_child;
pub use ifname::{Ends, IfnameError};
pub use ops::Netdev;
pub use say::say;
pub use shmring;

/// Bytes of `struct virtio_net_hdr_v1`, which every frame begins with.
pub const VNET_HEADER: usize = 12;
/// Bytes of an Ethernet header; a shorter frame is none.
const ETHERNET_HEADER: usize = 14;
/// Longest frame, vnet header included: 64 KiB of TSO with its headers and VLAN tags.
const MAX_FRAME: usize = 65_600;
