//! Reaching a server that may start a moment later than the client.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::endpoint;

/// Between two rounds over all addresses.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// One attempt: a lost SYN (the route may have come up since) is better sent anew.
const ATTEMPT: Duration = Duration::from_secs(2);

/// Connects to `host`, trying again until `timeout` is over.
///
/// Everything is worth another try, unreachable networks and unknown names too: in a chain
/// that is starting, interfaces, routes and name servers come up in any order.
pub(super) fn connect(host: &str, port: u16, timeout: Duration) -> anyhow::Result<TcpStream> {
    let deadline = Instant::now() + timeout;
    loop {
        let failure = match resolve(host, port, left(deadline)) {
            Ok(addresses) => match try_each(&addresses, deadline) {
                Ok(stream) => return Ok(stream),
                Err(e) => e,
            },
            Err(e) => e,
        };
        if left(deadline) <= RETRY_PAUSE {
            anyhow::bail!(
                "cannot reach {} within {} s (--connect-timeout): {failure}; is `stdpkt perf server` running there?",
                endpoint(host, port),
                timeout.as_secs_f64(),
            );
        }
        thread::sleep(RETRY_PAUSE);
    }
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn try_each(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        // A timeout of zero is an error to std, and one attempt is due in any case.
        let attempt = left(deadline).clamp(Duration::from_millis(1), ATTEMPT);
        match TcpStream::connect_timeout(address, attempt) {
            // Without a listener, TCP may connect a socket to itself when the kernel happens
            // to choose the wanted port as the source port.
            Ok(stream) if stream.local_addr()? == stream.peer_addr()? => {
                last = ErrorKind::ConnectionRefused.into();
            }
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Addresses of `host`. The system's resolver has no timeout of its own choosing, so it runs
/// in a thread that is left behind when the time is over.
fn resolve(host: &str, port: u16, timeout: Duration) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    let (answer, wait) = mpsc::channel();
    let name = host.to_owned();
    thread::Builder::new().name("resolver".into()).spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Vec::from_iter);
        // Nobody listens any more if the time is over: nothing to do about it.
        let _ = answer.send(found);
    })?;
    wait.recv_timeout(timeout).unwrap_or_else(|_| {
        Err(io::Error::new(ErrorKind::TimedOut, "no answer from the name service"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn nobody_listening_is_one_line_with_address_option_and_way_out() {
        // Bound but not listening is not possible with std: take a port and give it back.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = connect("127.0.0.1", port, Duration::from_millis(120)).unwrap_err();
        let text = format!("{error:#}");
        for part in [&format!("127.0.0.1:{port}"), "--connect-timeout", "stdpkt perf server"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn names_and_literals_resolve() {
        let wait = Duration::from_secs(60);
        assert_eq!(resolve("fd00::1", 7, wait).unwrap(), ["[fd00::1]:7".parse().unwrap()]);
        assert!(resolve("localhost", 7, wait).unwrap().iter().all(|a| a.ip().is_loopback()));
    }

    #[test]
    fn a_name_that_does_not_exist_is_an_error_that_ends() {
        let error = connect("no-such-host.invalid", 7, Duration::from_millis(120)).unwrap_err();
        assert!(error.to_string().contains("no-such-host.invalid:7"), "{error}");
    }
}
