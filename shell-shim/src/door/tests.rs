//! What a door does with whoever comes.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, sendmsg,
};
use shmring::board::Identity;
use shmring::observe::Process;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn this_process() -> Process {
    let identity = Identity { name: "me".to_owned(), command: String::new() };
    Process { pid: std::process::id(), identity }
}

fn request() -> Request {
    Request::Add { path: "f1".to_owned() }
}

/// Where it is found. This process has others, of other tests.
fn path(door: &Door) -> PathBuf {
    format!("/proc/self/fd/{}", door._file.as_raw_fd()).into()
}

/// A connection that has said nothing yet.
fn knock(door: &Door) -> OwnedFd {
    let socket = socket::new(SocketFlags::NONBLOCK).unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path(door)).unwrap()).unwrap();
    socket
}

/// What is answered to these bytes, if anything is.
fn say(door: &mut Door, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Option<Reply> {
    let socket = knock(door);
    socket::send(&socket, bytes, fds).unwrap();
    for _ in 0..3 {
        for call in door.calls() {
            call.answer(Ok(Reply::Done));
        }
    }
    let mut answer = vec![0; messages::LONGEST];
    let (len, _) = socket::receive(&socket, &mut answer).ok()?;
    messages::decode(&answer[..len]).ok()
}

#[test]
fn a_request_arrives_with_its_descriptors_and_is_answered() {
    let mut door = Door::new().unwrap();
    let path = path(&door);
    let asking = std::thread::spawn(move || {
        let (read, _write) = std::io::pipe().unwrap();
        let there = client::knock(&path, std::process::id())?;
        there.ask(&request(), &[read.as_fd()], PATIENCE)
    });
    let call = loop {
        if let Some(call) = door.calls().pop() {
            break call;
        }
        std::thread::yield_now();
    };
    assert_eq!((&call.request, call.fds.len()), (&request(), 1));
    call.caller.answer(&Reply::Done, &[std::io::stderr().as_fd()]);
    let answer = asking.join().unwrap().unwrap();
    assert_eq!((answer.reply, answer.fds.len()), (Reply::Done, 1));
}

#[test]
fn other_versions_and_requests_are_refused_with_a_reason() {
    let mut door = Door::new().unwrap();
    for (bytes, part) in [
        (&b"\0\x01hello"[..], "none of stdpkt's"),
        (br#"{"version":2,"body":{"fly":null}}"#, "version 1, not 2"),
        (br#"{"version":1,"body":{"fly":null}}"#, "does not know this request"),
        (br#"{"version":1,"body":{"weight":{"path":"f","weight":-1}}}"#, "does not know"),
        (&[b'['; 4096], "none of stdpkt's"),
    ] {
        match say(&mut door, bytes, &[]) {
            Some(Reply::Refused { why }) => assert!(why.contains(part), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(say(&mut door, &messages::encode(&request()), &[]), Some(Reply::Done));
}

#[test]
fn what_is_too_long_or_has_too_many_descriptors_is_refused() {
    /// As many as the kernel lets through.
    const MORE: usize = 253;
    let mut door = Door::new().unwrap();
    let long = vec![b' '; messages::LONGEST + 1];
    assert!(matches!(say(&mut door, &long, &[]), Some(Reply::Refused { .. })));
    let stderr = std::io::stderr();
    let most = [stderr.as_fd(); socket::MAX_FDS];
    assert_eq!(say(&mut door, &messages::encode(&request()), &most), Some(Reply::Done));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MORE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [stderr.as_fd(); MORE];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let socket = knock(&door);
    let bytes = messages::encode(&request());
    sendmsg(&socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::empty()).unwrap();
    assert!(door.calls().is_empty(), "let in");
    assert!(door.calls().is_empty(), "refused");
    let mut answer = vec![0; messages::LONGEST];
    let (len, _) = socket::receive(&socket, &mut answer).unwrap();
    assert!(matches!(messages::decode(&answer[..len]), Ok(Reply::Refused { .. })));
}

#[test]
fn those_who_say_nothing_keep_nobody_out() {
    let mut door = Door::new().unwrap();
    let mut silent = Vec::new();
    for _ in 0..4 * GUESTS {
        silent.push(knock(&door));
        assert!(door.calls().is_empty());
    }
    assert_eq!(door.guests.len(), GUESTS);
    assert_eq!(say(&mut door, &messages::encode(&request()), &[]), Some(Reply::Done));
    drop(silent);
    assert!(door.calls().is_empty());
    assert!(door.guests.is_empty(), "who has gone is no guest");
}

#[test]
fn a_door_leaves_no_name_behind() {
    let door = Door::new().unwrap();
    let link = std::fs::read_link(path(&door)).unwrap();
    let link = link.to_string_lossy();
    assert!(link.ends_with(" (deleted)"), "{link}");
    assert!(!std::path::Path::new(link.trim_end_matches(" (deleted)")).exists());
    assert_eq!(rustix::fs::fstat(&door._file).unwrap().st_mode & 0o077, 0);
}

#[test]
fn a_process_without_a_door_says_so() {
    let init = Process { pid: std::os::unix::process::parent_id(), ..this_process() };
    let error = ask(&init, &request(), &[], PATIENCE).err().unwrap();
    assert!(format!("{error:#}").contains("cannot be asked for anything"), "{error:#}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 1..512)) {
        let mut door = Door::new().unwrap();
        let refused = matches!(say(&mut door, &bytes, &[]), Some(Reply::Refused { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn a_mutated_request_is_understood_or_refused(at in 0usize..40, byte: u8) {
        let mut door = Door::new().unwrap();
        let mut bytes = messages::encode(&request());
        let at = at % bytes.len();
        bytes[at] = byte;
        prop_assert!(say(&mut door, &bytes, &[]).is_some());
    }
}
