//! A real LKL in this process, loaded from `LKL_DIR`.
#![allow(unsafe_code)]
// Unsafe lives here to call LKL. The invariant: `Lkl` holds LKL's own functions by
// the types that lkl.h gives them, and exists only while the kernel runs.

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::net::Ipv4Addr;
use std::path::Path;

use libloading::Library;
use lkl_netdev::Netdev;
use lkl_sys::{NetdevAdd, NetdevArgs, NetdevFree, NetdevRemove, ProcessQueue};

/// System calls of LKL: the generic numbers of Linux.
const IOCTL: c_long = 29;
const SOCKET: c_long = 198;
const BIND: c_long = 200;
const SENDTO: c_long = 206;
const RECVFROM: c_long = 207;
const SETSOCKOPT: c_long = 208;
const SIOCSIFNAME: c_long = 0x8923;

/// A running kernel. Its threads live as long as the process, and so does its library.
pub struct Lkl {
    syscall: unsafe extern "C" fn(c_long, *mut c_long) -> c_long,
    add: NetdevAdd,
    remove: NetdevRemove,
    free: NetdevFree,
    ifindex: unsafe extern "C" fn(c_int) -> c_int,
    if_up: unsafe extern "C" fn(c_int) -> c_int,
    set_ipv4: unsafe extern "C" fn(c_int, c_uint, c_uint) -> c_int,
}

/// A device in use by the kernel.
pub struct Device {
    id: c_int,
    raw: *mut lkl_sys::Netdev,
}

impl Lkl {
    /// Loads LKL from `dir`, its tools/lkl, and boots it, as docs/lkl.md tells if its
    /// threads are to look at the rings.
    pub fn boot(dir: &Path, look: bool) -> Lkl {
        type Start = unsafe extern "C" fn(*mut c_void, *const c_char, ...) -> c_int;
        // SAFETY: LKL's library does nothing when it is loaded.
        let library = unsafe { Library::new(dir.join("lib/liblkl.so")) }.unwrap();
        let library = Box::leak(Box::new(library));
        // SAFETY: each symbol has this type in lkl.h and lkl_host.h.
        unsafe {
            let newer = library.get::<*mut c_void>(b"lkl_init").is_ok();
            assert!(!newer, "this LKL starts by lkl_init, which the test has to learn");
            let start = library.get::<Start>(b"lkl_start_kernel").unwrap();
            let host = library.get::<*mut c_void>(b"lkl_host_ops").unwrap();
            if look {
                let process = *library.get::<ProcessQueue>(b"virtio_process_queue").unwrap();
                assert!(lkl_netdev::take_over(host.cast(), process), "lkl_host_ops");
            }
            assert_eq!(start(*host, c"mem=64M loglevel=3".as_ptr()), 0, "lkl_start_kernel");
            Lkl {
                syscall: *library.get(b"lkl_syscall").unwrap(),
                add: *library.get(b"lkl_netdev_add").unwrap(),
                remove: *library.get(b"lkl_netdev_remove").unwrap(),
                free: *library.get(b"lkl_netdev_free").unwrap(),
                ifindex: *library.get(b"lkl_netdev_get_ifindex").unwrap(),
                if_up: *library.get(b"lkl_if_up").unwrap(),
                set_ipv4: *library.get(b"lkl_if_set_ipv4").unwrap(),
            }
        }
    }

    /// Adds a device as docs/lkl.md tells, and gives its interface an address.
    pub fn add(&self, device: Netdev, offload: u32, address: Ipv4Addr) -> Device {
        let raw = device.into_raw();
        let mut args = NetdevArgs { mac: std::ptr::null_mut(), offload };
        // SAFETY: the pointer is fresh; LKL frees it by `lkl_netdev_free`.
        let id = unsafe { (self.add)(raw, &mut args) };
        assert!(id >= 0, "lkl_netdev_add: {id}");
        // LKL finds device N by the name ethN, but its kernel takes the first free name.
        self.rename("eth0", &format!("eth{id}"));
        // SAFETY: the device was added.
        let index = unsafe { (self.ifindex)(id) };
        assert!(index > 0, "lkl_netdev_get_ifindex: {index}");
        // SAFETY: an interface that there is.
        let up = unsafe { (self.if_up)(index) };
        // SAFETY: as above.
        let set = unsafe { (self.set_ipv4)(index, u32::from_ne_bytes(address.octets()), 24) };
        assert_eq!((up, set), (0, 0), "lkl_if_up, lkl_if_set_ipv4");
        Device { id, raw }
    }

    /// Takes a device away, whatever it is doing.
    pub fn remove(&self, device: Device) {
        // SAFETY: `add` gave the number, and a device is removed once.
        unsafe { (self.remove)(device.id) };
        // SAFETY: any number may be asked for. LKL's function says nothing when it fails.
        assert!(unsafe { (self.ifindex)(device.id) } < 0, "eth{} is still there", device.id);
        // SAFETY: LKL does not use the device any more.
        unsafe { (self.free)(device.raw) };
    }

    /// A UDP socket bound to `port` that may broadcast.
    pub fn socket(&self, port: u16) -> c_long {
        let socket = self.call(SOCKET, [libc::AF_INET.into(), libc::SOCK_DGRAM.into(), 0, 0, 0, 0]);
        let option = [libc::SOL_SOCKET.into(), libc::SO_BROADCAST.into()];
        let one = 1;
        let set =
            self.call(SETSOCKOPT, [socket, option[0], option[1], (&raw const one) as c_long, 4, 0]);
        let any = sockaddr(Ipv4Addr::UNSPECIFIED, port);
        let bound = self.call(BIND, [socket, any.as_ptr() as c_long, 16, 0, 0, 0]);
        assert!(socket >= 0 && set == 0 && bound == 0, "socket {socket}, {set}, bind {bound}");
        socket
    }

    /// Sends a datagram; whether that worked.
    pub fn send(&self, socket: c_long, to: Ipv4Addr, port: u16, data: &[u8]) -> bool {
        let to = sockaddr(to, port);
        let (data, len) = (data.as_ptr() as c_long, data.len() as c_long);
        self.call(SENDTO, [socket, data, len, 0, to.as_ptr() as c_long, 16]) == len
    }

    /// A datagram, if there is one.
    pub fn receive(&self, socket: c_long) -> Option<Vec<u8>> {
        let mut data = vec![0u8; 2048];
        let (at, room) = (data.as_mut_ptr() as c_long, data.len() as c_long);
        let len = self.call(RECVFROM, [socket, at, room, libc::MSG_DONTWAIT.into(), 0, 0]);
        data.truncate(usize::try_from(len).ok()?);
        Some(data)
    }

    fn rename(&self, from: &str, to: &str) {
        if from == to {
            return;
        }
        // `struct ifreq`: the name, and the new name.
        let mut request = [0u8; 40];
        request[..from.len()].copy_from_slice(from.as_bytes());
        request[16..16 + to.len()].copy_from_slice(to.as_bytes());
        let socket = self.socket(0);
        let at = request.as_mut_ptr() as c_long;
        assert_eq!(self.call(IOCTL, [socket, SIOCSIFNAME, at, 0, 0, 0]), 0, "{from} to {to}");
    }

    /// Each pointer among the arguments is to memory that lives during the call.
    fn call(&self, number: c_long, mut arguments: [c_long; 6]) -> c_long {
        // SAFETY: LKL reads six arguments; what they point to lives, see above.
        unsafe { (self.syscall)(number, arguments.as_mut_ptr()) }
    }
}

fn sockaddr(address: Ipv4Addr, port: u16) -> [u8; 16] {
    let mut out = [0; 16];
    out[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    out[2..4].copy_from_slice(&port.to_be_bytes());
    out[4..8].copy_from_slice(&address.octets());
    out
}
