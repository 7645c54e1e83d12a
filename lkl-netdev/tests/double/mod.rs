//! LKL's side of a network device, without LKL: two queues of 128 descriptors,
//! the thread that loops on `poll`, buffers handed over at most 19 at a time,
//! and a driver that notifies its device from its own context, only when the
//! device had run out of descriptors.
#![allow(unsafe_code, dead_code)]
// Unsafe lives here because devices are called through C function pointers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lkl_sys::{Iovec, NetOps, Netdev, POLL_HUP, POLL_RX, POLL_TX};

pub const DEPTH: usize = 128;
pub const MAX_BUFFERS: usize = 19;
pub const MAX_MERGE: usize = 65_536;
/// No test takes that long; a hang fails instead of hanging the run.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A guest with one device.
pub struct Guest {
    shared: Arc<Shared>,
    poller: Option<JoinHandle<()>>,
}

struct Shared {
    nd: *mut Netdev,
    rx: Mutex<RxQueue>,
    /// What the driver took out of its buffers; it does so without the queue's lock.
    frames: Mutex<VecDeque<Vec<u8>>>,
    arrived: Condvar,
    tx: Mutex<TxQueue>,
    completed: Condvar,
    /// Bytes of each receive buffer.
    size: usize,
    /// They do not merge: a frame lies in one chain of as many as there can be.
    chained: bool,
    /// Returns of `poll`, to see that an idle device is idle.
    polls: AtomicU64,
    hung_up: AtomicBool,
}

// SAFETY: a device may be called from any thread; that is the ABI.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

struct RxQueue {
    posted: usize,
    /// Buffers that the driver posts by itself after each frame.
    refill: bool,
}

struct TxQueue {
    frames: VecDeque<Vec<u8>>,
    exhausted: bool,
    sent: u64,
}

impl Guest {
    /// Adds a device as `lkl_netdev_add` does: its thread runs before the driver
    /// has posted a buffer.
    pub fn add(nd: *mut Netdev, buffer_size: usize) -> Guest {
        Guest::with(nd, buffer_size, false)
    }

    /// The same without mergeable buffers.
    pub fn add_chained(nd: *mut Netdev) -> Guest {
        Guest::with(nd, 4096, true)
    }

    fn with(nd: *mut Netdev, size: usize, chained: bool) -> Guest {
        assert!(!nd.is_null());
        // SAFETY: a device begins with a `Netdev`.
        assert_eq!(unsafe { (*nd).flags } & lkl_sys::HAS_VNET_HDR, lkl_sys::HAS_VNET_HDR);
        let shared = Arc::new(Shared {
            nd,
            rx: Mutex::new(RxQueue { posted: 0, refill: true }),
            frames: Mutex::default(),
            arrived: Condvar::new(),
            tx: Mutex::new(TxQueue { frames: VecDeque::new(), exhausted: true, sent: 0 }),
            completed: Condvar::new(),
            size,
            chained,
            polls: AtomicU64::new(0),
            hung_up: AtomicBool::new(false),
        });
        let thread = shared.clone();
        let poller = std::thread::spawn(move || thread.poll_loop());
        let guest = Guest { shared, poller: Some(poller) };
        guest.post(DEPTH);
        guest
    }

    /// The driver posts buffers and, where there were none, notifies the device.
    pub fn post(&self, count: usize) {
        let mut rx = self.shared.rx.lock().unwrap();
        let exhausted = rx.posted == 0;
        rx.posted += count;
        if exhausted {
            self.shared.process_rx(&mut rx);
        }
    }

    /// Stops or resumes the driver's refilling.
    pub fn refill(&self, refill: bool) {
        self.shared.rx.lock().unwrap().refill = refill;
        if refill {
            let posted = self.shared.rx.lock().unwrap().posted;
            self.post(DEPTH - posted);
        }
    }

    /// The driver queues a frame; `false` when the queue is full.
    pub fn try_send(&self, frame: &[u8]) -> bool {
        let mut tx = self.shared.tx.lock().unwrap();
        if tx.frames.len() == DEPTH {
            return false;
        }
        tx.frames.push_back(frame.to_vec());
        if tx.exhausted {
            self.shared.process_tx(&mut tx);
        }
        true
    }

    /// Queues a frame, waiting for a descriptor.
    pub fn send(&self, frame: &[u8]) {
        let until = Instant::now() + PATIENCE;
        while !self.try_send(frame) {
            let tx = self.shared.tx.lock().unwrap();
            if tx.frames.len() == DEPTH {
                let left = until.saturating_duration_since(Instant::now());
                assert!(!left.is_zero(), "the device does not take frames any more");
                drop(self.shared.completed.wait_timeout(tx, left).unwrap());
            }
        }
    }

    /// Frames queued and not taken by the device.
    pub fn backlog(&self) -> usize {
        self.shared.tx.lock().unwrap().frames.len()
    }

    /// The next frame that arrived.
    pub fn recv(&self) -> Vec<u8> {
        self.recv_for(PATIENCE).expect("no frame arrived")
    }

    /// The next frame that arrives in time.
    pub fn recv_for(&self, patience: Duration) -> Option<Vec<u8>> {
        let frames = self.shared.frames.lock().unwrap();
        let empty = |frames: &mut VecDeque<_>| frames.is_empty();
        let (mut frames, _) =
            self.shared.arrived.wait_timeout_while(frames, patience, empty).unwrap();
        frames.pop_front()
    }

    /// Times that `poll` has returned.
    pub fn polls(&self) -> u64 {
        self.shared.polls.load(Ordering::Relaxed)
    }

    /// In a fork, what LKL's destructor does; there is no thread to join.
    pub fn end_in_fork(&self) {
        let ops = self.shared.ops();
        // SAFETY: the fork does not use its copy of the device any more.
        unsafe {
            ops.poll_hup.unwrap()(self.shared.nd);
            ops.free.unwrap()(self.shared.nd);
        }
    }

    /// `lkl_netdev_remove`, then `lkl_netdev_free`.
    pub fn remove(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(poller) = self.poller.take() {
            let ops = self.shared.ops();
            // SAFETY: the device lives until `free` below.
            unsafe { ops.poll_hup.unwrap()(self.shared.nd) };
            poller.join().unwrap();
            assert!(self.shared.hung_up.load(Ordering::Relaxed));
            // LKL takes the interface down only now: both may still be called.
            self.shared.process_tx(&mut self.shared.tx.lock().unwrap());
            self.shared.process_rx(&mut self.shared.rx.lock().unwrap());
            // SAFETY: the last call for this device.
            unsafe { ops.free.unwrap()(self.shared.nd) };
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

impl Shared {
    fn ops(&self) -> &NetOps {
        // SAFETY: a device begins with a `Netdev`, whose operations are static.
        unsafe { &*(*self.nd).ops }
    }

    /// `poll_thread` of LKL.
    fn poll_loop(&self) {
        loop {
            // SAFETY: the device lives until this thread has ended.
            let mask = unsafe { self.ops().poll.unwrap()(self.nd) };
            self.polls.fetch_add(1, Ordering::Relaxed);
            assert!(mask > 0, "LKL would try again at once");
            if mask & POLL_HUP != 0 {
                self.hung_up.store(true, Ordering::Relaxed);
                return;
            }
            if mask & POLL_RX != 0 {
                self.process_rx(&mut self.rx.lock().unwrap());
            }
            if mask & POLL_TX != 0 {
                self.process_tx(&mut self.tx.lock().unwrap());
            }
        }
    }

    /// `virtio_process_queue` of LKL for the queue of receive buffers.
    fn process_rx(&self, rx: &mut RxQueue) {
        while rx.posted > 0 {
            let count = match self.chained {
                true => MAX_BUFFERS,
                false => MAX_BUFFERS.min(rx.posted).min(MAX_MERGE / self.size + 1),
            };
            let mut memory = vec![0xee; count * self.size];
            let mut iov: Vec<Iovec> = memory
                .chunks_mut(self.size)
                .map(|b| Iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() })
                .collect();
            let rx_op = self.ops().rx.unwrap();
            // SAFETY: the buffers live during the call.
            let len = unsafe { rx_op(self.nd, iov.as_mut_ptr(), count as i32) };
            let Ok(len) = usize::try_from(len) else { return };
            assert!(len < memory.len(), "{len} bytes into {}: LKL warns or worse", memory.len());
            assert!(memory[len..].iter().take(64).all(|&b| b == 0xee), "bytes behind the frame");
            rx.posted -= complete(len, &iov, !self.chained);
            memory.truncate(len);
            self.frames.lock().unwrap().push_back(memory);
            self.arrived.notify_all();
            if rx.refill && rx.posted < DEPTH / 2 {
                rx.posted = DEPTH;
            }
        }
    }

    /// The same for the queue of frames to send.
    fn process_tx(&self, tx: &mut TxQueue) {
        tx.exhausted = false;
        while let Some(frame) = tx.frames.front_mut() {
            let frame_len = frame.len();
            let (header, rest) = frame.split_at_mut(12);
            let mut iov: Vec<Iovec> = std::iter::once(header)
                .chain(rest.chunks_mut(4096))
                .map(|b| Iovec { iov_base: b.as_mut_ptr().cast(), iov_len: b.len() })
                .collect();
            let tx_op = self.ops().tx.unwrap();
            // SAFETY: the frame lives during the call.
            let len = unsafe { tx_op(self.nd, iov.as_mut_ptr(), iov.len() as i32) };
            if len < 0 {
                return;
            }
            // All of it, as far as LKL can count, and one descriptor of the queue.
            assert_eq!(len as usize, frame_len.min(usize::from(u16::MAX)));
            assert_eq!(complete(len as usize, &iov, false), 1);
            tx.frames.pop_front();
            tx.sent += 1;
            self.completed.notify_all();
        }
        tx.exhausted = true;
    }
}

/// `virtio_req_complete` of LKL: how many descriptors it takes for used. It has 16 bits for
/// the bytes of each.
fn complete(len: usize, buffers: &[Iovec], merge: bool) -> usize {
    let mut left = len;
    for (at, buffer) in buffers.iter().enumerate() {
        let used = if merge { left.min(buffer.iov_len) } else { left };
        left -= usize::from(used as u16);
        if left == 0 {
            return at + 1;
        }
    }
    buffers.len()
}

/// Runs `child` in a fork of this process and waits for its end.
pub fn forked(child: impl FnOnce()) {
    // SAFETY: the child runs in a copy of this thread, and ends there.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child();
        // SAFETY: has no precondition.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: a child of this process, and room for its status.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0, "the fork");
}

/// A frame that says which one it is and can be checked.
pub fn frame(number: u64) -> Vec<u8> {
    // Sizes from the shortest frame to a TSO frame of 64 KiB, small ones more often.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let len = 34 + ((mixed as usize % 65_528) >> (mixed as usize / 65_528 % 12));
    let mut out = vec![0; len];
    out[26..34].copy_from_slice(&number.to_le_bytes());
    for (at, byte) in out[34..].iter_mut().enumerate() {
        *byte = (at as u64 ^ number) as u8;
    }
    out
}

/// Two FIFOs in a directory of their own.
pub struct Fifos {
    pub dir: tempfile::TempDir,
    pub a: String,
    pub b: String,
}

impl Fifos {
    pub fn new() -> Fifos {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = dir.path().join(name);
            let text = path.to_str().unwrap().to_owned();
            rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
            text
        };
        Fifos { a: make("a"), b: make("b"), dir }
    }

    /// `RX|TX` of the one side and of the other.
    pub fn names(&self) -> (String, String) {
        (format!("{}|{}", self.a, self.b), format!("{}|{}", self.b, self.a))
    }
}
