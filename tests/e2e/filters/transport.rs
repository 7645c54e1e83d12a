//! Between two functions, programs that carry bytes and know nothing of frames:
//! as `ssh` does, both ways.

use super::{bash, scene};
use crate::support::need::{need, need_functions};

/// Pings, and a stream of TCP that comes through whole.
const CLIENT: &str = "sh -c 'ping -q -c3 -i0.05 -W5 10.0.0.2 \
                      && stdpkt perf client 10.0.0.2 --seconds 0.3'";
const SERVER: &str = "stdpkt perf server";

fn assert_carried(there: &str, back: &str) {
    let scene = scene();
    let run = bash(
        &scene,
        &format!(
            "mkfifo back
             stdpkt run --link east,at=/dev/stdin:/dev/stdout,ip=10.0.0.1/24 -- {CLIENT} < back \
             | {there} \
             | stdpkt run --link west,at=/dev/stdin:/dev/stdout,ip=10.0.0.2/24 -- {SERVER} \
             | {back} > back"
        ),
    );
    assert!(run.err.contains("3 received") && run.err.contains("Gbit/s"), "{run:#?}");
    scene.assert_nothing_left();
}

#[test]
fn cat_carries_a_link() {
    need_functions!("bash", "ping", "cat");
    assert_carried("cat", "cat");
}

#[test]
fn socat_carries_a_link() {
    need_functions!("bash", "ping", "socat");
    assert_carried("socat -u STDIN STDOUT", "socat -u STDIN STDOUT");
}

#[test]
fn one_connection_carries_both_directions() {
    // What `ssh host stdpkt run ...` is: one program, both ways, a socket in it.
    need_functions!("bash", "ping", "socat");
    let scene = scene();
    let run = bash(
        &scene,
        &format!(
            "mkfifo back
             echo 'stdpkt run --link west,at=/dev/stdin:/dev/stdout,ip=10.0.0.2/24 -- {SERVER}' > far
             socat UNIX-LISTEN:wire EXEC:'sh far',pipes & far=$!
             until [ -S wire ]; do sleep 0.02; done
             stdpkt run --link east,at=/dev/stdin:/dev/stdout,ip=10.0.0.1/24 -- {CLIENT} < back \
             | socat STDIO UNIX-CONNECT:wire > back
             wait $far"
        ),
    );
    assert!(run.err.contains("3 received") && run.err.contains("Gbit/s"), "{run:#?}");
    scene.assert_nothing_left();
}
