//! What functions are called, so that people and other commands can speak of them.

use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;
use shmring::board::{Identity, NAME_LEN, introduce, is_name};
use shmring::observe;

use crate::door;

/// `--name` and `--verbose`: what everything with links takes.
#[derive(Debug, Clone, Default, Args)]
pub struct NameArg {
    /// What this is called in ls, in its messages and by other commands [default: CMD's name]
    #[arg(long, value_name = "NAME", value_parser = parse)]
    pub name: Option<String>,

    /// Tell the story of each link: who was met, when, how frames go and why not by a
    /// ring; and what the function goes without here
    #[arg(short, long)]
    pub verbose: bool,
}

/// A name that is no process id, and that a shell takes as it is.
fn parse(text: &str) -> Result<String, String> {
    if !is_name(text) {
        return Err(format!(
            "a name has 1 to {NAME_LEN} letters, digits, `-`, `_` and `.`, and not digits only, as fw or web-1"
        ));
    }
    Ok(text.to_owned())
}

impl NameArg {
    /// Says who this process is: by the name it was given, else by that of the program
    /// it runs, else by `usual`. Before any link is made.
    pub fn introduce(&self, command: &[String], usual: &str) {
        if let Some(name) = &self.name {
            say::set_name(name);
        }
        if self.verbose {
            crate::story::tell();
        }
        let program = command.first().and_then(|program| Path::new(program).file_name());
        let program = program.map(|program| program.to_string_lossy().into_owned());
        let name = self.name.clone().or(program).unwrap_or_else(|| usual.to_owned());
        introduce(Identity { name, command: command.join(" ") });
    }
}

/// The process that a word means: its id, or the name of a function.
///
/// # Errors
/// One line: nobody is called that, or several are.
pub fn find(word: &str) -> Result<observe::Process> {
    let all = observe::look()?.processes;
    let is_called = |name: &str| !name.is_empty() && name == word;
    let is_meant =
        |it: &&observe::Process| is_called(&it.identity.name) || it.pid.to_string() == word;
    let found: Vec<_> = all.iter().filter(is_meant).collect();
    match found[..] {
        [one] => Ok(one.clone()),
        [] if let Some(pid) = word.parse().ok().filter(|pid| door::is_at(*pid)) => {
            Ok(observe::Process { pid, identity: Identity::default() })
        }
        [] => bail!("no function is called {word}: {}", there_are(&all)),
        _ => bail!(
            "{word}: several are called that: {}: take a process id, or give them names (--name)",
            found.iter().map(|it| described(it)).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Its process id, and what it runs.
fn described(process: &observe::Process) -> String {
    /// So many characters of that tell one from the other.
    const MOST: usize = 40;
    let command: String = process.identity.command.chars().take(MOST).collect();
    if command.is_empty() {
        process.pid.to_string()
    } else {
        format!("{} ({command})", process.pid)
    }
}

/// Which functions there are, in words.
pub fn there_are(all: &[observe::Process]) -> String {
    /// As many as one takes in at a glance.
    const MOST: usize = 10;
    // Other programs with links have no name, and no door.
    let names = all.iter().map(|it| it.identity.name.as_str()).filter(|name| !name.is_empty());
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    match names.len() {
        0 => "there is none".to_owned(),
        1..=MOST => format!("there is {}", names.join(", ")),
        more => format!("there is {} and {} more", names[..MOST].join(", "), more - MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_without_a_name_are_not_listed() {
        let called = |name: &str| {
            let identity = Identity { name: name.to_owned(), command: String::new() };
            observe::Process { pid: 7, identity }
        };
        assert_eq!(there_are(&["b", "", "a", "b"].map(called)), "there is a, b");
        assert_eq!(there_are(&[called("")]), "there is none");
    }

    #[test]
    fn a_name_is_one_plain_word_and_no_process_id() {
        for good in ["fw", "web-1", "a.b_c", "10.0.0.1", &"x".repeat(32)] {
            assert_eq!(parse(good).as_deref(), Ok(good));
        }
        for bad in ["", "12", "-v", "a b", "a/b", "ä", "a\n", &"x".repeat(33)] {
            assert!(parse(bad).unwrap_err().contains("as fw"), "{bad}");
        }
    }
}
