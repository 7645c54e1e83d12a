//! The `stdpkt` command: network functions chained with `|`.
//!
//! Each subcommand is a module; [`main`] parses, runs, and is the one place
//! that prints errors.

pub mod cli;
pub mod demo;
pub mod filters;
pub mod join;
pub mod ls;
pub mod perf;
pub mod run;
pub mod stack;

use std::process::ExitCode;

use clap::Parser;

/// Exit status when `stdpkt` itself failed, as in env(1) and timeout(1).
pub const FAILED: u8 = 125;

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            say::error!("{}", cli::one_line(&error));
            return ExitCode::from(FAILED);
        }
        Err(help) => {
            // Help or version on standard output; a closed reader is no failure.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    let result = match cli.command {
        cli::Command::Run(args) => run::run(args),
        cli::Command::Perf { command } => perf::run(command).map(|()| 0),
        cli::Command::Dump(args) => filters::dump::run(&args),
        cli::Command::Feed(args) => filters::feed::run(&args),
        cli::Command::Tee(args) => filters::tee::run(&args),
        cli::Command::Filter(args) => filters::filter::run(&args),
        cli::Command::Balance(args) => filters::balance::run(&args),
        cli::Command::Join(args) => join::run(&args),
        cli::Command::Ls(args) => ls::run(&args).map(|()| 0),
        cli::Command::Demo(args) => demo::run(&args),
        cli::Command::DemoVeth(args) => demo::veth::run(args),
    };
    match result {
        // Whoever says an error has failed, whatever else became of it.
        Ok(_) if say::has_failed() => ExitCode::from(FAILED),
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say::error!("{error:#}");
            ExitCode::from(run::function::status_of(&error))
        }
    }
}
