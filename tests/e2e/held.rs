//! A function that is held (`run --restart`): its links stay open in another process, and are its own
//! again after each death, whatever has become of its neighbours meanwhile.

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};
use crate::swap::{name, said};
use crate::unprivileged::as_nobody;

/// `kill_held` kills the function of `$holder`, and waits until another one runs; `more` waits until the
/// client was answered again.
const SHELL: &str = r#"
    child() { cut -d " " -f 1 /proc/$holder/task/$holder/children; }
    kill_held() {
        victim=$(child); kill -9 $victim || exit
        until now=$(child) && [ -n "$now" ] && [ "$now" != "$victim" ]; do sleep 0.02; done
    }
    answered() { grep -c "1 received" pings; }
    more() { had=$(answered); until [ "$(answered)" -gt $((had + 2)) ]; do kill -0 $holder || exit; sleep 0.02; done; }
    : > pings; mkfifo f
"#;
/// A client's CMD: notes what becomes of its carrier, and pings until there is a file `end`.
const CLIENT: &str = "ip -o monitor link > changes &
    until [ -e end ]; do ping -q -c1 -W1 10.0.0.1 >> pings || sleep 0.02; done";

fn goes_on(scene: &Scene, run: &Outcome, deaths: u32) {
    said(run, "held 143");
    let last = format!("restarts: {deaths}, last after status 137");
    assert!(run.out.contains(&last), "{last}: {run:#?}");
    let changes = std::fs::read_to_string(scene.path("carrier")).expect("changes");
    assert!(!changes.contains("NO-CARRIER"), "{changes} {run:#?}");
    scene.assert_nothing_left();
}

#[test]
fn an_ordinary_users_function_goes_on_with_its_links_after_each_death() {
    need_functions!("root", "user namespaces", "mkfifo", "ping", "ip", "unshare", "setpriv");
    let scene = Scene::new();
    let h = name("uh");
    let run = as_nobody(
        &scene,
        &format!(
            "{SHELL}
            stdpkt run --link r,at=f,ip=10.0.0.2/24 -- sh -c '{CLIENT}' & client=$!
            stdpkt run --name {h} --restart --link l,at=f,ip=10.0.0.1/24 & holder=$!
            for death in 1 2 3; do more; kill_held; done; more
            stdpkt ls --chains {h}; cp changes carrier
            touch end; wait $client; kill $holder; wait $holder; echo held $?"
        ),
    );
    goes_on(&scene, &run, 3);
}

/// Its neighbour gives its end away and takes it back, and that end has other owners meanwhile.
#[test]
fn whoever_comes_between_and_goes_the_held_function_dies_and_goes_on() {
    need_functions!("mkfifo", "ping", "ip");
    for chain in [
        "stdpkt run --name CLIENT --link r,at=f,ip=10.0.0.2/24 -- sh -c 'CMD' & client=$!
         stdpkt run --name HELD --restart --link left,at=f,ip=10.0.0.1/24 & holder=$!",
        "stdpkt run --name CLIENT --right 10.0.0.2/24 -- sh -c 'CMD' \
         | stdpkt run --name HELD --restart --left 10.0.0.1/24 & holder=$! client=",
    ] {
        let scene = Scene::new();
        let [c, h, t] = ["hc", "hh", "ht"].map(name);
        let chain = chain.replace("CLIENT", &c).replace("HELD", &h).replace("CMD", CLIENT);
        let run = scene.sh(&format!(
            "{SHELL}{chain}
            more
            stdpkt insert {h}:left -- stdpkt tee --name {t} t.pcap || exit; more; kill_held; more
            stdpkt swap {t} -- stdpkt tee --name {t} u.pcap || exit; more; kill_held; more
            stdpkt remove {t} || exit; more; kill_held; more
            stdpkt ls --chains {h}; cp changes carrier
            [ -z \"$client\" ] && kill $holder; touch end; [ -n \"$client\" ] && wait $client && kill $holder
            wait $holder; echo held $?"
        ));
        goes_on(&scene, &run, 3);
    }
}

#[test]
fn between_two_that_are_held_nothing_is_put_in_or_taken_out() {
    need_functions!("mkfifo");
    let scene = Scene::new();
    let [a, b, t] = ["ha", "hb", "htt"].map(name);
    let run = scene.sh(&format!(
        "mkfifo f
         up() {{ until [ \"$(stdpkt ls $1 2>/dev/null | grep -c ring)\" -ge $2 ]; do sleep 0.05; done; }}
         stdpkt run --name {a} --restart --link l,at=f & one=$!
         stdpkt run --name {b} --restart --link l,at=f & two=$!
         up {a} 2
         stdpkt insert {a}:l -- stdpkt tee x.pcap; echo insert $?
         up {a} 2; kill $one $two; wait
         stdpkt run --name {a} --restart --right none | stdpkt tee --name {t} t.pcap \
             | stdpkt run --name {b} --restart --left none & chain=$!
         up {t} 4
         stdpkt remove {t}; echo remove $?
         up {t} 4; kill $chain; wait"
    ));
    said(&run, "insert 125");
    said(&run, "remove 125");
    assert_eq!(run.err.matches("the process that holds it").count(), 2, "{run:#?}");
    assert_eq!(run.err.lines().count(), 2, "{run:#?}");
    scene.assert_nothing_left();
}
