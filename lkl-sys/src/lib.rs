//! The ABI between LKL and a network device, written by hand: the few
//! declarations that a device needs, so that nothing here needs LKL to build
//! or to link.
//!
//! Where `LKL_DIR` is set at build time, `headers` holds bindgen's reading of
//! LKL's own headers. The tests compare that with what is here, field by field.

use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

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

/// An operation of [`HostOperations`] that nothing here calls or replaces.
pub type Opaque = Option<unsafe extern "C" fn()>;
/// A thread's identity, as the host operations give it.
pub type Thread = c_ulong;
/// What a thread does. Some end in pthread_exit(3), which unwinds.
pub type ThreadMain = unsafe extern "C-unwind" fn(argument: *mut c_void);
/// Makes a thread; 0 where there is none.
pub type ThreadCreate = unsafe extern "C" fn(main: ThreadMain, argument: *mut c_void) -> Thread;
/// Waits for a thread's end; 0 where it came.
pub type ThreadJoin = unsafe extern "C" fn(thread: Thread) -> c_int;
/// The thread that asks.
pub type ThreadSelf = unsafe extern "C" fn() -> Thread;
/// What a thread keeps by that key.
pub type TlsGet = unsafe extern "C" fn(key: *mut c_void) -> *mut c_void;
/// What a timer calls.
pub type TimerFunction = unsafe extern "C" fn(argument: *mut c_void);
/// Makes a timer; null where there is none.
pub type TimerAlloc =
    unsafe extern "C" fn(function: TimerFunction, argument: *mut c_void) -> *mut c_void;
/// Has a timer fire once, so many nanoseconds from now.
pub type TimerSet = unsafe extern "C" fn(timer: *mut c_void, nanos: c_ulong) -> c_int;
/// Ends a timer.
pub type TimerFree = unsafe extern "C" fn(timer: *mut c_void);
/// Goes back to where `jmp_buf_set` was called.
pub type LongJump = unsafe extern "C-unwind" fn(buffer: *mut c_void, value: c_int);

/// `struct lkl_host_operations`: what LKL's kernel wants of the process that it lives in.
/// It reads this at each call.
#[repr(C)]
#[allow(missing_docs, reason = "as in lkl/asm/host_ops.h, which explains them")]
pub struct HostOperations {
    pub virtio_devices: *const c_char,
    pub print: Opaque,
    pub panic: Opaque,
    pub sem_alloc: Option<unsafe extern "C" fn(count: c_int) -> *mut c_void>,
    pub sem_free: Option<unsafe extern "C" fn(sem: *mut c_void)>,
    pub sem_up: Option<unsafe extern "C" fn(sem: *mut c_void)>,
    pub sem_down: Option<unsafe extern "C" fn(sem: *mut c_void)>,
    pub mutex_alloc: Opaque,
    pub mutex_free: Opaque,
    pub mutex_lock: Opaque,
    pub mutex_unlock: Opaque,
    pub thread_create: Option<ThreadCreate>,
    pub thread_detach: Opaque,
    pub thread_exit: Option<unsafe extern "C-unwind" fn()>,
    pub thread_join: Option<ThreadJoin>,
    pub thread_self: Option<ThreadSelf>,
    pub thread_equal: Opaque,
    pub tls_alloc: Opaque,
    pub tls_free: Opaque,
    pub tls_set: Opaque,
    pub tls_get: Option<TlsGet>,
    pub mem_alloc: Opaque,
    pub mem_free: Opaque,
    pub page_alloc: Opaque,
    pub page_free: Opaque,
    pub time: Opaque,
    pub timer_alloc: Option<TimerAlloc>,
    pub timer_set_oneshot: Option<TimerSet>,
    pub timer_free: Option<TimerFree>,
    pub ioremap: Opaque,
    pub iomem_access: Opaque,
    pub gettid: Opaque,
    pub jmp_buf_set: Opaque,
    pub jmp_buf_longjmp: Option<LongJump>,
    pub memcpy: Opaque,
    pub pci_ops: *const c_void,
}

/// Signature of `virtio_process_queue` (LKL's lib/virtio.h): has a device work through a
/// queue.
pub type ProcessQueue = unsafe extern "C" fn(device: *mut c_void, queue: c_uint);

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
#[allow(
    missing_docs,
    non_camel_case_types,
    unsafe_code,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
pub mod headers {
    include!(concat!(env!("OUT_DIR"), "/lkl.rs"));
}
