//! tcpdump's filter language, by the library that defines it.
#![allow(unsafe_code)]
// Unsafe lives here to call libpcap, which is loaded when it is needed: nothing
// else of stdpkt depends on it. The invariants: the functions have the types of
// pcap/pcap.h, unchanged since libpcap 1.0; a program is freed once, by the
// library that made it, which stays loaded until then.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

use anyhow::{Context, Result, bail};
use libloading::{Library, Symbol};
use shmring::BytesMut;

use frames::capture::MAX_PACKET;

/// `DLT_EN10MB`.
const ETHERNET: c_int = 1;
/// `PCAP_NETMASK_UNKNOWN`.
const NO_NETMASK: u32 = 0xffff_ffff;

/// `struct bpf_program`.
#[repr(C)]
struct Code {
    len: c_uint,
    instructions: *mut c_void,
}

/// `struct pcap_pkthdr`.
#[repr(C)]
struct Header {
    time: libc::timeval,
    caplen: u32,
    len: u32,
}

/// A compiled expression.
pub(super) struct Program {
    code: Code,
    filter: unsafe extern "C" fn(*const Code, *const Header, *const u8) -> c_int,
    free: unsafe extern "C" fn(*mut Code),
    _library: Library,
}

impl Program {
    /// Compiles an expression for Ethernet.
    pub fn compile(expression: &str) -> Result<Program> {
        let library = load()?;
        let text = CString::new(expression).context("a filter has no zero bytes")?;
        // SAFETY: the types are those of pcap/pcap.h; the pointers given are valid
        // during the calls; `handle` is closed on each way out, and what
        // pcap_geterr returns is copied before that.
        unsafe {
            type Open = unsafe extern "C" fn(c_int, c_int) -> *mut c_void;
            type Compile =
                unsafe extern "C" fn(*mut c_void, *mut Code, *const c_char, c_int, u32) -> c_int;
            let open: Symbol<'_, Open> = library.get(b"pcap_open_dead\0")?;
            let compile: Symbol<'_, Compile> = library.get(b"pcap_compile\0")?;
            let error: Symbol<'_, unsafe extern "C" fn(*mut c_void) -> *const c_char> =
                library.get(b"pcap_geterr\0")?;
            let close: Symbol<'_, unsafe extern "C" fn(*mut c_void)> =
                library.get(b"pcap_close\0")?;
            let filter = *library.get(b"pcap_offline_filter\0")?;
            let free = *library.get(b"pcap_freecode\0")?;
            let handle = open(ETHERNET, MAX_PACKET as c_int);
            if handle.is_null() {
                bail!("pcap_open_dead: out of memory");
            }
            let mut code = Code { len: 0, instructions: std::ptr::null_mut() };
            let status = compile(handle, &mut code, text.as_ptr(), 1, NO_NETMASK);
            let why = CStr::from_ptr(error(handle)).to_string_lossy().into_owned();
            close(handle);
            if status != 0 {
                bail!("filter `{expression}`: {why} (see pcap-filter(7))");
            }
            Ok(Program { code, filter, free, _library: library })
        }
    }

    /// Whether the packet behind the first `skip` bytes matches.
    pub fn matches(&self, frame: &mut BytesMut<'_>, skip: usize) -> bool {
        let Some(len) = frame.len().checked_sub(skip) else { return false };
        let time = libc::timeval { tv_sec: 0, tv_usec: 0 };
        let header = Header { time, caplen: len as u32, len: len as u32 };
        // SAFETY: `len` bytes behind `skip` are mapped; libpcap reads them, checks
        // each offset against `caplen`, and any value is fine for it.
        unsafe { (self.filter)(&self.code, &header, frame.as_mut_ptr().wrapping_add(skip)) != 0 }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made by pcap_compile and not freed before.
        unsafe { (self.free)(&mut self.code) };
    }
}

fn load() -> Result<Library> {
    if cfg!(target_feature = "crt-static") {
        bail!(
            "a filter needs libpcap, which this stdpkt cannot load, being linked statically: build it for a target with shared libraries, as x86_64-unknown-linux-gnu"
        );
    }
    for name in ["libpcap.so.1", "libpcap.so.0.8", "libpcap.so"] {
        // SAFETY: libpcap has no constructors that could surprise us.
        if let Ok(library) = unsafe { Library::new(name) } {
            return Ok(library);
        }
    }
    bail!("a filter needs libpcap: install the package libpcap0.8 or libpcap")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(program: &Program, packet: &[u8]) -> bool {
        let mut frame = [&[0; 12], packet].concat();
        program.matches(&mut BytesMut::of_slice(&mut frame), 12)
    }

    #[test]
    fn expressions_match_or_say_why_not() {
        let program = match Program::compile("udp dst port 53 or (vlan 7 and arp)") {
            Err(error) if error.to_string().contains("needs libpcap") => {
                return say::line!("skipped: {error}");
            }
            program => program.unwrap(),
        };
        let packet = |port| {
            let mut out = Vec::new();
            let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]);
            builder.ipv4([10; 4], [11; 4], 9).udp(5000, port).write(&mut out, b"hello").unwrap();
            out
        };
        assert!(matches(&program, &packet(53)));
        assert!(!matches(&program, &packet(54)));
        assert!(!matches(&program, &packet(53)[..20]) && !matches(&program, b""));
        let tagged = [&[2; 12][..], &[0x81, 0, 0, 7, 8, 6], &[0; 28]].concat();
        assert!(matches(&program, &tagged));
        let error = Program::compile("tcp prot 80").err().unwrap().to_string();
        assert!(
            error.starts_with("filter `tcp prot 80`: ") && error.lines().count() == 1,
            "{error}"
        );
    }
}
