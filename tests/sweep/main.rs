//! What happens when a system call fails.
//!
//! Chains run whose every system call, of each command and its keeper, from the start to
//! the end, is made to fail once, with each error that it can have. Whatever fails:
//! within 10 s the chain has ended, nothing is left behind, nobody has panicked, and
//! either the work is done or exactly one line says why it is not, and a status is not 0.
//!
//! A sample by default, the same each time; `--seed N` takes another. The whole
//! takes hours:
//!
//! ```text
//! cargo test -p stdpkt-tests --test sweep -- --all [--only SCENARIO[:COMMAND[:CALL[:NTH[:ERROR]]]]]
//! ```

mod calls;
mod inject;
mod run;
mod scenario;
#[path = "../e2e/support/mod.rs"]
#[allow(dead_code, unused_imports, unused_macros, reason = "the end-to-end tests use all of it")]
mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use calls::{CALLS, Call, LEFT_OUT};
use inject::{Fault, Point};
use run::{Report, run};
use scenario::{SCENARIOS, Scenario};
use support::need;

/// How long a sample takes unless told.
const SAMPLE: Duration = Duration::from_secs(30);
/// Of many calls of a kind, the first and the last ones are made to fail.
const FIRST: u32 = 6;
const LAST: u32 = 2;

/// What the command line says.
#[derive(Debug, Default)]
struct Args {
    /// Not only a sample.
    all: bool,
    seed: u64,
    /// How long a sample takes at most, apart from the last runs.
    sample: Duration,
    /// Only what begins so.
    only: String,
    /// Show what was said in each run.
    verbose: bool,
}

/// One fault in one scenario.
#[derive(Clone)]
struct Case {
    scenario: &'static Scenario,
    command: usize,
    fault: Fault,
    name: String,
}

impl Case {
    /// Runs it; what is bad is run again, since on a machine that has other things to do
    /// a ping may be lost to them.
    fn play(&self) -> Result<Report> {
        let report = run(self.scenario, self.command, Some(self.fault))?;
        if report.complaints.is_empty() {
            return Ok(report);
        }
        let again = run(self.scenario, self.command, Some(self.fault))?;
        if again.complaints.is_empty() {
            say::line!("{}: {}, and then not again", self.name, report.complaints.join("; "));
        }
        Ok(again)
    }
}

fn main() {
    let needs = ["/dev/net/tun", "namespaces", "bash", "ping", "sleep", "cat"];
    if !cfg!(target_arch = "x86_64") {
        say::line!("sweep: skipped, for want of x86_64, whose registers it knows");
        return;
    }
    if !need::have(&needs) {
        return;
    }
    match sweep(&args()) {
        Ok(0) => {}
        Ok(bad) => {
            say::line!("sweep: {bad} runs are not as they should be");
            std::process::exit(1);
        }
        Err(error) => {
            say::line!("sweep: {error:#}");
            std::process::exit(1);
        }
    }
}

fn args() -> Args {
    let mut args = Args { seed: 1, sample: SAMPLE, ..Args::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--all" => args.all = true,
            "--verbose" => args.verbose = true,
            "--seconds" => {
                let n = words.next().and_then(|n| n.parse().ok()).expect("a number");
                args.sample = Duration::from_secs(n);
            }
            "--seed" => args.seed = words.next().and_then(|n| n.parse().ok()).expect("a number"),
            "--only" => args.only = words.next().expect("a scenario"),
            _ => {} // the test harness of others, such as --nocapture
        }
    }
    args
}

/// Returns how many runs were bad.
fn sweep(args: &Args) -> Result<usize> {
    let mut cases = cases(args)?;
    if !args.all && args.only.is_empty() {
        fastrand::Rng::with_seed(args.seed).shuffle(&mut cases);
        say::line!("sweep: a sample of {} cases, --seed {}", cases.len(), args.seed);
    } else {
        say::line!("sweep: {} cases", cases.len());
    }
    let sample = !args.all && args.only.is_empty();
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    let (done, missed, bad) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let failed: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if sample && start.elapsed() > args.sample {
                break;
            }
            let report = match case.play() {
                Ok(report) => report,
                Err(error) => {
                    *failed.lock().expect("a lock") = Some(error.context(case.name.clone()));
                    break;
                }
            };
            done.fetch_add(1, Ordering::Relaxed);
            missed.fetch_add((!report.trace.injected).into(), Ordering::Relaxed);
            bad.fetch_add((!report.complaints.is_empty()).into(), Ordering::Relaxed);
            tell(case, &report, args.verbose);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
            scope.spawn(work);
        }
    });
    if let Some(error) = failed.into_inner().expect("a lock") {
        return Err(error);
    }
    let [done, missed, bad] = [done, missed, bad].map(AtomicUsize::into_inner);
    say::line!(
        "sweep: {done} runs in {:.0?}; in {missed} of them the call was not reached; {bad} bad",
        start.elapsed()
    );
    Ok(bad)
}

fn tell(case: &Case, report: &Report, verbose: bool) {
    if !report.complaints.is_empty() || verbose {
        let said = report.said.trim_end().replace('\n', "\n    ");
        let what = match report.complaints.is_empty() {
            true => "fine".to_owned(),
            false => report.complaints.join("; "),
        };
        let object = &report.trace.object;
        say::text(format!("{}: {what}\n    {object}\n    {said}\n", case.name));
    }
}

/// Runs each chain without a fault and makes cases of the calls that were seen.
fn cases(args: &Args) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut unknown: BTreeMap<i64, u32> = BTreeMap::new();
    for scenario in SCENARIOS {
        for command in 0..scenario.commands() {
            let name = format!("{}:{command}", scenario.name);
            if !(name.starts_with(&args.only) || args.only.starts_with(&name)) {
                continue;
            }
            let report = run(scenario, command, None).with_context(|| name.clone())?;
            if !report.complaints.is_empty() {
                bail!("{name}, without a fault: {}\n{}", report.complaints.join("; "), report.said);
            }
            let mut counts: Vec<_> = report.trace.counts.into_iter().collect();
            counts.sort_unstable();
            for ((task, number), count) in counts {
                let Some(call) = CALLS.iter().find(|call| call.number == number) else {
                    *unknown.entry(number).or_default() += 1;
                    continue;
                };
                let nths = (1..=count).filter(|nth| *nth <= FIRST || *nth + LAST > count);
                for nth in nths {
                    cases.extend(call.errors.iter().map(|&errno| {
                        case(scenario, command, call, Point { task, call: number, nth }, errno)
                    }));
                }
            }
        }
    }
    cases.retain(|case| case.name.starts_with(&args.only));
    let unknown: Vec<_> =
        unknown.keys().filter(|number| !LEFT_OUT.contains(number)).map(i64::to_string).collect();
    if !unknown.is_empty() {
        say::line!("sweep: calls without errors to try: {}", unknown.join(" "));
    }
    Ok(cases)
}

fn case(scenario: &'static Scenario, command: usize, call: &Call, at: Point, errno: i32) -> Case {
    let error = nix::errno::Errno::from_raw(errno);
    let Point { task, nth, .. } = at;
    let name = format!("{}:{command}:{task}:{}:{nth}:{error:?}", scenario.name, call.name);
    let fault = Fault { at, errno, takes_effect: call.takes_effect() };
    Case { scenario, command, fault, name }
}
