//! A side of a link wanders from process to process under traffic both ways, and
//! processes are killed (kill -9) at each step of that and at random moments: each frame
//! comes once and in order, and afterwards exactly one process has the side, or the link
//! has ended.
//!
//! ```text
//! cargo test --release -p stdpkt-shmring --test handover -- --rounds 1000
//! ```
//!
//! In each round this process is the neighbour. Children (this program again) hand the
//! other side on, each to the next; frames are numbered, and whoever gets the side goes
//! on with the numbers that the ring has counted.
#![cfg(not(loom))]

mod support;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};
use shmring::handover::{Giving, Handed, HandoverError, Outcome, Taking, socket_pair};
use shmring::{Link, Offer, PipeEnd, RecvError, Rendezvous, Role, RuntimeDir, Rx, Tx};
use support::{Chance, Frames, argument, footprint, scratch_with_fifo, watched_rounds};

/// Processes that the side goes through in a round.
const CHILDREN: usize = 4;

/// Where a process kills itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    BeforeGiving,
    Given,
    Gone,
    BeforeTaking,
    Seen,
    Taken,
}

const STEPS: [Step; 6] =
    [Step::BeforeGiving, Step::Given, Step::Gone, Step::BeforeTaking, Step::Seen, Step::Taken];

/// Status of a child to which nothing came.
const NOTHING: i32 = 3;

fn main() {
    if let Some(dir) = std::env::var_os("SHMRING_HANDOVER_CHILD") {
        return child(Path::new(&dir));
    }
    if std::env::args().any(|arg| arg == "--list") {
        return;
    }
    let rounds = argument("--rounds", 60);
    let scratch = scratch_with_fifo();
    let step = watched_rounds();

    let start = Instant::now();
    let mut chance = Chance::new(argument("--seed", 1));
    let (mut received, mut sent, mut handed) = (0, 0, 0);
    let mut early = 0;
    for n in 0..rounds {
        let totals = round(scratch.path(), n, &mut chance);
        received += totals.received;
        sent += totals.sent;
        handed += totals.handed;
        step.store(n + 1, Ordering::Relaxed);
        if n == rounds / 2 {
            early = footprint().0;
        }
    }
    println!(
        "{rounds} rounds in {:.0} s: {handed} hand-overs, {received} frames received and checked, {sent} sent",
        start.elapsed().as_secs_f64(),
    );
    assert_eq!(early, footprint().0, "descriptors leak");
    assert!(handed >= rounds && received > 0 && sent > 0);
}

struct Totals {
    received: u64,
    sent: u64,
    handed: u64,
}

fn meet(scratch: &Path, role: Role, label: &str) -> Rendezvous {
    let dir = RuntimeDir::at(&scratch.join("run")).expect("runtime directory");
    let end = PipeEnd::open(&scratch.join("fifo"), role).expect("the FIFO");
    let offer = Offer { label: label.into(), capacity: 256 << 10, ..Offer::default() };
    Rendezvous::new(end, &dir, offer).expect("a rendezvous")
}

fn round(scratch: &Path, n: u64, chance: &mut Chance) -> Totals {
    let child_writes = n.is_multiple_of(2);
    // One round in four without a kill, two with one at a step, one with one at any moment.
    let step = (n % 4 < 2).then(|| STEPS[(n / 2 % 6) as usize]);
    let at_random = n % 4 == 2;
    let victim = 1 + chance.below(CHILDREN as u64 - 2) as usize;
    let role = if child_writes { Role::Reader } else { Role::Writer };
    let mut rendezvous = meet(scratch, role, "parent");

    let mut children: Vec<Child> = Vec::new();
    let mut from = File::open("/dev/null").expect("/dev/null").into();
    for number in 0..CHILDREN {
        let (to, next) = socket_pair().expect("socketpair");
        let step = step.filter(|_| number == victim);
        let step = step.and_then(|step| STEPS.iter().position(|it| *it == step));
        let child = Command::new("/proc/self/exe")
            .env("SHMRING_HANDOVER_CHILD", scratch)
            .args(["--number", &number.to_string()])
            .args(["--writes", &u8::from(child_writes).to_string()])
            .args(["--step", &step.map_or(0, |step| step + 1).to_string()])
            .args(["--seed", &chance.below(1 << 30).to_string()])
            .stdin(std::mem::replace(&mut from, next))
            .stdout(to)
            .spawn();
        children.push(child.expect("a child"));
    }
    drop(from);
    let link = rendezvous.wait().expect("a link");
    let (mut tx, mut rx) = (link.tx.expect("a way out"), link.rx.expect("a way in"));
    let mut totals = Totals { received: 0, sent: 0, handed: 0 };
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_until_closed(&mut tx, n.is_multiple_of(3)));
        if at_random {
            let delay = Duration::from_micros(chance.below(12_000));
            let pid = Pid::from_child(&children[victim]);
            scope.spawn(move || {
                std::thread::sleep(delay);
                let _ = kill_process(pid, Signal::KILL); // not reaped before the scope ends
            });
        }
        let mut frames = Frames::new(2);
        loop {
            match frames.receive(&mut rx) {
                Ok(_) => {}
                Err(RecvError::Empty) => rx.wait(None).expect("wait"),
                Err(RecvError::Ended) => break,
                Err(error) => panic!("round {n}: {error}"),
            }
        }
        totals.received = frames.number;
        totals.sent = sender.join().expect("sender");
    });
    let ends: Vec<_> = children.iter_mut().map(|child| child.wait().expect("wait")).collect();
    check(n, step, victim, &ends);
    totals.handed = ends.iter().filter(|status| status.success()).count() as u64;
    totals
}

/// Who was there at the end, given where the victim died.
fn check(n: u64, step: Option<Step>, victim: usize, ends: &[ExitStatus]) {
    use std::os::unix::process::ExitStatusExt;
    let is_well = |status: &ExitStatus| status.success() || status.code() == Some(NOTHING);
    for (number, status) in ends.iter().enumerate() {
        let killed = number == victim && status.signal() == Some(Signal::KILL.as_raw());
        assert!(is_well(status) || killed, "round {n}, child {number}: {status}");
    }
    let Some(step) = step else { return };
    let later = &ends[victim + 1..];
    let goes_on = match step {
        // The next one has it.
        Step::Given | Step::Gone => true,
        // The link has ended, or the one before went on with it.
        _ => false,
    };
    assert_eq!(
        later.iter().all(|status| status.success()),
        goes_on,
        "round {n}: {step:?}, {ends:?}"
    );
    assert!(ends[..victim].iter().all(|status| status.success()), "round {n}: {step:?}, {ends:?}");
}

fn send_until_closed(tx: &mut Tx, now_and_then: bool) -> u64 {
    let mut frames = Frames::new(2);
    while !tx.is_closed() && frames.send(tx, false).is_ok() {
        tx.publish();
        if frames.number.is_multiple_of(64) || now_and_then {
            // Takes note of a hang-up even where the ring never fills.
            tx.woken().expect("woken");
        }
        if now_and_then {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    frames.number
}

/// One of the processes that have the side by turns.
fn child(scratch: &Path) {
    let step = (argument("--step", 0) as usize).checked_sub(1).map(|at| STEPS[at]);
    let die_at = |here| {
        if step == Some(here) {
            kill_process(rustix::process::getpid(), Signal::KILL).expect("kill");
        }
    };
    let mut chance = Chance::new(argument("--seed", 1));
    let handed = match argument("--number", 0) {
        0 => {
            let role = if argument("--writes", 0) == 1 { Role::Writer } else { Role::Reader };
            let mut rendezvous = meet(scratch, role, "child");
            let pipe = rendezvous.end().id();
            Handed { link: rendezvous.wait().expect("a link"), pipe }
        }
        _ => {
            die_at(Step::BeforeTaking);
            let taking = match Taking::receive(own(std::io::stdin()), None) {
                Ok(taking) => taking,
                // Whoever was to give it has died.
                Err(HandoverError::Ended) => std::process::exit(NOTHING),
                Err(error) => panic!("{error}"),
            };
            die_at(Step::Seen);
            let Ok((mut handed, _)) = taking.accept() else { std::process::exit(NOTHING) };
            die_at(Step::Taken);
            let handed = handed.pop().expect("a link");
            handed.identify("child");
            handed
        }
    };
    let Handed { link, pipe } = handed;
    let link = traffic(link, Duration::from_micros(chance.below(3000)));
    die_at(Step::BeforeGiving);
    let mut outcome = Giving::start(own(std::io::stdout()), vec![Handed { link, pipe }]);
    die_at(Step::Given);
    let outcome = loop {
        match outcome {
            Err(outcome) => break outcome,
            Ok(giving) => {
                let _ = poll(&mut [PollFd::new(&giving, PollFlags::IN)], None);
                match giving.poll() {
                    Ok(outcome) => break outcome,
                    Err(giving) => outcome = Ok(giving),
                }
            }
        }
    };
    die_at(Step::Gone);
    if let Outcome::Back(mut links, _) = outcome {
        let link = links.pop().expect("a link").link;
        drop(traffic(link, Duration::from_micros(chance.below(3000))));
    }
}

fn own(fd: impl AsFd) -> OwnedFd {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).expect("fcntl")
}

/// Sends and checks frames for a while.
fn traffic(mut link: Link, time: Duration) -> Link {
    let (tx, rx): (&mut Tx, &mut Rx) =
        (link.tx.as_mut().expect("a way out"), link.rx.as_mut().expect("a way in"));
    let (mut out, mut into) = (Frames::new(2), Frames::new(2));
    out.number = tx.counters().frames;
    into.number = rx.counters().frames;
    let begun = Instant::now();
    while begun.elapsed() < time {
        for _ in 0..4 {
            out.send(tx, false).expect("the neighbour lives");
        }
        tx.publish();
        rx.wait(None).expect("wait");
        while into.receive(rx).is_ok() {}
    }
    link
}
