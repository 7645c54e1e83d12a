//! EtherPIPE's one-liners, on live chains: frames are lines of text, and what
//! filters lines filters frames. awk and sed keep lines back in a pipeline
//! unless told not to: `fflush()` (and `-W interactive`, which only mawk needs
//! and knows), `sed -u`.

use super::{bash, ok, scene};
use crate::support::need::{need, need_functions};

/// Frames from `left` go through `filter` as text; the way back is a FIFO.
fn chain(left: &str, filter: &str, right: &str) -> String {
    format!(
        "mkfifo back
         stdpkt run --link east,at=back:/dev/stdout,ip=10.0.0.1/24 {left} \
         | stdpkt dump --format hex | {filter} \
         | stdpkt run --link west,at=/dev/stdin:back,ip=10.0.0.2/24 \
             --setup 'ip link set dev west address 02:00:00:00:00:02' {right}
         status=$?; rm back; exit $status"
    )
}

/// An awk program as each awk wants to be called.
fn awk(program: &str) -> String {
    let unbuffered = "$(awk -W version 2>&1 | grep -q ^mawk && echo '-W interactive')";
    format!("awk {unbuffered} '{program}'")
}

#[test]
fn a_filter_of_hardware_addresses_by_awk() {
    need_functions!("bash", "ping", "awk", "ip");
    let scene = scene();
    for (address, received) in [("020000000002", 5), ("020000000003", 0)] {
        let only = format!(r#"$2 == "FFFFFFFFFFFF" || $2 == "{address}" {{ print; fflush() }}"#);
        let run =
            bash(&scene, &chain("-- ping -c5 -i0.05 -W5 10.0.0.2", &awk(&only), "").to_string());
        assert!(run.err.contains(&format!("{received} received")), "{address}: {run:#?}");
    }
    scene.assert_nothing_left();
}

#[test]
fn vlan_tags_put_on_and_taken_off_by_sed() {
    need_functions!("bash", "ping", "sed", "tshark");
    let scene = scene();
    // Tag 100 behind the addresses of each frame, on the line between the two.
    let trunk = r"sed -u 's/^\(\S* \S* \S*\) \(..\)\(..\) /\1 8100 00 64 \2 \3 /' \
                  | tee trunk.txt | sed -u 's/ 8100 00 64 \(..\) \(..\)/ \1\2/'";
    let run = bash(&scene, &chain("-- ping -c5 -i0.05 10.0.0.2", trunk, ""));
    assert!(run.err.contains("5 received"), "{run:#?}");
    ok(&scene, "stdpkt feed trunk.txt | stdpkt dump -w trunk.pcap");
    let tagged = "tshark -r trunk.pcap -Y 'vlan.id == 100 && icmp && !_ws.malformed' 2>/dev/null";
    assert_eq!(ok(&scene, tagged).lines().count(), 5);
    scene.assert_nothing_left();
}

#[test]
fn a_port_mirror_by_tee() {
    need_functions!("bash", "ping", "tee", "tcpdump");
    let scene = scene();
    let run = bash(
        &scene,
        &format!(
            "mkfifo port
             stdpkt feed < port | tcpdump -nr - icmp > seen 2>/dev/null & mirror=$!
             ({}) || exit
             wait $mirror",
            chain("-- ping -c5 -i0.05 10.0.0.2", "tee port", "")
        ),
    );
    assert!(run.status == 0 && run.err.contains("5 received"), "{run:#?}");
    assert_eq!(ok(&scene, "grep -c 'echo request' seen"), "5\n");
    scene.assert_nothing_left();
}
