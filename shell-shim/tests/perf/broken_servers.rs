//! Our client, and servers that do not do what they should.

use std::io::{Read, Write};
use std::net::TcpStream;

use shell_shim::perf::messages::{Kind, MAGIC, MAX_SIZE, REPLY_LEN, REQUEST_LEN, Reply};

use super::*;

fn measure_one_line_error(args: ClientArgs) -> String {
    let error = watched(move || measure(&args)).expect_err("measured with a broken server");
    let text = format!("{error:#}");
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn options_that_no_server_would_accept_fail_before_connecting() {
    for (bytes, seconds) in [(0, 1), (MAX_SIZE + 1, 1), (1, 0), (1, 86_401)] {
        let mut args = short(V4, 1);
        (args.bytes, args.seconds) = (Some(bytes), Duration::from_secs(seconds));
        let error = measure_one_line_error(args);
        assert!(error.contains("--bytes"), "{error}");
    }
}

/// A listener whose first connection gets `script` after its request was read.
fn broken_server(script: impl FnOnce(&mut TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind((V4, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; REQUEST_LEN]).unwrap();
        script(&mut stream);
    });
    port
}

fn accept(stream: &mut TcpStream) {
    stream.write_all(&Reply::new(Kind::Accepted, 0, Duration::ZERO).encode()).unwrap();
}

#[test]
fn a_server_gone_in_the_middle_is_an_error_and_no_hang() {
    for rr in [false, true] {
        let port = broken_server(|stream| {
            accept(stream);
            let mut byte = [0];
            for _ in 0..3 {
                stream.read_exact(&mut byte).unwrap();
                stream.write_all(&byte).unwrap();
            }
        });
        let seconds = Duration::from_secs(3600);
        let error = measure_one_line_error(ClientArgs { rr, seconds, ..short(V4, port) });
        assert!(error.contains(&format!("{V4}:{port}")), "{error}");
        assert!(error.contains("connection lost in the middle"), "{error}");
    }
}

#[test]
fn a_server_that_goes_silent_is_an_error_and_no_hang() {
    // Before accepting, and after; the connection stays up all the while.
    for accepts in [false, true] {
        for rr in [false, true] {
            let port = broken_server(move |stream| {
                if accepts {
                    accept(stream);
                }
                thread::sleep(Duration::from_secs(3600));
            });
            let stall_timeout = Duration::from_millis(100);
            let error = measure_one_line_error(ClientArgs { rr, stall_timeout, ..short(V4, port) });
            assert!(error.contains("--stall-timeout"), "{error}");
        }
    }
}

/// Accepts, swallows the stream, and ends it with these bytes.
fn result_server(reply: impl FnOnce(u64) -> Vec<u8> + Send + 'static) -> u16 {
    broken_server(move |stream| {
        accept(stream);
        let received = std::io::copy(stream, &mut std::io::sink()).unwrap();
        stream.write_all(&reply(received)).unwrap();
    })
}

#[test]
fn the_client_believes_no_result_that_cannot_be() {
    let done = |n| Reply::new(Kind::Done, n, Duration::from_secs(1)).encode().to_vec();
    let more = result_server(move |n| done(n + 1));
    assert!(measure_one_line_error(short(V4, more)).contains("the server counted"));
    let none = result_server(|_| Vec::new());
    assert!(measure_one_line_error(short(V4, none)).contains("connection lost"));
    let junk = result_server(|_| vec![0; REPLY_LEN]);
    assert!(measure_one_line_error(short(V4, junk)).contains("malformed"));
    let again = result_server(|_| Reply::new(Kind::Accepted, 0, Duration::ZERO).encode().to_vec());
    assert!(measure_one_line_error(short(V4, again)).contains("malformed"));

    // The same script with a true result is a measurement: the script is not what fails.
    let heartbeat = |n| Reply::new(Kind::Progress, n, Duration::from_millis(1)).encode().to_vec();
    let honest = result_server(move |n| [heartbeat(n), done(n)].concat());
    let m = watched(move || measure(&short(V4, honest))).unwrap();
    check_stream(&m, 65536);
    assert_eq!(m.seconds, 1.0);
}

#[test]
fn what_is_not_our_server_is_told_apart() {
    let http = broken_server(|s| s.write_all(&[b'H'; REPLY_LEN]).unwrap());
    assert!(measure_one_line_error(short(V4, http)).contains("not `stdpkt perf server`"));
    let closes = broken_server(|_| {});
    assert!(measure_one_line_error(short(V4, closes)).contains("its log says why"));
    let newer = broken_server(|stream| {
        let mut reply = Reply::new(Kind::Refused, 0, Duration::ZERO).encode();
        assert_eq!(reply[..8], MAGIC);
        reply[8..10].copy_from_slice(&7u16.to_le_bytes());
        stream.write_all(&reply).unwrap();
    });
    let error = measure_one_line_error(short(V4, newer));
    assert!(error.contains("version 7") && error.contains("version 1"), "{error}");
}
