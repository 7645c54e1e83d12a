//! Too few descriptors, too little memory, signals, copies in other processes.
#![allow(unsafe_code)]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use shmring::{PipeEnd, RecvError, Rendezvous, Role, RuntimeDir, loopback};

use crate::support::{offer, outcome, pipe, place};

/// This program again, with one test of this file.
fn alone(test: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    let name = format!("scarcity::{test}");
    command.args(["--exact", &name, "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

fn limit(resource: Resource, current: u64) {
    let maximum = getrlimit(resource).maximum;
    setrlimit(resource, Rlimit { current: Some(current), maximum }).unwrap();
}

#[test]
fn want_of_descriptors_or_memory_is_an_error() {
    assert!(alone("with_few_descriptors").status().unwrap().success());
    assert!(alone("with_little_memory").status().unwrap().success());
}

#[test]
#[ignore = "run by `want_of_descriptors_or_memory_is_an_error`"]
fn with_few_descriptors() {
    let place = place();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let all = getrlimit(Resource::Nofile).current.unwrap();
    let before = open();
    let mut links = 0;
    for room in 0..40 {
        let (read, write) = pipe();
        // One of the open ones was the look itself.
        limit(Resource::Nofile, open() - 1 + room);
        let left = Rendezvous::new(read, &place.dir, offer());
        let right = Rendezvous::new(write, &place.dir, offer());
        if let (Ok(mut left), Ok(mut right)) = (left, right) {
            let start = Instant::now();
            let (mut a, mut b) = (Ok(None), Ok(None));
            while start.elapsed() < Duration::from_millis(100) && (a.is_ok() && b.is_ok()) {
                if matches!(a, Ok(None)) {
                    a = left.poll();
                }
                if matches!(b, Ok(None)) {
                    b = right.poll();
                }
                if matches!((&a, &b), (Ok(Some(_)), Ok(Some(_)))) {
                    links += 1;
                    break;
                }
            }
            // What did not fit here is not a fault in the neighbour's message.
            for error in [a.err(), b.err()].into_iter().flatten() {
                let error = error.to_string();
                assert!(!error.contains("another length"), "room for {room}: {error}");
            }
        }
        limit(Resource::Nofile, all);
        assert_eq!(open(), before, "with room for {room}");
    }
    assert!(links > 5, "{links} links");
}

#[test]
#[ignore = "run by `want_of_descriptors_or_memory_is_an_error`"]
fn with_little_memory() {
    drop(loopback(256 << 20, 2000).unwrap());
    limit(Resource::As, 256 << 20);
    assert!(loopback(256 << 20, 2000).is_err());
    drop(loopback(1 << 20, 2000).unwrap());
}

#[test]
fn nothing_is_handed_on_through_exec() {
    let place = place();
    let (read, write) = pipe();
    let mut left = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let mut right = Rendezvous::new(write, &place.dir, offer()).unwrap();
    let right = std::thread::spawn(move || outcome(&mut right).unwrap());
    let _links = (outcome(&mut left).unwrap(), right.join().unwrap());
    let mut ours = 0;
    for fd in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let Ok(target) = std::fs::read_link(fd.path()) else { continue };
        let target = target.to_string_lossy();
        if ["/memfd:shmring", "anon_inode:", "socket:"].iter().any(|t| target.starts_with(t)) {
            let info = format!("/proc/self/fdinfo/{}", fd.file_name().to_str().unwrap());
            let Ok(info) = std::fs::read_to_string(info) else { continue };
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
            assert!(flags & libc::O_CLOEXEC != 0, "{target}");
            ours += 1;
        }
    }
    assert!(ours >= 12, "{ours}");
}

/// A child that the neighbour forked and that never called exec holds the
/// socket too: the kernel sees no hang-up before it ends as well.
#[test]
fn a_forked_child_keeps_the_link_of_its_dead_parent() {
    let place = place();
    let fifo = place.scratch.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
    let end = PipeEnd::open(&fifo, Role::Reader).unwrap();
    let mut survivor = Rendezvous::new(end, &place.dir, offer()).unwrap();
    let mut child = alone("forks")
        .env("SHMRING_AT", place.scratch.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut link = outcome(&mut survivor).unwrap();
    let rx = link.rx.as_mut().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let grandchild = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("grandchild ")?.1.trim().parse().ok())
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    rx.wait(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(rx.borrow().map(|_| ()).err(), Some(RecvError::Empty));
    kill_process(Pid::from_raw(grandchild).unwrap(), Signal::KILL).unwrap();
    while rx.borrow().map(|_| ()).err() == Some(RecvError::Empty) {
        rx.wait(None).unwrap();
    }
    assert_eq!(rx.borrow().map(|_| ()).err(), Some(RecvError::Ended));
}

#[test]
#[ignore = "run by `a_forked_child_keeps_the_link_of_its_dead_parent`"]
fn forks() {
    let Some(at) = std::env::var_os("SHMRING_AT") else { return };
    let at = std::path::Path::new(&at);
    let dir = RuntimeDir::at(&at.join("run")).unwrap();
    let end = PipeEnd::open(&at.join("fifo"), Role::Writer).unwrap();
    let link = Rendezvous::new(end, &dir, offer()).unwrap().wait().unwrap();
    // SAFETY: the child does nothing but wait for signals.
    let grandchild = unsafe { libc::fork() };
    if grandchild != 0 {
        println!("grandchild {grandchild}");
    }
    // SAFETY: neither has preconditions. Nobody is left over should the test fail.
    unsafe {
        libc::alarm(30);
        libc::pause();
    }
    drop(link);
}
