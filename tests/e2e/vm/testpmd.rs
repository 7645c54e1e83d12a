//! DPDK's virtio_user, a front end without a machine.

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

/// It answers ARP and echo requests, so frames go both ways, and `ls` has a row for each.
#[test]
fn a_dpdk_program_answers_over_a_link() {
    need_functions!("dpdk-testpmd", "ping");
    let scene = Scene::new();
    let outcome = scene.sh("stdpkt run --right 10.0.0.1/24 \
             -- sh -c 'until ping -q -c1 -W1 10.0.0.2; do :; done; touch up
                       until [ -e seen ]; do sleep 0.05; done' \
         | stdpkt join --name card$$ --left vhost-user:unix:s & chain=$!
         until [ -S s ]; do sleep 0.05; done
         sleep 1000 | dpdk-testpmd --lcores '0@0,1@1' --no-huge -m 256 --no-pci --no-telemetry \
             --no-shconf --file-prefix t$$ --vdev=net_virtio_user0,path=s,queue_size=256 \
             -- --forward-mode=icmpecho --total-num-mbufs=2048 -a >pmd 2>&1 & pmd=$!
         until [ -e up ]; do sleep 0.05; done; stdpkt ls card$$; touch seen
         wait $chain; status=$?; kill $pmd; pkill -P $$ sleep; wait; exit $status");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(outcome.err.contains(" 0% packet loss"), "{outcome:?}");
    let rows: Vec<&str> = outcome.out.lines().filter(|row| row.contains(" edge ")).collect();
    assert_eq!(rows.len(), 2, "{outcome:?}");
    // Each has counted what went through: ARP and ICMP.
    let counted =
        |row: &&str| row.split_whitespace().filter_map(|it| it.parse().ok()).any(|n: u64| n > 1);
    assert!(rows.iter().all(counted), "{outcome:?}");
    scene.assert_nothing_left();
}

/// One DPDK program joins two vhost-user sockets: that of the link, where stdpkt is the back
/// end, and that of another DPDK program, which is a back end, too.
#[test]
fn a_back_end_of_dpdk_answers_through_another_program() {
    need_functions!("dpdk-testpmd", "dpdk vhost", "ping");
    let scene = Scene::new();
    let outcome = scene.sh("stdpkt run --right 10.0.0.1/24 \
             -- sh -c 'until ping -q -c1 -W1 10.0.0.2; do :; done' \
         | stdpkt join --left vhost-user:unix:s & chain=$!
         pmd() { # NAME MODE VDEV...
             name=$1 mode=$2; shift 2
             sleep 1000 | dpdk-testpmd --lcores '0@0,1@1' --no-huge -m 256 --no-pci --no-telemetry \
                 --no-shconf --file-prefix $name$$ $* \
                 -- --forward-mode=$mode --total-num-mbufs=2048 -a >$name 2>&1
         }
         pmd far icmpecho --vdev=net_vhost0,iface=t,queues=1 & far=$!
         until [ -S s ] && [ -S t ]; do sleep 0.05; done
         pmd between io --vdev=net_virtio_user0,path=s,queue_size=256 \
             --vdev=net_virtio_user1,path=t,queue_size=256 & between=$!
         wait $chain; status=$?
         pkill -P $between; pkill -P $far; wait; exit $status");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(outcome.err.contains(" 0% packet loss"), "{outcome:?}");
    scene.assert_nothing_left();
}
