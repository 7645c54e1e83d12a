//! Descriptors that are not what they should be.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use shmring::{Link, LinkError, PipeEnd, Rendezvous};

use crate::neighbour::{
    HELLO, Neighbour, READER, REFUSE, WELCOME, WRITER, doorbell, get, message, recv, send,
};
use crate::support::{HANG, Place, offer, outcome, pipe, place};

const LEN: u64 = 4096 + (64 << 10);
const GOOD: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// A memfd with the right header, so that only what is said to be wrong is.
fn memfd(flags: MemfdFlags, len: u64, seals: SealFlags) -> OwnedFd {
    with_header(flags, len, seals, 2000)
}

fn with_header(flags: MemfdFlags, len: u64, seals: SealFlags, max_frame: u32) -> OwnedFd {
    let fd = memfd_create("shmring", flags | MemfdFlags::ALLOW_SEALING).unwrap();
    let mut header = b"SHMRING\0".to_vec();
    header.extend_from_slice(&1u32.to_ne_bytes());
    header.extend_from_slice(&max_frame.to_ne_bytes());
    header.extend_from_slice(&(64u64 << 10).to_ne_bytes());
    rustix::io::pwrite(&fd, &header, 0).unwrap();
    ftruncate(&fd, len).unwrap();
    fcntl_add_seals(&fd, seals).unwrap();
    fd
}

/// Everything that might be sent where a ring's memory belongs.
fn no_rings() -> Vec<(&'static str, OwnedFd)> {
    let file = tempfile::tempfile().unwrap();
    file.set_len(LEN).unwrap();
    let (read, _) = rustix::pipe::pipe().unwrap();
    let plain = MemfdFlags::CLOEXEC;
    let good = memfd(plain, LEN, GOOD);
    let path = format!("/proc/self/fd/{}", good.as_raw_fd());
    let read_only = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let opath = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let mut all = vec![
        ("a file", file.into()),
        ("a pipe", read),
        ("a directory", std::fs::File::open("/").unwrap().into()),
        ("a device", std::fs::File::open("/dev/zero").unwrap().into()),
        ("a socket", crate::neighbour::socket()),
        ("an epoll instance", doorbell()),
        ("unsealed", memfd(plain, LEN, SealFlags::empty())),
        ("may shrink", memfd(plain, LEN, SealFlags::GROW | SealFlags::SEAL)),
        ("may grow", memfd(plain, LEN, SealFlags::SHRINK | SealFlags::SEAL)),
        ("may be sealed", memfd(plain, LEN, SealFlags::SHRINK | SealFlags::GROW)),
        ("empty", memfd(plain, 0, GOOD)),
        ("too small", memfd(plain, LEN - 1, GOOD)),
        ("a page too small", memfd(plain, LEN - 4096, GOOD)),
        ("too large", memfd(plain, LEN + 4096, GOOD)),
        ("sealed against writing", memfd(plain, LEN, GOOD | SealFlags::WRITE)),
        ("another header", with_header(plain, LEN, GOOD, 1999)),
        ("read-only", read_only.unwrap()),
        ("a path only", opath.unwrap()),
    ];
    // Only where the machine has huge pages set aside.
    let huge = memfd_create("shmring", plain | MemfdFlags::HUGETLB | MemfdFlags::ALLOW_SEALING);
    if let Ok(huge) = huge
        && ftruncate(&huge, 2 << 20).is_ok()
        && fcntl_add_seals(&huge, GOOD).is_ok()
    {
        all.push(("huge pages", huge));
    }
    all
}

/// A connecting victim gets a WELCOME with these descriptors after the proof.
fn welcomed_with(place: &Place, fds: &[BorrowedFd<'_>]) -> LinkError {
    let welcome = message(WELCOME, READER);
    answered(place, &welcome, |read| read.as_fd().try_clone_to_owned().unwrap(), fds)
        .err()
        .expect("no link")
}

fn answered(
    place: &Place,
    welcome: &[u8],
    proof: impl FnOnce(&PipeEnd) -> OwnedFd,
    fds: &[BorrowedFd<'_>],
) -> Result<Link, LinkError> {
    let (read, write) = pipe();
    let neighbour = Neighbour::reader(&read);
    let mut victim = Rendezvous::new(write, &place.dir, offer()).unwrap();
    let socket = neighbour.accept();
    assert!(victim.poll().unwrap().is_none());
    let (hello, proofs) = recv(&socket).unwrap();
    assert_eq!((get(&hello, 12), proofs.len()), (HELLO, 2));
    let proof = proof(&read);
    let mut all = vec![proof.as_fd()];
    all.extend_from_slice(fds);
    assert!(send(&socket, welcome, &all));
    outcome(&mut victim)
}

/// The same pipe by its path, which takes no permission to open.
fn path_of(end: &PipeEnd) -> OwnedFd {
    let path = format!("/proc/self/fd/{}", end.as_fd().as_raw_fd());
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// What is right is accepted: else the refusals here mean nothing.
#[test]
fn a_welcome_by_the_book_is_a_link() {
    let place = place();
    let (bell, good) = (doorbell(), memfd(MemfdFlags::CLOEXEC, LEN, GOOD));
    let fds = [bell.as_fd(), good.as_fd(), good.as_fd()];
    let clone = |read: &PipeEnd| read.as_fd().try_clone_to_owned().unwrap();
    let mut welcome = message(WELCOME, READER);
    assert!(answered(&place, &welcome, clone, &fds).is_ok_and(|link| link.is_duplex()));
    let error = answered(&place, &welcome, path_of, &fds).err().unwrap();
    assert!(error.to_string().contains("does not hold the pipe"), "{error}");
    // Features that nobody offered, a larger ring than wished, another direction.
    for (at, value) in [(40, 1), (32, 128 << 10), (16, WRITER)] {
        let mut other = welcome;
        crate::neighbour::put(&mut other, at, value);
        let error = answered(&place, &other, clone, &fds).err().unwrap();
        assert!(matches!(error, LinkError::Protocol { .. }), "{at}: {error}");
    }
    crate::neighbour::put(&mut welcome, 24, 0);
    assert!(answered(&place, &welcome, clone, &fds[..2]).is_ok_and(|link| !link.is_duplex()));
    let error = answered(&place, &welcome, clone, &fds).err().unwrap();
    assert!(error.to_string().contains("too many"), "{error}");
}

pub fn every_wrong_memory() {
    let place = place();
    let good = memfd(MemfdFlags::CLOEXEC, LEN, GOOD);
    for (what, wrong) in no_rings() {
        let bell = doorbell();
        let error = welcomed_with(&place, &[bell.as_fd(), wrong.as_fd(), good.as_fd()]);
        let is_right = matches!(error, LinkError::Protocol { .. } | LinkError::System { .. });
        assert!(is_right, "{what}: {error}");
    }
}

#[test]
fn what_is_no_ring_is_refused() {
    every_wrong_memory();
}

pub fn every_wrong_doorbell() {
    let place = place();
    let (pipe, _) = rustix::pipe::pipe().unwrap();
    let blocking = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let file = tempfile::tempfile().unwrap();
    let ring = memfd(MemfdFlags::CLOEXEC, LEN, GOOD);
    for wrong in [pipe.as_fd(), blocking.as_fd(), file.as_fd(), ring.as_fd()] {
        let error = welcomed_with(&place, &[wrong, ring.as_fd(), ring.as_fd()]);
        assert!(error.to_string().contains("doorbell"), "{error}");
    }
}

#[test]
fn what_is_no_doorbell_is_refused() {
    every_wrong_doorbell();
}

pub fn every_wrong_number() {
    let place = place();
    let bell = doorbell();
    for count in [0, 1, 2, 4, 5, 100, 250] {
        let fds = vec![bell.as_fd(); count];
        let error = welcomed_with(&place, &fds[..count.min(249)]);
        assert!(matches!(error, LinkError::Protocol { .. }), "{count}: {error}");
    }
}

/// More than fit are closed by the kernel, the rest by us.
#[test]
fn too_few_or_too_many_descriptors_are_refused() {
    every_wrong_number();
}

/// A listening victim gets a HELLO with these; returns the reason of its refusal.
fn greeted_with(
    victim: &mut Rendezvous,
    neighbour: &Neighbour,
    fds: &[BorrowedFd<'_>],
) -> Option<u32> {
    let socket = neighbour.connect();
    assert!(send(&socket, &message(HELLO, WRITER), fds));
    let start = Instant::now();
    loop {
        assert!(victim.poll().unwrap().is_none());
        let mut look = [0; 1];
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        if rustix::net::recv(&socket, &mut look, flags) != Err(rustix::io::Errno::AGAIN) {
            // It came to the gate, and answered at once or not at all.
            assert!(victim.poll().unwrap().is_none());
            break;
        }
        assert!(start.elapsed() < HANG, "hangs");
    }
    let (answer, fds) = recv(&socket)?;
    assert_eq!((get(&answer, 12), fds.len()), (REFUSE, 0));
    Some(get(&answer, 48))
}

pub fn every_wrong_proof() {
    let place = place();
    let (read, write) = pipe();
    let (other_read, other_write) = std::io::pipe().unwrap();
    let file = tempfile::tempfile().unwrap();
    let again = read.as_fd().try_clone_to_owned().unwrap();
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let (bell, neighbour) = (doorbell(), Neighbour::writer(&write));
    let path = path_of(&write);
    for wrong in
        [other_read.as_fd(), other_write.as_fd(), file.as_fd(), again.as_fd(), path.as_fd()]
    {
        assert_eq!(greeted_with(&mut victim, &neighbour, &[wrong, bell.as_fd()]), Some(3));
    }
    let proof = write.as_fd();
    for fds in [&[][..], &[proof][..], &[proof; 3][..], &[proof; 4][..]] {
        assert_eq!(greeted_with(&mut victim, &neighbour, fds), Some(3));
    }
    // Cut by the kernel: dropped without a word.
    assert_eq!(greeted_with(&mut victim, &neighbour, &[proof; 100]), None);
    assert_eq!(greeted_with(&mut victim, &neighbour, &[proof, file.as_fd()]), Some(4));
    // After all that, who does hold the pipe gets its link.
    drop(neighbour);
    let mut neighbour = Rendezvous::new(write, &place.dir, offer()).unwrap();
    neighbour.poll().unwrap();
    let neighbour = std::thread::spawn(move || outcome(&mut neighbour).unwrap());
    assert!(outcome(&mut victim).unwrap().is_duplex());
    assert!(neighbour.join().unwrap().is_duplex());
}

#[test]
fn who_cannot_prove_that_it_holds_the_pipe_gets_nothing() {
    every_wrong_proof();
}
