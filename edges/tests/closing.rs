//! The end of an edge whose reader is slow.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;

use cable::Edge;
use edges::codec::Coding;
use edges::stream::StreamEdge;
use edges::unix::twice;
use frames::{Framing, VNET_LEN};
use shmring::Bytes;

/// Whoever closes an edge has frames of others to move: it must not wait.
#[test]
fn a_slow_reader_gets_the_rest_while_others_go_on() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    let (input, output) = twice(ours.into()).unwrap();
    let coding = Coding::Framed(Framing::Qemu);
    let mut edge = StreamEdge::new("a socket", coding, input, output).unwrap();
    let frame = [0; VNET_LEN + 1500];
    let mut sent = 0;
    while edge.take(Bytes::of_slice(&frame)) == Ok(()) {
        edge.taken();
        sent += 1;
    }
    assert!(!edge.close());

    let (mut got, mut part) = (0, [0; 4096]);
    loop {
        match theirs.read(&mut part) {
            Ok(len) => got += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock && edge.close() => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => edge.woken(),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(got, sent * (Framing::Qemu.prefix() + 1500));
}
