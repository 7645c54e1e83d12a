//! Metrics over HTTP, to whom they concern.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::collect::Totals;
use super::text::plain;

/// A client that is slower than this is none.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many are served at a time.
const CLIENTS: usize = 8;
/// Most bytes of a request.
const LONGEST: u64 = 8 << 10;
/// Lines of a request that are read; the deadline is for each of them.
const LINES: usize = 64;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until interrupted.
///
/// # Errors
/// When it cannot listen there.
pub fn run(listen: SocketAddr, anyone: bool) -> Result<()> {
    if !anyone && !listen.ip().is_loopback() {
        bail!("--listen {listen}: others could reach that: add --anyone, or take 127.0.0.1");
    }
    let listener = TcpListener::bind(listen).with_context(|| format!("--listen {listen}"))?;
    let address = listener.local_addr().context("--listen")?;
    say::note!("metrics at http://{address}/metrics");
    let totals = Mutex::new(Totals::default());
    let busy = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        loop {
            let Ok((stream, peer)) = listener.accept() else {
                // As when there are no descriptors left: others have to end first.
                std::thread::sleep(PATIENCE);
                continue;
            };
            // A number only; whoever comes too many is not served.
            if busy.fetch_add(1, Ordering::Relaxed) >= CLIENTS {
                busy.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (totals, busy) = (&totals, &busy);
            let serve = move || {
                let allowed = anyone || is_our_user(peer, address);
                // A client that went away is no concern of ours.
                let _ = answer(&stream, allowed, totals);
                busy.fetch_sub(1, Ordering::Relaxed);
            };
            if std::thread::Builder::new().spawn_scoped(scope, serve).is_err() {
                busy.fetch_sub(1, Ordering::Relaxed);
            }
        }
    })
}

fn answer(stream: &TcpStream, allowed: bool, totals: &Mutex<Totals>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.take(LONGEST)).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut open_metrics = false;
    for line in lines.take(LINES) {
        let line = line?.to_ascii_lowercase();
        open_metrics |=
            line.starts_with("accept:") && line.contains("application/openmetrics-text");
        if line.is_empty() {
            break;
        }
    }
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let (status, kind, body) = match (allowed, method, path) {
        (false, ..) => ("403 Forbidden", PLAIN, "another user's: see --anyone\n".to_owned()),
        (_, "GET", "/metrics") => {
            let metrics = totals.lock().unwrap_or_else(PoisonError::into_inner).look()?;
            match open_metrics {
                true => ("200 OK", OPEN_METRICS, metrics),
                false => ("200 OK", PLAIN, plain(&metrics)),
            }
        }
        (_, "GET", _) => ("404 Not Found", PLAIN, "see /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", PLAIN, "GET /metrics\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    (&mut &*stream).write_all((head + &body).as_bytes())
}

/// Whether the client at `peer` is a process of our user on this machine, by the kernel's table
/// of connections.
fn is_our_user(peer: SocketAddr, here: SocketAddr) -> bool {
    let table = match peer {
        SocketAddr::V4(_) => "/proc/self/net/tcp",
        SocketAddr::V6(_) => "/proc/self/net/tcp6",
    };
    let ours = rustix::process::geteuid().as_raw();
    let table = std::fs::read_to_string(table).unwrap_or_default();
    owner(&table, peer, here) == Some(ours)
}

/// The user of the connection from `from` to the port of `to`, in the words of proc_net_tcp(5).
fn owner(table: &str, from: SocketAddr, to: SocketAddr) -> Option<u32> {
    let local = hex(from);
    let remote = format!(":{:04X}", to.port());
    let found = table.lines().skip(1).find(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(&local) && words.next().is_some_and(|it| it.ends_with(&remote))
    })?;
    found.split_whitespace().nth(7)?.parse().ok()
}

/// An address as that table has it: words of 32 bits in the byte order of the machine.
fn hex(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.as_chunks::<4>().0.iter();
    let words: String = words.map(|word| format!("{:08X}", u32::from_ne_bytes(*word))).collect();
    format!("{words}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_connection_is_in_the_kernels_table() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(at) else { continue };
            let here = listener.local_addr().unwrap();
            let client = TcpStream::connect(here).unwrap();
            assert!(is_our_user(client.local_addr().unwrap(), here), "{at}");
            let stranger = SocketAddr::new(here.ip(), 1);
            assert!(!is_our_user(stranger, here), "{at}");
        }
    }
}
