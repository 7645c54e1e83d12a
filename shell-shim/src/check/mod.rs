//! `stdpkt check`: what this host can do, what is missing, and the way out.

mod host;
mod lkl;
pub mod probe;
mod programs;

use std::io::Write;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

/// Of [`Report`], raised when something is taken away or means something else.
const VERSION: u32 = 1;
/// Exit status where functions cannot run here.
const CANNOT: u8 = 1;

/// `stdpkt check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stdpkt check
  stdpkt check --json
  stdpkt check --json | jq .can_run")]
pub struct CheckArgs {
    /// One JSON object: version, can_run, and items with what, state (ok, limited or
    /// missing), needed, found and way_out
    #[arg(long)]
    pub json: bool,
}

/// How it is with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Limited,
    Missing,
}

/// Something that the host has or lacks.
#[derive(Debug, Serialize)]
struct Item {
    what: &'static str,
    state: State,
    /// Whether no function runs without it.
    needed: bool,
    found: String,
    /// What to do about it.
    way_out: Option<String>,
}

impl Item {
    fn ok(what: &'static str, found: impl Into<String>) -> Item {
        Item { what, state: State::Ok, needed: false, found: found.into(), way_out: None }
    }

    fn limited(what: &'static str, found: impl Into<String>, way_out: impl Into<String>) -> Item {
        let item = Item::ok(what, found);
        Item { state: State::Limited, way_out: Some(way_out.into()), ..item }
    }

    fn missing(what: &'static str, found: impl Into<String>, way_out: impl Into<String>) -> Item {
        Item { state: State::Missing, ..Item::limited(what, found, way_out) }
    }

    /// Without which no function runs.
    fn needed(self) -> Item {
        Item { needed: true, ..self }
    }
}

/// All of it.
#[derive(Debug, Serialize)]
struct Report {
    version: u32,
    /// Whether functions can run here.
    can_run: bool,
    items: Vec<Item>,
}

/// Looks and tells; the exit status is 0 where functions can run, else 1.
///
/// # Errors
/// Those of writing, and where this program cannot be started again.
pub fn run(args: &CheckArgs) -> Result<u8> {
    let mut items = host::items();
    items.extend(probe::items()?);
    items.extend(host::limits());
    items.push(lkl::item());
    items.extend(programs::items());
    let can_run = items.iter().all(|item| !item.needed || item.state != State::Missing);
    let report = Report { version: VERSION, can_run, items };
    let text = if args.json { serde_json::to_string(&report)? + "\n" } else { report.text() };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        done => done.context("standard output")?,
    }
    Ok(if can_run { 0 } else { CANNOT })
}

impl Report {
    fn text(&self) -> String {
        let width = self.items.iter().map(|item| item.what.len()).max().unwrap_or(0);
        let line = |item: &Item| {
            let state = match item.state {
                State::Ok => "ok     ",
                State::Limited => "limited",
                State::Missing => "missing",
            };
            let way_out = item.way_out.as_ref().map_or(String::new(), |it| format!(": {it}"));
            format!("{state}  {:width$}  {}{way_out}\n", item.what, item.found)
        };
        let verdict = match self.can_run {
            true => "functions can run here\n",
            false => "functions cannot run here: see what is missing\n",
        };
        self.items.iter().map(line).collect::<String>() + verdict
    }
}
