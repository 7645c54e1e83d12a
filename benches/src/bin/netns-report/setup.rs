//! How long a link takes, from the moment both processes run to the first frame.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::time::{ClockId, clock_gettime};
use shmring::{Offer, PipeEnd, RecvError, Rendezvous, RuntimeDir};

/// Times `links` links, each with a pipe and two processes of its own, one
/// started right after the other.
///
/// # Errors
/// Those of starting processes; links that do not come up.
pub fn measure(links: usize, runtime_dir: &Path) -> Result<Vec<Duration>> {
    let this = std::env::current_exe()?;
    let part = |name: &str| {
        let mut command = Command::new(&this);
        command.args(["--part", name]).env("SHMRING_RUNTIME_DIR", runtime_dir);
        command
    };
    let mut times = Vec::with_capacity(links);
    for turn in 0..links {
        let (read, write) = std::io::pipe()?;
        let mut reader = part("reader");
        reader.stdin(read).stderr(Stdio::piped());
        let mut writer = part("writer");
        writer.stdout(write);
        // Either may start first.
        let (mut reader, mut writer) = if turn % 2 == 0 {
            let reader = reader.spawn()?;
            (reader, writer.spawn()?)
        } else {
            let writer = writer.spawn()?;
            (reader.spawn()?, writer)
        };
        let mut answer = String::new();
        reader.stderr.take().context("no pipe")?.read_to_string(&mut answer)?;
        reader.wait()?;
        writer.wait()?;
        let nanos = answer.trim().parse().map_err(|_| anyhow!("the reader said {answer:?}"))?;
        times.push(Duration::from_nanos(nanos));
    }
    Ok(times)
}

/// The clock is the same in every process.
fn now() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

fn rendezvous(end: impl AsFd, name: &str) -> Result<shmring::Link> {
    let dir = RuntimeDir::for_user()?;
    let end = PipeEnd::new(end.as_fd().try_clone_to_owned()?, name)?;
    Ok(Rendezvous::new(end, &dir, Offer { label: name.into(), ..Offer::default() })?.wait()?)
}

/// Sends when it began to run, as its first frame.
///
/// # Errors
/// A link that does not come up.
pub fn writer() -> Result<()> {
    let began = now()?;
    let link = rendezvous(std::io::stdout(), "standard output")?;
    let mut tx = link.tx.context("one way")?;
    let mut room = tx.reserve(8)?;
    room.fill(|bytes| bytes.copy_from(0, &began.to_le_bytes()));
    room.stage(8);
    tx.publish();
    // Stays until the reader is gone.
    let mut rx = link.rx.context("one way")?;
    while rx.borrow().err() == Some(RecvError::Empty) {
        rx.wait(None)?;
    }
    Ok(())
}

/// Says how long the first frame took since both began to run.
///
/// # Errors
/// A link that does not come up.
pub fn reader() -> Result<()> {
    let began = now()?;
    let mut rx = rendezvous(std::io::stdin(), "standard input")?.rx.context("one way")?;
    let mut other = [0; 8];
    loop {
        match rx.borrow() {
            Ok(mut frame) => {
                frame.bytes().copy_to(0, &mut other);
                break;
            }
            Err(RecvError::Empty) => rx.wait(None)?,
            Err(error) => return Err(error.into()),
        }
    }
    let both_ran = began.max(u64::from_le_bytes(other));
    let taken = now()? - both_ran;
    say::line!("{taken}");
    Ok(())
}
