//! Functions are killed and started again, for as long as one likes, while
//! netperf runs through them. Ten seconds by default; for a long run:
//!
//! ```text
//! STDPKT_TESTS_REVIVE_SECONDS=3600 cargo test --release -p stdpkt-tests --test e2e revive -- --nocapture
//! ```
//!
//! client, two routers, server, joined by FIFOs. A killed router must not end a
//! TCP connection; a killed server ends it, and the next one works. Who lives on
//! takes up no more for it.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::need::{need, need_functions};
use crate::support::procs::Process;
use crate::support::scene::{Play, Scene};
use crate::support::{SOON, WATCHDOG, wait_until};

/// Each with a word that is on its command line only.
const FUNCTIONS: [(&str, &str); 4] = [
    (
        "--gateway=10.0.1.2",
        "--link x,at=a,ip=10.0.1.1/24 -- sh -c 'until [ -e stop ]; do \
         netperf -H 10.0.3.1 -l 12 -P0 -t TCP_STREAM -- -o THROUGHPUT >>goodput 2>>complaints; \
         echo $? >>statuses; sleep 0.1; done'",
    ),
    (
        "--route=10.0.3.0/24=10.0.2.2",
        "--forward --link x,at=a,ip=10.0.1.2/24 --link y,at=b:c,ip=10.0.2.1/24",
    ),
    (
        "--route=10.0.1.0/24=10.0.2.1",
        "--forward --link x,at=c:b,ip=10.0.2.2/24 --link y,at=d,ip=10.0.3.2/24",
    ),
    (
        "--gateway=10.0.3.2",
        "--link x,at=d,ip=10.0.3.1/24 --setup 'netserver -4 >/dev/null' -- sleep 100000",
    ),
];
const CLIENT: usize = 0;
const SERVER: usize = 3;
/// So much arrives before a chain counts as recovered: more than what a TCP sends
/// before it learns that its peer is gone.
const ENOUGH: u64 = 16 << 20;

/// What a process takes up.
#[derive(Debug, Clone, Copy)]
struct Footprint {
    descriptors: usize,
    /// Mappings, so that one forgotten ring would show. In KiB.
    size: u64,
    /// Memory of its own, in KiB.
    anonymous: u64,
}

impl Footprint {
    fn of(process: &Process) -> Footprint {
        let proc = format!("/proc/{}", process.pid);
        let status = fs::read_to_string(format!("{proc}/status")).expect("a live process");
        let kib = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).expect(field);
            line.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
        };
        Footprint {
            descriptors: fs::read_dir(format!("{proc}/fd")).expect("a live process").count(),
            size: kib("VmSize:"),
            anonymous: kib("RssAnon:"),
        }
    }

    /// Whether `self` is not more than `before`; the allocator may keep a little.
    fn within(&self, before: &Footprint) -> bool {
        self.descriptors <= before.descriptors
            && self.size <= before.size
            && self.anonymous <= before.anonymous + 256
    }
}

struct Chain<'scene> {
    scene: &'scene Scene,
    plays: Vec<Option<Play<'scene>>>,
}

impl<'scene> Chain<'scene> {
    fn start(scene: &'scene Scene) -> Chain<'scene> {
        assert_eq!(scene.sh("mkfifo a b c d").status, 0);
        let plays = (0..FUNCTIONS.len()).map(|which| Some(play(scene, which))).collect();
        Chain { scene, plays }
    }

    fn function(&self, which: usize) -> Process {
        self.scene.function(FUNCTIONS[which].0)
    }

    /// Bytes that reached the server.
    fn received(&self) -> u64 {
        let path = format!("/proc/{}/net/dev", self.function(SERVER).pid);
        let devices = fs::read_to_string(path).unwrap_or_default();
        let counters = devices.lines().find_map(|line| line.trim().strip_prefix("x:"));
        counters.and_then(|c| c.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    /// Waits until frames get through again, and says how long that took.
    fn recover(&self) -> Duration {
        let before = self.received();
        // A TCP that was long without a route takes as long again.
        wait_until(5 * WATCHDOG, || match self.received() {
            now if now >= before + ENOUGH => Ok(()),
            now => Err(format!("{} bytes; {}", now - before, self.scene.everything_said())),
        })
    }

    /// kill -9; all that was the function's goes with it.
    fn kill(&mut self, which: usize) {
        self.scene.signal(&self.function(which), Signal::KILL);
        let outcome = self.plays[which].take().expect("it runs").end();
        assert_eq!((outcome.status, outcome.err.as_str()), (137, ""), "{outcome:?}");
        let word = FUNCTIONS[which].0;
        wait_until(SOON, || {
            let all = self.scene.processes();
            let left: Vec<_> = all.iter().filter(|p| p.args.iter().any(|a| a == word)).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
    }

    /// Exit statuses of netperf so far: good ones, others.
    fn runs(&self) -> (usize, usize) {
        let all = fs::read_to_string(self.scene.path("statuses")).unwrap_or_default();
        let good = all.lines().filter(|&line| line == "0").count();
        (good, all.lines().count() - good)
    }
}

/// In our own process group, so that who stops us stops all.
fn play(scene: &Scene, which: usize) -> Play<'_> {
    let (word, rest) = FUNCTIONS[which];
    let mut command = scene.command("sh");
    command.args(["-c", &format!("exec stdpkt run {word} {rest}")]);
    std::os::unix::process::CommandExt::process_group(
        &mut command,
        rustix::process::getpgrp().as_raw_nonzero().get(),
    );
    let play = scene.start(command);
    wait_until(SOON, || scene.find_function(word).map(drop).ok_or(format!("no {word}")));
    play
}

#[test]
fn tcp_lives_through_killed_routers_and_survivors_do_not_grow() {
    need_functions!("netperf", "netserver", "mkfifo");
    let seconds = std::env::var("STDPKT_TESTS_REVIVE_SECONDS").ok();
    let seconds = seconds.map_or(10, |text| text.parse().expect("a number of seconds"));
    let scene = Scene::new();
    let mut chain = Chain::start(&scene);
    println!("up and recovered after {:?}", chain.recover());
    let start = Instant::now();
    let mut before = None;
    // Each by function.
    let (mut kills, mut slowest) = ([0u32; 4], [Duration::ZERO; 4]);
    while start.elapsed() < Duration::from_secs(seconds) {
        let round = kills.iter().sum::<u32>() + 1;
        let which = match round % 8 {
            0 => SERVER,
            n if n % 2 == 0 => 2,
            _ => 1,
        };
        chain.kill(which);
        kills[which] += 1;
        chain.plays[which] = Some(play(&scene, which));
        slowest[which] = slowest[which].max(chain.recover());
        let (good, bad) = chain.runs();
        // Only a killed server may end a netperf, and only the one that ran.
        let complaints = || fs::read_to_string(scene.path("complaints")).unwrap_or_default();
        assert!(bad <= kills[SERVER] as usize, "after kills {kills:?}: {}", complaints());
        let client = chain.function(CLIENT);
        // All there is has been used by then.
        let limit = *before.get_or_insert_with(|| Footprint::of(&client));
        wait_until(SOON, || match Footprint::of(&client) {
            now if now.within(&limit) => Ok(()),
            now => Err(format!("{now:?} instead of {limit:?}")),
        });
        if round % 64 == 0 {
            println!(
                "{:.0} s: kills {kills:?}, netperf {good} good, {bad} not, slowest recoveries \
                 {slowest:?}, client {:?}",
                start.elapsed().as_secs_f64(),
                Footprint::of(&client)
            );
        }
        std::thread::sleep(Duration::from_millis(u64::from(round) * 701 % 2900 + 100));
    }
    let client = Footprint::of(&chain.function(CLIENT));
    fs::write(scene.path("stop"), "").expect("scene");
    // Only a connection that is whole at its end has a good status.
    let outcome = chain.plays[CLIENT].take().expect("it runs").end();
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let (good, bad) = chain.runs();
    println!(
        "{} s: kills {kills:?}, netperf {good} good, {bad} not; slowest recoveries {slowest:?}; \
         client {before:?} then {client:?}",
        start.elapsed().as_secs()
    );
    assert!(good > 0, "no connection came to its end");
    for which in 1..FUNCTIONS.len() {
        scene.signal(&chain.function(which), Signal::TERM);
        assert_eq!(chain.plays[which].take().expect("it runs").end().status, 143);
    }
    scene.assert_nothing_left();
}
