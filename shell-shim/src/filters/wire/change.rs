//! `stdpkt wire --set`: changes of a wire that runs. They go there as they stand on the
//! command line, and are read by the same parser.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Command, FromArgMatches};

use super::WireArgs;
use crate::cli::mistake;
use crate::door::ask;
use crate::door::messages::Request;
use crate::name::find;

/// A wire answers at once, unless it is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the wire called `name` for what this command line says besides.
///
/// # Errors
/// One line: nobody is called that, or it refuses.
pub fn request(name: &str) -> Result<u8> {
    // Behind the program and `wire`; that it is text was found out by the parser.
    let mut words = std::env::args().skip(2);
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--set" => drop(words.next()),
            word if word.starts_with("--set=") => {}
            _ => options.push(word),
        }
    }
    if options.is_empty() {
        bail!("--set {name}: say what, as --delay 20ms --loss 0%");
    }
    ask(&find(name)?, &Request::Conditions { options }, &[], PATIENCE)?;
    Ok(0)
}

/// Options of somebody else's command line.
///
/// # Errors
/// One line, as on a command line.
pub fn parse(options: &[String]) -> Result<WireArgs> {
    let command = WireArgs::augment_args(Command::new("wire")).disable_help_flag(true);
    let words = || ["stdpkt", "wire"].into_iter().map(str::to_owned).chain(options.iter().cloned());
    let matches = command.try_get_matches_from(words().skip(1));
    let args = matches.and_then(|matches| WireArgs::from_arg_matches(&matches));
    args.map_err(|error| anyhow!(mistake::one_line(&error, words().map(Into::into))))
}
