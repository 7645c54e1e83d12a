//! What a chain does while nothing happens.

use std::fs;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stdpkt_benches::spent::Spent;

use crate::channel::Bench;

/// What was seen.
pub struct Idle {
    /// For how long.
    pub seconds: u64,
    /// Processes of the chain.
    pub processes: usize,
    /// What they cost meanwhile.
    pub spent: Spent,
}

/// Three functions, the outer two with a program that sleeps.
///
/// # Errors
/// A chain that does not come up.
pub fn measure(seconds: u64, bench: &Bench) -> Result<Idle> {
    let limit = seconds as u32 + 30;
    let (first_read, first_write) = std::io::pipe()?;
    let (second_read, second_write) = std::io::pipe()?;
    let mut first = bench.stdpkt(limit, "--right 10.0.0.1/24 -- sleep 600");
    let mut second = bench.stdpkt(limit, "--left 10.0.0.2/24 --right 10.0.1.1/24 --forward");
    let mut third = bench.stdpkt(limit, "--left 10.0.1.2/24 -- sleep 600");
    let mut children = [
        first.stdout(first_write).spawn().context("stdpkt")?,
        second.stdin(first_read).stdout(second_write).spawn().context("stdpkt")?,
        third.stdin(second_read).spawn().context("stdpkt")?,
    ];
    drop((first, second, third)); // their copies of pipe ends
    // What the kernel says on a new interface by itself must be over.
    sleep(Duration::from_secs(8));
    let functions: Vec<u32> = children.iter().flat_map(|child| descendants(child.id())).collect();
    let spent = Spent::during(Duration::from_secs(seconds), &functions);
    children.iter_mut().try_for_each(end)?;
    Ok(Idle { seconds, processes: functions.len(), spent })
}

fn end(child: &mut Child) -> Result<()> {
    let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
    child.wait()?;
    Ok(())
}

fn descendants(pid: u32) -> Vec<u32> {
    let children =
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|word| word.parse().ok());
    children.flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}
