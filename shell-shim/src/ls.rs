//! `stdpkt ls`: live links, their functions and counters.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use shmring::observe::{self, RingView, Side};

/// `stdpkt ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// One JSON array of rings: pipe, inode, capacity_bytes, used_bytes, and for
    /// `from` and `to` each pid, command, interface, frames, bytes, drops, stalls, wakeups
    #[arg(long)]
    pub json: bool,

    /// Again every second, with rates, until interrupted
    #[arg(long)]
    pub watch: bool,
}

/// One direction of a link.
#[derive(Debug, Serialize)]
pub struct Ring {
    /// The pipe that is the link's address, as `/proc/PID/fd` shows it.
    pub pipe: String,
    /// Identity of the ring.
    pub inode: u64,
    /// Room in bytes.
    pub capacity_bytes: u64,
    /// Bytes that wait in the ring.
    pub used_bytes: u64,
    /// The sending function.
    pub from: Function,
    /// The receiving function.
    pub to: Function,
    /// Payload bits a second since the last look (`--watch`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_second: Option<f64>,
}

/// One end of a ring.
#[derive(Debug, Serialize)]
pub struct Function {
    /// Process id, null when it is gone.
    pub pid: Option<u32>,
    /// Its command line, CMD only.
    pub command: Option<String>,
    /// Name of the interface.
    pub interface: String,
    /// Frames that passed this end.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames this end threw away.
    pub drops: u64,
    /// Times it slept because the ring was full (`from`) or empty (`to`).
    pub stalls: u64,
    /// Times it rang the other's doorbell.
    pub wakeups: u64,
}

/// Lists links once, or until interrupted.
///
/// # Errors
/// Those of reading `/proc` and of writing.
pub fn run(args: &LsArgs) -> Result<()> {
    let mut before: HashMap<u64, u64> = HashMap::new();
    let mut last = Instant::now();
    loop {
        let mut rings: Vec<Ring> =
            observe::rings().context("/proc")?.into_iter().map(ring).collect();
        let elapsed = last.elapsed().as_secs_f64();
        last = Instant::now();
        for ring in &mut rings {
            let old = before.insert(ring.inode, ring.to.bytes);
            let bytes = old.map(|old| ring.to.bytes.saturating_sub(old));
            ring.bits_per_second = bytes.map(|bytes| bytes as f64 * 8.0 / elapsed);
        }
        rings.sort_by(|a, b| (&a.pipe, a.inode).cmp(&(&b.pipe, b.inode)));
        match print(args, &rings) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            result => result.context("standard output")?,
        }
        if !args.watch {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn print(args: &LsArgs, rings: &[Ring]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, rings)?;
        writeln!(out)?;
    } else {
        if args.watch && out.is_terminal() {
            write!(out, "\x1b[H\x1b[2J")?; // home, clear
        }
        writeln!(out, "{}", table(rings, args.watch))?;
    }
    out.flush()
}

fn table(rings: &[Ring], rates: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut head = vec!["FROM", "TO", "PIPE", "FRAMES", "BYTES", "DROPS", "WAITING"];
    if rates {
        head.push("GBIT/S");
    }
    table.set_header(head);
    for ring in rings {
        let mut row = vec![
            name(&ring.from),
            name(&ring.to),
            ring.pipe.clone(),
            ring.to.frames.to_string(),
            ring.to.bytes.to_string(),
            (ring.from.drops + ring.to.drops).to_string(),
            ring.used_bytes.to_string(),
        ];
        if rates {
            row.push(ring.bits_per_second.map_or("-".into(), |r| format!("{:.3}", r / 1e9)));
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// `1234:right ping -c3 8.8.8.8`.
fn name(function: &Function) -> String {
    let pid = function.pid.map_or("gone".to_owned(), |pid| pid.to_string());
    let command = function.command.as_deref().unwrap_or_default();
    let short: String = command.chars().take(24).collect();
    format!("{pid}:{} {short}", function.interface).trim_end().to_owned()
}

fn ring(view: RingView) -> Ring {
    Ring {
        pipe: format!("{:x}:[{}]", view.pipe.0, view.pipe.1),
        inode: view.inode,
        capacity_bytes: view.capacity,
        used_bytes: view.used,
        from: function(view.producer),
        to: function(view.consumer),
        bits_per_second: None,
    }
}

fn function(side: Side) -> Function {
    let pid = (side.pid != 0).then_some(side.pid);
    Function {
        pid,
        command: pid.and_then(command_of),
        interface: side.label,
        frames: side.counters.frames,
        bytes: side.counters.bytes,
        drops: side.counters.drops,
        stalls: side.counters.stalls,
        wakeups: side.counters.wakeups,
    }
}

/// What follows `--` on the command line of a function.
fn command_of(pid: u32) -> Option<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = line
        .split(|&byte| byte == 0)
        .map(|word| String::from_utf8_lossy(word).replace(char::is_control, "?"))
        .collect();
    let from = words.iter().position(|word| word == "--")? + 1;
    Some(words[from..].join(" ").trim_end().to_owned()).filter(|command| !command.is_empty())
}
