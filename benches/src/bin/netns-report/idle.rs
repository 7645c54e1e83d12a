//! What a chain does while nothing happens.

use std::fs;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::channel::Bench;

/// What was seen.
pub struct Idle {
    /// For how long.
    pub seconds: u64,
    /// Processes of the chain.
    pub processes: usize,
    /// Their context switches meanwhile.
    pub switches: u64,
    /// Clock ticks of processor time they used meanwhile.
    pub ticks: u64,
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
    let before: Vec<_> = functions.iter().map(|&pid| spent(pid)).collect();
    let began = Instant::now();
    sleep(Duration::from_secs(seconds));
    let after: Vec<_> = functions.iter().map(|&pid| spent(pid)).collect();
    let seconds = began.elapsed().as_secs();
    children.iter_mut().try_for_each(end)?;
    let sum = |of: &[(u64, u64)]| of.iter().fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
    let (before, after) = (sum(&before), sum(&after));
    Ok(Idle {
        seconds,
        processes: functions.len(),
        switches: after.0 - before.0,
        ticks: after.1 - before.1,
    })
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

/// Context switches and clock ticks of a process so far.
fn spent(pid: u32) -> (u64, u64) {
    let mut spent = (0, 0);
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return spent };
    for thread in threads.flatten() {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let switches = status.lines().filter(|line| line.contains("ctxt_switches"));
        spent.0 += switches
            .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
            .sum::<u64>();
        // Behind the name in brackets: fields 14 and 15 of proc_pid_stat(5).
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        spent.1 += fields.skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
    }
    spent
}
