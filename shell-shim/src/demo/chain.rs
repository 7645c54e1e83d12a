//! The NAT chain of the documentation, run as a user would run it.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::group::Group;
use super::watch::{Interrupted, Watch};
use crate::stack::keeper::search::{find, search_path, user_path};

/// A private host, a router that translates addresses, a public host.
pub const COMMAND_LINE: &str = r"stdpkt run --right 192.168.0.1/24 --gateway 192.168.0.254 -- ping -c3 8.8.8.8 \
| stdpkt run --left 192.168.0.254/24 --right 8.8.8.4/24 --forward \
      --setup 'iptables -t nat -A POSTROUTING -s 192.168.0.0/24 -o right -j MASQUERADE' \
| stdpkt run --left 8.8.8.8/24";

/// What it runs, and the Debian packages that bring it.
const PROGRAMS: [(&str, &str); 2] = [("ping", "iputils-ping"), ("iptables", "iptables")];

/// ping itself gives up long before.
const LIMIT: Duration = Duration::from_secs(60);

/// What became of the chain.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// Replies that came back through it, null where it was not run.
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

/// Shows the command line, then runs it, or says what it lacks.
///
/// # Errors
/// [`Interrupted`], or where no shell can be run. A chain that fails is told on
/// standard error and in the outcome.
pub fn show(watch: &Watch) -> Result<Outcome> {
    let exe = env::current_exe().context("path of this program")?;
    let path = with_this_first(&exe, search_path());
    let found = find("stdpkt", &user_path()).ok().and_then(|found| found.canonicalize().ok());
    if found.as_ref() != Some(&exe) {
        let here = exe.parent().unwrap_or(Path::new("/")).display();
        say::line!("PATH={here}:$PATH");
    }
    say::text(format!("{COMMAND_LINE}\n\n"));

    let lacking = PROGRAMS.into_iter().filter(|(program, _)| find(program, &path).is_err());
    let (lacks, packages): (Vec<_>, Vec<_>) = lacking.unzip();
    if !lacks.is_empty() {
        say::text(format!("{}\n\n", way_out(&lacks, &packages)));
        return Ok(Outcome { replies: None, lacks });
    }

    let mut shell = Command::new("sh");
    shell.arg("-c").arg(COMMAND_LINE).env("PATH", path);
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

/// This program first, so that the chain runs the same one.
fn with_this_first(exe: &Path, path: OsString) -> OsString {
    let here = exe.parent().map(Path::to_path_buf);
    let all = here.into_iter().chain(env::split_paths(&path));
    // A directory with a colon in its name cannot be in PATH.
    env::join_paths(all).unwrap_or(path)
}

fn way_out(lacks: &[&str], packages: &[&str]) -> String {
    let is = if lacks.len() == 1 { "is" } else { "are" };
    format!(
        "{} {is} missing here, so the chain is left out: apt-get install {}",
        lacks.join(" and "),
        packages.join(" ")
    )
}

/// Only replies have a time to live in what ping prints, in any language.
fn replies(said: &[u8]) -> usize {
    String::from_utf8_lossy(said).lines().filter(|line| line.contains(" ttl=")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_programs_packages_are_named() {
        assert_eq!(
            way_out(&["ping", "iptables"], &["iputils-ping", "iptables"]),
            "ping and iptables are missing here, so the chain is left out: \
             apt-get install iputils-ping iptables"
        );
        assert!(way_out(&["ping"], &["iputils-ping"]).starts_with("ping is missing"));
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
    fn this_program_is_found_first() {
        let path = with_this_first(Path::new("/somewhere/stdpkt"), "/bin:/usr/bin".into());
        assert_eq!(path, "/somewhere:/bin:/usr/bin");
    }
}
