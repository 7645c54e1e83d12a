//! Command lines from start to end, in turn.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_gettime};
use stdpkt_benches::programs::is_program;
use stdpkt_benches::stats::Summary;

/// What is run: its name, a program that it needs, and the line. `$S` is stdpkt, `$D` an
/// empty directory.
const LINES: [(&str, Option<&str>, &str); 7] = [
    (
        "`stdpkt run -- true`, two of them and a `|`",
        None,
        "$S run --right 10.0.0.1/24 -- true | $S run --left 10.0.0.2/24 -- true",
    ),
    (
        "the same with `--channel veth`",
        None,
        "$S run --channel veth --right 10.0.0.1/24 -- true | \
         $S run --channel veth --left 10.0.0.2/24 -- true",
    ),
    (
        "`stdpkt run`, client, NAT, server: one connection's worth of rules and a ping",
        Some("iptables"),
        "$S run --right 10.0.0.1/24 --gateway 10.0.0.2 -- ping -c 1 -q 10.0.1.2 | \
         $S run --left 10.0.0.2/24 --right 10.0.1.1/24 --forward \
         --setup 'iptables -t nat -A POSTROUTING -o right -j MASQUERADE' | \
         $S run --left 10.0.1.2/24",
    ),
    (
        "`vdens`, two of them on one `ptp://`",
        Some("vdens"),
        "vdens ptp://$D/vde true </dev/null & vdens ptp://$D/vde true </dev/null; wait",
    ),
    ("`bwrap --unshare-all`, one", Some("bwrap"), "bwrap --unshare-all --dev-bind / / true"),
    (
        "`ip netns`: two, a veth pair, `true` in both, both deleted",
        Some("ip"),
        "unshare -m sh -c 'mount -t tmpfs none /run && ip netns add a && ip netns add b && \
         ip link add x netns a type veth peer name y netns b && \
         ip -n a addr add 10.0.0.1/24 dev x && ip -n a link set x up && \
         ip -n b addr add 10.0.0.2/24 dev y && ip -n b link set y up && \
         ip netns exec a true && ip netns exec b true && ip netns del a && ip netns del b'",
    ),
    ("`unshare -n true`, two and a `|`", Some("unshare"), "unshare -n true | unshare -n true"),
];

/// Writes a table of all lines.
///
/// # Errors
/// A line that fails.
pub fn measure(out: &mut String, program: &Path, rounds: usize) -> Result<()> {
    let scratch = tempfile::Builder::new().prefix("starts-report").tempdir()?;
    let mut all: Vec<Vec<f64>> = vec![Vec::new(); LINES.len()];
    let mut ends = Vec::new();
    let here: Vec<_> =
        LINES.into_iter().map(|(_, needs, _)| needs.is_none_or(is_program)).collect();
    for round in 0..rounds {
        say::line!("round {round}");
        for (at, (name, _, line)) in LINES.into_iter().enumerate().filter(|(at, _)| here[*at]) {
            let began = Instant::now();
            let done = shell(line, program, scratch.path()).output().context("sh")?;
            all[at].push(milliseconds(began.elapsed()));
            let said = String::from_utf8_lossy(&done.stderr);
            ensure!(done.status.success(), "{name}: {}", said.trim());
        }
        ends.push(milliseconds(end(program)?));
    }
    writeln!(out, "\n## One line from start to end, ms\n")?;
    writeln!(out, "Median (smallest..largest) of {rounds}, in turn.\n\n| line | ms |\n|---|--:|")?;
    for ((name, needs, _), times) in LINES.into_iter().zip(all) {
        let missing = || format!("- (no {})", needs.unwrap_or("figure"));
        let cell = Summary::of(times).map_or_else(missing, |it| it.to_string());
        writeln!(out, "| {name} | {cell} |")?;
    }
    if let Some(end) = Summary::of(ends) {
        writeln!(
            out,
            "| of the first: from the last CMD's last instruction to the shell's next | {end} |"
        )?;
    }
    Ok(())
}

/// From CMD's last words to the end of the chain.
fn end(program: &Path) -> Result<Duration> {
    let this = std::env::current_exe()?;
    let (read, write) = std::io::pipe()?;
    let mut left = Command::new(program);
    left.args(["run", "--right", "10.0.0.1/24"]).stdout(write);
    let mut right = Command::new(program);
    right.args(["run", "--left", "10.0.0.2/24", "--"]).arg(this).args(["--part", "last-words"]);
    right.stdin(read).stdout(Stdio::piped());
    let mut first = left.spawn().context("stdpkt")?;
    let last = right.spawn().context("stdpkt")?;
    drop((left, right)); // their copies of the pipe's ends
    let done = last.wait_with_output()?;
    let now = now()?;
    first.wait()?;
    let words = String::from_utf8(done.stdout)?;
    let ended: u64 = words.trim().parse().with_context(|| format!("CMD said {words:?}"))?;
    Ok(Duration::from_nanos(now.saturating_sub(ended)))
}

/// CMD says when it ends.
///
/// # Errors
/// No clock.
pub fn last_words() -> Result<()> {
    println!("{}", now()?);
    Ok(())
}

/// The clock is the same in every process.
fn now() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

fn shell(line: &str, program: &Path, scratch: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "20", "sh", "-c", line]);
    command.env("S", program).env("D", scratch).stdin(Stdio::null());
    command
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
