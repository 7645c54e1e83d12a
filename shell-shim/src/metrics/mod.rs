//! `stdpkt metrics`: what `stdpkt ls` shows, for Prometheus. Looks at `/proc` only, as `ls`
//! does: nobody is asked or woken.

mod collect;
mod growing;
mod serve;
mod text;

use std::io::Write;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::Args;

use collect::Totals;

/// `stdpkt metrics`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt metrics --once
  stdpkt metrics --once >/var/lib/prometheus/node-exporter/stdpkt.prom
  stdpkt metrics --listen 127.0.0.1:9099
  stdpkt metrics --listen [::]:9099 --anyone")]
pub struct MetricsArgs {
    /// Where to serve them, at /metrics over HTTP
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9099", value_parser = place)]
    pub listen: SocketAddr,

    /// Serve other users and other machines, too
    #[arg(long)]
    pub anyone: bool,

    /// Print them once instead, in the text format that promtool and node_exporter's
    /// textfile collector read
    #[arg(long, conflicts_with_all = ["listen", "anyone"])]
    pub once: bool,
}

/// An address and a port.
fn place(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "not an IP address and a port, write them like 127.0.0.1:9099 or [::1]:9099".to_owned()
    })
}

/// Prints the metrics, or serves them until interrupted.
///
/// # Errors
/// Those of reading `/proc`, of writing, and of listening.
pub fn run(args: &MetricsArgs) -> Result<()> {
    if !args.once {
        return serve::run(args.listen, args.anyone);
    }
    let metrics = Totals::default().look().context("/proc")?;
    let mut out = std::io::stdout().lock();
    match out.write_all(text::plain(&metrics).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output"),
    }
}
