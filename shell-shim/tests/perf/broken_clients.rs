//! Our server, and clients that send what they should not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};

use shell_shim::perf::messages::{Kind, MAX_SIZE, REQUEST_LEN, Reply, Request, VERSION};

use super::*;

/// What the server says to these bytes before it closes.
fn answer_to(addr: SocketAddr, bytes: Vec<u8>) -> Vec<u8> {
    watched(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(&bytes).unwrap();
        match stream.shutdown(Shutdown::Write) {
            // The server was faster and has closed, with bytes of ours unread.
            Err(e) if e.kind() == ErrorKind::NotConnected => {}
            other => other.unwrap(),
        }
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => answer,
            // The same.
            Err(e) if e.kind() == ErrorKind::ConnectionReset => answer,
            Err(e) => panic!("{e}"),
        }
    })
}

#[test]
fn requests_with_bad_fields_are_closed_and_the_server_goes_on() {
    let (addr, served) = one_client_server(Some(Ipv4Addr::LOCALHOST.into()));
    let good = Request::new(Mode::RequestResponse, 1, Duration::from_secs(1)).unwrap().encode();
    let with = |at: usize, field: &[u8]| {
        let mut bytes = good.to_vec();
        bytes[at..at + field.len()].copy_from_slice(field);
        bytes
    };
    let bad = [
        Vec::new(),
        good[..REQUEST_LEN - 1].to_vec(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        with(0, b"stdpktpf"),
        with(10, &[0]),
        with(10, &[255]),
        with(11, &[1]),
        with(12, &0u32.to_le_bytes()),
        with(12, &(MAX_SIZE + 1).to_le_bytes()),
        with(12, &u32::MAX.to_le_bytes()),
        with(16, &0u64.to_le_bytes()),
        with(16, &u64::MAX.to_le_bytes()),
    ];
    for bytes in bad {
        assert!(answer_to(addr, bytes.clone()).is_empty(), "{bytes:?} was answered");
    }
    // Only the version is answered, with ours.
    let answer = answer_to(addr, with(8, &(VERSION + 1).to_le_bytes()));
    assert_eq!(answer, Reply::new(Kind::Refused, 0, Duration::ZERO).encode());

    // None of them was "the first client"; a good one is.
    assert_eq!(served.try_recv(), Err(mpsc::TryRecvError::Empty));
    let answer = answer_to(addr, good.to_vec());
    assert_eq!(answer, Reply::new(Kind::Accepted, 0, Duration::ZERO).encode());
    assert_eq!(watched(move || served.recv()).unwrap(), Ok(()));
}

#[test]
fn a_client_that_leaves_inside_a_message_is_an_error_of_that_client() {
    let (addr, served) = one_client_server(Some(Ipv4Addr::LOCALHOST.into()));
    let request = Request::new(Mode::RequestResponse, 100, Duration::from_secs(1)).unwrap();
    answer_to(addr, [&request.encode()[..], &[0; 99]].concat());
    let error = watched(move || served.recv()).unwrap().unwrap_err();
    assert!(error.contains("was not served"), "{error}");
}
