//! `stdpkt perf server`.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::args::ServerArgs;
use super::messages::{Kind, Mode, NoMessage, REQUEST_LEN, Reply, Request};
use super::report::rate;
use super::{DRAIN_LIMIT, is_stall, read_full, read_some, set_stall_timeout};

/// Clients served at the same time; more are turned away.
const MAX_CLIENTS: usize = 64;
/// The only buffer that a client gets, whatever size it asks for.
const CHUNK: usize = 128 << 10;
/// For the request to arrive completely.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two signs of life while bytes arrive after the time is over.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A bound server that has not begun to serve.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    once: bool,
    stall: Duration,
}

/// How serving one connection ended.
enum Outcome {
    /// Measured to the end.
    Served(Totals),
    /// There was a valid request, but the client or the path to it failed.
    Lost(String),
    /// There was no valid request; does not count for `--once`.
    Refused(Refusal),
}

/// Why a connection is closed before anything is measured.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Message(#[from] NoMessage),
    #[error("no request ({0})")]
    Io(#[from] io::Error),
}

/// What was measured, for the log and for the client.
struct Totals {
    request: Request,
    received: u64,
    transactions: u64,
    elapsed: Duration,
}

impl Server {
    /// Listens where `args` say. Without an address that is every one of the host: IPv6 and
    /// IPv4 on one socket, or IPv4 alone where the host has no IPv6. (Where it sets
    /// `net.ipv6.bindv6only`, IPv4 needs its own server with an address given.)
    pub fn bind(args: &ServerArgs) -> anyhow::Result<Self> {
        let any4 = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let address = args.bind.unwrap_or(Ipv6Addr::UNSPECIFIED.into());
        let listener = match TcpListener::bind((address, args.port)) {
            Err(e)
                if args.bind.is_none()
                    && !matches!(e.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) =>
            {
                TcpListener::bind((any4, args.port))
            }
            other => other,
        };
        let listener = listener.with_context(|| {
            let at = SocketAddr::new(address, args.port);
            format!("cannot listen on {at} (choose another with --bind or --port)")
        })?;
        Ok(Self { listener, once: args.once, stall: args.stall_timeout })
    }

    /// Where it listens: the real port if 0 was asked for.
    pub fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.listener.local_addr().context("the listening socket has no address")
    }

    /// Serves clients, each in its own thread, for ever; or just one, here, with `--once`.
    /// Writes one line per client to standard error.
    pub fn serve(&self) -> anyhow::Result<()> {
        // Each thread holds a clone: the count is the number of clients plus one.
        let clients = Arc::new(());
        loop {
            let (stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(e) => {
                    // A connection that was gone already, or no descriptors left for now.
                    log(&format_args!("cannot accept: {e}"));
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            let stall = self.stall;
            if self.once {
                let outcome = handle(stream, stall);
                if let Outcome::Lost(why) = outcome {
                    anyhow::bail!("client {peer} was not served: {why}");
                }
                log(&format_args!("{peer}: {outcome}"));
                match outcome {
                    Outcome::Refused(_) => continue,
                    _ => return Ok(()),
                }
            }
            let client = Arc::clone(&clients);
            if Arc::strong_count(&client) > MAX_CLIENTS + 1 {
                log(&format_args!("{peer}: turned away: {MAX_CLIENTS} clients already"));
                continue;
            }
            let thread = thread::Builder::new().name("client".into()).spawn(move || {
                let _count = client;
                log(&format_args!("{peer}: {}", handle(stream, stall)));
            });
            if let Err(e) = thread {
                log(&format_args!("{peer}: turned away: no thread: {e}"));
            }
        }
    }
}

fn log(line: &dyn fmt::Display) {
    say::line!("stdpkt perf server: {line}");
}

fn handle(mut stream: TcpStream, stall: Duration) -> Outcome {
    let request = match read_request(&mut stream) {
        Ok(request) => request,
        Err(refusal) => return Outcome::Refused(refusal),
    };
    let result = set_stall_timeout(&stream, stall).and_then(|()| match request.mode() {
        Mode::Stream => receive(&mut stream, request),
        Mode::RequestResponse => answer(&mut stream, request),
    });
    match result {
        Ok(totals) => Outcome::Served(totals),
        Err(e) if is_stall(&e) => {
            Outcome::Lost(format!("nothing moved for {} s (--stall-timeout)", stall.as_secs_f64()))
        }
        Err(e) => Outcome::Lost(format!("connection lost in the middle ({e})")),
    }
}

/// Reads and checks the request. One of another version is told ours.
fn read_request(stream: &mut TcpStream) -> Result<Request, Refusal> {
    set_stall_timeout(stream, REQUEST_TIMEOUT)?;
    let mut bytes = [0; REQUEST_LEN];
    read_full(stream, &mut bytes, Instant::now() + REQUEST_TIMEOUT)?;
    let request = Request::decode(&bytes);
    if let Err(NoMessage::Version(_)) = request {
        send(stream, Kind::Refused, 0, Duration::ZERO)?;
    }
    Ok(request?)
}

fn send(stream: &mut TcpStream, kind: Kind, received: u64, elapsed: Duration) -> io::Result<()> {
    stream.write_all(&Reply::new(kind, received, elapsed).encode())
}

/// Goodput: counts bytes until the client half-closes, then tells it the sum.
fn receive(stream: &mut TcpStream, request: Request) -> io::Result<Totals> {
    let mut buf = vec![0; CHUNK];
    send(stream, Kind::Accepted, 0, Duration::ZERO)?;
    let begin = Instant::now();
    let mut heartbeat = request.duration() + HEARTBEAT;
    let mut received = 0u64;
    let elapsed = loop {
        let n = read_some(stream, &mut buf)?;
        let elapsed = begin.elapsed();
        if n == 0 {
            break elapsed;
        }
        received += n as u64;
        if elapsed >= heartbeat {
            overdue(elapsed, &request)?;
            send(stream, Kind::Progress, received, elapsed)?;
            heartbeat = elapsed + HEARTBEAT;
        }
    };
    send(stream, Kind::Done, received, elapsed)?;
    Ok(Totals { request, received, transactions: 0, elapsed })
}

/// Round trips: reads a request of `size` bytes, writes as many, until the client half-closes.
fn answer(stream: &mut TcpStream, request: Request) -> io::Result<Totals> {
    stream.set_nodelay(true)?;
    let size = request.size();
    let mut buf = vec![0; size.min(CHUNK)];
    send(stream, Kind::Accepted, 0, Duration::ZERO)?;
    let begin = Instant::now();
    let (mut received, mut transactions) = (0u64, 0u64);
    loop {
        let mut missing = size;
        while missing > 0 {
            let want = missing.min(buf.len());
            let n = read_some(stream, &mut buf[..want])?;
            let elapsed = begin.elapsed();
            if n == 0 && missing == size {
                return Ok(Totals { request, received, transactions, elapsed });
            }
            if n == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            overdue(elapsed, &request)?;
            missing -= n;
            received += n as u64;
        }
        let mut missing = size;
        while missing > 0 {
            let n = missing.min(buf.len());
            stream.write_all(&buf[..n])?;
            missing -= n;
        }
        transactions += 1;
    }
}

/// An error for the client that goes on long after the time that it asked for.
fn overdue(elapsed: Duration, request: &Request) -> io::Result<()> {
    if elapsed > request.duration() + DRAIN_LIMIT {
        return Err(io::Error::other("goes on long after the time it asked for"));
    }
    Ok(())
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Served(totals) => totals.fmt(f),
            Outcome::Lost(why) => f.write_str(why),
            Outcome::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mode, seconds) = (self.request.mode(), self.elapsed.as_secs_f64());
        match mode {
            Mode::Stream => {
                let gbit = rate(self.received as f64 * 8e-9, seconds);
                write!(f, "{mode}: {} bytes in {seconds:.3} s, {gbit:.3} Gbit/s", self.received)
            }
            Mode::RequestResponse => {
                write!(f, "{mode}: {} transactions in {seconds:.3} s", self.transactions)
            }
        }
    }
}
