//! `stdpkt ls`: live links, their functions and counters.

mod function;
mod links;

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use links::{End, Link, links};

/// `stdpkt ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// One JSON array, an element for each direction of a link: form, pipe, what,
    /// inode, capacity_bytes, used_bytes, and for `from` and `to` each pid, command, interface,
    /// frames, bytes, drops, interface_drops, stalls, wakeups; towards a target of a
    /// balancer flows: now, total, forgotten, takes_new
    #[arg(long)]
    pub json: bool,

    /// Again every second, with rates, until interrupted
    #[arg(long)]
    pub watch: bool,
}

/// Lists links once, or until interrupted.
///
/// # Errors
/// Those of reading `/proc` and of writing.
pub fn run(args: &LsArgs) -> Result<()> {
    let mut before: HashMap<_, u64> = HashMap::new();
    let mut last = Instant::now();
    loop {
        let (mut links, missing) = links().context("/proc")?;
        let elapsed = last.elapsed().as_secs_f64();
        last = Instant::now();
        for link in &mut links {
            let Some(now) = link.counted(|end| end.bytes) else { continue };
            let old = before.insert(link.key(), now);
            let bytes = old.map(|old| now.saturating_sub(old));
            link.bits_per_second = bytes.map(|bytes| bytes as f64 * 8.0 / elapsed);
        }
        if missing > 0 {
            say::note!("{missing} further links found no room to be shown");
        }
        match print(args, &links) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            result => result.context("standard output")?,
        }
        if !args.watch {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn print(args: &LsArgs, links: &[Link]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, links)?;
        writeln!(out)?;
    } else {
        if args.watch && out.is_terminal() {
            write!(out, "\x1b[H\x1b[2J")?; // home, clear
        }
        writeln!(out, "{}", table(links, args.watch))?;
    }
    out.flush()
}

fn table(links: &[Link], rates: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut head = vec!["FROM", "TO", "FORM", "PIPE", "FRAMES", "BYTES", "DROPS", "WAITING"];
    let flows = links.iter().any(|link| link.flows.is_some());
    if flows {
        head.push("FLOWS");
    }
    if rates {
        head.push("GBIT/S");
    }
    table.set_header(head);
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |n| n.to_string());
    for link in links {
        let mut row = vec![
            name(link.from.as_ref()),
            name(link.to.as_ref()),
            link.form.to_owned(),
            link.pipe.clone(),
            number(link.counted(|end| end.frames)),
            number(link.counted(|end| end.bytes)),
            link.drops().to_string(),
            number(link.used_bytes),
        ];
        if flows {
            row.push(link.flows.as_ref().map_or("-".to_owned(), |flows| match flows.takes_new {
                true => flows.now.to_string(),
                false => format!("{}, no new", flows.now),
            }));
        }
        if rates {
            row.push(link.bits_per_second.map_or("-".into(), |r| format!("{:.3}", r / 1e9)));
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// `1234:right ping -c3 8.8.8.8`, or `1234 cat` of another program.
fn name(end: Option<&End>) -> String {
    let Some(end) = end else { return "-".to_owned() };
    let pid = end.pid.map_or("gone".to_owned(), |pid| pid.to_string());
    let interface = end.interface.as_ref().map_or(String::new(), |name| format!(":{name}"));
    let command = end.command.as_deref().unwrap_or_default();
    let short: String = command.chars().take(24).collect();
    format!("{pid}{interface} {short}").trim_end().to_owned()
}
