//! The ring's rivals through the ring's harness; see `--help` and README.md.

mod iceoryx;
mod ipc_channel;
mod ipc_ring;
mod ringfire;
mod rtrb;
mod shmem_ipc;

use anyhow::Result;
use clap::Parser;
use stdpkt_benches::{channels, harness, report};

fn main() -> Result<()> {
    let kinds = || {
        let ours = channels::all();
        let mut kinds: Vec<_> = ours
            .into_iter()
            .filter(|kind| [channels::BASELINE, "ring", "ring-batch32"].contains(&kind.name))
            .collect();
        kinds.push(shmem_ipc::kind());
        kinds.extend(iceoryx::kinds());
        kinds.push(ipc_channel::kind());
        kinds.push(ringfire::kind());
        kinds.push(ipc_ring::kind());
        kinds.push(rtrb::kind());
        kinds
    };
    harness::worker::hook(&kinds());
    let words: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("cargo run --release -- {}  (in benches/comparison)", words.join(" "));
    report::run(kinds(), &report::Args::parse(), "The ring and its rivals", &command)
}
