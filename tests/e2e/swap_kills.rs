//! One of the three processes of a swap, or of an insert, is killed at a random moment: there are never two
//! owners, nothing hangs, nothing is left.
//!
//! `STDPKT_TESTS_SWAPS=1000` does it as often as that.

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};
use crate::swap::{end, name, swaps};

/// Runs `change`, which names `$name` and `$router`, and kills somebody meanwhile; a line each
/// time: who was killed, how many functions have the name, and whether all has ended in time.
fn killed(scene: &Scene, change: &str) -> Outcome {
    let n = swaps();
    let name = name("sk");
    end(scene.start_in(
            &["bash"],
            &format!(
                r#"
                patient() {{ for t in $(seq 1000); do "$@" || return 0; sleep 0.02; done; false; }}
                lives() {{ kill -0 $1 2>/dev/null; }}
                has() {{ [ ! -e up.$i ]; }}
                for i in $(seq {n}); do
                    name={name}-$i
                    router="stdpkt run --name $name --left 10.0.0.1/24 --right 10.0.1.1/24 --forward"
                    {{ stdpkt run --right 10.0.0.2/24 --gateway 10.0.0.1 -- sh -c '
                        until ping -q -c1 -W1 10.0.1.2; do :; done >/dev/null; touch up.'$i'
                        until [ -e stop.'$i' ]; do ping -q -c1 -W1 10.0.1.2 || sleep 0.02; done >/dev/null' \
                      | $router | stdpkt run --left 10.0.1.2/24 --gateway 10.0.1.1; }} 2>/dev/null & chain=$!
                    patient has || echo never up
                    old=$(stdpkt ls $name | sed -n "s/^ *\([0-9]*\):left $name .*/\1/p" | head -n 1)
                    {change} 2>/dev/null & change=$!
                    sleep 0.0$((RANDOM % 10))$((RANDOM % 10))
                    case $((RANDOM % 3)) in
                        0) who=old; kill -9 $old;;
                        1) who=new; kill -9 $(cat /proc/$change/task/$change/children);;
                        2) who=change; kill -9 $change;;
                    esac 2>/dev/null
                    patient lives $change; changed=$?
                    sleep 0.05
                    owners=$(stdpkt ls $name 2>/dev/null | sed -n "s/^ *\([0-9]*\):left $name .*/\1/p" | sort -u | wc -l)
                    touch stop.$i
                    patient lives $chain; ended=$?
                    echo "killed $who: owners $owners, hangs $changed $ended"
                done 2>/dev/null; wait"#
            ),
        ))
}

fn check(run: &Outcome) {
    let lines: Vec<_> = run.out.lines().filter(|line| line.starts_with("killed")).collect();
    assert_eq!(lines.len(), swaps() as usize, "{run:#?}");
    for line in lines {
        let good = line.ends_with("owners 0, hangs 0 0") || line.ends_with("owners 1, hangs 0 0");
        assert!(good, "{line}: {run:#?}");
    }
}

#[test]
fn whoever_is_killed_in_a_swap_there_is_one_owner_or_none() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    check(&killed(&scene, "stdpkt swap $name -- $router"));
    scene.assert_nothing_left();
}

#[test]
fn whoever_is_killed_in_an_insert_there_is_one_owner_or_none() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    check(&killed(&scene, "stdpkt insert $name:left -- stdpkt tee x.pcap"));
    scene.assert_nothing_left();
}
