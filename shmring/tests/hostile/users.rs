//! Another user's process can neither join nor learn anything. Needs root, to
//! become another user; says so and does nothing without.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use shmring::handover::{Giving, Handed, Kept, Outcome, Taking, socket_pair};
use shmring::{Link, LinkError, PipeEnd, RecvError, Rendezvous, Role, RuntimeDir};

use crate::neighbour::{HELLO, Neighbour, WRITER, doorbell, message, recv, send};
use crate::support::{HANG, offer, outcome, pipe, place};

const NOBODY: u32 = 65_534;

/// This program again as nobody, doing `what`; `None` where that is impossible.
fn as_nobody(what: &str, at: &Path, stdin: OwnedFd) -> Option<std::process::Child> {
    as_nobody_at(what, at, stdin, 0)
}

fn as_nobody_at(what: &str, at: &Path, stdin: OwnedFd, gate: u64) -> Option<std::process::Child> {
    if !rustix::process::geteuid().is_root() {
        say::line!("skipped: needs root to become another user");
        return None;
    }
    let child = Command::new("/proc/self/exe")
        .args(["--exact", "users::nobody", "--ignored", "--nocapture"])
        .env("SHMRING_NOBODY", what)
        .env("SHMRING_AT", at)
        .env("SHMRING_GATE", gate.to_string())
        .env("SHMRING_VICTIM", std::process::id().to_string())
        .stdin(Stdio::from(stdin))
        .uid(NOBODY)
        .gid(NOBODY)
        .spawn();
    child.inspect_err(|e| say::line!("skipped: this program as nobody: {e}")).ok()
}

/// What nobody does, in a process of its own.
#[test]
#[ignore = "run by the other tests of this file"]
fn nobody() {
    let Ok(what) = std::env::var("SHMRING_NOBODY") else { return };
    let at = std::env::var_os("SHMRING_AT").unwrap();
    let at = Path::new(&at);
    let denied = Some(std::io::ErrorKind::PermissionDenied);
    let stdin = std::io::stdin();
    match what.as_str() {
        "look" => {
            assert_eq!(std::fs::read_dir(at).err().map(|e| e.kind()), denied);
            assert!(RuntimeDir::at(at).is_err());
            let fds = format!("/proc/{}/fd", std::env::var("SHMRING_VICTIM").unwrap());
            assert_eq!(std::fs::read_dir(fds).err().map(|e| e.kind()), denied);
            assert!(shmring::observe::look().unwrap().rings.is_empty());
        }
        // We hold the pipe, but are somebody else.
        "join" => {
            let neighbour = Neighbour::writer(stdin.as_fd());
            let socket = neighbour.connect();
            let bell = doorbell();
            send(&socket, &message(HELLO, WRITER), &[stdin.as_fd(), bell.as_fd()]);
            assert!(recv(&socket).is_none(), "an answer");
            // Whoever has ended is gone, whoever it was: we stay until the pipe has no reader.
            let mut pipe = [PollFd::new(&stdin, PollFlags::empty())];
            poll(&mut pipe, None).unwrap();
        }
        // We do not hold it, but know where the victim is: locks are no secret.
        "knock" => {
            let neighbour = Neighbour::writer(stdin.as_fd());
            let gate = std::env::var("SHMRING_GATE").unwrap().parse().unwrap();
            let (ours, theirs) = crate::neighbour::pair();
            for nonce in [neighbour.nonce, gate] {
                assert!(neighbour.knock_at(gate, nonce, &[theirs.as_fd()]));
            }
            drop(theirs);
            assert!(recv(&ours).is_none(), "an answer");
        }
        "meet" => {
            let end = PipeEnd::new(stdin.as_fd().try_clone_to_owned().unwrap(), "stdin").unwrap();
            let mut meeting = Rendezvous::new(end, &RuntimeDir::none(), offer()).unwrap();
            let error = outcome(&mut meeting).err().unwrap();
            let text = error.to_string();
            assert!(matches!(error, LinkError::OtherUser { .. }), "{text}");
            assert!(text.contains("of user root is at its other end"), "{text}");
        }
        "through" => {
            let flags = SocketFlags::CLOEXEC;
            let (_ours, theirs) =
                socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
            let pipe = stdin.as_fd().try_clone_to_owned().unwrap();
            assert!(send(&pipe, &shmring::PROLOGUE, &[theirs.as_fd()]));
        }
        // All descriptors of a side of a link have come to us.
        "adopt" => {
            let socket = stdin.as_fd().try_clone_to_owned().unwrap();
            let (message, fds) = recv(&socket).expect("a link");
            let link = fds[0].try_clone().unwrap();
            let refused = Kept::receive(&message, fds).unwrap().adopt().err().unwrap();
            assert!(refused.to_string().contains("of another user"), "{refused}");
            // Nor is there a way for who does not look at that.
            assert!(send(&link, HEIR, &[]));
        }
        // Links are offered to us.
        "take" => {
            let socket = stdin.as_fd().try_clone_to_owned().unwrap();
            let refused = Taking::receive(socket, None).err().unwrap();
            assert!(refused.to_string().contains("of another user"), "{refused}");
        }
        other => panic!("{other}"),
    }
}

/// What says that another process has a side of a link now (`handshake.rs`).
const HEIR: &[u8] = b"heir\n\0\0\0";

/// A side of a link whose other side is there, too.
fn link() -> (Link, Handed) {
    let place = place();
    let (read, write) = pipe();
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let mut other = Rendezvous::new(write, &place.dir, offer()).unwrap();
    let pipe = other.end().id();
    let other = std::thread::spawn(move || outcome(&mut other).unwrap());
    let victim = outcome(&mut victim).unwrap();
    (victim, Handed { link: other.join().unwrap(), pipe })
}

#[test]
fn another_user_that_adopts_a_side_of_a_link_has_the_end_of_it() {
    let (mut victim, Handed { mut link, pipe }) = link();
    let (tx, rx) = (link.tx.as_ref(), link.rx.as_mut());
    let kept = Kept::of(tx, rx, &link.peer, link.features, pipe).unwrap().expect("a ring");
    let (ours, theirs) = crate::neighbour::pair();
    assert!(send(&ours, &kept.message(), &kept.fds()));
    let Some(mut child) = as_nobody("adopt", Path::new("/"), theirs) else { return };
    assert!(child.wait().unwrap().success());
    let rx = victim.rx.as_mut().expect("a way in");
    let begun = std::time::Instant::now();
    while matches!(rx.borrow().err(), Some(RecvError::Empty)) {
        assert!(begun.elapsed() < HANG, "the link goes on");
        rx.wait(Some(std::time::Duration::from_millis(10))).unwrap();
    }
    assert_eq!(rx.borrow().err(), Some(RecvError::Ended));
}

#[test]
fn another_user_takes_no_links_and_they_stay() {
    let (mut victim, handed) = link();
    let (ours, theirs) = socket_pair().unwrap();
    let giving = Giving::start(ours, vec![handed]).map_err(|_| ()).unwrap();
    let Some(mut child) = as_nobody("take", Path::new("/"), theirs) else { return };
    assert!(child.wait().unwrap().success());
    let Ok(Outcome::Back(mut links, _)) = giving.poll() else { panic!("taken") };
    let tx = links[0].link.tx.as_mut().expect("a way out");
    tx.put(1, |room| {
        room.copy_from(0, b"x");
        Ok::<_, ()>(1)
    })
    .unwrap()
    .unwrap();
    tx.publish();
    let rx = victim.rx.as_mut().expect("a way in");
    rx.wait(Some(HANG)).unwrap();
    assert!(rx.borrow().is_ok());
}

#[test]
fn another_user_learns_nothing() {
    let place = place();
    std::fs::set_permissions(place.scratch.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (read, write) = pipe();
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let copy = write.as_fd().try_clone_to_owned().unwrap();
    let Some(mut child) = as_nobody("look", place.dir.path().unwrap(), copy) else { return };
    assert!(child.wait().unwrap().success());
    assert!(victim.poll().unwrap().is_none());
}

/// A pipe as nobody makes it: nobody can open it anew, but root can.
fn pipe_of_nobody() -> (OwnedFd, OwnedFd) {
    let (read, write) = std::io::pipe().unwrap();
    for end in [read.as_fd(), write.as_fd()] {
        let owner = Some(rustix::fs::Uid::from_raw(NOBODY));
        rustix::fs::fchown(end, owner, None).unwrap();
    }
    (read.into(), write.into())
}

/// Who holds the pipe and is another user gets no answer, but a word.
#[test]
fn another_user_that_holds_the_pipe_gets_no_answer() {
    if !rustix::process::geteuid().is_root() {
        say::line!("skipped: needs root to become another user");
        return;
    }
    let (read, write) = pipe_of_nobody();
    let read = PipeEnd::new(read, "standard input").unwrap();
    let mut victim = Rendezvous::new(read, &RuntimeDir::none(), offer()).unwrap();
    let Some(mut child) = as_nobody("join", Path::new("/"), write) else { return };
    let error = outcome(&mut victim).err().unwrap();
    drop(victim);
    assert!(child.wait().unwrap().success());
    let LinkError::OtherUser { who, .. } = &error else { panic!("{error}") };
    assert!(who.contains(&format!("(pid {}) of user nobody", child.id())), "{who}");
}

#[test]
fn both_are_told_who_is_there() {
    if !rustix::process::geteuid().is_root() {
        say::line!("skipped: needs root to become another user");
        return;
    }
    for foreign in [false, true] {
        let (read, write) = match foreign {
            true => pipe_of_nobody(),
            false => std::io::pipe().map(|(read, write)| (read.into(), write.into())).unwrap(),
        };
        let read = PipeEnd::new(read, "standard input").unwrap();
        let mut victim = Rendezvous::new(read, &RuntimeDir::none(), offer()).unwrap();
        let Some(mut child) = as_nobody("meet", Path::new("/"), write) else { return };
        let error = outcome(&mut victim).err().unwrap();
        assert!(matches!(error, LinkError::OtherUser { .. }), "{error}");
        assert!(child.wait().unwrap().success());
    }
}

/// Nobody else can make anything of the number of a gate.
#[test]
fn another_user_that_knows_the_gate_is_nobody() {
    if !rustix::process::geteuid().is_root() {
        say::line!("skipped: needs root to become another user");
        return;
    }
    let place = place();
    let (read, write) = pipe();
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let gate = {
        let look = Neighbour::writer(&write);
        look.victim()
    };
    let (_other, elsewhere) = pipe_of_nobody();
    let Some(mut child) = as_nobody_at("knock", Path::new("/"), elsewhere, gate) else { return };
    while child.try_wait().unwrap().is_none() {
        assert!(victim.poll().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(child.wait().unwrap().success());
    let mut rightful = Rendezvous::new(write, &place.dir, offer()).unwrap();
    let rightful = std::thread::spawn(move || outcome(&mut rightful).unwrap());
    assert!(outcome(&mut victim).unwrap().is_duplex() && rightful.join().unwrap().is_duplex());
}

#[test]
fn another_users_socket_through_the_pipe_is_refused() {
    let place = place();
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    let end = PipeEnd::new(ours, "standard input").unwrap().with_role(Role::Reader);
    let mut victim = Rendezvous::new(end, &place.dir, offer()).unwrap();
    let Some(mut child) = as_nobody("through", Path::new("/"), theirs) else { return };
    let error = outcome(&mut victim).err().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(matches!(&error, LinkError::Protocol { why, .. } if why.contains("another user")));
}
