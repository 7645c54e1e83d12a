//! One measurement: two functions joined by a pipe, `perf server` in one and
//! `perf client` in the other.

use std::env;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use super::group::Group;
use super::watch::{Interrupted, Watch};
use crate::perf::Measurement;
use crate::perf::messages::Mode;

/// Bytes of each write of a goodput measurement.
pub const WRITE: u32 = 64 << 10;
/// The server's side of the link.
pub const SERVER: &str = "192.168.0.1";
/// The client's side of the link.
pub const CLIENT: &str = "192.168.0.2";
/// The length of their network's prefix.
pub const PREFIX: u8 = 24;

/// Beyond the time that is measured; perf's own timeouts are shorter.
const SLACK: Duration = Duration::from_secs(40);

/// What carries the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// `--channel shm`.
    Shm,
    /// `--channel fifo`.
    Fifo,
    /// A veth pair between two network namespaces: no stdpkt in between.
    Veth,
}

impl Way {
    /// All of them, as the table lists them.
    pub const ALL: [Way; 3] = [Way::Shm, Way::Fifo, Way::Veth];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Way::Shm => "shm",
            Way::Fifo => "fifo",
            Way::Veth => "veth",
        }
    }

    /// The pipeline whose last command prints a [`Measurement`].
    fn pipeline(self, mode: Mode, seconds: Duration) -> Result<Vec<Command>> {
        let exe = env::current_exe().context("path of this program")?;
        let seconds = seconds.as_secs_f64().to_string();
        let bytes = WRITE.to_string();
        let mut client = vec![SERVER, "--json", "--seconds", &seconds];
        match mode {
            Mode::Stream => client.extend(["--bytes", &bytes]),
            Mode::RequestResponse => client.push("--rr"),
        }
        let function = |side: &str, ip: &str| {
            let mut command = Command::new(&exe);
            command.args(["run", "--channel", self.name(), side, &format!("{ip}/{PREFIX}"), "--"]);
            command.arg(&exe);
            command
        };
        if let Way::Veth = self {
            let mut both = Command::new(&exe);
            both.arg("demo-veth").args(client);
            return Ok(vec![both]);
        }
        let mut first = function("--right", SERVER);
        first.args(["perf", "server", "--once"]);
        // The last one's standard output is no link, and so CMD's own.
        let mut last = function("--left", CLIENT);
        last.args(["perf", "client"]).args(client);
        Ok(vec![first, last])
    }
}

/// What was measured over one channel.
#[derive(Debug)]
pub struct Samples {
    /// The channel.
    pub way: Way,
    /// Goodput, one a round.
    pub stream: Vec<Measurement>,
    /// Round trips, one a round.
    pub rr: Vec<Measurement>,
    /// Why it cannot be measured here.
    pub absent: Option<String>,
}

impl Samples {
    /// None yet.
    pub fn new(way: Way) -> Samples {
        Samples { way, stream: Vec::new(), rr: Vec::new(), absent: None }
    }

    /// Measures once. A veth pair that cannot be had is noted, and from then
    /// on left out.
    ///
    /// # Errors
    /// [`Interrupted`], or one line with what the functions said.
    pub fn take(&mut self, watch: &Watch, mode: Mode, seconds: Duration) -> Result<()> {
        if self.absent.is_some() {
            return Ok(());
        }
        match (measure(watch, self.way, mode, seconds), mode) {
            (Ok(measurement), Mode::Stream) => self.stream.push(measurement),
            (Ok(measurement), Mode::RequestResponse) => self.rr.push(measurement),
            (Err(error), _) if self.way == Way::Veth && !error.is::<Interrupted>() => {
                self.absent = Some(format!("{error:#}"));
            }
            (Err(error), _) => {
                return Err(error).with_context(|| format!("{} {mode}", self.way.name()));
            }
        }
        Ok(())
    }
}

fn measure(watch: &Watch, way: Way, mode: Mode, seconds: Duration) -> Result<Measurement> {
    let group = Group::start(watch, way.pipeline(mode, seconds)?)?;
    let mut said = Vec::new();
    let done = group.finish(seconds + SLACK, |bytes| said.extend_from_slice(bytes))?;
    let result = done.status.success().then(|| serde_json::from_slice(&done.stdout).ok());
    result.flatten().ok_or_else(|| {
        anyhow!(reason(&String::from_utf8_lossy(&said)).unwrap_or_else(|| done.status.to_string()))
    })
}

/// The first error of a pipeline; the others follow from it.
fn reason(said: &str) -> Option<String> {
    let errors = said.lines().find_map(|line| line.strip_prefix("stdpkt: "));
    let any = || said.lines().rev().find(|line| !line.trim().is_empty());
    errors.or_else(any).map(|line| line.replace(char::is_control, " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_the_reason_and_what_a_server_reports_is_none() {
        let said = "stdpkt perf server: listening on [::]:5202\n\
            stdpkt: right: no TAP\nstdpkt: the neighbour ended\n";
        assert_eq!(reason(said).as_deref(), Some("right: no TAP"));
        assert_eq!(reason("odd\n\n").as_deref(), Some("odd"));
        assert_eq!(reason(""), None);
    }

    #[test]
    fn command_lines_are_ones_that_the_command_takes() {
        use crate::cli::Cli;
        use clap::Parser;
        for way in Way::ALL {
            for mode in [Mode::Stream, Mode::RequestResponse] {
                for command in way.pipeline(mode, Duration::from_millis(200)).unwrap() {
                    let line = [command.get_program()].into_iter().chain(command.get_args());
                    Cli::try_parse_from(line).unwrap();
                }
            }
        }
    }
}
