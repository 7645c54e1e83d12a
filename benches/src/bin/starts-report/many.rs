//! Many functions at once: until all are up, what they take, until all are gone.

use std::fmt::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stdpkt_benches::links::Footprint;
use stdpkt_benches::machine;
use stdpkt_benches::spent::Spent;
use stdpkt_benches::stats::{Summary, short};

/// Looks whether all are up no more often than this.
const PAUSE: Duration = Duration::from_millis(250);
/// Starts of `count` functions are given up after so long.
const LIMIT: Duration = Duration::from_secs(300);

/// Writes a table about `count` functions in pairs.
///
/// # Errors
/// Functions that do not come up.
pub fn measure(out: &mut String, program: &Path, count: usize, idle: u64) -> Result<()> {
    let scratch = tempfile::Builder::new().prefix("starts-report").tempdir()?;
    let dir = scratch.path().join("run"); // which the first function makes
    let available = machine::available_memory();
    let alone = unshared(count)?;
    say::line!("{count} functions");
    let began = Instant::now();
    let mut functions = Functions::default();
    for _ in 0..count / 2 {
        let (read, write) = std::io::pipe()?;
        let mut left = function(program, &dir, ["--right", "10.0.0.1/24"]);
        let mut right = function(program, &dir, ["--left", "10.0.0.2/24"]);
        functions.0.push(left.stdout(write).spawn().context("stdpkt")?);
        functions.0.push(right.stdin(read).spawn().context("stdpkt")?);
    }
    let started = began.elapsed();
    let mut looks = Vec::new();
    while up(program, &dir, &mut looks)? < count / 2 {
        ensure!(began.elapsed() < LIMIT, "not all came up within {} s", LIMIT.as_secs());
        sleep(PAUSE);
    }
    let all_up = began.elapsed();
    let pids: Vec<u32> = functions.0.iter().map(Child::id).collect();
    sleep(Duration::from_secs(8)); // what the kernel says on a new interface by itself
    let memory = Footprint::of(&pids)?;
    let taken = available.saturating_sub(machine::available_memory());
    let spent = Spent::during(Duration::from_secs(idle), &pids);
    for _ in 0..5 {
        up(program, &dir, &mut looks)?;
    }
    let began = Instant::now();
    drop(functions);
    let ended = began.elapsed();

    writeln!(out, "\n## {count} functions at once, {} links\n", count / 2)?;
    writeln!(out, "| | |\n|---|--:|")?;
    let seconds = |time: Duration| short(time.as_secs_f64());
    let kib = |bytes: u64| short(bytes as f64 / 1024.0 / count as f64);
    writeln!(out, "| `unshare -n true`, as often, one after the other, s | {} |", seconds(alone))?;
    writeln!(out, "| all started, s | {} |", seconds(started))?;
    writeln!(
        out,
        "| all linked (looked at every {} ms), s | {} |",
        PAUSE.as_millis(),
        seconds(all_up)
    )?;
    writeln!(out, "| all ended after SIGTERM, s | {} |", seconds(ended))?;
    writeln!(out, "| memory a function (PSS, rings included), KiB | {} |", kib(memory.memory))?;
    writeln!(out, "| of this its rings, KiB | {} |", kib(memory.rings))?;
    writeln!(out, "| with what the kernel keeps, KiB | {} |", kib(taken))?;
    writeln!(out, "| context switches of all in {idle} s | {} |", spent.switches)?;
    writeln!(out, "| clock ticks of processor time of all in {idle} s | {} |", spent.ticks)?;
    let looks = looks.into_iter().rev().take(5).map(|time| time.as_secs_f64() * 1e3);
    if let Some(look) = Summary::of(looks) {
        writeln!(out, "| `stdpkt ls` with all of them, ms | {look} |")?;
    }
    Ok(())
}

/// Those that run; they end with this.
#[derive(Default)]
struct Functions(Vec<Child>);

impl Drop for Functions {
    fn drop(&mut self) {
        for function in &self.0 {
            let _ = kill(Pid::from_raw(function.id() as i32), Signal::SIGTERM);
        }
        for function in &mut self.0 {
            let _ = function.wait();
        }
    }
}

/// What they are called.
const NAME: &str = "starts-report";

fn function(program: &Path, dir: &Path, arguments: [&str; 2]) -> Command {
    let mut command = Command::new(program);
    command.args(["run", "--name", NAME]).args(arguments);
    command.env("SHMRING_RUNTIME_DIR", dir).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// How many links are rings by now; how long the look took is added to `looks`.
fn up(program: &Path, dir: &Path, looks: &mut Vec<Duration>) -> Result<usize> {
    let began = Instant::now();
    let mut command = Command::new(program);
    let done = command.args(["ls", NAME]).env("SHMRING_RUNTIME_DIR", dir).output()?;
    looks.push(began.elapsed());
    let rows = String::from_utf8_lossy(&done.stdout);
    // A row for each direction.
    Ok(rows.lines().filter(|row| row.contains(" ring ")).count() / 2)
}

/// `count` network namespaces and nothing else.
fn unshared(count: usize) -> Result<Duration> {
    let began = Instant::now();
    for _ in 0..count {
        let status = Command::new("unshare").args(["-n", "true"]).status().context("unshare")?;
        ensure!(status.success(), "unshare -n: {status}");
    }
    Ok(began.elapsed())
}
