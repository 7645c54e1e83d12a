//! `stdpkt perf`: TCP goodput and round trips, measured from inside functions.
//!
//! Network functions live in small private network namespaces where netperf and iperf are
//! often not installed; this is a measurement that comes with the command. Plain blocking
//! `std::net` sockets, so what is measured is the path and not a runtime.
//!
//! * [`args`]: the command line, and what library callers fill in.
//! * [`messages`]: what they say, with every field checked on arrival.
//! * [`Server`]: `perf server`. It never allocates by a size that its client chose.
//! * [`measure`]: `perf client`. It ends, whatever the other side or the path does.
//! * [`Measurement`]: the result, also as the object that `--json` prints.

pub mod args;
mod client;
mod connect;
pub mod messages;
mod report;
mod server;

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Context;

pub use args::{ClientArgs, PerfCommand, ServerArgs};
pub use client::measure;
pub use report::{LatencyUs, Measurement};
pub use server::Server;

/// How long the last bytes of a measurement may still trickle in after its time is over
/// (deep queues on slow links) before either side gives up.
const DRAIN_LIMIT: Duration = Duration::from_secs(600);

/// Runs `stdpkt perf ...`: results on standard output, everything else on standard error.
///
/// Errors are meant to be shown on one line (`{:#}`).
pub fn run(cmd: PerfCommand) -> anyhow::Result<()> {
    match cmd {
        PerfCommand::Server(args) => {
            let server = Server::bind(&args)?;
            say::line!("stdpkt perf server: listening on {}", server.local_addr()?);
            server.serve()
        }
        PerfCommand::Client(args) => {
            let measurement = measure(&args)?;
            let text = if args.json {
                serde_json::to_string(&measurement).context("cannot write the result as JSON")?
            } else {
                measurement.to_string()
            };
            writeln!(io::stdout().lock(), "{text}")
                .context("cannot write the result to standard output")
        }
    }
}

/// `[::1]:5202` for an IPv6 literal, `name:5202` for the rest.
fn endpoint(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// One read that is not disturbed by signals; 0 is end of stream.
fn read_some(stream: &mut TcpStream, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buf) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Fills `buf`. The stream's read timeout bounds each wait, `deadline` bounds their sum, so
/// that a peer that sends a byte now and then cannot hold us for ever.
fn read_full(stream: &mut TcpStream, mut buf: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !buf.is_empty() {
        let n = read_some(stream, buf)?;
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        buf = &mut buf[n..];
        if !buf.is_empty() && Instant::now() > deadline {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// Bounds every single wait on `stream`, in both directions.
fn set_stall_timeout(stream: &TcpStream, stall: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(stall))?;
    stream.set_write_timeout(Some(stall))
}

/// True for the errors by which the kernel reports that a timeout of ours ran out. It also
/// reports `TimedOut` where TCP itself gave the connection up: the same to the user.
fn is_stall(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
