//! Messages that are wrong, missing, too many or out of order.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use shmring::{Event, LinkError, Rendezvous};

use crate::neighbour::{
    HELLO, LEN, Neighbour, READER, READY, REFUSE, WELCOME, WRITER, doorbell, get, message, pair,
    put, recv, send,
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
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let neighbour = Neighbour::writer(&write);
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
        let socket = neighbour.connect();
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
    drop(neighbour);
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
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let neighbour = Neighbour::writer(&write);
    let bell = doorbell();
    let mut version = message(HELLO, WRITER);
    put(&mut version, 8, 77);
    let malformed = [0; LEN];
    let reader = message(HELLO, READER);
    for (bytes, reason) in [(version, 1), (reader, 2), (malformed, 4)] {
        let socket = neighbour.connect();
        assert!(send(&socket, &bytes, &[write.as_fd(), bell.as_fd()]));
        assert!(victim.poll().unwrap().is_none());
        let (answer, _) = recv(&socket).unwrap();
        assert_eq!((get(&answer, 12), get(&answer, 48)), (REFUSE, reason));
        assert!(recv(&socket).is_none());
    }
}

/// Of one neighbour that knocks again and again, and of many that do.
pub fn flood() {
    let place = place();
    let (read, write) = pipe();
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let mut open = Vec::new();
    let neighbour = Neighbour::writer(&write);
    for _ in 0..300 {
        open.push(neighbour.connect());
        assert!(victim.poll().unwrap().is_none());
    }
    let (mut many, there) = (Vec::new(), neighbour.victim());
    for _ in 0..100 {
        let neighbour = Neighbour::writer(&write);
        let (ours, theirs) = pair();
        if neighbour.knock_at(there, neighbour.nonce, &[theirs.as_fd()]) {
            open.push(ours);
        }
        many.push(neighbour);
        assert!(victim.poll().unwrap().is_none());
    }
    // All but the last few were let go.
    let closed = open.iter().filter(|socket| is_closed(socket));
    assert!(closed.count() >= open.len() - 65);
    drop((neighbour, many));
    rightful(&mut victim, &place, write);
}

fn is_closed(socket: &OwnedFd) -> bool {
    let mut byte = [0; 1];
    let flags = rustix::net::RecvFlags::DONTWAIT;
    loop {
        match rustix::net::recv(socket, &mut byte[..], flags) {
            Ok((_, 0)) => return true,
            Ok(_) => {} // that we may greet
            Err(_) => return false,
        }
    }
}

#[test]
fn a_flood_of_knocks_does_not_keep_the_neighbour_out() {
    flood();
}

/// While somebody knocks as fast as it can.
#[test]
fn poll_returns_under_a_flood() {
    let place = place();
    let (read, write) = pipe();
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let neighbour = Neighbour::writer(&write);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let there = neighbour.victim();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let (_ours, theirs) = pair();
                    neighbour.knock_at(there, neighbour.nonce, &[theirs.as_fd()]);
                }
            });
        }
        for _ in 0..200 {
            assert!(victim.poll().unwrap().is_none());
        }
        rightful(&mut victim, &place, write);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// Who is not to be seen at the pipe may knock as it likes.
#[test]
fn a_knock_from_nowhere_is_nothing() {
    let place = place();
    let (read, write) = pipe();
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let (_, elsewhere) = std::io::pipe().unwrap();
    let honest = Neighbour::writer(&write);
    let there = honest.victim();
    let stranger = Neighbour::writer(&elsewhere);
    let file = tempfile::tempfile().unwrap();
    let (ours, theirs) = pair();
    // Not at this pipe; another one's name; too few and too many descriptors; none of ours.
    for nonce in [stranger.nonce, honest.nonce, there, 0, u64::MAX] {
        assert!(stranger.knock_at(there, nonce, &[theirs.as_fd()]));
        assert!(victim.poll().unwrap().is_none());
    }
    for fds in [&[][..], &[theirs.as_fd(); 2][..], &[theirs.as_fd(); 200][..], &[file.as_fd()][..]]
    {
        assert!(honest.knock_at(there, honest.nonce, fds));
        assert!(victim.poll().unwrap().is_none());
    }
    drop(theirs);
    assert!(is_closed(&ours), "somebody keeps it");
    drop(honest);
    rightful(&mut victim, &place, write);
}

/// It lets us in and says nothing: who comes after it is found.
#[test]
fn a_reader_that_never_answers_keeps_nobody_out() {
    let place = place();
    let (read, write) = pipe();
    let neighbour = Neighbour::reader(&read);
    let mut victim = Rendezvous::new(write, &place.dir, offer()).unwrap();
    let mute = neighbour.accept();
    assert!(victim.poll().unwrap().is_none());
    assert!(recv(&mute).is_some());
    let waiting = std::thread::spawn(move || outcome(&mut victim).unwrap().is_duplex());
    // A reader that is seen is the reader, for as long as it lives.
    let mut reader = Rendezvous::new(read, &place.dir, offer()).unwrap();
    for _ in 0..100 {
        assert!(reader.poll().unwrap().is_none());
    }
    drop(neighbour);
    drop(mute);
    let link = outcome(&mut reader).unwrap();
    assert!(link.is_duplex() && waiting.join().unwrap());
}

/// A writer with something else to do goes on with that.
#[test]
fn a_reader_that_never_answers_stops_no_byte_stream_for_long() {
    let place = place();
    let (read, write) = pipe();
    let neighbour = Neighbour::reader(&read);
    let mut victim = Rendezvous::new(write, &place.dir, offer()).unwrap();
    assert!(victim.hold(), "nobody was greeted yet");
    let _mute = neighbour.accept();
    let next = |victim: &mut Rendezvous| {
        let start = Instant::now();
        loop {
            match victim.poll().unwrap() {
                Some(event) => return event,
                None => assert!(start.elapsed() < HANG, "hangs"),
            }
            let mut fds = [rustix::event::PollFd::new(&*victim, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, None).unwrap();
        }
    };
    assert!(matches!(next(&mut victim), Event::ReaderCame));
    assert!(victim.greet().unwrap());
    assert!(matches!(next(&mut victim), Event::Retracted));
}

#[test]
fn a_reader_that_hangs_up_at_once_is_not_pestered() {
    let place = place();
    let (read, write) = pipe();
    let neighbour = Neighbour::reader(&read);
    let mut victim = Rendezvous::new(write, &place.dir, offer()).unwrap();
    let hangs_up = std::thread::spawn(move || {
        for _ in 0..8 {
            drop(neighbour.accept());
        }
    });
    let start = Instant::now();
    let mut polls = 0;
    while !hangs_up.is_finished() {
        assert!(victim.poll().unwrap().is_none());
        let mut fds = [rustix::event::PollFd::new(&victim, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        rustix::event::poll(&mut fds, Some(&limit)).unwrap();
        polls += 1;
        assert!(start.elapsed() < HANG, "hangs");
    }
    assert!(polls < 1000, "{polls} rounds for 8 hang-ups");
    // The pause before another knock doubles, from the third one on.
    let pauses: Duration = (2..8).map(|n| Duration::from_millis(1 << n)).sum();
    assert!(start.elapsed() >= pauses, "8 knocks in {:?}", start.elapsed());
}

#[test]
fn a_reader_that_never_opens_its_gate_keeps_nobody_out() {
    let place = place();
    let (read, write) = pipe();
    let neighbour = Neighbour::reader(&read);
    let other = Neighbour::writer(&write);
    // As many as there is room for.
    let mut fillers = Vec::new();
    loop {
        let (ours, theirs) = pair();
        if !other.knock_at(neighbour.nonce, other.nonce, &[theirs.as_fd()]) {
            break;
        }
        fillers.push(ours);
    }
    let mut victim = Rendezvous::new(write, &place.dir, offer()).unwrap();
    assert!(victim.poll().unwrap().is_none());
    drop((neighbour, other));
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
        let neighbour = Neighbour::reader(&read);
        let mut victim = Rendezvous::new(write, &place.dir, offer()).unwrap();
        let socket = neighbour.accept();
        assert!(victim.poll().unwrap().is_none());
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
    }
}

#[test]
fn wrong_answers_are_errors() {
    every_wrong_answer(300);
}

/// Whoever locks all of a pipe stops those who would meet at it, and is told of.
#[test]
fn who_locks_the_whole_pipe_is_an_error() {
    let place = place();
    let (read, write) = pipe();
    let _lock = crate::neighbour::lock_all(&write);
    let error = Rendezvous::new(read, &place.dir, offer()).err().unwrap();
    assert!(error.to_string().contains("locks the whole pipe"), "{error}");
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
    for rendezvous in [&mut first, &mut second] {
        assert!(rendezvous.poll().unwrap().is_none());
    }
    assert!(reader.poll().unwrap().is_none()); // welcomes one, lets the other wait
    let mut writers = [first, second];
    let start = Instant::now();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    while ours.len() + theirs.len() < 4 {
        assert!(start.elapsed() < HANG, "hangs");
        ours.extend(reader.poll().unwrap().and_then(Event::into_link));
        for writer in &mut writers {
            theirs.extend(writer.poll().unwrap().and_then(Event::into_link));
        }
        for link in ours.iter_mut().chain(&mut theirs) {
            link.rx.iter_mut().for_each(|rx| rx.woken().unwrap());
            link.tx.iter_mut().for_each(|tx| tx.woken().unwrap());
        }
    }
    assert_eq!(ours.iter().filter(|link| link.is_duplex()).count(), 1);
    assert_eq!(theirs.iter().filter(|link| link.is_duplex()).count(), 1);
}

/// Who greets and is never ready does not keep the way back.
#[test]
fn a_promise_lapses() {
    let place = place();
    let (read, write) = pipe();
    let mut reader = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let neighbour = Neighbour::writer(&write);
    let (mute, bell) = (neighbour.connect(), doorbell());
    assert!(send(&mute, &message(HELLO, WRITER), &[write.as_fd(), bell.as_fd()]));
    for _ in 0..3 {
        assert!(reader.poll().unwrap().is_none());
    }
    assert_eq!(get(&recv(&mute).unwrap().0, 12), WELCOME);
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
    let (read, write) = pipe();
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let neighbour = Neighbour::writer(&write);
    let socket = neighbour.connect();
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
