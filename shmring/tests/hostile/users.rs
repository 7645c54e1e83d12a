//! Another user's process can neither join nor learn anything. Needs root, to
//! become another user; says so and does nothing without.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socketpair};
use shmring::{LinkError, PipeEnd, Rendezvous, Role, RuntimeDir};

use crate::neighbour::{HELLO, WRITER, doorbell, message, recv, send, socket};
use crate::support::{offer, outcome, pipe, place};

const NOBODY: u32 = 65_534;

/// This program again as nobody, doing `what`; `None` where that is impossible.
fn as_nobody(what: &str, at: &Path, stdin: OwnedFd) -> Option<std::process::Child> {
    if !rustix::process::geteuid().is_root() {
        say::line!("skipped: needs root to become another user");
        return None;
    }
    let child = Command::new("/proc/self/exe")
        .args(["--exact", "users::nobody", "--ignored", "--nocapture"])
        .env("SHMRING_NOBODY", what)
        .env("SHMRING_AT", at)
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
            let dir = at.parent().unwrap();
            assert_eq!(std::fs::read_dir(dir).err().map(|e| e.kind()), denied);
            assert_eq!(std::fs::metadata(at).err().map(|e| e.kind()), denied);
            let name = SocketAddrUnix::new(at).unwrap();
            assert_eq!(rustix::net::connect(socket(), &name), Err(rustix::io::Errno::ACCESS));
            assert!(RuntimeDir::at(dir).is_err());
            let fds = format!("/proc/{}/fd", std::env::var("SHMRING_VICTIM").unwrap());
            assert_eq!(std::fs::read_dir(fds).err().map(|e| e.kind()), denied);
            assert!(shmring::observe::look().unwrap().rings.is_empty());
        }
        // Somebody opened the directory, and we even hold the pipe.
        "join" => {
            let socket = crate::neighbour::connect(at);
            let bell = doorbell();
            send(&socket, &message(HELLO, WRITER), &[stdin.as_fd(), bell.as_fd()]);
            assert!(recv(&socket).is_none(), "an answer");
        }
        "through" => {
            let flags = SocketFlags::CLOEXEC;
            let (_ours, theirs) =
                socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
            let pipe = stdin.as_fd().try_clone_to_owned().unwrap();
            assert!(send(&pipe, &shmring::PROLOGUE, &[theirs.as_fd()]));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn another_user_learns_nothing_and_cannot_connect() {
    let place = place();
    std::fs::set_permissions(place.scratch.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (read, write) = pipe();
    let address = place.address(&read);
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    let copy = write.as_fd().try_clone_to_owned().unwrap();
    let Some(mut child) = as_nobody("look", &address, copy) else { return };
    assert!(child.wait().unwrap().success());
    assert!(victim.poll().unwrap().is_none());
}

#[test]
fn another_user_that_reaches_the_socket_gets_no_answer() {
    let place = place();
    let (read, write) = pipe();
    let address = place.address(&read);
    let mut victim = Rendezvous::new(read, &place.dir, offer()).unwrap();
    for path in [place.scratch.path(), place.dir.path(), &address] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
    let copy = write.as_fd().try_clone_to_owned().unwrap();
    let Some(mut child) = as_nobody("join", &address, copy) else { return };
    while child.try_wait().unwrap().is_none() {
        assert!(victim.poll().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(child.wait().unwrap().success());
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
