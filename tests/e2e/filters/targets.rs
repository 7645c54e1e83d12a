//! Which targets get new flows: weights, drained ones, checks, those that do not answer.

use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use super::flows::{names, play, scene};
use crate::support::need::{need, need_functions};

#[test]
fn weights_are_shares_and_a_drained_target_has_none() {
    need_functions!("bash", "python3");
    let scene = scene();
    let run = play(
        &scene,
        "mkfifo f1 f2 f3
         for n in 1 2 3; do serve f$n f$n; pids=\"$pids $pid\"; done
         stdpkt run --right 10.1.0.1/24 -- bash -c 'meet 10.1.0.2 f1 f2; python3 flows.py get 10.1.0.2 100 9' \
         | stdpkt balance --weight f1=4 --drain f3 f1 f2 f3
         kill $pids; wait",
    );
    let from = names(&run, "got 9 from");
    let count = |name| from.iter().filter(|it| **it == name).count();
    assert_eq!((from.len(), count("f3")), (100, 0), "{run:#?}");
    // 80 of them, give or take what chance may do to one run of many millions.
    assert!(count("f1") > 55 && count("f2") > 1, "{run:#?}");
}

#[test]
fn ls_shows_the_flows_of_each_target() {
    need_functions!("bash", "python3");
    let scene = scene();
    let run = play(
        &scene,
        "mkfifo f1 f2 f3 f4
         for n in 1 2 3; do serve f$n f$n; pids=\"$pids $pid\"; done
         stdpkt run --right 10.1.0.1/24 -- bash -c 'meet 10.1.0.2 f1 f2
             python3 flows.py hold 10.1.0.2 40 end' \
         | stdpkt balance --drain f3 f1 f2 f3 f4 & chain=$!
         until [ -e end.held ]; do kill -0 $chain || exit; sleep 0.05; done
         stdpkt ls --json > ls.json; stdpkt ls > ls.txt
         touch end; wait $chain; kill $pids; wait",
    );
    let read = |file: &str| std::fs::read_to_string(scene.path(file)).expect("ls");
    let report: Value = serde_json::from_str(&read("ls.json")).expect("JSON");
    let links = report["links"].as_array().expect("links");
    let flows = |name: &str| {
        let pipe = std::fs::metadata(scene.path(name)).expect("a FIFO");
        let pipe = format!("{:x}:[{}]", pipe.dev(), pipe.ino());
        let of = links
            .iter()
            .filter(|link| link["pipe"] == pipe.as_str() && link["flows"] != Value::Null);
        let of: Vec<_> = of.map(|link| &link["flows"]).collect();
        assert_eq!(of.len(), 1, "{name}: {links:#?} {run:#?}");
        let number = |field: &str| of[0][field].as_u64().expect("a number");
        (number("now"), number("total"), number("forgotten"), of[0]["takes_new"] == true)
    };
    let [one, two] = ["f1", "f2"].map(flows);
    assert!(one.0 + two.0 >= 40 && one.1 >= one.0 && two.1 >= two.0, "{one:?} {two:?}");
    assert_eq!((one.2, one.3, two.2, two.3), (0, true, 0, true));
    assert_eq!([flows("f3"), flows("f4")], [(0, 0, 0, false); 2]);
    assert!(read("ls.txt").contains("FLOWS") && read("ls.txt").contains("0, no new"));
}

#[test]
fn a_check_takes_targets_out_and_in() {
    need_functions!("bash", "python3");
    let scene = scene();
    // One that goes out keeps the flows that it has.
    let run = play(
        &scene,
        "mkfifo f1 f2; touch in.f1
         for n in 1 2; do serve f$n f$n; pids=\"$pids $pid\"; done
         cat > client.sh <<'END'
said() { until grep -q \"$1\" log; do sleep 0.05; done; }
ready f1 f2; said 'f2: --check ended with status 1'
python3 flows.py get 10.1.0.2 20 9
python3 flows.py hold 10.1.0.2 40 end & hold=$!
until [ -e end.held ]; do sleep 0.05; done
rm in.f1; said 'f1: --check ended with status 1'
touch in.f2; said 'f2: --check succeeded'
python3 flows.py get 10.1.0.2 20 8
touch end; wait
END
         : > log
         stdpkt run --right 10.1.0.1/24 -- bash client.sh \
         | stdpkt balance --check 'test -e in.$STDPKT_TARGET' f1 f2 2>> log
         kill $pids; wait",
    );
    assert_eq!(names(&run, "got 9 from"), ["f1"; 20], "{run:#?}");
    assert_eq!(names(&run, "got 8 from"), ["f2"; 20], "{run:#?}");
    assert_eq!(names(&run, "lost"), [""; 0], "{run:#?}");
    assert_eq!(names(&run, "kept"), ["f1"; 40], "{run:#?}");
}

#[test]
fn a_check_that_hangs_has_failed_and_is_ended() {
    need_functions!("bash", "python3");
    let scene = scene();
    let run = play(
        &scene,
        "mkfifo f1 f2
         for n in 1 2; do serve f$n f$n; pids=\"$pids $pid\"; done
         stdpkt run --right 10.1.0.1/24 -- bash -c 'ready f1 f2
             until grep -q \"f2: --check took longer\" log; do sleep 0.05; done
             python3 flows.py get 10.1.0.2 20 9' \
         | stdpkt balance --check '[ $STDPKT_TARGET = f1 ] || sleep 1000' f1 f2 2> log
         kill $pids; wait",
    );
    assert_eq!(names(&run, "got 9 from"), ["f1"; 20], "{run:#?}");
}

/// It neither answers nor takes what fills its ring, and the others do not wait for it; when it
/// goes on it gets flows again.
#[test]
fn connections_are_tried_with_another_where_a_target_is_stopped() {
    need_functions!("bash", "python3");
    let scene = scene();
    let run = play(
        &scene,
        "mkfifo f1 f2 f3
         for n in 1 2 3; do serve f$n f$n; pids=\"$pids $pid\"; [ $n = 1 ] && one=$pid; done
         cat > client.sh <<'END'
meet 10.1.0.2 f1 f2 f3; python3 flows.py flood 10.1.0.2 f1 &
until [ -e flooded ]; do sleep 0.05; done
python3 flows.py get 10.1.0.2 30 8; python3 flows.py get 10.1.0.2 30 7
touch last; until [ -e going ]; do sleep 0.05; done
meet 10.1.0.2 f1; echo again >&2
END
         stdpkt run --right 10.1.0.1/24 -- bash client.sh | stdpkt balance f1 f2 f3 & chain=$!
         until [ -e found ]; do kill -0 $chain || exit; sleep 0.05; done
         kill -STOP $one; touch stopped; until [ -e last ]; do kill -0 $chain || exit; sleep 0.05; done
         kill -CONT $one; touch going; wait $chain
         kill $pids; wait",
    );
    for word in ["got 8 from", "got 7 from"] {
        let from = names(&run, word);
        assert_eq!((from.len(), from.contains(&"f1")), (30, false), "{word}: {run:#?}");
    }
    assert!(run.err.lines().any(|line| line == "again"), "{run:#?}");
}

/// The balancer is killed and another takes its place: flows are where they were by their hash.
#[test]
fn a_lost_table_loses_no_connection() {
    need_functions!("bash", "python3");
    let scene = scene();
    let run = play(
        &scene,
        "mkfifo c f1 f2 f3
         for n in 1 2 3; do serve f$n f$n; pids=\"$pids $pid\"; done
         stdpkt run --link r,at=c,ip=10.1.0.1/24 -- bash -c 'ready f1 f2 f3
             python3 flows.py hold 10.1.0.2 60 end' & client=$!
         stdpkt balance f1 f2 f3 < c & balance=$!
         until [ -e end.held ]; do kill -0 $client || exit; sleep 0.05; done
         for turn in 1 2 3; do
             kill -9 $balance; wait $balance; stdpkt balance f1 f2 f3 < c & balance=$!; sleep 2
         done
         touch end; wait $client; kill $balance $pids; wait",
    );
    assert_eq!(names(&run, "lost"), [""; 0], "{run:#?}");
    assert_eq!(names(&run, "kept").len(), 60, "{run:#?}");
}

#[test]
fn mistakes_are_one_line_that_names_the_target() {
    need_functions!();
    let scene = scene();
    for (args, says) in [
        ("f1 f1", "f1: given twice"),
        ("f1 --drain f2", "f2: not among the targets"),
        ("f1 --weight f2=3", "f2: not among the targets"),
        ("f1 --weight f1", "write it like f1=3"),
        ("f1 --weight f1=0", "--drain"),
    ] {
        let run = scene.sh(&format!("stdpkt balance {args}"));
        assert!(run.status == 125 && run.only_line().contains(says), "{args}: {run:?}");
    }
}
