//! dump, feed, tee, filter and balance, with the tools people use beside them.
//!
//! Each test is a shell script as one would type it. Those that need what is not
//! here (a tool, the right to make network namespaces) say so and are skipped.

mod chain;
mod text;
mod trouble;

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// What a script came to.
struct Outcome {
    status: i32,
    out: String,
    err: String,
}

/// A directory with a capture in it, where scripts run.
struct Bench(TempDir);

impl Bench {
    /// `None`, with a word of explanation, where a tool is missing.
    fn new(tools: &[&str]) -> Option<Bench> {
        for tool in tools {
            let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output();
            if !found.is_ok_and(|found| found.status.success()) {
                eprintln!("skipped: no {tool} here");
                return None;
            }
        }
        let bench = Bench(tempfile::tempdir().unwrap());
        std::fs::write(bench.path("in.pcap"), capture()).unwrap();
        Some(bench)
    }

    /// As [`Bench::new`], for scripts with functions that have a network stack.
    fn with_networks(tools: &[&str]) -> Option<Bench> {
        let bench = Bench::new(&[tools, &["ping"]].concat())?;
        let run =
            bench.sh("stdpkt run --right 10.0.0.1/24 -- true | stdpkt run --left 10.0.0.2/24");
        if run.status != 0 && !run.err.is_empty() {
            eprintln!("skipped: no network namespaces here: {}", run.err.trim());
            return None;
        }
        Some(bench)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Runs a script with a limit, so that a chain that hangs is a failure.
    fn sh(&self, script: &str) -> Outcome {
        let bin = Path::new(env!("CARGO_BIN_EXE_stdpkt")).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new("timeout")
            .args(["60", "bash", "-c", &format!("set -o pipefail\n{script}")])
            .current_dir(self.0.path())
            .env("PATH", path)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        Outcome {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// As [`Bench::sh`], for scripts that succeed.
    #[track_caller]
    fn ok(&self, script: &str) -> String {
        let outcome = self.sh(script);
        assert_eq!(outcome.status, 0, "{script}\n{}\n{}", outcome.out, outcome.err);
        outcome.out
    }
}

/// Twelve UDP packets of a flow, every third of them in VLAN 100.
fn capture() -> Vec<u8> {
    use shell_shim::capture::{Encoder, Format};
    let mut out = Vec::new();
    Encoder(Format::Pcap).begin(&mut out);
    for n in 0..12u8 {
        let mut packet = Vec::new();
        let link = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, n]);
        let payload = vec![0xe0 + n; 40];
        let vlan = etherparse::VlanId::try_new(100).unwrap();
        if n.is_multiple_of(3) {
            let ip = link.single_vlan(vlan).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
            ip.udp(40001, 40000).write(&mut packet, &payload).unwrap();
        } else {
            let ip = link.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
            ip.udp(40001, 40000).write(&mut packet, &payload).unwrap();
        }
        let time = std::time::Duration::new(1_700_000_000, u32::from(n) * 1000);
        Encoder(Format::Pcap).packet(time, &packet, &mut out);
    }
    out
}
