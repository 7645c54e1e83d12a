//! The `stdpkt` command: network functions chained with `|`.
//!
//! Each subcommand is a module; [`main`] parses, runs, and is the one place
//! that prints errors.

pub mod check;
pub mod cli;
pub mod counted;
pub mod demo;
pub mod door;
pub mod each;
pub mod exec;
pub mod filters;
pub mod host;
pub mod interfaces;
pub mod join;
pub mod ls;
pub mod metrics;
pub mod name;
pub mod pages;
pub mod perf;
pub mod run;
pub mod stack;
pub mod story;
pub mod succession;
pub mod told;
pub mod uplink;
pub mod voice;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use succession::{heir, place};

/// Exit status when `stdpkt` itself failed, as in env(1) and timeout(1).
pub const FAILED: u8 = 125;
/// The last of the statuses that are an error of stdpkt: CMD was not found.
const NOT_FOUND: u8 = 127;

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    voice::choose(&words);
    let words = match run::settings::expand(words) {
        Ok(words) => words,
        Err(error) => {
            say::error!("{error:#}");
            told::mark();
            return ExitCode::from(FAILED);
        }
    };
    let cli = match cli::Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            say::text(error.to_string());
            return ExitCode::from(FAILED);
        }
        Err(error) if error.use_stderr() => {
            say::error!("{}", cli::mistake::one_line(&error, words));
            told::mark();
            return ExitCode::from(FAILED);
        }
        Err(help) => {
            // Help or version on standard output; a closed reader is no failure.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    if let cli::Command::Run(args) = &cli.command
        && args.print_file
    {
        return print_file(&words);
    }
    let status = live(cli.command).unwrap_or_else(|error| {
        match told::is_said(&error) {
            true => say::fail(),
            false => say::error!("{error:#}{}", host::way_out(&error)),
        }
        run::function::status_of(&error)
    });
    if !say::has_failed() {
        return end(status);
    }
    // Whoever says an error has failed, whatever else became of it.
    told::mark();
    let is_failure = (FAILED..=NOT_FOUND).contains(&status);
    end(if is_failure { status } else { FAILED })
}

/// A function that has handed its links over lives on as whoever has them.
fn live(command: cli::Command) -> anyhow::Result<u8> {
    match &command {
        cli::Command::Run(_)
        | cli::Command::Tee(_)
        | cli::Command::Filter(_)
        | cli::Command::Dump(_)
        | cli::Command::Feed(_)
        | cli::Command::Wire(_)
        | cli::Command::Join(_)
        | cli::Command::Balance(_) => heir::prepare()?,
        cli::Command::Each(_) | cli::Command::Uplink(_) => {
            heir::refuse()?;
        }
        _ => {}
    }
    let status = command.run()?;
    Ok(place::keep()?.unwrap_or(status))
}

fn end(status: u8) -> ExitCode {
    if !place::is_given() {
        heir::report(status);
    }
    ExitCode::from(status)
}

/// `run --print-file`; a closed reader is no failure.
fn print_file(words: &[OsString]) -> ExitCode {
    match run::settings::write::function_file(words) {
        Ok(file) => {
            let _ = std::io::stdout().write_all(file.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            say::error!("--print-file: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}
