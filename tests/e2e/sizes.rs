//! Packets as large as the MTU allows, and no larger.

use crate::lkl::chain;
use crate::support::chains::two;
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

/// Bytes of the headers of IPv4, IPv6 and an echo request.
const IPV4: u32 = 20;
const IPV6: u32 = 40;
const ICMP: u32 = 8;

fn assert_carries(mtu: u32, channel: &str) {
    let options = format!("--mtu {mtu} --channel {channel}");
    let scene = Scene::new();
    let fits = mtu - IPV4 - ICMP;
    let ping = |size: u32| format!("{options} -- ping -c1 -W5 -M do -s {size} 10.0.0.1");
    let outcome = scene.sh(&two(&options, &ping(fits)));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(outcome.out.contains(&format!("{} bytes from", fits + ICMP)), "{outcome:?}");
    let outcome = scene.sh(&two(&options, &ping(fits + 1)));
    assert_ne!(outcome.status, 0, "more than the MTU went through: {outcome:?}");

    let fits = mtu - IPV6 - ICMP;
    let outcome = scene.sh(&format!(
        "stdpkt run --right fd00::1/64 {options} | stdpkt run --left fd00::2/64 {options} \
         -- ping -6 -c1 -W5 -M do -s {fits} fd00::1"
    ));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn an_mtu_of_1500_is_used_to_the_last_byte() {
    need_functions!("ping");
    assert_carries(1500, "shm");
    assert_carries(1500, "fifo");
}

#[test]
fn an_mtu_of_9000_is_used_to_the_last_byte() {
    need_functions!("ping");
    assert_carries(9000, "shm");
    assert_carries(9000, "fifo");
}

#[test]
fn an_mtu_of_65500_is_used_to_the_last_byte() {
    need_functions!("ping");
    assert_carries(65500, "shm");
    assert_carries(65500, "fifo");
}

/// LKL counts 16 bits, and one frame of more would break its interface for good.
#[test]
fn an_lkl_function_lives_on_after_a_frame_too_long_for_it() {
    need!("LKL_DIR", "namespaces", "/dev/net/tun", "bash", "ping");
    let largest = 65_509;
    let fits = largest - IPV4 - ICMP;
    let ping = |size: u32| format!("ping -c1 -W2 -M do -s {size} 10.0.0.2");
    let (statuses, outcome) = chain(&format!(
        "stdpkt run --mtu 65521 --right 10.0.0.1/24 -- sh -c '{}; {}; {}' \
         | LKL --mtu {largest} --left 10.0.0.2/24",
        ping(fits),
        ping(fits + 1),
        ping(fits)
    ));
    assert_eq!(statuses, [0, 0], "{outcome:?}");
    let answers = outcome.err.matches(&format!("{} bytes from", fits + ICMP)).count();
    assert_eq!(answers, 2, "{outcome:?}");

    let line = "LKL --mtu 65510 --right 10.0.0.1/24 -- true | cat";
    let (statuses, outcome) = chain(line);
    assert_eq!(statuses[0], 125, "{outcome:?}");
    assert!(outcome.err.contains("--mtu 65510: LKL counts"), "{outcome:?}");
}
