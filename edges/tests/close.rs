//! The end of an edge whose reader is slow: nothing waits, nothing is lost.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use cable::Edge;
use edges::codec::Coding;
use edges::stream::StreamEdge;
use frames::{Framing, VNET_LEN};
use shmring::Bytes;

const FRAME: usize = VNET_LEN + 1000;

fn frame(number: u64) -> Vec<u8> {
    let mut frame = vec![0; FRAME];
    frame[VNET_LEN..][..8].copy_from_slice(&number.to_be_bytes());
    frame
}

#[test]
fn a_slow_reader_gets_the_rest_and_holds_nobody_up() {
    let (ours, mut theirs) = UnixStream::pair().expect("socketpair");
    ours.set_nonblocking(true).expect("fcntl");
    let input: OwnedFd = ours.try_clone().expect("dup").into();
    let coding = Coding::Framed(Framing::Qemu);
    let mut edge = StreamEdge::new("slow", coding, input, ours.into()).expect("edge");
    let mut count = 0;
    while edge.has_room() {
        edge.take(Bytes::of_slice(&frame(count))).expect("room");
        edge.taken();
        count += 1;
    }
    // It has not read yet, and is not waited for.
    assert!(!edge.close());
    assert!(edge.deadline().is_some(), "nobody would ask again");
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).expect("read");
        all
    });
    while !edge.close() {
        std::thread::yield_now();
        edge.woken();
    }
    drop(edge);
    let all = reader.join().expect("reader");
    let len = 4 + 1000;
    assert_eq!(all.len() as u64, count * len as u64);
    for (number, one) in all.chunks(len).enumerate() {
        assert_eq!(one[4..][..8], (number as u64).to_be_bytes());
    }
}

#[test]
fn a_reader_that_takes_nothing_is_given_up() {
    let (ours, _theirs) = UnixStream::pair().expect("socketpair");
    ours.set_nonblocking(true).expect("fcntl");
    let input: OwnedFd = ours.try_clone().expect("dup").into();
    let coding = Coding::Framed(Framing::Qemu);
    let mut edge = StreamEdge::new("deaf", coding, input, ours.into()).expect("edge");
    while edge.has_room() {
        edge.take(Bytes::of_slice(&frame(0))).expect("room");
        edge.taken();
    }
    while !edge.close() {
        let at = edge.deadline().expect("a time when it is given up");
        std::thread::sleep(at.saturating_duration_since(std::time::Instant::now()));
    }
}
