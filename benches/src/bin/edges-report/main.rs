//! `edges-report`: what a link carries whose other end is no function of this chain.
//!
//! netperf between a client and a server, through a program in the place of a neighbour
//! (cat, ssh, vde_plug), through `stdpkt uplink` beside the same program that serves a
//! namespace itself, between namespaces that are there beside a veth pair, and between two
//! functions. All ways are measured one after the other, round by round in another
//! order; ratios are taken within a round. It makes network, mount and pid namespaces of
//! its own, as root, and nothing in it reaches out of them.

mod report;
mod way;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use stdpkt_benches::netperf::{SERVER, Test, UNPACE};
use stdpkt_benches::programs;

use way::Way;

/// Measures links to programs, hosts and networks and writes a markdown table.
#[derive(Debug, Parser)]
#[command(name = "edges-report", max_term_width = 100)]
struct Args {
    /// Times that everything is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one measurement
    #[arg(long, default_value_t = 1)]
    seconds: u32,
    /// Where the table goes, besides standard output
    #[arg(long)]
    out: Option<PathBuf>,
    /// Largest IP packet
    #[arg(long, value_delimiter = ',', default_values_t = [1500, 65520])]
    mtu: Vec<u32>,
    /// Ways to the server
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = way::ALL)]
    ways: Vec<Way>,
    /// Tests, e.g. tcp-65507, and back-65507 for the other direction
    #[arg(long, value_delimiter = ',', value_parser = Test::parse, default_value = "tcp-65507,back-65507")]
    tests: Vec<Test>,
    /// The scratch directory, in namespaces that are made
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
}

/// Longest a measurement may take beyond its own time.
const LIMIT: u32 = 15;

fn main() -> Result<()> {
    let args = Args::parse();
    match &args.inside {
        Some(scratch) => measure(&args, scratch),
        None => enter(),
    }
}

/// Goes on in namespaces of its own, with which all ends that is started there.
fn enter() -> Result<()> {
    programs::build()?;
    for program in [
        "ip",
        "netperf",
        "netserver",
        "pasta",
        "passt",
        "slirp4netns",
        "ssh",
        "sshd",
        "vde_plug",
        "vde_switch",
    ] {
        ensure!(programs::is_program(program), "{program} is not installed");
    }
    let scratch = tempfile::Builder::new().prefix("edges-report").tempdir()?;
    let mut command = Command::new("unshare");
    command.args(["-n", "-m", "-p", "-f", "--kill-child", "--mount-proc", "--propagation=private"]);
    command.args(["sh", "-c", "mount -t tmpfs none /run && mkdir /run/netns && exec \"$@\"", "sh"]);
    command.arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    command.arg("--inside").arg(scratch.path());
    let status = command.status().context("unshare")?;
    ensure!(status.success(), "it wants root, and namespaces that may be made");
    Ok(())
}

fn measure(args: &Args, scratch: &Path) -> Result<()> {
    let this = std::env::current_exe()?;
    let programs = this.parent().context("this program lies nowhere")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}:/usr/sbin:/sbin", programs.display());
    let run = scratch.join("run");
    DirBuilder::new().mode(0o700).create(&run)?;
    let bash = |script: &str| {
        let mut command = Command::new("timeout");
        let limit = (args.seconds + LIMIT).to_string();
        command.args(["-k", "1", &limit, "bash", "-c", script]).current_dir(scratch);
        command.env("PATH", &path).env("SHMRING_RUNTIME_DIR", &run);
        command.env("SERVER", SERVER).env("UNPACE", UNPACE).stdin(Stdio::null());
        command
    };
    let made = bash(include_str!("host.sh")).status()?;
    ensure!(made.success(), "the host could not be made");
    let mut report = report::Report::new(args.rounds, args.seconds);
    for &mtu in &args.mtu {
        let mut ways = args.ways.clone();
        ways.retain(|way| match way.unavailable(mtu) {
            None => true,
            Some(why) => {
                report.note(format!("`{way}` at MTU {mtu} was left out: {why}."));
                false
            }
        });
        for round in 0..args.rounds {
            for turn in 0..ways.len() {
                let way = ways[(turn + round) % ways.len()];
                for &test in &args.tests {
                    let client =
                        format!("{} >answer 2>&1", test.client(way.server(), args.seconds));
                    std::fs::write(scratch.join("client"), client)?;
                    let said = bash(&way.script(mtu)).stdout(Stdio::null()).output()?;
                    let answer =
                        std::fs::read_to_string(scratch.join("answer")).unwrap_or_default();
                    let _ = std::fs::remove_file(scratch.join("answer"));
                    let what = format!("round {round}: mtu {mtu}: {test} {way}");
                    match test.figure(&answer) {
                        Some(value) => {
                            say::line!("{what}: {value} {}", test.unit());
                            report.add(mtu, way, test, round, value);
                        }
                        None => {
                            let said = String::from_utf8_lossy(&said.stderr);
                            say::line!("{what}: {} {}", answer.trim(), said.trim());
                            report.note(format!(
                                "Round {round}, MTU {mtu}: {test} over {way} failed."
                            ));
                        }
                    }
                }
            }
        }
    }
    let text = report.render();
    if let Some(out) = &args.out {
        std::fs::write(out, &text).with_context(|| format!("{}", out.display()))?;
    }
    print!("{text}");
    Ok(())
}
