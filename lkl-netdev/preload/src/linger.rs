//! What CMD sent last.
//!
//! When a program ends, a host goes on: it closes the program's sockets and sends what
//! is left in them. LKL's kernel ends with its program, and its destructor asks nobody. So
//! it waits here, as long as the other side acknowledges anything.
#![allow(unsafe_code)]
// Unsafe lives here to run when the process ends, and to make system calls of LKL's.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::time::{Duration, Instant};

use lkl_netdev::Config;

/// Between two looks at what is left: LKL's kernel has no event for that.
const PAUSE: Duration = Duration::from_millis(5);
/// `__lkl__NR_openat`, `_close`, `_read` (asm-generic/unistd.h) and `AT_FDCWD`.
const OPENAT: c_long = 56;
const CLOSE: c_long = 57;
const READ: c_long = 63;
const AT_FDCWD: c_long = -100;
/// As many as a process may have in LKL (`INR_OPEN_CUR` of linux/fs.h).
const DESCRIPTORS: c_long = 1024;

type Syscall = unsafe extern "C" fn(number: c_long, arguments: *mut c_long) -> c_long;
type MountFs = unsafe extern "C" fn(kind: *const c_char) -> c_int;
type IsRunning = unsafe extern "C" fn() -> c_int;

/// Before LKL's: a library that is preloaded first is initialized last.
#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = end;

extern "C" fn end() {
    if lkl_netdev::is_child() {
        return;
    }
    let limit = Config::from_env().unwrap_or_default().linger;
    if let (Some(kernel), false) = (Kernel::find(), limit.is_zero()) {
        // SAFETY: all streams, as exit(3) will do: one of them may be a socket.
        unsafe { libc::fflush(std::ptr::null_mut()) };
        kernel.close_all();
        if let Some(left) = kernel.wait(limit)
            && left.bytes > 0
        {
            let Left { bytes, connections } = left;
            let s = if connections == 1 { "" } else { "s" };
            say::note!(
                "gave up after {} s without progress: {bytes} bytes of {connections} connection{s} \
                 not acknowledged; --linger SECONDS (STDPKT_LINGER in ms) waits longer",
                limit.as_secs_f64()
            );
        }
    }
}

/// LKL's kernel, which runs.
struct Kernel {
    syscall: Syscall,
}

/// What connections have not got rid of.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Left {
    /// Bytes that are not acknowledged.
    bytes: u64,
    /// Connections with such bytes or an end that is not acknowledged.
    connections: usize,
}

impl Kernel {
    fn find() -> Option<Kernel> {
        let running = symbol(c"lkl_is_running")?;
        // SAFETY: LKL's function of this name has this signature (host_ops.h).
        let running: IsRunning = unsafe { std::mem::transmute(running) };
        // SAFETY: has no precondition.
        if unsafe { running() } == 0 {
            return None;
        }
        let (syscall, mount) = (symbol(c"lkl_syscall")?, symbol(c"lkl_mount_fs")?);
        // SAFETY: LKL's functions of these names have these signatures (lkl.h).
        let (syscall, mount) = unsafe {
            (
                std::mem::transmute::<*mut c_void, Syscall>(syscall),
                std::mem::transmute::<*mut c_void, MountFs>(mount),
            )
        };
        // SAFETY: a C string. It fails where it is mounted already.
        unsafe { mount(c"proc".as_ptr()) };
        Some(Kernel { syscall })
    }

    fn call(&self, number: c_long, arguments: [c_long; 3]) -> c_long {
        let [a, b, c] = arguments;
        let mut arguments = [a, b, c, 0, 0, 0];
        // SAFETY: as many arguments as a system call has; what they point to lives.
        unsafe { (self.syscall)(number, arguments.as_mut_ptr()) }
    }

    /// As the end of a process does.
    fn close_all(&self) {
        for fd in 0..DESCRIPTORS {
            self.call(CLOSE, [fd, 0, 0]);
        }
    }

    /// Until nothing is left, or nothing happened for so long: then, what is left.
    fn wait(&self, limit: Duration) -> Option<Left> {
        let (mut before, mut since) = (None, Instant::now());
        loop {
            let left = self.left();
            if left.connections == 0 {
                return None;
            }
            if before != Some(left) {
                before = Some(left);
                since = Instant::now();
            }
            if since.elapsed() >= limit {
                return Some(left);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn left(&self) -> Left {
        let mut left = Left::default();
        for path in [c"/proc/net/tcp", c"/proc/net/tcp6"] {
            left.count(&String::from_utf8_lossy(&self.read(path)));
        }
        left
    }

    /// A whole file of LKL's.
    fn read(&self, path: &CStr) -> Vec<u8> {
        let mut text = Vec::new();
        let fd = self.call(OPENAT, [AT_FDCWD, path.as_ptr() as c_long, 0]);
        if fd >= 0 {
            let mut chunk = [0u8; 4096];
            while let count @ 1.. =
                self.call(READ, [fd, chunk.as_mut_ptr() as c_long, chunk.len() as c_long])
            {
                text.extend(chunk.iter().take(count as usize));
            }
            self.call(CLOSE, [fd, 0, 0]);
        }
        text
    }
}

impl Left {
    /// Adds the connections of a table as `/proc/net/tcp` has it: the fourth word of a
    /// line is the state, the fifth `tx_queue:rx_queue`, all in hexadecimal (proc(5)).
    fn count(&mut self, table: &str) {
        /// `TCP_ESTABLISHED` and `TCP_CLOSE_WAIT` (net/tcp_states.h).
        const DATA: [u64; 2] = [1, 8];
        /// `TCP_FIN_WAIT1`, `TCP_LAST_ACK` and `TCP_CLOSING`: the end was sent, too.
        const ENDS: [u64; 3] = [4, 9, 11];
        for line in table.lines() {
            let mut words = line.split_whitespace().skip(3);
            let mut number = || {
                let word = words.next()?.split(':').next()?;
                u64::from_str_radix(word, 16).ok()
            };
            let (Some(state), Some(queued)) = (number(), number()) else { continue };
            let ends = ENDS.contains(&state);
            if queued > 0 && (ends || DATA.contains(&state)) {
                // Its end counts as a byte.
                self.bytes += queued - u64::from(ends);
                self.connections += 1;
            }
        }
    }
}

fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a C string; looking a symbol up has no other precondition.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!symbol.is_null()).then_some(symbol)
}
