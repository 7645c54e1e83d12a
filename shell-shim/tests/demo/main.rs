//! `stdpkt demo` from end to end.
//!
//! Nothing here judges a time or a speed.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stdpkt"));
    command.arg("demo").args(args).stdin(Stdio::null());
    command
}

/// What this machine lacks for functions to run at all.
fn lacks() -> Option<String> {
    let probe = "stdpkt run --right 10.0.0.1/24 | stdpkt run --left 10.0.0.2/24 -- true";
    let exe = std::path::Path::new(env!("CARGO_BIN_EXE_stdpkt"));
    let here = exe.parent().expect("a program is in a directory").display();
    let path = format!("{here}:{}", std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh").args(["-c", probe]).env("PATH", path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let lacking = said.lines().next().unwrap_or("nothing was said").to_owned();
    let forbidden = ["/dev/net/tun", "namespace", "no right", "forbid"];
    if output.status.success() {
        return None;
    }
    assert!(forbidden.iter().any(|word| lacking.contains(word)), "broken, not lacking: {said}");
    Some(lacking)
}

/// A directory for PATH that has a shell, and no ping.
fn bare() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/bin/sh", dir.path().join("sh")).unwrap();
    dir
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(output: &Output) -> Value {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}: {out}{err}", output.status);
    assert_eq!(out.lines().count(), 1, "{out}");
    serde_json::from_str(&out).unwrap()
}

#[test]
fn the_chain_runs_and_every_channel_is_measured() {
    if let Some(lacking) = lacks() {
        say::line!("skipped: lacks what functions need: {lacking}");
        return;
    }
    let output = demo(&["--seconds", "0.2", "--rounds", "1", "--json"]).output().unwrap();
    let (report, said) = (json(&output), text(&output.stderr));
    assert!(said.contains("stdpkt run --right 192.168.0.1/24"), "{said}");
    if report["chain"]["replies"].is_null() {
        say::line!("the chain was skipped: lacks {}", report["chain"]["lacks"]);
        assert!(said.contains("apt-get install"), "{said}");
    } else {
        assert_eq!(report["chain"]["replies"], 3, "{said}");
    }
    let channels = report["channels"].as_array().unwrap();
    assert_eq!(channels.len(), 3);
    for row in channels {
        if row["channel"] == "veth"
            && let Some(why) = row["absent"].as_str()
        {
            say::line!("veth was skipped: {why}");
            assert_eq!(why.lines().count(), 1);
            continue;
        }
        assert!(row["absent"].is_null(), "{row}");
        for key in ["gbit_per_second", "round_trips_per_second", "p50_us", "p99_us"] {
            assert!(row[key].as_f64() > Some(0.0), "{key}: {row}");
        }
        assert_eq!(row["stream"][0]["bytes"], 65536, "{row}");
        assert_eq!(row["rr"].as_array().unwrap().len(), 1, "{row}");
    }
    assert_eq!(channels[1]["gbit_ratio_to_fifo"], 1.0);
}

#[test]
fn without_ping_there_is_an_echo_of_its_own_and_the_packages_name() {
    if let Some(lacking) = lacks() {
        say::line!("skipped: lacks what functions need: {lacking}");
        return;
    }
    let bare = bare();
    let output = demo(&["--seconds", "0.05", "--rounds", "1", "--json"])
        .env("PATH", bare.path())
        .output()
        .unwrap();
    let (report, said) = (json(&output), text(&output.stderr));
    assert_eq!(report["chain"]["replies"], 1, "{report} {said}");
    assert_eq!(report["chain"]["lacks"][0], "ping");
    assert!(said.contains("an echo of stdpkt's own"), "{said}");
    assert!(said.contains("apt-get install iputils-ping"), "{said}");
    assert!(report["channels"][0]["gbit_per_second"].is_number(), "{report}");
}

#[test]
fn mistakes_are_one_line() {
    for (args, part) in
        [(["--rounds", "0"], "--rounds"), (["--seconds", "0"], "expected 0.001 to 86400 seconds")]
    {
        let output = demo(&args).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert!(said.lines().count() == 1 && said.contains(part), "{said}");
    }
}

/// The descendants of a process, by `/proc`.
fn descendants(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = list.unwrap_or_default();
    let children = children.split_whitespace().flat_map(str::parse::<u32>);
    children.flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}

fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    // A zombie has ended; whoever buries it is slower than this test.
    (!after_name.starts_with(" Z"))
        .then(|| after_name.split_whitespace().nth(19).map(str::to_owned))?
}

#[test]
fn a_signal_ends_it_and_all_that_it_started() {
    if let Some(lacking) = lacks() {
        say::line!("skipped: lacks what functions need: {lacking}");
        return;
    }
    // In the chain, with ping and without.
    let bare = bare();
    for (path, signal) in
        [(None, Signal::SIGTERM), (Some(bare.path()), Signal::SIGINT), (None, Signal::SIGHUP)]
    {
        let mut command = demo(&["--seconds", "60"]);
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the demo starts");
        // Both functions, their keepers and commands, and a moment to get on.
        let wait = || std::thread::sleep(Duration::from_millis(20));
        let mut all = Vec::new();
        while all.len() < 6 {
            assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
            wait();
            all = descendants(child.id());
        }
        let all: Vec<_> = all.iter().map(|&pid| (pid, started(pid))).collect();
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(128 + signal as i32));
        for (pid, began) in all {
            // The same number may be another process by now.
            assert!(began.is_none() || started(pid) != began, "{pid} is left behind");
        }
    }
}
