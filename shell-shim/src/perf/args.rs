//! The command line of `stdpkt perf`.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::messages::{MAX_DURATION, MAX_SIZE, Mode};

/// The port that server and client use where `--port` does not say otherwise.
pub const DEFAULT_PORT: u16 = 5202;

/// `stdpkt perf server` and `stdpkt perf client`.
#[derive(Debug, Clone, Subcommand)]
pub enum PerfCommand {
    /// Answer `stdpkt perf client`, several at once, until interrupted
    Server(ServerArgs),
    /// Measure TCP goodput, or round trips with --rr, to a `stdpkt perf server`
    Client(ClientArgs),
}

/// Options of `stdpkt perf server`.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = "Examples:
  stdpkt run --right 10.0.0.1/24 -- stdpkt perf client 10.0.0.2 |
    stdpkt run --left 10.0.0.2/24 -- stdpkt perf server --once")]
pub struct ServerArgs {
    /// Address to listen on [default: ::, which takes IPv4 too; 0.0.0.0 where IPv6 is off]
    #[arg(long, value_name = "ADDR", value_parser = parse_ip)]
    pub bind: Option<IpAddr>,

    /// TCP port to listen on; 0 lets the kernel choose one, printed on standard error
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_PORT)]
    pub port: u16,

    /// End after the first client that sends a valid request, with status 0 if it was served
    #[arg(long)]
    pub once: bool,

    /// Drop a client after this many seconds without a byte
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub stall_timeout: Duration,
}

impl Default for ServerArgs {
    fn default() -> Self {
        Self { bind: None, port: DEFAULT_PORT, once: false, stall_timeout: Duration::from_secs(10) }
    }
}

/// Options of `stdpkt perf client`.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(after_help = "Examples:
  stdpkt run --right 10.0.0.1/24 -- stdpkt perf client 10.0.0.2 |
    stdpkt run --left 10.0.0.2/24 -- stdpkt perf server --once
  stdpkt perf client --rr --json 10.0.0.2")]
pub struct ClientArgs {
    /// Where `stdpkt perf server` runs: an IPv4 or IPv6 address, or a name
    #[arg(value_name = "HOST", value_parser = parse_host)]
    pub host: String,

    /// TCP port of the server
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_PORT,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// Size of each write, or of request and response with --rr; k and m mean 1024 and
    /// 1024*1024 [default: 64k, with --rr 1]
    #[arg(long, value_name = "N", value_parser = parse_size)]
    pub bytes: Option<u32>,

    /// How long to measure, in seconds; fractions are fine
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse_seconds)]
    pub seconds: Duration,

    /// Measure request/response round trips, one at a time, instead of goodput
    #[arg(long)]
    pub rr: bool,

    /// Keep trying to reach the server for this many seconds: it may start a moment later
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub connect_timeout: Duration,

    /// Give up after this many seconds without a byte moving
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub stall_timeout: Duration,

    /// Print the result as one JSON object
    ///
    /// Keys: mode ("stream" or "rr"), host, port, bytes (per write or message), seconds
    /// (measured), received_bytes and gbit_per_second (stream, else null), transactions,
    /// transactions_per_second and latency_us {p50, p90, p99, max} (rr, else null).
    #[arg(long)]
    pub json: bool,
}

impl ClientArgs {
    /// What `stdpkt perf client HOST` without options would measure.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port: DEFAULT_PORT,
            bytes: None,
            seconds: Duration::from_secs(5),
            rr: false,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(10),
            json: false,
        }
    }

    /// What is measured.
    pub fn mode(&self) -> Mode {
        if self.rr { Mode::RequestResponse } else { Mode::Stream }
    }

    /// The size of each write or message, with the default of the mode.
    pub fn size(&self) -> u32 {
        self.bytes.unwrap_or(if self.rr { 1 } else { 65536 })
    }
}

/// `[::1]` as people copy it from URLs, or the bare literal.
fn strip_brackets(text: &str) -> &str {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    inner.unwrap_or(text)
}

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    strip_brackets(text)
        .parse()
        .map_err(|_| "expected an IPv4 or IPv6 address (the port goes to --port)".into())
}

fn parse_host(text: &str) -> Result<String, String> {
    match strip_brackets(text) {
        "" => Err("expected an address or a name".into()),
        host => Ok(host.into()),
    }
}

fn parse_size(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    digits
        .parse::<u32>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .filter(|n| (1..=MAX_SIZE).contains(n))
        .ok_or_else(|| format!("expected 1 to {}m bytes, like 1, 1448, 64k or 1m", MAX_SIZE >> 20))
}

pub(crate) fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .filter(|d| (Duration::from_millis(1)..=MAX_DURATION).contains(d))
        .ok_or_else(|| format!("expected 0.001 to {} seconds", MAX_DURATION.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        perf: PerfCommand,
    }

    fn parse(line: &str) -> Result<PerfCommand, String> {
        Cli::try_parse_from(format!("perf {line}").split(' '))
            .map(|cli| cli.perf)
            .map_err(|e| e.to_string())
    }

    fn client(line: &str) -> ClientArgs {
        match parse(&format!("client {line}")) {
            Ok(PerfCommand::Client(args)) => args,
            other => panic!("not client options: {other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent_and_every_option_has_help() {
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        for sub in cli.get_subcommands() {
            for arg in sub.get_arguments() {
                assert!(arg.get_help().is_some(), "{} has no help", arg.get_id());
            }
        }
    }

    #[test]
    fn defaults_of_the_command_line_are_those_of_the_library() {
        assert_eq!(client("h"), ClientArgs::new("h"));
        let Ok(PerfCommand::Server(server)) = parse("server") else {
            panic!("not server options");
        };
        assert_eq!(server, ServerArgs::default());
    }

    #[test]
    fn the_default_size_follows_the_mode_and_an_explicit_one_wins() {
        assert_eq!(client("h").size(), 65536);
        assert_eq!(client("h --rr").size(), 1);
        assert_eq!(client("h --rr --bytes 2k").size(), 2048);
        assert_eq!(client("h --bytes 1M").size(), 1 << 20);
    }

    #[test]
    fn absurd_sizes_and_times_are_refused_with_the_range() {
        for bad in ["0", "17m", "4294967295k", "-1", "k", "", "1.5k", "é", "1g"] {
            let error = parse(&format!("client h --bytes={bad}")).unwrap_err();
            assert!(error.contains("expected 1 to 16m bytes"), "{bad}: {error}");
        }
        for bad in ["0", "-1", "nan", "inf", "1e300", "86401", "soon"] {
            let error = parse(&format!("client h --seconds={bad}")).unwrap_err();
            assert!(error.contains("expected 0.001 to 86400 seconds"), "{bad}: {error}");
        }
        assert_eq!(client("h --seconds 0.25").seconds, Duration::from_millis(250));
    }

    #[test]
    fn ipv6_literals_may_wear_brackets() {
        assert_eq!(client("[fd00::1]").host, "fd00::1");
        assert_eq!(client("fd00::1").host, "fd00::1");
        assert!(parse("client []").is_err());
        assert!(parse("server --bind [::1]").is_ok());
        let error = parse("server --bind 127.0.0.1:80").unwrap_err();
        assert!(error.contains("--port"), "{error}");
    }
}
