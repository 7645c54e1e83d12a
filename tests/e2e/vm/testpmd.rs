//! DPDK's virtio_user, a front end without a machine.

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

/// It answers ARP and echo requests, so frames go both ways.
#[test]
fn a_dpdk_program_answers_over_a_link() {
    need_functions!("dpdk-testpmd", "ping");
    let scene = Scene::new();
    let outcome = scene.sh("stdpkt run --right 10.0.0.1/24 \
             -- sh -c 'until ping -q -c1 -W1 10.0.0.2; do :; done' \
         | stdpkt join --left vhost-user:unix:s & chain=$!
         until [ -S s ]; do sleep 0.05; done
         sleep 1000 | dpdk-testpmd --lcores '0@0,1@1' --no-huge -m 256 --no-pci --no-telemetry \
             --no-shconf --file-prefix t$$ --vdev=net_virtio_user0,path=s,queue_size=256 \
             -- --forward-mode=icmpecho --total-num-mbufs=2048 -a >pmd 2>&1 & pmd=$!
         wait $chain; status=$?; kill $pmd; pkill -P $$ sleep; wait; exit $status");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(outcome.err.contains(" 0% packet loss"), "{outcome:?}");
    scene.assert_nothing_left();
}
