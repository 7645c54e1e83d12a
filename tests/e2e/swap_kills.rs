//! One of the processes of a swap, an insert or a remove is killed at a random moment: there are
//! never two owners, nothing hangs, nothing is left. Where it is the command that asked, the chain
//! goes on.
//!
//! `STDPKT_TESTS_SWAPS=1000` does it as often as that.

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};
use crate::swap::{end, name, swaps};

/// What is between a client and a server, and how it is changed; both may name `$name`.
struct Change {
    /// Run in the middle.
    middle: &'static str,
    /// The server's address, and the options of client and server besides.
    server: &'static str,
    ends: [&'static str; 2],
    change: &'static str,
    /// It takes less than so many milliseconds.
    takes: u32,
    /// Who takes the links: a shell command that prints its process id.
    taker: &'static str,
}

/// Changes, and kills somebody meanwhile; a line each time: who was killed, how many functions have
/// the name, whether all has ended in time, and whether pings passed afterwards.
fn killed(scene: &Scene, change: &Change) -> Outcome {
    let Change { middle, server, ends: [client_ends, server_ends], change, takes, taker } = change;
    let n = swaps();
    let name = name("sk");
    end(scene.start_in(
            &["bash"],
            &format!(
                r#"
                patient() {{ for t in $(seq 1000); do "$@" || return 0; sleep 0.02; done; false; }}
                lives() {{ kill -0 $1 2>/dev/null; }}
                has() {{ [ ! -e up.$i ]; }}
                pid() {{ stdpkt ls $1 2>/dev/null | sed -n "s/^ *\([0-9]*\):$2 $1 .*/\1/p" | sort -u; }}
                for i in $(seq {n}); do
                    name={name}-$i
                    middle="{middle}"
                    {{ stdpkt run --name $name-c --right 10.0.0.2/24 {client_ends} -- sh -c 'exec >/dev/null
                        until ping -q -c1 -W1 {server}; do :; done; touch up.'$i'
                        until [ -e stop.'$i' ]; do ping -q -c1 -W1 {server} || sleep 0.02; done
                        for t in 1 2 3 4 5; do ping -q -c1 -W1 {server} && touch alive.'$i' && break; done' \
                      | $middle | stdpkt run --left {server}/24 {server_ends}; }} 2>/dev/null & chain=$!
                    patient has || echo never up
                    old=$(pid $name left | head -n 1); client=$(pid $name-c right | head -n 1)
                    {change} 2>/dev/null & change=$!
                    sleep 0.$(printf %03d $((RANDOM % {takes})))
                    case $((RANDOM % 3)) in
                        0) who=old; kill -9 $old;;
                        1) who=taker; kill -9 $({taker});;
                        2) who=change; kill -9 $change;;
                    esac 2>/dev/null
                    patient lives $change; changed=$?
                    sleep 0.05
                    owners=$(pid $name "[^ ]*" | wc -l)
                    touch stop.$i
                    patient lives $chain; ended=$?
                    [ -e alive.$i ]; alive=$?
                    echo "killed $who: owners $owners, hangs $changed $ended, silent $alive"
                done 2>/dev/null; wait"#
            ),
        ))
}

fn check(run: &Outcome) {
    let lines: Vec<_> = run.out.lines().filter(|line| line.starts_with("killed")).collect();
    assert_eq!(lines.len(), swaps() as usize, "{run:#?}");
    for line in lines {
        let mut words = line.split(": ");
        let (who, what) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (what, silent) = what.split_once(", silent ").expect("four counts");
        let good = ["owners 0, hangs 0 0", "owners 1, hangs 0 0"].contains(&what);
        let goes_on = who != "killed change" || silent == "0";
        assert!(good && goes_on, "{line}: {run:#?}");
    }
}

const ROUTER: &str = "stdpkt run --name $name --left 10.0.0.1/24 --right 10.0.1.1/24 --forward";
const NEWCOMER: &str = "cat /proc/$change/task/$change/children";

/// Changes a router, where the newcomer takes the links.
fn assert_one_owner_or_none(
    scene: &Scene,
    middle: &'static str,
    (change, takes): (&'static str, u32),
    taker: &'static str,
) {
    check(&killed(
        scene,
        &Change {
            middle,
            server: "10.0.1.2",
            ends: ["--gateway 10.0.0.1", "--gateway 10.0.1.1"],
            change,
            takes,
            taker,
        },
    ));
    scene.assert_nothing_left();
}

#[test]
fn whoever_is_killed_in_a_swap_there_is_one_owner_or_none() {
    need_functions!("bash", "ping");
    let change = ("stdpkt swap $name -- $middle", 100);
    assert_one_owner_or_none(&Scene::new(), ROUTER, change, NEWCOMER);
}

/// Of which the process that takes the links is CMD, where there is one already.
#[test]
fn whoever_is_killed_in_a_swap_for_an_lkl_function_there_is_one_owner_or_none() {
    need_functions!("LKL_DIR", "bash", "ping");
    // Of the newcomer, its keeper and CMD the last one that there is.
    let taker = "last=$change; while :; do next=$(cat /proc/$last/task/$last/children); \
         [ -n \"$next\" ] || break; last=$next; done; echo $last";
    let change = ("stdpkt swap $name -- $middle --stack lkl", 600);
    assert_one_owner_or_none(&crate::lkl::scene(), ROUTER, change, taker);
}

/// Its holder must not start it again when another one has its links.
#[test]
fn whoever_is_killed_in_a_swap_of_a_held_function_there_is_one_owner_or_none() {
    need_functions!("bash", "ping");
    let held = "stdpkt run --restart --name $name --left 10.0.0.1/24 --right 10.0.1.1/24 --forward";
    let change = ("stdpkt swap $name -- $middle", 100);
    assert_one_owner_or_none(&Scene::new(), held, change, NEWCOMER);
}

#[test]
fn whoever_is_killed_in_an_insert_there_is_one_owner_or_none() {
    need_functions!("bash", "ping");
    let change = ("stdpkt insert $name:left -- stdpkt tee x.pcap", 100);
    assert_one_owner_or_none(&Scene::new(), ROUTER, change, NEWCOMER);
}

/// The neighbour on the left takes the link over.
#[test]
fn whoever_is_killed_in_a_remove_there_is_one_owner_or_none() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    check(&killed(
        &scene,
        &Change {
            middle: "stdpkt wire --name $name --delay 1ms",
            server: "10.0.0.1",
            ends: ["", ""],
            change: "stdpkt remove $name",
            takes: 100,
            taker: "echo $client",
        },
    ));
    scene.assert_nothing_left();
}
