//! After all of it: as many descriptors as before, and no more memory.

use std::process::Command;

use crate::{descriptors, greeting};

#[test]
fn nothing_is_left_behind() {
    // In a process of its own, where nobody else opens anything.
    let status = Command::new("/proc/self/exe")
        .args(["--exact", "leaks::alone", "--ignored", "--nocapture", "--test-threads=1"])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
#[ignore = "run by `nothing_is_left_behind`"]
fn alone() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut before = (0, 0);
    for round in 0..6 {
        descriptors::every_wrong_memory();
        descriptors::every_wrong_doorbell();
        descriptors::every_wrong_number();
        descriptors::every_wrong_proof();
        greeting::every_wrong_greeting();
        greeting::every_wrong_answer(50);
        greeting::flood();
        if round == 1 {
            before = (open(), resident());
        }
    }
    let after = (open(), resident());
    println!("descriptors and KiB: {before:?} then {after:?}");
    assert_eq!(after.0, before.0, "descriptors leak");
    assert!(after.1 < before.1 + 4096, "memory grows");
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
