//! `stdpkt perf` over loopback, with honest and with broken partners.
//!
//! Nothing here judges a time or a speed. What must not hang runs under a watchdog whose
//! limit is far beyond anything that happens otherwise.

mod broken_clients;
mod broken_servers;
mod honest;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use shell_shim::perf::messages::Mode;
use shell_shim::perf::{ClientArgs, Measurement, Server, ServerArgs, measure};

const V4: &str = "127.0.0.1";
const V6: &str = "::1";

/// Runs `work`, and fails the test instead of hanging with it.
fn watched<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    wait.recv_timeout(Duration::from_secs(120)).expect("hangs, or panicked (see above)")
}

fn has_ipv6() -> bool {
    let has = TcpListener::bind((V6, 0)).is_ok();
    if !has {
        say::line!("no IPv6 here: the ::1 half of this test is skipped");
    }
    has
}

/// A server that ends after one client; its result arrives on the channel.
fn one_client_server(bind: Option<IpAddr>) -> (SocketAddr, mpsc::Receiver<Result<(), String>>) {
    let args = ServerArgs { bind, port: 0, once: true, stall_timeout: Duration::from_secs(30) };
    let server = Server::bind(&args).unwrap();
    let addr = server.local_addr().unwrap();
    let (done, wait) = mpsc::channel();
    thread::spawn(move || done.send(server.serve().map_err(|e| format!("{e:#}"))));
    (addr, wait)
}

fn short(host: &str, port: u16) -> ClientArgs {
    ClientArgs {
        port,
        seconds: Duration::from_millis(50),
        stall_timeout: Duration::from_secs(30),
        ..ClientArgs::new(host)
    }
}

fn check_stream(m: &Measurement, size: u32) {
    assert_eq!((m.mode, m.bytes), (Mode::Stream, size));
    let received = m.received_bytes.unwrap();
    assert!(received >= u64::from(size), "not even one write arrived: {m:?}");
    let gbit = received as f64 * 8.0 / m.seconds / 1e9;
    assert!((m.gbit_per_second.unwrap() - gbit).abs() <= gbit * 1e-6, "{m:?}");
    assert!(m.transactions.is_none() && m.transactions_per_second.is_none());
    assert!(m.latency_us.is_none());
}
