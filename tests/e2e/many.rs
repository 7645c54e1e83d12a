//! Many chains start at the same moment: each comes up, and none says anything. A few by
//! default; for a long run:
//!
//! ```text
//! STDPKT_TESTS_MANY=500 STDPKT_TESTS_ROUNDS=10 cargo test --release -p stdpkt-tests --test e2e many -- --nocapture
//! ```

use std::time::{Duration, Instant};

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

/// The pairs of functions that all come up at once, unless told.
const PAIRS: u32 = 12;
/// A pair has so long, however many others start.
const EACH: Duration = Duration::from_millis(500);

fn wish(variable: &str, usual: u32) -> u32 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

#[test]
fn whatever_their_number_all_come_up_and_none_says_anything() {
    need_functions!("sleep");
    let pairs = wish("STDPKT_TESTS_MANY", PAIRS);
    for round in 1..=wish("STDPKT_TESTS_ROUNDS", 1) {
        let scene = Scene::new();
        // CMD is started when its link is up.
        let begin = Instant::now();
        let play = scene.start_sh(&format!(
            "n=0; while [ $n -lt {pairs} ]; do n=$((n + 1))
                 stdpkt run --right 10.0.0.1/24 -- sh -c \"echo >$n.first; exec sleep 10000\" \\
                 | stdpkt run --left 10.0.0.2/24 -- sh -c \"echo >$n.second; exec sleep 10000\" &
             done; wait"
        ));
        let limit = Duration::from_secs(10) + EACH * pairs;
        let up = || {
            let of_pair = |n| [format!("{n}.first"), format!("{n}.second")];
            (1..=pairs).flat_map(of_pair).filter(|name| scene.path(name).exists()).count() as u32
        };
        while up() < 2 * pairs && begin.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(50));
        }
        let (count, took) = (up(), begin.elapsed());
        println!("round {round}: {count} of {} functions in {took:.1?}", 2 * pairs);
        assert_eq!(count, 2 * pairs, "{}", scene.everything_said());
        assert_eq!(scene.everything_said(), "");
        for function in scene.processes().iter().filter(|it| it.is_function()) {
            scene.signal(function, rustix::process::Signal::TERM);
        }
        play.end();
        scene.assert_nothing_left();
    }
}
