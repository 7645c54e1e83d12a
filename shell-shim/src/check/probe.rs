//! What can only be known by trying: each step of a function's start, in a process of
//! its own, which changes nothing here.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;
use edges::tap::Tap;
use serde::{Deserialize, Serialize};

use super::Item;
use crate::stack::keeper::{Keeper, Links};
use crate::stack::network::{DEFAULT_MTU, Interface, Network};
use crate::stack::{namespace, netlink};

/// `stdpkt check-probe`, a part of check.
#[derive(Debug, Args)]
pub struct ProbeArgs {}

/// The steps, in their order.
const STEPS: [&str; 4] = ["namespaces", "programs in them", "TUN", "netlink"];

/// What became of a step.
#[derive(Debug, Serialize, Deserialize)]
struct Step {
    /// In the words that `run` would say.
    error: Option<String>,
}

/// Goes the steps and writes what became of each to standard output, in a line.
pub fn run(_: &ProbeArgs) -> Result<u8> {
    let mut keeper = None;
    let mut tap = None;
    let step = |result: Result<()>| {
        let error = result.err().map(|error| format!("{error:#}"));
        let failed = error.is_some();
        // Who reads it is the parent.
        println!("{}", serde_json::to_string(&Step { error }).unwrap_or_default());
        !failed
    };
    let _ = step(namespace::enter())
        && step(Keeper::start(Links::default(), &[]).map(|started| keeper = Some(started)))
        && step(Tap::create("left").map(|made| tap = Some(made)))
        && step(netlink::configure(&network()));
    drop((keeper, tap));
    Ok(0)
}

fn network() -> Network {
    let left = Interface {
        name: "left".to_owned(),
        mtu: DEFAULT_MTU,
        addresses: ["192.0.2.1/24", "2001:db8::1/64"].iter().flat_map(|it| it.parse()).collect(),
        mac: None,
    };
    Network { interfaces: vec![left], ..Network::default() }
}

/// Tries, and tells of each step.
///
/// # Errors
/// Where this program cannot be started again.
pub(super) fn items() -> Result<Vec<Item>> {
    let exe = std::env::current_exe().context("/proc/self/exe")?;
    let mut command = Command::new(exe);
    command.arg("check-probe").stdin(Stdio::null());
    let output = command.output().context("check-probe")?;
    let out = String::from_utf8_lossy(&output.stdout);
    let mut lines = out.lines();
    let mut failed = false;
    let item = |what| {
        let step = lines.next().and_then(|line| serde_json::from_str::<Step>(line).ok());
        let item = match step {
            Some(Step { error: None }) => Item::ok(what, "can be had"),
            Some(Step { error: Some(error) }) => {
                failed = true;
                Item::missing(what, "refused", error)
            }
            None if failed => Item::missing(what, "not tried", "see what is refused above"),
            None => Item::missing(what, "the trial ended", said(&output.stderr)),
        };
        item.needed()
    };
    Ok(STEPS.into_iter().map(item).collect())
}

/// The first line of what a program said.
fn said(stderr: &[u8]) -> String {
    let said = String::from_utf8_lossy(stderr);
    said.lines().next().unwrap_or("without a word").to_owned()
}
