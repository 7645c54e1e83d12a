//! What LKL calls, and the device as an object that can be handed to it.
#![allow(unsafe_code)]
// Unsafe lives here because LKL knows a device by a bare pointer. The
// invariant: that pointer comes from `Netdev::into_raw` and LKL passes it to
// nothing after `free`. No panic crosses the border to C.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use lkl_sys::{HAS_VNET_HDR, Iovec, NetOps, POLL_HUP};

use crate::buffers::Buffers;
use crate::config::Config;
use crate::device::Device;
use crate::fork;
use crate::ifname::Ends;

/// What LKL's pointer points to.
#[repr(C)]
struct Raw {
    /// First, so that a pointer to it is one to the whole.
    netdev: lkl_sys::Netdev,
    device: Device,
}

/// A network device whose cables are shmring links, ready to be added to LKL.
///
/// ```no_run
/// use lkl_netdev::{Config, Ends, Netdev};
///
/// // From LKL, which the program links:
/// // unsafe extern "C" {
/// //     fn lkl_netdev_add(nd: *mut lkl_sys::Netdev, args: *mut lkl_sys::NetdevArgs) -> i32;
/// // }
/// # unsafe fn lkl_netdev_add(_: *mut lkl_sys::Netdev, _: *mut lkl_sys::NetdevArgs) -> i32 { 0 }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let offload = 0x8883;
/// let device = Netdev::new(Ends::open("/tmp/fifo1|/dev/stdout")?, offload, Config::from_env()?)?;
/// let mut args = lkl_sys::NetdevArgs { mac: std::ptr::null_mut(), offload };
/// // SAFETY: the pointer is fresh; LKL frees it by `lkl_netdev_free`.
/// let id = unsafe { lkl_netdev_add(device.into_raw(), &mut args) };
/// # Ok(())
/// # }
/// ```
pub struct Netdev(Box<Raw>);

impl Netdev {
    /// Starts to look for neighbours at the ends. Never waits for one.
    ///
    /// `offload` is what `lkl_netdev_add` will be told: feature bits of virtio-net.
    ///
    /// # Errors
    /// One line for the user, for instance of a pipe that has a reader already.
    pub fn new(ends: Ends, offload: u32, config: Config) -> anyhow::Result<Netdev> {
        fork::watch();
        let device = Device::new(ends, offload, config)?;
        let netdev = lkl_sys::Netdev { ops: &raw const OPS, id: 0, flags: HAS_VNET_HDR };
        Ok(Netdev(Box::new(Raw { netdev, device })))
    }

    /// The pointer for `lkl_netdev_add`. It belongs to LKL from then on:
    /// `lkl_netdev_remove`, then `lkl_netdev_free` end it.
    pub fn into_raw(self) -> *mut lkl_sys::Netdev {
        Box::into_raw(self.0).cast()
    }

    /// Takes a device back that was not added to LKL.
    ///
    /// # Safety
    /// `raw` comes from [`Netdev::into_raw`] and nobody else uses it any more.
    pub unsafe fn from_raw(raw: *mut lkl_sys::Netdev) -> Netdev {
        // SAFETY: the caller's promise; `Raw` begins with the `Netdev`.
        Netdev(unsafe { Box::from_raw(raw.cast()) })
    }
}

static OPS: NetOps = NetOps {
    tx: Some(tx),
    rx: Some(rx),
    poll: Some(poll),
    poll_hup: Some(poll_hup),
    free: Some(free),
};

/// # Safety
/// `nd` comes from [`Netdev::into_raw`] and was not freed.
unsafe fn device<'a>(nd: *mut lkl_sys::Netdev) -> &'a Device {
    // SAFETY: the caller's promise; shared by all callers, as `Device` is `Sync`.
    unsafe { &(*nd.cast::<Raw>()).device }
}

/// Runs `body`; a panic, which would be a mistake of this crate, ends in `otherwise`.
fn guarded<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(otherwise)
}

unsafe extern "C" fn tx(nd: *mut lkl_sys::Netdev, iov: *mut Iovec, count: c_int) -> c_int {
    // SAFETY: LKL passes its device and buffers that are valid during the call.
    let (device, buffers) = unsafe { (device(nd), Buffers::new(iov, count)) };
    guarded(-1, || match fork::is_child() {
        true => {
            fork::tell(&device.name);
            buffers.total() as c_int
        }
        false => device.tx(buffers),
    })
}

unsafe extern "C" fn rx(nd: *mut lkl_sys::Netdev, iov: *mut Iovec, count: c_int) -> c_int {
    // SAFETY: as in `tx`.
    let (device, buffers) = unsafe { (device(nd), Buffers::new(iov, count)) };
    guarded(-1, || if fork::is_child() { -1 } else { device.rx(buffers) })
}

unsafe extern "C" fn poll(nd: *mut lkl_sys::Netdev) -> c_int {
    // SAFETY: LKL passes its device.
    let device = unsafe { device(nd) };
    // A negative answer would be retried at once, for ever.
    let mask = guarded(POLL_HUP, || device.poll());
    if mask & POLL_HUP != 0 {
        guarded((), || device.leave());
    }
    mask
}

unsafe extern "C" fn poll_hup(nd: *mut lkl_sys::Netdev) {
    // SAFETY: LKL passes its device.
    let device = unsafe { device(nd) };
    // The bell is the parent's, too.
    guarded((), || {
        if !fork::is_child() {
            device.remove()
        }
    });
}

unsafe extern "C" fn free(nd: *mut lkl_sys::Netdev) {
    // SAFETY: LKL's last call for this device.
    let netdev = unsafe { Netdev::from_raw(nd) };
    // In a fork, what a drop says to the neighbour would be about the parent's link.
    guarded((), || if fork::is_child() { std::mem::forget(netdev) } else { drop(netdev) });
}
