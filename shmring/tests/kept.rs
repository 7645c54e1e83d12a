//! A consumer is killed (kill -9) at random moments while frames flow, and another process goes
//! on with its end, by the shared memory alone ([`shmring::handover::Kept`]): frames come in order, none
//! twice, and with each death one is lost at most, that which was being delivered.
//!
//! ```text
//! cargo test --release -p stdpkt-shmring --test kept -- --rounds 1000
//! ```
#![cfg(not(loom))]

mod support;

use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, Signal, kill_process};
use shmring::handover::{Kept, socket_pair};
use shmring::{Peer, RecvError, Rx, Tx};
use support::{Chance, argument};

/// Most descriptors of a message.
const FDS: usize = 5;

fn main() {
    if std::env::var_os("SHMRING_KEPT_CHILD").is_some() {
        return child();
    }
    if std::env::args().any(|arg| arg == "--list") {
        return;
    }
    let rounds = argument("--rounds", 100);
    let mut chance = Chance::new(argument("--seed", 1));
    let (mut here, mut there) =
        shmring::pair(64 << 10, 2048, 0, ["here", "there"]).expect("a pair");
    let peer = Peer { pid: std::process::id() as i32, label: "here".into() };
    let kept = Kept::of(None, there.rx.as_mut(), &peer, 0, (0, 0)).expect("dup").expect("a ring");
    let Some(Rx::Ring(rx)) = there.rx.take() else { panic!("no ring") };
    std::mem::forget(rx); // as one does that was killed
    let mut tx = here.tx.take().expect("a way out");
    let (mut sent, mut last, mut delivered, mut lost) = (0, 0, 0, 0);
    for round in 0..rounds {
        let (ours, theirs) = socket_pair().expect("socketpair");
        let again = kept.again().expect("dup");
        send(&ours, &again.message(), &again);
        drop(again);
        let mut child = Command::new("/proc/self/exe")
            .env("SHMRING_KEPT_CHILD", "1")
            .stdin(theirs)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let (mut out, pid) = (child.stdout.take().expect("stdout"), Pid::from_child(&child));
        let life = Duration::from_micros(2000 + chance.below(8000));
        let numbers = std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut bytes = Vec::new();
                out.read_to_end(&mut bytes).expect("read");
                bytes
            });
            let begun = std::time::Instant::now();
            while begun.elapsed() < life {
                sent += u64::from(put(&mut tx, sent + 1));
            }
            kill_process(pid, Signal::KILL).expect("kill");
            reader.join().expect("reader")
        });
        child.wait().expect("wait");
        let (numbers, rest) = numbers.as_chunks::<8>();
        assert!(rest.is_empty(), "a write of 8 bytes is whole");
        for number in numbers.iter().map(|bytes| u64::from_ne_bytes(*bytes)) {
            assert!(number > last, "round {round}: {number} came again, after {last}");
            lost += number - last - 1;
            (last, delivered) = (number, delivered + 1);
        }
    }
    println!("{rounds} deaths: {delivered} frames delivered once and in order, {lost} lost");
    assert!(lost <= rounds, "{lost} lost in {rounds} deaths");
    assert!(delivered > rounds);
}

/// Sends a frame with a number; whether there was room.
fn put(tx: &mut Tx, number: u64) -> bool {
    let sent = tx.put(64, |room| {
        room.copy_from(0, &number.to_ne_bytes());
        Ok::<_, ()>(64)
    });
    tx.publish();
    if sent.is_err() {
        std::thread::sleep(Duration::from_micros(50));
    }
    sent.is_ok()
}

/// Delivers frames until it is killed: writes the number of each.
fn child() {
    let (bytes, fds) = receive(std::io::stdin());
    let handed = Kept::receive(&bytes, fds).expect("a link").adopt().expect("a link");
    let mut rx = handed.link.rx.expect("a way in");
    loop {
        let taken = rx.take(|frame| {
            let mut number = [0; 8];
            frame.copy_to(0, &mut number);
            assert_eq!(rustix::io::write(std::io::stdout(), &number), Ok(8));
            (true, ())
        });
        match taken {
            Ok(()) => {}
            Err(RecvError::Empty) => rx.wait(None).expect("wait"),
            Err(error) => panic!("{error}"),
        }
    }
}

fn send(socket: &OwnedFd, bytes: &[u8], kept: &Kept) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = kept.fds();
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).expect("sendmsg");
}

fn receive(socket: impl AsFd) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 512];
    let parts = &mut [IoSliceMut::new(&mut bytes)];
    let len = recvmsg(socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC).expect("recvmsg").bytes;
    let rights = control.drain().filter_map(|part| match part {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    (bytes[..len].to_vec(), rights.flatten().collect())
}
