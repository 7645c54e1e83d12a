//! One run of a chain, with one fault or none.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;

use crate::inject::{Fault, Trace, trace};
use crate::scenario::Scenario;
use crate::support::scene::{Outcome, Scene};

/// A chain in which something failed has ended after this long.
const LIMIT: Duration = Duration::from_secs(10);
/// Its traced command has begun after this long.
const BEGIN: Duration = Duration::from_secs(30);

/// What is said in a line of its own, besides: how many frames were lost, and that a link
/// is less than one may expect.
const NOTES: &[&str] = &[
    "frames found no target",
    "frames without a copy",
    "frames go out only",
    "waiting for another stdpkt",
];

/// What the standard library says, which cannot make a thread's stacks or ask its child,
/// and the allocator; they abort.
const THEIRS: [&str; 3] = ["alternative stack", "the CLOEXEC pipe failed", "memory allocation of"];

/// What came of a run.
pub struct Report {
    pub trace: Trace,
    /// What is wrong with it.
    pub complaints: Vec<String>,
    /// What everybody said.
    pub said: String,
}

/// Plays `scenario` with its command number `traced` under a tracer.
///
/// # Errors
/// Where the test itself fails.
pub fn run(scenario: &Scenario, traced: usize, fault: Option<Fault>) -> Result<Report> {
    let scene = Scene::new();
    let script = scenario.prepare(&scene, traced);
    let gates = scene.path("gates");
    std::fs::DirBuilder::new().mode(0o700).create(&gates)?;
    let mut shell = scene.command("bash");
    shell.arg("-c").arg(&script).env("SHMRING_RUNTIME_DIR", &gates);
    let play = scene.start(shell);
    // The tracer waits for any child that stops, and so must have no other.
    let (trace, ended) = std::thread::scope(|scope| {
        let tracer = scope.spawn(|| follow(&scene, fault));
        let ended = play.end_within(LIMIT);
        if ended.is_none() {
            scene.kill_all();
        }
        (tracer.join(), ended)
    });
    let Ok(trace) = trace else { bail!("the tracer panicked") };
    let said = match &ended {
        Some(outcome) => format!("{}{}", outcome.err, outcome.out),
        None => scene.everything_said(),
    };
    let mut complaints = Vec::new();
    let was_killed = ended.is_none();
    match ended {
        Some(outcome) => judge(scenario, &scene, &outcome, &mut complaints),
        None => complaints.push(format!("has not ended after {LIMIT:?}")),
    }
    let left = scene.left_after(LIMIT);
    if !left.is_empty() {
        complaints.push(format!("leaves {}", left.join(", ")));
    }
    // One that was killed or aborted leaves its gate to the next.
    let gates = std::fs::read_dir(&gates)?.flatten().map(|entry| entry.file_name());
    let gates: Vec<_> = gates.map(|name| name.display().to_string()).collect();
    if !gates.is_empty() && !was_killed && !THEIRS.iter().any(|words| said.contains(words)) {
        complaints.push(format!("leaves gates: {}", gates.join(", ")));
    }
    Ok(Report { trace: trace?, complaints, said })
}

/// Waits for the command that is to be traced, and traces it.
fn follow(scene: &Scene, fault: Option<Fault>) -> Result<Trace> {
    let start = Instant::now();
    let pid = loop {
        if let Ok(pid) = std::fs::read_to_string(scene.path("pid")) {
            break pid.trim().parse().context("its pid")?;
        }
        if start.elapsed() > BEGIN {
            bail!("the traced command has not begun after {BEGIN:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    // Open for reading, too, so that opening it does not wait, and what is written stays.
    let mut go = OpenOptions::new().read(true).write(true).open(scene.path("go"))?;
    trace(Pid::from_raw(pid), fault, || Ok(go.write_all(b"go\n")?))
}

/// Whether the chain did its work or said why not.
fn judge(scenario: &Scenario, scene: &Scene, outcome: &Outcome, complaints: &mut Vec<String>) {
    if THEIRS.iter().any(|words| outcome.err.contains(words)) {
        return;
    }
    if outcome.err.contains("panicked at") {
        complaints.push("panics".into());
    }
    let is_ours =
        |line: &&str| line.starts_with("stdpkt: ") && !NOTES.iter().any(|note| line.contains(note));
    let lines = outcome.err.lines().filter(is_ours).count();
    let done = (scenario.is_done)(scene, outcome);
    let last = outcome.out.lines().last().unwrap_or_default();
    let failed = last.split(' ').any(|status| status != "0");
    match (done, lines) {
        (false, 0) => complaints.push("says nothing, and the work is not done".into()),
        (false, _) if !failed => complaints.push("status 0, and the work is not done".into()),
        (_, 2..) => complaints.push(format!("says {lines} lines")),
        _ => {}
    }
}
