//! Two processes, a channel between them, and a stopwatch.
//!
//! The near side (this process) sends; the far side is this program once more
//! (see [`worker::hook`]), or a thread where a channel knows no processes. The
//! far side receives and checks, or echoes. A Unix socket beside the channel
//! says what is next and what it cost; it is silent while the clock runs.

pub mod frames;
pub(crate) mod inherit;
pub mod worker;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use frames::{Checker, Sizes, Source};

/// Sends frames.
pub trait Sender {
    /// Sends the next `count` frames of `source`; all are on their way on return.
    ///
    /// # Errors
    /// Whatever the channel reports.
    fn send(&mut self, count: u64, source: &mut Source) -> Result<()>;
}

/// Receives frames.
pub trait Receiver {
    /// Shows the next `count` frames to `checker`.
    ///
    /// # Errors
    /// Whatever the channel reports, and the end of frames.
    fn receive(&mut self, count: u64, checker: &mut Checker) -> Result<()>;
}

/// One side of a channel, both ways.
pub struct Ends {
    /// To the other side.
    pub tx: Box<dyn Sender>,
    /// From the other side.
    pub rx: Box<dyn Receiver>,
}

/// What both sides of a channel know before they meet.
#[derive(Debug, Clone)]
pub struct Setup {
    /// A private directory for sockets, FIFOs and the like.
    pub dir: PathBuf,
    /// Longest frame in bytes.
    pub max_frame: usize,
    /// Bytes of ring each way.
    pub ring: usize,
}

/// The far side before it runs.
pub enum Far {
    /// A process that inherits these descriptors and calls [`Kind::far`].
    Process(Vec<OwnedFd>),
    /// A thread, for channels that do not leave a process.
    Thread(Box<dyn FnOnce() -> Result<Ends> + Send>),
}

/// Finishes the near side once the far side runs.
pub type Near = Box<dyn FnOnce() -> Result<Ends>>;

/// A kind of channel.
pub struct Kind {
    /// Its name in tables.
    pub name: &'static str,
    /// Whether a side that waits keeps its processor busy for as long as it waits.
    pub busy_polls: bool,
    /// Longest frame it carries.
    pub max_frame: usize,
    /// Makes both sides' parts.
    pub near: fn(&Setup) -> Result<(Near, Far)>,
    /// The far side, in its own process.
    pub far: fn(&Setup, Vec<OwnedFd>) -> Result<Ends>,
}

/// Where the two sides run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Pin {
    /// Each on a processor of its own, always the same.
    Apart,
    /// Both on one processor.
    Together,
    /// Wherever the scheduler likes.
    Free,
}

/// What a run of frames took.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// From the first send until the far side had checked the last frame.
    pub elapsed: Duration,
    /// Processor time of the near side.
    pub near_cpu: Duration,
    /// Processor time of the far side.
    pub far_cpu: Duration,
    /// Frames sent.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Run {
    /// Frames in a second.
    pub fn frame_rate(&self) -> f64 {
        self.frames as f64 / self.elapsed.as_secs_f64()
    }

    /// Bits of frames in a second, in thousand millions.
    pub fn gbits(&self) -> f64 {
        self.bytes as f64 * 8e-9 / self.elapsed.as_secs_f64()
    }

    /// Processor seconds of both sides for 2^30 bytes.
    pub fn cpu_per_gib(&self) -> f64 {
        let gib = self.bytes as f64 / f64::from(1 << 30);
        (self.near_cpu + self.far_cpu).as_secs_f64() / gib
    }
}

/// A channel in use, seen from the near side.
pub struct Pair {
    ends: Ends,
    control: UnixStream,
    far: Option<FarSide>,
    sizes: Sizes,
    clock: ClockId,
    before: CpuSet,
}

enum FarSide {
    Process(Child),
    Thread(std::thread::JoinHandle<()>),
}

/// Frames of the check before any clock runs.
const SANITY: u64 = 500;

impl Pair {
    /// Starts the far side, joins the two, and checks the channel both ways.
    ///
    /// # Errors
    /// A channel that does not come up or does not deliver what was sent.
    pub fn new(kind: &Kind, sizes: Sizes, ring: usize, dir: &Path, pin: Pin) -> Result<Pair> {
        Self::start(kind, sizes, ring, dir, pin).with_context(|| format!("{}, {sizes}", kind.name))
    }

    fn start(kind: &Kind, sizes: Sizes, ring: usize, dir: &Path, pin: Pin) -> Result<Pair> {
        let dir = tempfile::Builder::new().prefix("p").tempdir_in(dir)?.keep();
        let setup = Setup { dir, max_frame: sizes.longest(), ring };
        let before = sched_getaffinity(None)?;
        let (near, far) = (kind.near)(&setup)?;
        let (control, far_control) = UnixStream::pair()?;
        let far_cpu = if pin == Pin::Apart { 1 } else { 0 };
        let far_cpu = (pin != Pin::Free).then_some(far_cpu);
        let clock = match &far {
            Far::Process(_) => ClockId::ProcessCPUTime,
            Far::Thread(_) => ClockId::ThreadCPUTime,
        };
        let far = match far {
            Far::Process(fds) => {
                let fds = inherit::leave_open(fds)?;
                let mut command = Command::new(std::env::current_exe()?);
                command.env(worker::MARK, kind.name);
                command.args([
                    &sizes.to_string(),
                    &ring.to_string(),
                    &setup.dir.display().to_string(),
                    &far_cpu.map_or_else(|| "-".to_owned(), |cpu: usize| cpu.to_string()),
                    &inherit::numbers(&fds),
                ]);
                FarSide::Process(command.stdin(OwnedFd::from(far_control)).spawn()?)
            }
            Far::Thread(make) => FarSide::Thread(std::thread::spawn(move || {
                let serve = || worker::serve(make()?, far_control, sizes, far_cpu, clock);
                if let Err(error) = serve() {
                    say::line!("the far side: {error:#}");
                }
            })),
        };
        if pin != Pin::Free {
            pin_to(0)?;
        }
        let ends = near()?;
        let far = Some(far);
        let mut pair = Pair { ends, control, far, sizes, clock, before };
        pair.run(SANITY, true).context("before any clock ran")?;
        pair.round_trips(SANITY / 10, Duration::ZERO, true).context("before any clock ran")?;
        Ok(pair)
    }

    /// Sends `count` frames and waits until the far side has checked them all.
    ///
    /// # Errors
    /// A frame that is not what it should be.
    pub fn stream(&mut self, count: u64) -> Result<Run> {
        self.run(count, false)
    }

    /// Streams for about this long; warms up first.
    ///
    /// # Errors
    /// As [`Pair::stream`].
    pub fn stream_for(&mut self, time: Duration) -> Result<Run> {
        let mut count = 256;
        loop {
            let run = self.stream(count)?;
            let part = run.elapsed.as_secs_f64() / time.as_secs_f64();
            if part > 0.1 {
                return self.stream((count as f64 / part) as u64 + 1);
            }
            count = (count as f64 * (0.15 / part).min(50.0)) as u64 + 1;
        }
    }

    fn run(&mut self, count: u64, full: bool) -> Result<Run> {
        let mut source = Source::new(self.sizes, full);
        self.ask(if full { worker::CHECK } else { worker::RECEIVE }, count)?;
        let cpu = cpu_time(self.clock);
        let began = Instant::now();
        self.ends.tx.send(count, &mut source)?;
        let near_cpu = cpu_time(self.clock) - cpu;
        let far_cpu = self.answer()?;
        let elapsed = began.elapsed();
        Ok(Run { elapsed, near_cpu, far_cpu, frames: count, bytes: source.bytes() })
    }

    /// Sends `count` frames, each after the echo of the one before and a sleep
    /// of `gap`; nanoseconds from send to echo.
    ///
    /// # Errors
    /// An echo that is not what was sent.
    pub fn round_trips(&mut self, count: u64, gap: Duration, full: bool) -> Result<Histogram<u64>> {
        let mut source = Source::new(self.sizes, full);
        let mut checker = Checker::new(self.sizes, full);
        let mut times = Histogram::new(3)?;
        self.ask(if full { worker::CHECK_ECHO } else { worker::ECHO }, count)?;
        for _ in 0..count {
            if !gap.is_zero() {
                std::thread::sleep(gap);
            }
            let began = Instant::now();
            self.ends.tx.send(1, &mut source)?;
            self.ends.rx.receive(1, &mut checker)?;
            times.record(began.elapsed().as_nanos() as u64)?;
        }
        self.answer()?;
        Ok(times)
    }

    /// The far side is ready when this returns.
    fn ask(&mut self, what: u8, count: u64) -> Result<()> {
        let mut message = [what; 9];
        message[1..].copy_from_slice(&count.to_le_bytes());
        self.control.write_all(&message)?;
        self.control.read_exact(&mut [0]).context("the far side is gone")?;
        Ok(())
    }

    /// The far side's processor time.
    fn answer(&mut self) -> Result<Duration> {
        let mut nanos = [0; 8];
        self.control.read_exact(&mut nanos).context("the far side is gone")?;
        Ok(Duration::from_nanos(u64::from_le_bytes(nanos)))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // The far side ends with this socket.
        let _ = self.control.shutdown(std::net::Shutdown::Both);
        match self.far.take() {
            Some(FarSide::Process(mut child)) => drop(child.wait()),
            Some(FarSide::Thread(thread)) => drop(thread.join()),
            None => {}
        }
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// Keeps the calling thread on one processor.
///
/// # Errors
/// Those of `sched_setaffinity(2)`: there is no such processor.
pub fn pin_to(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("processor {cpu}"))
}

fn cpu_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
