//! Virtual Distributed Ethernet: vde_plug and dpipe, with what they reach.

use super::said;
use super::uplink::on_the_host;
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

#[test]
fn frames_go_through_vde_plug() {
    need_functions!("ping", "dpipe", "vde_plug", "vde_switch");
    let scene = Scene::new();
    let outcome = scene.sh(
        "vde_switch -d -s sw -p pid
         until [ -S sw/ctl ]; do sleep 0.05; done
         stdpkt run --right 10.0.0.2/24 -- sleep 1000 | stdpkt join --left vde -- vde_plug vde://$PWD/sw & chain=$!
         stdpkt run --right 10.0.0.1/24 -- sh -c 'for n in $(seq 50); do ping -q -c1 -W1 10.0.0.2 && exit; done; exit 1' \
             | stdpkt join --left vde -- vde_plug vde://$PWD/sw
         status=$?; kill $(cat pid) $chain; wait; exit $status",
    );
    assert!(said(&outcome).contains(" 0% packet loss"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn slirp_is_reached_by_vde_plug_and_by_dpipe() {
    need_functions!("root", "ip", "unshare", "socat", "dpipe", "vde_plug", "vde_plug slirp://");
    const GET: &str = "socat -u TCP:192.0.2.1:8000,retry=50,interval=0.1";
    for line in [
        format!(
            "stdpkt run --right 10.0.2.15/24 --gateway 10.0.2.2 -- {GET} OPEN:got,creat \
             | stdpkt join vde -- vde_plug slirp://"
        ),
        format!(
            "dpipe vde_plug slirp:// = stdpkt run --left 10.0.2.15/24,at=vde:stdio \
                 --gateway 10.0.2.2 -- {GET} OPEN:got,creat"
        ),
    ] {
        let scene = Scene::new();
        let outcome = on_the_host(
            &scene,
            "",
            &format!(
                "ip netns exec inet socat TCP-LISTEN:8000,fork,reuseaddr SYSTEM:'echo from the network' & server=$!
                 {line}; echo $?; kill $server; wait; cat got"
            ),
        );
        assert_eq!(outcome.out, "0\nfrom the network\n", "{line}: {outcome:?}");
        scene.assert_nothing_left();
    }
}
