//! What a process shows of itself, and what of a stranger's board is believed.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{MemfdFlags, SealFlags};
use shmring::board::{Board, ENTRIES, Form, Identity, Meter, Posting, Way, introduce};
use shmring::observe::{Post, look};

/// The tests share the board of this process.
static BOARD: Mutex<()> = Mutex::new(());

fn posting(what: &str) -> Posting {
    Posting {
        form: Form::Pipe,
        way: Way::Out,
        pipe: (1, 2),
        medium: (3, u64::MAX),
        label: "right".into(),
        what: what.into(),
    }
}

fn own() -> Vec<Post> {
    let posts = look().unwrap().posts.into_iter();
    posts.filter(|post| post.pid == std::process::id()).collect()
}

#[test]
fn what_is_posted_is_seen_until_it_is_dropped() {
    let _alone = BOARD.lock().unwrap_or_else(PoisonError::into_inner);
    let board = Board::of_this_process().unwrap();
    let waiting = board.post(&Posting { form: Form::Waiting, ..posting("waiting") });
    let mut meter = Meter::default();
    meter.passed(10);
    meter.show(board.post(&posting("a pipe")));
    meter.passed(20);
    meter.dropped();
    meter.stalled();
    let seen = own();
    assert_eq!(seen.len(), 2, "{seen:#?}");
    let post = seen.iter().find(|post| post.posting.form == Form::Pipe).unwrap();
    assert_eq!(post.posting, posting("a pipe"));
    assert_eq!(post.counters, meter.counters());
    assert_eq!((post.counters.frames, post.counters.bytes, post.counters.drops), (2, 30, 1));
    drop(meter);
    assert_eq!(own().len(), 1);
    drop(waiting);
    assert_eq!(own(), []);
}

#[test]
fn names_are_cut_and_carry_no_control_characters() {
    let _alone = BOARD.lock().unwrap_or_else(PoisonError::into_inner);
    let long = format!("\x1b[2J{}", "ä".repeat(60));
    let posting = Posting { label: long.clone(), ..posting(&long) };
    let _entry = Board::of_this_process().unwrap().post(&posting);
    let seen = own().remove(0).posting;
    assert_eq!(seen.label, format!("[2J{}", "ä".repeat(14)));
    assert_eq!(seen.what, format!("[2J{}", "ä".repeat(26)));
}

#[test]
fn a_process_is_known_by_the_name_that_it_gave_first() {
    // In a process of its own: who it is is said once, before the board is made.
    const CHILD: &str = "SHMRING_TESTS_NAMED";
    if std::env::var_os(CHILD).is_none() {
        let exe = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(exe);
        child.args(["--exact", "a_process_is_known_by_the_name_that_it_gave_first"]);
        let ended = child.env(CHILD, "").output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        return;
    }
    let long = format!("ping\x1b -c3 {}", "ä".repeat(200));
    introduce(Identity { name: "fw".to_owned(), command: long });
    introduce(Identity { name: "other".to_owned(), command: String::new() });
    Board::of_this_process().unwrap();
    let own = look().unwrap().processes.into_iter().find(|it| it.pid == std::process::id());
    let identity = own.expect("this process").identity;
    assert_eq!(identity.name, "fw");
    assert_eq!(identity.command, format!("ping -c3 {}", "ä".repeat(91)));
}

#[test]
fn a_full_board_says_how_many_are_missing() {
    let _alone = BOARD.lock().unwrap_or_else(PoisonError::into_inner);
    let board = Board::of_this_process().unwrap();
    let before = look().unwrap().missing;
    let entries: Vec<_> = (0..ENTRIES + 2).map(|_| board.post(&posting("x"))).collect();
    assert_eq!(own().len(), ENTRIES);
    assert_eq!(look().unwrap().missing, before + 2);
    drop(entries);
    assert_eq!(own(), []);
    let _entry = board.post(&posting("y"));
    assert_eq!(own().len(), 1);
}

#[test]
fn a_strangers_board_is_sealed_and_whole_or_none() {
    let _alone = BOARD.lock().unwrap_or_else(PoisonError::into_inner);
    let memfd = |len: u64, seal: bool, magic: &[u8]| -> OwnedFd {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memfd = rustix::fs::memfd_create("shmring-board", flags).unwrap();
        rustix::fs::ftruncate(&memfd, len).unwrap();
        rustix::io::pwrite(&memfd, magic, 0).unwrap();
        // Each byte of the entries is 255: stamps, forms and lengths that cannot be.
        let garbage = vec![0xff; (len as usize).saturating_sub(4096)];
        rustix::io::pwrite(&memfd, &garbage, 4096).unwrap();
        if seal {
            rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK).unwrap();
        }
        memfd
    };
    let good = b"SHMBORD\0\x02\0\0\0";
    let whole = 4096 + 192 * ENTRIES as u64;
    let _strangers = [
        memfd(whole, false, good),
        memfd(whole - 1, true, good),
        memfd(0, true, b""),
        memfd(whole, true, b"SHMBORD\0\x01\0\0\0"),
        memfd(whole, true, good),
    ];
    assert_eq!(own(), []);
}
