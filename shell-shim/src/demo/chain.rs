//! The NAT chain of the documentation, run as a user would run it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::group::Group;
use super::watch::{Interrupted, Watch};
use crate::stack::keeper::search::{find, search_path, user_path};

/// A private host, a router that translates addresses, a public host. Where ping is
/// missing there is an echo of our own, where iptables is, a mere router.
fn command_line(ping: bool, iptables: bool) -> String {
    let asks = if ping { "ping -c3 8.8.8.8" } else { "stdpkt perf client --rr 8.8.8.8" };
    let nat = match iptables {
        true => {
            " \\\n      --setup 'iptables -t nat -A POSTROUTING -s 192.168.0.0/24 -o right -j MASQUERADE'"
        }
        false => "",
    };
    // Without the NAT the public host has to know the way back.
    let back = if iptables { "" } else { " --gateway 8.8.8.4" };
    let answers = if ping { "" } else { " -- stdpkt perf server --once" };
    format!(
        "stdpkt run --right 192.168.0.1/24 --gateway 192.168.0.254 -- {asks} \\\n\
         | stdpkt run --left 192.168.0.254/24 --right 8.8.8.4/24 --forward{nat} \\\n\
         | stdpkt run --left 8.8.8.8/24{back}{answers}"
    )
}

/// What it runs, and the Debian packages that bring it.
const PROGRAMS: [(&str, &str); 2] = [("ping", "iputils-ping"), ("iptables", "iptables")];

/// ping itself gives up long before.
const LIMIT: Duration = Duration::from_secs(60);

/// What became of the chain.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// Replies that came back through it; of stdpkt's own echo, 1 where there were some.
    pub replies: Option<usize>,
    /// Programs that are missing here.
    pub lacks: Vec<&'static str>,
}

impl Outcome {
    /// Whether it was run and carried nothing.
    pub fn failed(&self) -> bool {
        self.replies == Some(0)
    }
}

/// Shows the command line, says what stands in for what is missing, and runs it.
///
/// # Errors
/// [`Interrupted`], or where no shell can be run. A chain that fails is told on
/// standard error and in the outcome.
pub fn show(watch: &Watch) -> Result<Outcome> {
    let exe = env::current_exe().context("path of this program")?;
    let path = with_this_first(&exe, search_path());
    let name = exe.file_name().unwrap_or_default();
    let found = find(name, &user_path()).ok().and_then(|found| found.canonicalize().ok());
    if found.as_ref() != Some(&exe) {
        let here = exe.parent().unwrap_or(Path::new("/")).display();
        say::line!("PATH={here}:$PATH");
    }
    let lacking = PROGRAMS.into_iter().filter(|(program, _)| find(program, &path).is_err());
    let (lacks, packages): (Vec<_>, Vec<_>) = lacking.unzip();
    let has = |program| !lacks.contains(&program);
    let command_line = called(&command_line(has("ping"), has("iptables")), name);
    say::text(format!("{command_line}\n\n"));
    if !lacks.is_empty() {
        say::text(format!("{}\n\n", way_out(&lacks, &packages)));
    }

    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command_line).env("PATH", path);
    let mut said = Vec::new();
    let done = Group::start(watch, vec![shell])?.finish(LIMIT, |bytes| {
        said.extend_from_slice(bytes);
        say::text(bytes);
    });
    let replies = replies(&said);
    match done {
        Err(error) if error.is::<Interrupted>() => return Err(error),
        Err(error) => say::error!("the chain: {error:#}"),
        Ok(_) if replies == 0 => {
            say::error!("the chain: no reply came through it; what failed stands above");
        }
        Ok(_) => {}
    }
    say::text("\n");
    Ok(Outcome { replies: Some(replies), lacks })
}

/// A command line of this program where its file has another name, as that of a release has.
fn called(line: &str, name: &OsStr) -> String {
    let name = name.to_string_lossy();
    let word = shlex::try_quote(&name).unwrap_or("stdpkt".into());
    line.replace("stdpkt ", &format!("{word} "))
}

/// This program first, so that the chain runs the same one.
fn with_this_first(exe: &Path, path: OsString) -> OsString {
    let here = exe.parent().map(Path::to_path_buf);
    let all = here.into_iter().chain(env::split_paths(&path));
    // A directory with a colon in its name cannot be in PATH.
    env::join_paths(all).unwrap_or(path)
}

fn way_out(lacks: &[&str], packages: &[&str]) -> String {
    let is = if lacks.len() == 1 { "is" } else { "are" };
    let instead = lacks.iter().map(|program| match *program {
        "ping" => "an echo of stdpkt's own",
        _ => "a router without NAT",
    });
    format!(
        "{} {is} missing here; instead there is {}. For the chain of the README: apt-get install {}",
        lacks.join(" and "),
        instead.collect::<Vec<_>>().join(" and "),
        packages.join(" ")
    )
}

/// Only replies have a time to live in what ping prints, in any language; of our own echo,
/// the one line that has the figures.
fn replies(said: &[u8]) -> usize {
    let is_reply = |line: &&str| line.contains(" ttl=") || line.starts_with("rr ");
    String::from_utf8_lossy(said).lines().filter(is_reply).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_programs_packages_are_named() {
        assert_eq!(
            way_out(&["ping", "iptables"], &["iputils-ping", "iptables"]),
            "ping and iptables are missing here; instead there is an echo of stdpkt's own and \
             a router without NAT. For the chain of the README: apt-get install iputils-ping iptables"
        );
        assert!(way_out(&["ping"], &["iputils-ping"]).starts_with("ping is missing"));
    }

    #[test]
    fn the_chain_is_that_of_the_readme() {
        let readme = include_str!("../../../README.md");
        assert!(readme.contains(&command_line(true, true)), "{}", command_line(true, true));
    }

    #[test]
    fn replies_are_those_of_ping_and_of_busybox() {
        let text = b"PING 8.8.8.8 (8.8.8.8) 56(84) bytes of data.\n\
            64 bytes from 8.8.8.8: icmp_seq=1 ttl=63 time=0.144 ms\n\
            64 bytes from 8.8.8.8: seq=1 ttl=63 time=0.144 ms\n\
            From 192.168.0.254 icmp_seq=2 Destination Host Unreachable\n";
        assert_eq!(replies(text), 2);
        assert!(Outcome { replies: Some(0), lacks: vec![] }.failed());
        assert!(!Outcome::default().failed());
    }

    #[test]
    fn a_file_of_another_name_calls_itself() {
        let line = command_line(false, true);
        assert_eq!(called(&line, OsStr::new("stdpkt")), line);
        let line = called(&line, OsStr::new("stdpkt-x86_64-linux"));
        assert!(line.starts_with("stdpkt-x86_64-linux run --right"), "{line}");
        assert!(line.contains("-- stdpkt-x86_64-linux perf client"), "{line}");
        assert_eq!(called("stdpkt run", OsStr::new("my one")), "'my one' run");
    }

    #[test]
    fn this_program_is_found_first() {
        let path = with_this_first(Path::new("/somewhere/stdpkt"), "/bin:/usr/bin".into());
        assert_eq!(path, "/somewhere:/bin:/usr/bin");
    }
}
