//! Two holders of a pipe find each other, whatever the order and the kind of pipe.
#![cfg(not(loom))]

use std::time::Duration;

use shmring::{
    Channel, Event, Link, LinkError, Offer, PipeEnd, RecvError, Rendezvous, Role, RuntimeDir,
};

struct Place {
    dir: RuntimeDir,
    scratch: tempfile::TempDir,
}

fn place() -> Place {
    let scratch = tempfile::tempdir().unwrap();
    Place { dir: RuntimeDir::at(&scratch.path().join("run")).unwrap(), scratch }
}

fn offer(label: &str) -> Offer {
    Offer { label: label.into(), features: 0b11, ..Offer::default() }
}

fn pipe() -> (PipeEnd, PipeEnd) {
    let (read, write) = std::io::pipe().unwrap();
    (PipeEnd::new(read, "standard input").unwrap(), PipeEnd::new(write, "standard output").unwrap())
}

/// Lets two rendezvous in one thread take turns until both have their link.
fn meet(a: &mut Rendezvous, b: &mut Rendezvous) -> (Link, Link) {
    meet_beside(a, b, &mut [])
}

/// The same while others have links, and attend to them as programs do: who is asked
/// whether it lives answers.
fn meet_beside(
    a: &mut Rendezvous,
    b: &mut Rendezvous,
    others: &mut [(Link, Link)],
) -> (Link, Link) {
    let (mut link_a, mut link_b) = (None, None);
    while link_a.is_none() || link_b.is_none() {
        for link in others.iter_mut().flat_map(|(here, there)| [here, there]) {
            link.tx.iter_mut().for_each(|tx| tx.woken().unwrap());
            link.rx.iter_mut().for_each(|rx| rx.woken().unwrap());
        }
        link_a = link_a.or(a.poll().unwrap().and_then(Event::into_link));
        link_b = link_b.or(b.poll().unwrap().and_then(Event::into_link));
    }
    (link_a.unwrap(), link_b.unwrap())
}

fn send(link: &mut Link, text: &[u8]) {
    let tx = link.tx.as_mut().unwrap();
    let mut room = tx.reserve(text.len()).unwrap();
    room.fill(|bytes| bytes.copy_from(0, text));
    room.stage(text.len());
    tx.publish();
}

fn receive(link: &mut Link) -> Result<Vec<u8>, RecvError> {
    let rx = link.rx.as_mut().unwrap();
    loop {
        match rx.borrow() {
            Ok(mut frame) => {
                let copy = frame.bytes().to_vec();
                frame.release();
                return Ok(copy);
            }
            Err(RecvError::Empty) => rx.wait(Some(Duration::from_secs(10))).unwrap(),
            Err(end) => return Err(end),
        }
    }
}

fn check_duplex(mut a: Link, mut b: Link) {
    for round in 0..100u32 {
        send(&mut a, format!("to b {round}").as_bytes());
        send(&mut b, format!("to a {round}").as_bytes());
        assert_eq!(receive(&mut b).unwrap(), format!("to b {round}").as_bytes());
        assert_eq!(receive(&mut a).unwrap(), format!("to a {round}").as_bytes());
    }
    send(&mut a, b"last");
    drop(a);
    assert_eq!(receive(&mut b).unwrap(), b"last");
    assert_eq!(receive(&mut b), Err(RecvError::Ended));
}

#[test]
fn either_side_may_come_first() {
    for reader_first in [true, false] {
        let place = place();
        let (read, write) = pipe();
        let (mut left, mut right);
        if reader_first {
            left = Rendezvous::new(read, &place.dir, offer("left")).unwrap();
            assert!(left.poll().unwrap().is_none());
            right = Rendezvous::new(write, &place.dir, offer("right")).unwrap();
        } else {
            right = Rendezvous::new(write, &place.dir, offer("right")).unwrap();
            assert!(right.poll().unwrap().is_none());
            left = Rendezvous::new(read, &place.dir, offer("left")).unwrap();
        }
        let (a, b) = meet(&mut right, &mut left);
        assert_eq!((a.peer.label.as_str(), b.peer.label.as_str()), ("left", "right"));
        assert_eq!(a.features, 0b11);
        check_duplex(a, b);
        drop((left, right));
        assert_eq!(
            std::fs::read_dir(place.dir.path().unwrap()).unwrap().count(),
            0,
            "a name is left over"
        );
    }
}

#[test]
fn a_link_that_ended_does_not_keep_its_rendezvous_awake() {
    let place = place();
    let (read, write) = pipe();
    let mut left = Rendezvous::new(read, &place.dir, offer("left")).unwrap();
    let mut right = Rendezvous::new(write, &place.dir, offer("right")).unwrap();
    drop(meet(&mut right, &mut left));
    for rendezvous in [&mut left, &mut right] {
        assert!(rendezvous.poll().unwrap().is_none());
        let mut fds = [rustix::event::PollFd::new(&*rendezvous, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&now)), Ok(0));
    }
}

#[test]
fn either_side_may_ask_for_the_pipe_itself() {
    for asks in ["left", "right"] {
        let place = place();
        let (read, write) = pipe();
        let wish = |label| Offer {
            channel: if label == asks { Channel::Fifo } else { Channel::Shm },
            ..offer(label)
        };
        let mut left = Rendezvous::new(read, &place.dir, wish("left")).unwrap();
        let mut right = Rendezvous::new(write, &place.dir, wish("right")).unwrap();
        let (a, b) = meet(&mut right, &mut left);
        assert_eq!((a.channel, b.channel), (Channel::Fifo, Channel::Fifo));
        drop((left, right)); // the ends of the pipe, so that it hangs up with the link
        check_duplex(a, b);
    }
}

#[test]
fn a_one_way_wish_makes_a_one_way_link() {
    let place = place();
    let (read, write) = pipe();
    let one_way = Offer { duplex: false, ..offer("left") };
    let mut left = Rendezvous::new(read, &place.dir, one_way).unwrap();
    let mut right = Rendezvous::new(write, &place.dir, offer("right")).unwrap();
    let (mut a, mut b) = meet(&mut right, &mut left);
    assert!(a.rx.is_none() && b.tx.is_none());
    send(&mut a, b"there");
    assert_eq!(receive(&mut b).unwrap(), b"there");
}

#[test]
fn a_pipe_made_of_sockets_works_although_it_is_one_way() {
    use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};
    let place = place();
    let flags = SocketFlags::CLOEXEC;
    let (read, write) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    shutdown(&write, Shutdown::Read).unwrap();
    shutdown(&read, Shutdown::Write).unwrap();
    let read = PipeEnd::new(read, "standard input").unwrap().with_role(Role::Reader);
    let write = PipeEnd::new(write, "standard output").unwrap().with_role(Role::Writer);
    let mut right = Rendezvous::new(write, &place.dir, offer("right")).unwrap();
    let mut left = Rendezvous::new(read, &place.dir, offer("left")).unwrap();
    let (a, b) = meet(&mut right, &mut left);
    check_duplex(a, b);
}

fn fifo(place: &Place) -> std::path::PathBuf {
    let path = place.scratch.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .unwrap();
    path
}

fn meeting(place: &Place, path: &std::path::Path, role: Role) -> Rendezvous {
    let end = PipeEnd::open(path, role).unwrap();
    Rendezvous::new(end, &place.dir, offer("a")).unwrap()
}

#[test]
fn two_holders_of_a_fifo_need_no_roles() {
    let place = place();
    let path = fifo(&place);
    let end = || PipeEnd::open(&path, Role::Either).unwrap();
    let mut first = Rendezvous::new(end(), &place.dir, offer("one")).unwrap();
    let mut second = Rendezvous::new(end(), &place.dir, offer("two")).unwrap();
    let (a, b) = meet(&mut first, &mut second);
    check_duplex(a, b);
}

#[test]
fn several_writers_have_a_ring_each_and_a_dead_one_is_replaced() {
    let place = place();
    let path = fifo(&place);
    let writer = || {
        let end = PipeEnd::open(&path, Role::Writer).unwrap();
        Rendezvous::new(end, &place.dir, offer("writer")).unwrap()
    };
    let end = PipeEnd::open(&path, Role::Reader).unwrap();
    let mut reader = Rendezvous::new(end, &place.dir, offer("reader")).unwrap();
    let mut links = Vec::new();
    for _ in 0..3 {
        let link = meet_beside(&mut writer(), &mut reader, &mut links);
        links.push(link);
    }
    // The first has the way back; there is only one.
    assert!(links[0].0.is_duplex() && !links[1].0.is_duplex() && !links[2].0.is_duplex());
    for (writer, reader) in &mut links {
        send(writer, b"x");
        assert_eq!(receive(reader).unwrap(), b"x");
    }
    links.remove(0);
    let (a, b) = meet(&mut writer(), &mut reader);
    assert!(a.is_duplex() && b.is_duplex());
}

#[test]
fn a_second_reader_is_told_so() {
    let place = place();
    let path = fifo(&place);
    let end = || PipeEnd::open(&path, Role::Reader).unwrap();
    let mut first = Rendezvous::new(end(), &place.dir, offer("one")).unwrap();
    let mut second = Rendezvous::new(end(), &place.dir, offer("two")).unwrap();
    let error = loop {
        assert!(first.poll().unwrap().is_none());
        match second.poll() {
            Ok(None) => {}
            Ok(Some(_)) => panic!("two readers of one pipe"),
            Err(e) => break e,
        }
    };
    assert!(error.to_string().contains("a pipe joins one reader to its writers"));
}

#[test]
fn a_reader_that_is_gone_is_replaced() {
    let place = place();
    let path = fifo(&place);
    let end = |role| PipeEnd::open(&path, role).unwrap();
    let first = Rendezvous::new(end(Role::Reader), &place.dir, offer("one")).unwrap();
    let mut writer = Rendezvous::new(end(Role::Writer), &place.dir, offer("w")).unwrap();
    assert!(writer.poll().unwrap().is_none()); // knocked, and nobody looks
    let mut second = Rendezvous::new(end(Role::Reader), &place.dir, offer("two")).unwrap();
    assert!(second.poll().unwrap().is_none()); // asked, and nobody answers
    drop(first);
    let (a, b) = meet(&mut writer, &mut second);
    check_duplex(a, b);
}

/// One that comes for the place of another is neither refused nor cut short before it is
/// sure that the other lives. Who is being killed answers nothing any more.
#[test]
fn whoever_replaces_a_neighbour_has_all_that_it_had() {
    let place = place();
    for (stays, comes) in [(Role::Reader, Role::Writer), (Role::Either, Role::Either)] {
        let path = fifo(&place);
        let meeting = |role| meeting(&place, &path, role);
        let (mut stays, mut first) = (meeting(stays), meeting(comes));
        let (mut ours, mut theirs) = meet(&mut stays, &mut first);
        for _ in 0..20 {
            // Where neither has a role, either may have made the rings.
            if stays.is_over() {
                std::mem::swap(&mut stays, &mut first);
                std::mem::swap(&mut ours, &mut theirs);
            }
            drop(first);
            let mut next = meeting(comes);
            for _ in 0..20 {
                assert!(stays.poll().unwrap().is_none() && next.poll().unwrap().is_none());
            }
            drop(theirs);
            first = next;
            let (here, there) = meet(&mut stays, &mut first);
            assert!(here.is_duplex() && there.is_duplex());
            (ours, theirs) = (here, there);
        }
        drop(ours);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn who_comes_beside_a_neighbour_that_lives_gets_what_is_left() {
    let place = place();
    for (stays, comes) in [(Role::Reader, Role::Writer), (Role::Either, Role::Either)] {
        let path = fifo(&place);
        let meeting = |role| meeting(&place, &path, role);
        let (mut one, mut two) = (meeting(stays), meeting(comes));
        let mut links = meet(&mut one, &mut two);
        let mut third = meeting(comes);
        let error = loop {
            // Both attend to their links, as a program does.
            for link in [&mut links.0, &mut links.1] {
                link.rx.as_mut().unwrap().woken().unwrap();
            }
            assert!(two.poll().unwrap().is_none());
            let stays = one.poll().unwrap();
            match third.poll() {
                Ok(None) => {}
                Ok(Some(event)) => break Ok(event.into_link().unwrap()),
                Err(error) => break Err(error),
            }
            assert!(stays.is_none());
        };
        match (comes, error) {
            (Role::Writer, Ok(link)) => assert!(!link.is_duplex()),
            (_, Err(LinkError::Taken { by, .. })) => assert!(by.contains("pid"), "{by}"),
            (_, other) => panic!("{:?}", other.err()),
        }
        check_duplex(links.0, links.1);
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn many_that_come_at_once_do_not_take_each_other_for_dead() {
    let place = place();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let (read, write) = pipe();
                    let mut left = Rendezvous::new(read, &place.dir, offer("left")).unwrap();
                    let mut right = Rendezvous::new(write, &place.dir, offer("right")).unwrap();
                    meet(&mut right, &mut left);
                }
            });
        }
    });
    assert_eq!(std::fs::read_dir(place.dir.path().unwrap()).unwrap().count(), 0);
}

#[test]
fn a_neighbour_that_ends_before_the_link_is_an_error_that_names_the_pipe() {
    let place = place();
    let (read, write) = pipe();
    let mut left = Rendezvous::new(read, &place.dir, offer("left")).unwrap();
    drop(write);
    let error = left.poll().err().unwrap();
    assert_eq!(error.to_string(), "the neighbour on standard input ended before the link was up");
    let (read, write) = pipe();
    let mut right = Rendezvous::new(write, &place.dir, offer("right")).unwrap();
    drop(read);
    assert!(matches!(right.poll(), Err(LinkError::NeighbourGone { .. })));
}

#[test]
fn bytes_in_the_pipe_are_an_unaware_neighbour() {
    let place = place();
    let (read, write) = std::io::pipe().unwrap();
    let end = PipeEnd::new(read, "standard input").unwrap();
    let mut left = Rendezvous::new(end, &place.dir, offer("left")).unwrap();
    std::io::Write::write_all(&mut &write, b"\xd4\xc3\xb2\xa1").unwrap();
    assert!(matches!(left.poll(), Err(LinkError::UnawareNeighbour { .. })));
}
