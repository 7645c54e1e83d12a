//! Frames that show whether they arrived whole, once and in order, and a seeded
//! source of chance. Shared by the programs that run for long.
#![allow(dead_code, reason = "each program uses its part")]
#![allow(clippy::disallowed_types, reason = "atomics of a test, not of the ring")]
#![allow(unsafe_code)]

mod chance;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use chance::Chance;
use shmring::{RecvError, Rx, SendError, Tx};

/// Longest frame: the largest TSO frame with its `virtio_net_hdr_v1`.
pub const LONGEST: usize = 65_562;
const HEADER: usize = 24;
/// Says that no frame comes after this one.
const LAST: u64 = 1 << 63;

/// Makes and checks frames: number, length, checksum, then a piece of a table of
/// noise that both processes have. The number says which piece, how long.
pub struct Frames {
    noise: Vec<u8>,
    scratch: Vec<u8>,
    pub number: u64,
    pub bytes: u64,
}

impl Frames {
    pub fn new(seed: u64) -> Self {
        let mut noise = vec![0; 2 * LONGEST];
        Chance::new(seed).fill(&mut noise);
        Frames { noise, scratch: vec![0; LONGEST], number: 0, bytes: 0 }
    }

    /// Lengths are spread over the powers of two, the small ones more often, with
    /// extremes: a long run is about frames, not about copying.
    fn len(number: u64) -> usize {
        let mut chance = Chance::new(number + 1);
        chance.next();
        match chance.below(256) {
            0 => HEADER,
            1 => LONGEST,
            _ => {
                let top = HEADER << chance.below(12).min(chance.below(12));
                HEADER + chance.below(top as u64) as usize
            }
        }
        .min(LONGEST)
    }

    fn payload(&self, number: u64, len: usize) -> &[u8] {
        let from = (number.wrapping_mul(4099) % LONGEST as u64) as usize;
        &self.noise[from..from + len - HEADER]
    }

    /// Stages the next frame.
    pub fn send(&mut self, tx: &mut Tx, last: bool) -> Result<(), SendError> {
        let len = if last { HEADER } else { Self::len(self.number) };
        let payload = self.payload(self.number, len);
        let mut room = loop {
            match reserve(tx, len)? {
                true => break tx.reserve(len)?,
                false => tx.wait(Some(Duration::from_secs(1))).expect("wait"),
            }
        };
        room.fill(|bytes| {
            let number = self.number | if last { LAST } else { 0 };
            bytes.copy_from(0, &number.to_ne_bytes());
            bytes.copy_from(8, &(len as u64).to_ne_bytes());
            bytes.copy_from(16, &checksum(number, payload).to_ne_bytes());
            bytes.copy_from(HEADER, payload);
        });
        room.stage(len);
        self.number += 1;
        self.bytes += len as u64;
        Ok(())
    }

    /// Takes the next frame if there is one; `true` when it was the last.
    pub fn receive(&mut self, rx: &mut Rx) -> Result<bool, RecvError> {
        let mut frame = rx.borrow()?;
        let bytes = frame.bytes();
        let len = bytes.copy_to(0, &mut self.scratch);
        assert_eq!(len, bytes.len(), "frame {}: too long", self.number);
        frame.release();
        let word = |at: usize| {
            u64::from_ne_bytes(self.scratch[at..at + 8].try_into().expect("eight bytes"))
        };
        let last = word(0) & LAST != 0;
        let expected = if last { HEADER } else { Self::len(self.number) };
        assert_eq!(word(0) & !LAST, self.number, "lost, doubled or reordered");
        assert_eq!((len, word(8)), (expected, expected as u64), "frame {}: length", self.number);
        let payload = &self.scratch[HEADER..len];
        assert_eq!(word(16), checksum(word(0), payload), "frame {}: checksum", self.number);
        assert!(payload == self.payload(self.number, len), "frame {}: content", self.number);
        self.number += 1;
        self.bytes += len as u64;
        Ok(last)
    }
}

fn reserve(tx: &mut Tx, len: usize) -> Result<bool, SendError> {
    match tx.reserve(len) {
        Ok(_) => Ok(true),
        Err(SendError::Full) => Ok(false),
        Err(end) => Err(end),
    }
}

fn checksum(number: u64, payload: &[u8]) -> u64 {
    let mut sums = [number, 1, 2, 3];
    let chunks = payload.chunks_exact(32);
    let rest = chunks.remainder().iter().fold(0u64, |sum, &b| (sum << 1) ^ u64::from(b));
    for chunk in chunks {
        for (sum, word) in sums.iter_mut().zip(chunk.chunks_exact(8)) {
            let word = u64::from_ne_bytes(word.try_into().expect("eight bytes"));
            *sum = (sum.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
    sums.iter().fold(rest, |all, sum| all.rotate_left(17) ^ sum)
}

/// Ends the whole process when `step` stays the same for sixty seconds of its own
/// time, in which it was not stopped: a hang, and nothing that a slow machine
/// can cause.
pub fn watchdog(step: impl Fn() -> u64 + Send + 'static) {
    std::thread::spawn(move || {
        let (mut seen, mut same) = (u64::MAX, 0);
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = step();
            same = if now == seen { same + 1 } else { 0 };
            seen = now;
            if same == 60 {
                say::line!("hangs at step {now}");
                std::process::abort();
            }
        }
    });
}

/// Where a program counts its rounds for a [`watchdog`].
pub fn watched_rounds() -> Arc<AtomicU64> {
    let rounds = Arc::new(AtomicU64::new(0));
    let watched = rounds.clone();
    watchdog(move || watched.load(Ordering::Relaxed));
    rounds
}

/// A directory with a FIFO `fifo` in it.
pub fn scratch_with_fifo() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().expect("tempdir");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, scratch.path().join("fifo"), mode).expect("mkfifo");
    scratch
}

/// Open descriptors and resident memory in KiB.
pub fn footprint() -> (usize, u64) {
    let fds = std::fs::read_dir("/proc/self/fd").expect("/proc").count();
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss = rss.and_then(|rss| rss.split_whitespace().next()?.parse().ok());
    (fds, rss.unwrap_or(0))
}

/// The number behind `name` on the command line, or `default`. Unknown words
/// are those of cargo's test harness.
pub fn argument(name: &str, default: u64) -> u64 {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1).map_or(default, |value| value.parse().expect("a number"))
}

/// From now on a signal every 100 µs, which interrupts system calls.
pub fn start_storm() {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: the handler does nothing; without SA_RESTART calls are interrupted.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
    }
    storm_every(100);
}

/// No more signals.
pub fn stop_storm() {
    storm_every(0);
}

fn storm_every(microseconds: i64) {
    let every = libc::timeval { tv_sec: 0, tv_usec: microseconds };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: `timer` is valid for the call, the old one is not asked for.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
}
