//! `--state`: what a function knows besides its links, for the one that takes over.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::door;
use crate::door::messages::Request;

/// What prints it in the old function, and what reads that in the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    save: String,
    load: String,
    /// Whether LOAD was said, and not only known.
    is_said: bool,
}

/// Programs whose counterpart everybody knows.
const KNOWN: [(&str, &str); 5] = [
    ("iptables-save", "iptables-restore"),
    ("ip6tables-save", "ip6tables-restore"),
    ("nft list ruleset", "nft -f -"),
    ("conntrack -L -o save", "conntrack -R -"),
    (CONNTRACK[0], CONNTRACK[1]),
];
/// What `--state conntrack` is short for: this program.
const CONNTRACK: [&str; 2] = ["stdpkt conntrack save", "stdpkt conntrack load"];

impl State {
    /// Parses the option's value.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str) -> Result<State, String> {
        let said = text.split_once("=>");
        let (save, load) = match said {
            Some((save, load)) => (save.trim(), load.trim()),
            None => {
                let text = if text.trim() == "conntrack" { CONNTRACK[0] } else { text.trim() };
                let known = KNOWN.into_iter().find(|(save, _)| *save == text);
                known.ok_or_else(|| {
                    format!("which command reads what this prints? Write it like '{text} => LOAD'")
                })?
            }
        };
        if save.is_empty() || load.is_empty() {
            return Err("a command is missing, write it like 'SAVE => LOAD'".to_owned());
        }
        Ok(State { save: save.to_owned(), load: load.to_owned(), is_said: said.is_some() })
    }

    /// Has the first command print inside of one process, and the second one read that inside
    /// of another, or, where that has no inside and the user has said what reads it, here.
    ///
    /// # Errors
    /// One line: which of the two failed.
    pub fn carry(&self, from: u32, to: u32, timeout: Duration) -> Result<()> {
        let until = Instant::now() + timeout;
        let mut save = within(from, &self.save)?;
        save.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut save = Running::start(&mut save, &self.save)?;
        let mut load = match has_inside(to)? {
            true => within(to, &self.load)?,
            false if self.is_said => shell(&self.load),
            // This host is not meant.
            false => bail!(
                "--state: what takes over has no inside in which `{1}` could run, and nothing has changed: \
                 say where, as --state '{0} => ssh HOST stdpkt exec NAME -- {1}'",
                self.save,
                self.load
            ),
        };
        let saved = save.child.stdout.take().context("no pipe")?;
        let mut load = Running::start(load.stdin(saved), &self.load)?;
        save.succeed(until)?;
        load.succeed(until)
    }
}

/// Whether a process that is about to take over can be entered.
fn has_inside(pid: u32) -> Result<bool> {
    // A join has no door yet, and no inside.
    if !door::is_at(pid) {
        return Ok(false);
    }
    let process = shmring::observe::Process { pid, identity: Default::default() };
    match door::ask(&process, &Request::Inside, &[], Duration::from_secs(5)) {
        Ok(_) => Ok(true),
        Err(error) if format!("{error:#}").contains("it is no function") => Ok(false),
        Err(error) => Err(error),
    }
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    shell
}

/// The same inside of a function.
fn within(pid: u32, command: &str) -> Result<Command> {
    let us = std::env::current_exe().context("/proc/self/exe")?;
    let mut exec = Command::new(&us);
    exec.args(["exec", &pid.to_string(), "--"]);
    match command {
        own if CONNTRACK.contains(&own) => exec.arg(us).args(own.split(' ').skip(1)),
        other => exec.args(["sh", "-c", other]),
    };
    Ok(exec)
}

/// A command, which ends when nobody waits for it any more.
struct Running<'a> {
    child: Child,
    what: &'a str,
}

impl Running<'_> {
    fn start<'a>(command: &mut Command, what: &'a str) -> Result<Running<'a>> {
        let child = command.spawn().with_context(|| format!("--state: {what}"))?;
        Ok(Running { child, what })
    }

    fn succeed(&mut self, until: Instant) -> Result<()> {
        let status = self.wait(until)?;
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                bail!("--state: `{}` failed ({status}): nothing has changed", self.what)
            }
            None => bail!(
                "--state: `{}` has not ended in time, and nothing has changed: give it longer (--timeout)",
                self.what
            ),
        }
    }

    fn wait(&mut self, until: Instant) -> Result<Option<ExitStatus>> {
        loop {
            match self.child.try_wait().context("wait")? {
                None if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
                ended => return Ok(ended),
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It passes that on to what it runs.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.wait(Instant::now() + Duration::from_secs(1));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_a_counterpart() {
        let given = State::parse("a b => c d").unwrap();
        assert_eq!((&*given.save, &*given.load), ("a b", "c d"));
        assert_eq!(State::parse("nft list ruleset").unwrap().load, "nft -f -");
        assert_eq!(State::parse(" conntrack").unwrap().load, "stdpkt conntrack load");
        assert!(State::parse("ip route save").unwrap_err().contains("which command"));
        for bad in ["=> x", "x =>", "=>"] {
            assert!(State::parse(bad).unwrap_err().contains("missing"), "{bad}");
        }
    }
}
