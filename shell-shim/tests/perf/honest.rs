//! Both sides are ours and mean well.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};

use shell_shim::perf::messages::MAX_SIZE;

use super::*;

/// Measures against a fresh server, and wants both sides to be content.
fn measured(host: &'static str, change: impl FnOnce(&mut ClientArgs)) -> Measurement {
    let (addr, served) = one_client_server(Some(host.parse().unwrap()));
    let mut args = short(host, addr.port());
    change(&mut args);
    let measurement = watched(move || measure(&args)).unwrap();
    let end = watched(move || served.recv()).unwrap();
    assert_eq!(end, Ok(()));
    assert_eq!((measurement.host.as_str(), measurement.port), (host, addr.port()));
    measurement
}

fn check_rr(m: &Measurement, size: u32) {
    assert_eq!((m.mode, m.bytes), (Mode::RequestResponse, size));
    let n = m.transactions.unwrap();
    assert!(n >= 1, "{m:?}");
    let rate = n as f64 / m.seconds;
    assert!((m.transactions_per_second.unwrap() - rate).abs() <= rate * 1e-6, "{m:?}");
    let l = m.latency_us.unwrap();
    assert!(0.0 < l.p50 && l.p50 <= l.p90 && l.p90 <= l.p99 && l.p99 <= l.max, "{m:?}");
    assert!(m.received_bytes.is_none() && m.gbit_per_second.is_none());
}

#[test]
fn stream_counts_what_the_receiver_got() {
    check_stream(&measured(V4, |_| {}), 65536);
    check_stream(&measured(V4, |a| a.bytes = Some(1)), 1);
    check_stream(&measured(V4, |a| a.bytes = Some(MAX_SIZE)), MAX_SIZE);
    if has_ipv6() {
        check_stream(&measured(V6, |_| {}), 65536);
    }
}

#[test]
fn rr_counts_round_trips_of_any_allowed_size() {
    check_rr(&measured(V4, |a| a.rr = true), 1);
    // Not a multiple of the server's buffer, and far more than the socket buffers hold.
    for size in [1448, 300_001, MAX_SIZE] {
        let m = measured(V4, |a| (a.rr, a.bytes) = (true, Some(size)));
        check_rr(&m, size);
    }
    if has_ipv6() {
        check_rr(&measured(V6, |a| a.rr = true), 1);
    }
}

#[test]
fn the_default_address_takes_ipv4_and_ipv6() {
    let hosts: &[&'static str] = if has_ipv6() { &[V4, V6] } else { &[V4] };
    for &host in hosts {
        let (addr, served) = one_client_server(None);
        let m = watched(move || measure(&short(host, addr.port()))).unwrap();
        check_stream(&m, 65536);
        assert_eq!(watched(move || served.recv()).unwrap(), Ok(()));
    }
}

#[test]
fn the_client_waits_for_a_server_that_starts_later() {
    let port = TcpListener::bind((V4, 0)).unwrap().local_addr().unwrap().port();
    let client = thread::spawn(move || {
        let mut args = short(V4, port);
        args.connect_timeout = Duration::from_secs(60);
        measure(&args)
    });
    thread::sleep(Duration::from_millis(300));
    assert!(!client.is_finished(), "the client gave up at once");
    let args = ServerArgs { bind: Some(Ipv4Addr::LOCALHOST.into()), port, ..Default::default() };
    let server = Server::bind(&args).unwrap();
    thread::spawn(move || server.serve());
    check_stream(&watched(move || client.join().unwrap()).unwrap(), 65536);
}

#[test]
fn a_server_serves_clients_side_by_side_and_after_bad_ones() {
    let args = ServerArgs { bind: Some(Ipv4Addr::LOCALHOST.into()), port: 0, ..Default::default() };
    let server = Server::bind(&args).unwrap();
    let addr = server.local_addr().unwrap();
    thread::spawn(move || server.serve());
    // One that never says anything, and stays, must not be in anyone's way.
    let _silent = TcpStream::connect(addr).unwrap();
    TcpStream::connect(addr).unwrap().write_all(&[0xff; 4096]).unwrap();
    let clients: Vec<_> = [false, true, false, true]
        .map(|rr| thread::spawn(move || measure(&ClientArgs { rr, ..short(V4, addr.port()) })))
        .into();
    for client in clients {
        watched(move || client.join().unwrap()).unwrap();
    }
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let taken = TcpListener::bind((V4, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    for bind in [None, Some(Ipv4Addr::LOCALHOST.into())] {
        let error = Server::bind(&ServerArgs { bind, port, ..Default::default() }).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(&format!(":{port} ")) && text.contains("--port"), "{text}");
    }
}
