//! Messages that are wrong, missing, too many or out of order.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use shmring::{LinkError, Rendezvous};

use crate::neighbour::{
    HELLO, LEN, READER, READY, REFUSE, WELCOME, WRITER, accept, connect, doorbell, get, listen,
    message, put, recv, send,
};
use crate::support::{Chance, HANG, Place, offer, outcome, pipe, place};

/// The rightful neighbour still gets its link.
fn rightful(victim: &mut Rendezvous, place: &Place, write: shmring::PipeEnd) {
    let mut neighbour = Rendezvous::new(write, &place.dir, offer()).unwrap();
    let neighbour = std::thread::spawn(move || outcome(&mut neighbour).unwrap());
    assert!(outcome(victim).unwrap().rx.is_some() && neighbour.join().unwrap().tx.is_some());
}

pub fn every_wrong_greeting() {
    let place = place();
    let (read, write) = pipe();
    let address = place.address(&read);
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let bell = doorbell();
    let fds = [write.as_fd(), bell.as_fd()];
    let hello = message(HELLO, WRITER);
    let mut version = hello;
    put(&mut version, 8, 2);
    let mut long = hello.to_vec();
    long.extend_from_slice(&[0; 4000]);
    let mut huge_frames = hello;
    put(&mut huge_frames, 28, u32::MAX);
    let mut open: Vec<OwnedFd> = Vec::new();
    let mut chance = Chance::new(1);
    for round in 0..2 * LEN + 64 {
        let socket = connect(&address);
        let _ = match round {
            0..LEN => send(&socket, &hello[..round], &fds),
            88 => send(&socket, &version, &fds),
            89 => send(&socket, &long, &fds),
            90 => send(&socket, &huge_frames, &fds),
            91 => send(&socket, &message(READY, WRITER), &[]),
            92 => send(&socket, &message(WELCOME, READER), &fds),
            93 => send(&socket, &message(REFUSE, READER), &[]),
            94 => send(&socket, &message(HELLO, READER), &fds), // a second reader
            95 => send(&socket, &hello, &fds) && send(&socket, &hello, &fds),
            96 => send(&socket, &hello, &fds) && send(&socket, &message(READY, WRITER), &fds),
            97 => send(&socket, &hello, &fds) && send(&socket, b"", &[]),
            _ => {
                let mut broken = hello;
                for _ in 0..1 + chance.below(4) {
                    broken[chance.below(LEN as u64) as usize] = chance.next() as u8;
                }
                send(&socket, &broken, &fds)
            }
        };
        assert!(victim.poll().unwrap().is_none());
        if round.is_multiple_of(3) {
            open.push(socket); // never closed, never answered
        }
    }
    rightful(&mut victim, &place, write);
}

#[test]
fn wrong_greetings_cost_only_their_connection() {
    every_wrong_greeting();
}

#[test]
fn the_refusal_says_why() {
    let place = place();
    let (read, write) = pipe();
    let address = place.address(&read);
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let bell = doorbell();
    let mut version = message(HELLO, WRITER);
    put(&mut version, 8, 77);
    let malformed = [0; LEN];
    let reader = message(HELLO, READER);
    for (bytes, reason) in [(version, 1), (reader, 2), (malformed, 4)] {
        let socket = connect(&address);
        assert!(send(&socket, &bytes, &[write.as_fd(), bell.as_fd()]));
        assert!(victim.poll().unwrap().is_none());
        let (answer, _) = recv(&socket).unwrap();
        assert_eq!((get(&answer, 12), get(&answer, 48)), (REFUSE, reason));
        assert!(recv(&socket).is_none());
    }
}

pub fn flood() {
    let place = place();
    let (read, write) = pipe();
    let address = place.address(&read);
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let mut open = Vec::new();
    for _ in 0..300 {
        open.push(connect(&address));
        assert!(victim.poll().unwrap().is_none());
    }
    // All but the last few were let go.
    let closed = open.iter().filter(|socket| {
        let flags = rustix::net::RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(socket, &mut [0; 1][..], flags), Ok((_, 0)))
    });
    assert!(closed.count() >= 300 - 16);
    rightful(&mut victim, &place, write);
}

#[test]
fn a_flood_of_connections_does_not_keep_the_neighbour_out() {
    flood();
}

/// While somebody connects as fast as it can.
#[test]
fn poll_returns_under_a_flood() {
    let place = place();
    let (read, write) = pipe();
    let address = place.address(&read);
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let socket = crate::neighbour::socket();
                    let name = rustix::net::SocketAddrUnix::new(&address).unwrap();
                    let _ = rustix::net::connect(&socket, &name);
                }
            });
        }
        for _ in 0..200 {
            assert!(victim.poll().unwrap().is_none());
        }
        rightful(&mut victim, &place, write);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        drop(victim); // refuses who still waits in connect
    });
}

/// It accepts and says nothing: its connection is dropped, and who comes
/// after it is found.
#[test]
fn a_listener_that_never_answers_is_given_up() {
    let place = place();
    let (read, write) = pipe();
    let address = place.address(&read);
    let listener = listen(&address, 8);
    let mut victim = Rendezvous::new(write, &place.dir, offer()).unwrap();
    let mute = accept(&listener);
    assert!(recv(&mute).is_some());
    let waiting = std::thread::spawn(move || {
        let link = outcome(&mut victim);
        link.unwrap().is_duplex()
    });
    assert!(recv(&mute).is_none(), "the connection was not dropped");
    drop((mute, listener));
    std::fs::remove_file(&address).unwrap();
    let mut reader = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let link = outcome(&mut reader).unwrap();
    assert!(link.is_duplex() && waiting.join().unwrap());
}

#[test]
fn a_listener_that_hangs_up_at_once_is_not_pestered() {
    let place = place();
    let (read, write) = pipe();
    let listener = listen(&place.address(&read), 8);
    let mut victim = Rendezvous::new(write, &place.dir, offer()).unwrap();
    let hangs_up = std::thread::spawn(move || {
        for _ in 0..8 {
            drop(accept(&listener));
        }
    });
    let start = Instant::now();
    let mut polls = 0;
    while !hangs_up.is_finished() {
        assert!(victim.poll().unwrap().is_none());
        let mut fds = [rustix::event::PollFd::new(&victim, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        polls += 1;
        assert!(start.elapsed() < HANG, "hangs");
    }
    assert!(polls < 1000, "{polls} rounds for 8 hang-ups");
}

#[test]
fn a_listener_with_a_full_backlog_is_waited_for() {
    let place = place();
    let (read, write) = pipe();
    let address = place.address(&read);
    let listener = listen(&address, 0);
    let _filler = connect(&address);
    let mut victim = Rendezvous::new(write, &place.dir, offer()).unwrap();
    assert!(victim.poll().unwrap().is_none());
    drop(listener);
    std::fs::remove_file(&address).unwrap();
    let mut reader = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let reader = std::thread::spawn(move || outcome(&mut reader).unwrap());
    assert!(outcome(&mut victim).unwrap().is_duplex());
    reader.join().unwrap();
}

pub fn every_wrong_answer(rounds: u64) {
    let place = place();
    let mut chance = Chance::new(7);
    for round in 0..rounds {
        let (read, write) = pipe();
        let address = place.address(&read);
        let listener = listen(&address, 8);
        let mut victim = Rendezvous::new(write, &place.dir, offer()).unwrap();
        let socket = accept(&listener);
        recv(&socket).unwrap();
        let mut answer = message(1 + (round % 4) as u32, READER).to_vec();
        for _ in 0..chance.below(4) {
            answer[chance.below(LEN as u64) as usize] = chance.next() as u8;
        }
        answer.resize(chance.below(4).saturating_sub(1) as usize * LEN / 2 + 1, 0);
        let bell = doorbell();
        assert!(send(&socket, &answer, &[read.as_fd(), bell.as_fd(), bell.as_fd()]));
        let error = outcome(&mut victim).err().expect("no link");
        assert!(!matches!(error, LinkError::System { .. }), "{error}");
        std::fs::remove_file(&address).unwrap();
    }
}

#[test]
fn wrong_answers_are_errors() {
    every_wrong_answer(300);
}

#[test]
fn who_holds_the_lock_of_the_directory_stops_nobody_for_long() {
    let place = place();
    let (read, _write) = pipe();
    let dir = std::fs::File::open(place.dir.path()).unwrap();
    rustix::fs::flock(&dir, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = Rendezvous::new(read, &place.dir, offer()).err().unwrap();
    assert!(error.to_string().contains("locked"), "{error}");
}

/// Both greet before either is ready: the second gets its ring without the way back.
#[test]
fn the_way_back_is_promised_once() {
    let place = place();
    let (read, write) = pipe();
    let again = write.as_fd().try_clone_to_owned().unwrap();
    let again = shmring::PipeEnd::new(again, "standard output").unwrap();
    let mut reader = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let mut first = Rendezvous::new(write, &place.dir, offer()).unwrap();
    let mut second = Rendezvous::new(again, &place.dir, offer()).unwrap();
    assert!(reader.poll().unwrap().is_none()); // welcomes both
    let links = [outcome(&mut first).unwrap(), outcome(&mut second).unwrap()];
    assert!(links[0].is_duplex() && !links[1].is_duplex());
    let theirs = [outcome(&mut reader).unwrap(), outcome(&mut reader).unwrap()];
    assert!(theirs.iter().all(|link| link.rx.is_some()));
}

/// Who greets and is never ready does not keep the way back.
#[test]
fn a_promise_lapses() {
    let place = place();
    let (read, write) = pipe();
    let address = place.address(&read);
    let mut reader = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let (mute, bell) = (connect(&address), doorbell());
    assert!(send(&mute, &message(HELLO, WRITER), &[write.as_fd(), bell.as_fd()]));
    assert!(reader.poll().unwrap().is_none());
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let mut writer = Rendezvous::new(write, &place.dir, offer()).unwrap();
    let writer = std::thread::spawn(move || outcome(&mut writer).unwrap());
    assert!(outcome(&mut reader).unwrap().is_duplex());
    assert!(writer.join().unwrap().is_duplex());
}

/// Bytes of a neighbour that knows nothing of rings stay where they are.
#[test]
fn a_byte_stream_through_a_socket_is_left_alone() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let place = place();
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    let kept = ours.try_clone().unwrap();
    let end = shmring::PipeEnd::new(ours, "standard input").unwrap();
    let mut victim =
        Rendezvous::new(end.with_role(shmring::Role::Reader), &place.dir, offer()).unwrap();
    rustix::io::write(&theirs, b"\xd4\xc3\xb2\xa1 a pcap stream").unwrap();
    let error = outcome(&mut victim).err().unwrap();
    assert!(matches!(error, LinkError::UnawareNeighbour { .. }));
    let mut bytes = [0; 64];
    let len = rustix::io::read(&kept, &mut bytes).unwrap();
    assert_eq!(&bytes[..len], b"\xd4\xc3\xb2\xa1 a pcap stream");
}

/// A child that was forked and holds copies of everything keeps nobody busy.
#[test]
fn copies_of_a_dropped_connection_do_not_keep_the_victim_awake() {
    let place = place();
    let (read, _write) = pipe();
    let address = place.address(&read);
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let socket = connect(&address);
    assert!(victim.poll().unwrap().is_none());
    // As after fork(2): every descriptor of the victim has a second owner.
    let copies = sockets_but(socket.as_raw_fd());
    drop(socket);
    assert!(victim.poll().unwrap().is_none());
    let mut fds = [rustix::event::PollFd::new(&victim, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&now)), Ok(0));
    drop(copies);
}

#[expect(unsafe_code, reason = "descriptors are borrowed by number")]
fn sockets_but(other: i32) -> Vec<OwnedFd> {
    let numbers = std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|entry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        target.to_str()?.starts_with("socket:").then_some(())?;
        entry.file_name().to_str()?.parse::<i32>().ok().filter(|&fd| fd != other)
    });
    // SAFETY: nothing is closed or owned here; a number that was closed by
    // another test meanwhile is an error of the copy.
    numbers
        .map(|fd| unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) })
        .filter_map(|fd| fd.try_clone_to_owned().ok())
        .collect()
}
