//! `stdpkt perf client`.

use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};

use super::args::ClientArgs;
use super::connect::connect;
use super::messages::{Kind, Mode, REPLY_LEN, Reply, Request};
use super::report::{Latencies, Measurement};
use super::{DRAIN_LIMIT, endpoint, is_stall, read_full, set_stall_timeout};

/// Measures as `stdpkt perf client` does, without printing anything.
///
/// Always ends: every wait is bounded by `connect_timeout` or `stall_timeout`, and their sum
/// by the duration and a fixed time for the last bytes.
pub fn measure(args: &ClientArgs) -> anyhow::Result<Measurement> {
    let request = Request::new(args.mode(), args.size(), args.seconds)
        .context("cannot measure this (see --bytes and --seconds)")?;
    let stream = connect(&args.host, args.port, args.connect_timeout)?;
    Session { args, request, stream }
        .run()
        .with_context(|| format!("measuring to {} failed", endpoint(&args.host, args.port)))
}

/// One connection, from request to result.
struct Session<'a> {
    args: &'a ClientArgs,
    request: Request,
    stream: TcpStream,
}

impl Session<'_> {
    fn run(mut self) -> anyhow::Result<Measurement> {
        set_stall_timeout(&self.stream, self.args.stall_timeout)
            .context("cannot set --stall-timeout")?;
        self.begin()?;
        match self.request.mode() {
            Mode::Stream => self.stream(),
            Mode::RequestResponse => self.round_trips(),
        }
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        let sent = self.stream.write_all(&self.request.encode());
        let reply = sent.and_then(|()| self.read_reply()).map_err(|e| match e.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                anyhow!("the server closed the connection instead of accepting; its log says why")
            }
            _ => self.lost(e),
        })?;
        let reply = Reply::decode(&reply)
            .context("this is not `stdpkt perf server`, or not the same release (see --port)")?;
        ensure!(reply.kind == Kind::Accepted, "the server refused the request; its log says why");
        Ok(())
    }

    fn stream(mut self) -> anyhow::Result<Measurement> {
        let buf = vec![0x5a; self.request.size()];
        let end = Instant::now() + self.request.duration();
        let mut sent = 0u64;
        loop {
            match self.stream.write(&buf) {
                Ok(n) => sent += n as u64,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.lost(e)),
            }
            if Instant::now() >= end {
                break;
            }
        }
        self.stream.shutdown(Shutdown::Write).map_err(|e| self.lost(e))?;
        let done = self.wait_for_done()?;
        ensure!(
            done.received == sent,
            "the server counted {} of {sent} bytes: something between changes the stream",
            done.received
        );
        let elapsed = Duration::from_nanos(done.elapsed_ns);
        Ok(Measurement::stream(self.to(), self.args.size(), sent, elapsed))
    }

    /// Replies until the final one; the server's heartbeat keeps slow links from looking dead.
    fn wait_for_done(&mut self) -> anyhow::Result<Reply> {
        let deadline = Instant::now() + DRAIN_LIMIT;
        while Instant::now() < deadline {
            let reply = self.read_reply().map_err(|e| self.lost(e))?;
            let reply = Reply::decode(&reply).context("the server's result is malformed")?;
            match reply.kind {
                Kind::Done => return Ok(reply),
                Kind::Progress => {}
                Kind::Accepted | Kind::Refused => bail!("the server's result is malformed"),
            }
        }
        bail!("the last bytes did not arrive within {} s", DRAIN_LIMIT.as_secs())
    }

    fn round_trips(mut self) -> anyhow::Result<Measurement> {
        self.stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        let mut buf = vec![0x5a; self.request.size()];
        let mut latencies = Latencies::new();
        let begin = Instant::now();
        let end = begin + self.request.duration();
        let mut before = begin;
        while before < end {
            let trip = self
                .stream
                .write_all(&buf)
                .and_then(|()| read_full(&mut self.stream, &mut buf, end + DRAIN_LIMIT));
            trip.map_err(|e| self.lost(e))?;
            let now = Instant::now();
            latencies.record(now - before);
            before = now;
        }
        // Tells the server that this was all; the result no longer depends on it.
        let _ = self.stream.shutdown(Shutdown::Write);
        Ok(Measurement::rr(self.to(), self.args.size(), before - begin, &latencies))
    }

    fn read_reply(&mut self) -> io::Result<[u8; REPLY_LEN]> {
        let mut reply = [0; REPLY_LEN];
        let deadline = Instant::now() + self.args.stall_timeout;
        read_full(&mut self.stream, &mut reply, deadline)?;
        Ok(reply)
    }

    fn to(&self) -> (&str, u16) {
        (&self.args.host, self.args.port)
    }

    /// What an I/O error in the middle means to the user.
    fn lost(&self, e: io::Error) -> anyhow::Error {
        if is_stall(&e) {
            let seconds = self.args.stall_timeout.as_secs_f64();
            return anyhow!(
                "nothing moved for {seconds} s (--stall-timeout); are the server and every function between still up?"
            );
        }
        anyhow!("connection lost in the middle ({e}); did the server, or a function between, end?")
    }
}
