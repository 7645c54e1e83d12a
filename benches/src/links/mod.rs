//! Many links between two processes: what they carry and what they take.
//!
//! Both processes are started from here, so that this one's own work is not
//! theirs; it tells them what to do and holds the stopwatch.

mod footprint;
pub mod side;
mod turns;

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::harness::frames::Sizes;
use crate::harness::inherit;

pub use footprint::Footprint;

/// Two processes that hold the two ends of the same links.
pub struct Links {
    count: usize,
    /// The one that has the pipes' writing ends, and the other.
    sides: [Side; 2],
    _dir: tempfile::TempDir,
}

struct Side {
    process: Child,
    control: BufReader<UnixStream>,
}

/// Which way frames go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As in the pipes.
    There,
    /// The other way.
    Back,
}

/// What a process is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Job {
    task: Task,
    sizes: Sizes,
    /// On each link.
    frames: u64,
    /// On this link, and none on the others.
    only: Option<usize>,
    threads: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Send,
    Receive,
}

impl Links {
    /// Starts both processes, `program` with the argument `--side` and those of
    /// [`side::main`], and waits until all links are up.
    ///
    /// # Errors
    /// Too few descriptors, and links that do not come up.
    pub fn start(program: &Path, count: usize, capacity: usize, max_frame: usize) -> Result<Links> {
        let dir = tempfile::Builder::new().prefix("links").tempdir()?;
        let mut ends: [Vec<OwnedFd>; 2] = Default::default();
        for _ in 0..count {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            ends[0].push(write);
            ends[1].push(read);
        }
        let start = |cpu: usize, ends: Vec<OwnedFd>| -> Result<Side> {
            let (control, other) = UnixStream::pair()?;
            let ends = inherit::leave_open(ends)?;
            let process = Command::new(program)
                .arg("--side")
                .args([cpu.to_string(), dir.path().join("r").display().to_string()])
                .args([capacity.to_string(), max_frame.to_string(), inherit::numbers(&ends)])
                .stdin(OwnedFd::from(other))
                .spawn()?;
            Ok(Side { process, control: BufReader::new(control) })
        };
        let [write, read] = ends;
        let sides = [start(0, write)?, start(1, read)?];
        let mut links = Links { count, sides, _dir: dir };
        links.sides.iter_mut().try_for_each(|side| side.hear("met"))?;
        Ok(links)
    }

    /// Sends `frames` frames over each link; the time until all were checked.
    ///
    /// # Errors
    /// A frame that is not what it should be.
    pub fn stream(
        &mut self,
        way: Way,
        sizes: Sizes,
        frames: u64,
        threads: usize,
    ) -> Result<Duration> {
        self.run(way, Job { task: Task::Send, sizes, frames, only: None, threads }, || ())
    }

    /// Lets all links lie idle for as long as `pause` takes, while the receiver
    /// listens to all of them; then sends one frame over the link `only`.
    ///
    /// # Errors
    /// As [`Links::stream`].
    pub fn after(&mut self, pause: impl FnOnce(), only: usize) -> Result<()> {
        let sizes = Sizes::All(1500);
        let job = Job { task: Task::Send, sizes, frames: 1, only: Some(only), threads: 1 };
        self.run(Way::There, job, pause).map(drop)
    }

    fn run(&mut self, way: Way, job: Job, pause: impl FnOnce()) -> Result<Duration> {
        let [a, b] = &mut self.sides;
        let (sender, receiver) = if way == Way::There { (a, b) } else { (b, a) };
        receiver.tell(Job { task: Task::Receive, ..job })?;
        receiver.hear("ready")?;
        pause();
        let began = Instant::now();
        sender.tell(job)?;
        receiver.hear("done")?;
        let taken = began.elapsed();
        sender.hear("done")?;
        Ok(taken)
    }

    /// The two processes.
    pub fn pids(&self) -> [u32; 2] {
        self.sides.each_ref().map(|side| side.process.id())
    }

    /// How many links there are.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl Side {
    fn tell(&mut self, job: Job) -> Result<()> {
        Ok(writeln!(self.control.get_mut(), "{job}")?)
    }

    fn hear(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        self.control.read_line(&mut line)?;
        if line.trim_end() != word {
            bail!("process {} is gone", self.process.id());
        }
        Ok(())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // The process ends with this socket.
        let _ = self.control.get_ref().shutdown(std::net::Shutdown::Both);
        let _ = self.process.wait();
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task = if self.task == Task::Send { "send" } else { "receive" };
        let only = self.only.map_or_else(|| "all".to_owned(), |only| only.to_string());
        write!(f, "{task} {} {} {only} {}", self.sizes, self.frames, self.threads)
    }
}

impl FromStr for Job {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Job> {
        let words: Vec<&str> = line.split(' ').collect();
        let [task, sizes, frames, only, threads] = words[..] else {
            return Err(anyhow!("asked to {line}"));
        };
        Ok(Job {
            task: if task == "send" { Task::Send } else { Task::Receive },
            sizes: sizes.parse()?,
            frames: frames.parse()?,
            only: (only != "all").then(|| only.parse()).transpose()?,
            threads: threads.parse().context("threads")?,
        })
    }
}
