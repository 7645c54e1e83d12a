//! The NAT chain, as documented, in every shell.

use crate::support::chains::NAT;
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

/// A few more times in the same shell, with one ping each.
const AGAIN: usize = 4;

fn assert_works(scene: &Scene, shell: &[&str], pings: usize) {
    let script = NAT.replace("-c3", &format!("-c{pings}"));
    let outcome = scene.start_in(shell, &script).end();
    assert_eq!(outcome.status, 0, "{shell:?}: {outcome:?}");
    let replies = outcome.err.matches("bytes from 8.8.8.8: icmp_seq=").count();
    assert_eq!(replies, pings, "{shell:?}: {outcome:?}");
    // ping speaks on standard error, since standard output is a link.
    assert_eq!(outcome.out, "", "{shell:?}");
    assert!(!outcome.err.contains("stdpkt:"), "{shell:?}: {outcome:?}");
    scene.assert_nothing_left();
}

fn works_in(shell: &[&str]) {
    need_functions!(shell[0], "ping", "iptables");
    let scene = Scene::new();
    assert_works(&scene, shell, 3);
    (0..AGAIN).for_each(|_| assert_works(&scene, shell, 1));
}

#[test]
fn the_nat_chain_works_in_bash() {
    works_in(&["bash"]);
}

#[test]
fn the_nat_chain_works_in_dash() {
    works_in(&["dash"]);
}

#[test]
fn the_nat_chain_works_in_zsh() {
    works_in(&["zsh"]);
}

#[test]
fn the_nat_chain_works_in_ksh93() {
    works_in(&["ksh93"]);
}

#[test]
fn the_nat_chain_works_in_mksh() {
    works_in(&["mksh"]);
}

#[test]
fn the_nat_chain_works_in_fish() {
    works_in(&["fish"]);
}

#[test]
fn the_nat_chain_works_in_busybox_sh() {
    works_in(&["busybox", "sh"]);
}

#[test]
#[ignore = "takes minutes; STDPKT_TESTS_REPEAT says how often, 100 times if unset"]
fn the_nat_chain_works_a_hundred_times_in_every_shell() {
    need_functions!("bash", "dash", "zsh", "ksh93", "mksh", "fish", "busybox", "ping", "iptables");
    let times = std::env::var("STDPKT_TESTS_REPEAT").ok().and_then(|n| n.parse().ok());
    let times: usize = times.unwrap_or(100);
    let shells: [&[&str]; 7] =
        [&["bash"], &["dash"], &["zsh"], &["ksh93"], &["mksh"], &["fish"], &["busybox", "sh"]];
    for shell in shells {
        let scene = Scene::new();
        let start = std::time::Instant::now();
        (0..times).for_each(|_| assert_works(&scene, shell, 1));
        println!("{shell:?}: {times} times in {:?}", start.elapsed());
    }
}
