//! What a function is, from elsewhere than the command line: a function file
//! (`--file`), an LKL configuration (`--lkl-config`).
//!
//! Both become words of the command line. So they know what the command line knows, and
//! nothing else, and what is wrong with one is told in the same words.

mod function_file;
mod lkl;
mod parameters;
mod text;
pub mod write;

use std::any::TypeId;
use std::collections::BTreeSet;
use std::ffi::OsString;

use anyhow::{Result, anyhow, ensure};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command};

use super::args::RunArgs;
use crate::cli::mistake;

/// A flag, the name of which is without `--`, or a word of CMD, which has none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    flag: String,
    /// None of a flag that has no value.
    value: Option<String>,
    /// Where it stands, for people.
    place: String,
}

/// Where CMD's words belong.
const COMMAND: &str = "command";

/// The command line of `stdpkt run` alone.
fn command() -> Command {
    RunArgs::augment_args(Command::new("run"))
}

/// A flag that is on or off.
fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
        || arg.get_value_parser().type_id() == TypeId::of::<bool>()
}

/// Puts in the place of `--file` and `--lkl-config` what stands there, unless the
/// command line says it itself. `words` begins with the program's name.
///
/// # Errors
/// One line that names the file, the place in it, and the way out.
pub fn expand(words: Vec<OsString>) -> Result<Vec<OsString>> {
    if words.get(1).is_none_or(|word| word != "run") {
        return Ok(words);
    }
    // What is wrong with the command line itself is told by who parses it.
    let Ok(matches) = command().try_get_matches_from(&words[1..]) else { return Ok(words) };
    let mut settings = Vec::new();
    if let Some(path) = matches.get_one::<std::path::PathBuf>("file") {
        settings = function_file::read(path)?;
    }
    settings.iter().try_for_each(check)?;
    let is_lkl = |setting: &&Setting| setting.flag == "lkl-config";
    let named = settings.iter().find(is_lkl).and_then(|setting| setting.value.clone());
    if let Some(from) = matches.get_one::<String>("lkl_config").cloned().or(named) {
        let known: BTreeSet<_> = settings.iter().map(|setting| setting.flag.clone()).collect();
        let mut more = lkl::read(&from)?;
        more.retain(|setting| !known.contains(&setting.flag));
        more.iter().try_for_each(check)?;
        settings.extend(more);
    }
    if settings.is_empty() {
        return Ok(words);
    }
    Ok(merge(words, &matches, settings))
}

/// Whether a flag takes its value, told with the place where that stands.
fn check(setting: &Setting) -> Result<()> {
    let Setting { flag, value: Some(value), place } = setting else { return Ok(()) };
    ensure!(!value.contains('\0'), "{place}: {flag}: a byte 0 in it");
    if flag == COMMAND {
        return Ok(());
    }
    let tried = command().try_get_matches_from(["run".to_owned(), format!("--{flag}={value}")]);
    tried.map(drop).map_err(|error| anyhow!("{place}: {}", mistake::plain(&error)))
}

fn merge(words: Vec<OsString>, matches: &ArgMatches, settings: Vec<Setting>) -> Vec<OsString> {
    let command = command();
    let is_given = |flag: &str| {
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(flag));
        let id = arg.map_or(flag, |arg| arg.get_id().as_str());
        matches.value_source(id) == Some(ValueSource::CommandLine)
    };
    let mut words = words.into_iter();
    let mut merged: Vec<OsString> = words.by_ref().take(2).collect();
    let mut own = Vec::new();
    for Setting { flag, value, .. } in settings {
        match value {
            _ if is_given(&flag) || flag == "lkl-config" => {}
            Some(value) if flag == COMMAND => own.push(OsString::from(value)),
            Some(value) => merged.push(format!("--{flag}={value}").into()),
            None => merged.push(format!("--{flag}").into()),
        }
    }
    merged.extend(words);
    if !own.is_empty() {
        if merged.last().is_none_or(|last| last != "--") {
            merged.push("--".into());
        }
        merged.extend(own);
    }
    merged
}

#[cfg(test)]
mod tests;
