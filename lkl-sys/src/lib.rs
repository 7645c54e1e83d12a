//! The ABI between LKL and a network device, written by hand: the few
//! declarations that a device needs, so that nothing here needs LKL to build
//! or to link.
//!
//! Where `LKL_DIR` is set at build time, `headers` holds bindgen's reading of
//! LKL's own headers. The tests compare that with what is here, field by field.

use core::ffi::{c_char, c_int, c_uint, c_void};

/// `struct iovec` of the host's libc, as LKL's headers use it.
pub type Iovec = libc::iovec;

/// `LKL_DEV_NET_POLL_RX`: frames can be read.
pub const POLL_RX: c_int = 1;
/// `LKL_DEV_NET_POLL_TX`: frames can be written.
pub const POLL_TX: c_int = 2;
/// `LKL_DEV_NET_POLL_HUP`: the device is being removed.
pub const POLL_HUP: c_int = 4;

/// `struct lkl_netdev`: a device as LKL sees it. A device of one's own begins
/// with it.
#[repr(C)]
pub struct Netdev {
    /// What LKL calls.
    pub ops: *const NetOps,
    /// LKL's number for the device.
    pub id: c_int,
    /// Bit 0: frames begin with `struct virtio_net_hdr_v1`. A bit-field in C.
    pub flags: u8,
}

/// Bit of [`Netdev::flags`]: frames begin with `struct virtio_net_hdr_v1`.
pub const HAS_VNET_HDR: u8 = 1;

/// `tx` and `rx`: bytes moved, or negative when it would block.
pub type Transfer = unsafe extern "C" fn(nd: *mut Netdev, iov: *mut Iovec, count: c_int) -> c_int;

/// `struct lkl_dev_net_ops`: what a device does.
#[repr(C)]
pub struct NetOps {
    /// Sends one frame. Runs in kernel context: must not block.
    pub tx: Option<Transfer>,
    /// Receives one frame into at most 19 buffers.
    pub rx: Option<Transfer>,
    /// Blocks until there is something to do; a mask of `POLL_*`.
    pub poll: Option<unsafe extern "C" fn(nd: *mut Netdev) -> c_int>,
    /// Makes `poll` return [`POLL_HUP`].
    pub poll_hup: Option<unsafe extern "C" fn(nd: *mut Netdev)>,
    /// Ends the device; the last call.
    pub free: Option<unsafe extern "C" fn(nd: *mut Netdev)>,
}

/// `struct lkl_netdev_args`: how a device is added.
#[repr(C)]
pub struct NetdevArgs {
    /// Six bytes of Ethernet address, or null.
    pub mac: *mut c_void,
    /// Feature bits of virtio-net.
    pub offload: c_uint,
}

/// Signature of `lkl_netdev_add`: the device's number, or a negative error.
pub type NetdevAdd = unsafe extern "C" fn(nd: *mut Netdev, args: *mut NetdevArgs) -> c_int;
/// Signature of `lkl_netdev_remove`.
pub type NetdevRemove = unsafe extern "C" fn(id: c_int);
/// Signature of `lkl_netdev_free`.
pub type NetdevFree = unsafe extern "C" fn(nd: *mut Netdev);
/// Signature of `lkl_netdev_pipe_create`.
pub type NetdevPipeCreate =
    unsafe extern "C" fn(ifname: *const c_char, offload: c_int) -> *mut Netdev;

/// What bindgen makes of LKL's own headers.
#[cfg(lkl_headers)]
#[allow(missing_docs, unsafe_code, clippy::all, clippy::undocumented_unsafe_blocks)]
pub mod headers {
    include!(concat!(env!("OUT_DIR"), "/lkl.rs"));
}
