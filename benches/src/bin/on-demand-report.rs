//! `on-demand-report`: many functions that sleep until a frame comes: what they take, how fast they
//! are started, and how long a frame waits for its answer.
//!
//! This program is each one's neighbour. It asks for the function's hardware address (ARP): that
//! wakes the function, whose network stack answers.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use shmring::{Link, Offer, PipeEnd, RecvError, Rendezvous, Role, RuntimeDir};
use stdpkt_benches::machine;
use stdpkt_benches::stats::Summary;

/// Measures functions on demand and writes a markdown table.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
struct Args {
    /// How many functions
    #[arg(long, default_value_t = 1000)]
    functions: usize,
    /// Where the table goes, besides standard output
    #[arg(long)]
    out: Option<PathBuf>,
}

/// So many are started before the first of them is linked: one that waits looks who else is there,
/// at all processes.
const AHEAD: usize = 16;
/// Descriptors of one link in this process are fewer, with that of its FIFO.
const DESCRIPTORS: usize = 16;
/// For all to be there, and for one answer: only a hang is slower.
const PATIENCE: Duration = Duration::from_secs(300);

struct Functions(Vec<Child>);

impl Functions {
    fn memory(&self) -> Result<Vec<f64>> {
        self.0.iter().map(|child| private(child.id())).collect()
    }

    /// Ends them; returns how many had failed before.
    fn end(mut self) -> usize {
        let failed = self.0.iter_mut().filter_map(|child| child.try_wait().ok().flatten()).count();
        drop(self);
        failed
    }
}

impl Drop for Functions {
    fn drop(&mut self) {
        for child in &mut self.0 {
            if let Ok(None) = child.try_wait() {
                let _ = kill_process(Pid::from_child(child), Signal::TERM);
            }
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    allow_descriptors(args.functions * DESCRIPTORS + 100)?;
    let program = std::env::current_exe()?.with_file_name("stdpkt");
    if !program.exists() {
        bail!("{} is not there: build it in the same profile", program.display());
    }
    let load = machine::load();
    let scratch = tempfile::Builder::new().prefix("demand").tempdir()?;
    let dir = RuntimeDir::at(&scratch.path().join("run"))?;
    let fifos: Vec<_> = (0..args.functions).map(|n| scratch.path().join(n.to_string())).collect();
    fifos.iter().try_for_each(|fifo| mkfifoat(CWD, fifo, Mode::RUSR | Mode::WUSR))?;

    let start = Instant::now();
    let (mut functions, mut links) = (Functions(Vec::new()), Vec::new());
    for fifo in &fifos {
        functions.0.push(function(&program, fifo, &scratch.path().join("run"))?);
        if functions.0.len() > AHEAD {
            links.push(meet(&fifos[links.len()], &dir)?);
        }
    }
    for fifo in &fifos[links.len()..] {
        links.push(meet(fifo, &dir)?);
    }
    let all_up = start.elapsed();
    let asleep = functions.memory()?;
    let mut first = wake(&mut links)?;
    let mut again = wake(&mut links)?;
    let awake = functions.memory()?;
    let failed = functions.end();
    if failed > 0 {
        bail!("{failed} functions had ended");
    }

    let (first, again) = (Times::of(&mut first), Times::of(&mut again));
    let text = report(&args, &load, all_up, [&asleep, &awake], [&first, &again])?;
    if let Some(out) = &args.out {
        std::fs::write(out, &text).with_context(|| out.display().to_string())?;
    }
    print!("{text}");
    Ok(())
}

fn function(program: &Path, fifo: &Path, run: &Path) -> Result<Child> {
    let mut command = Command::new(program);
    command.args(["run", "--on-demand", "--name", "sleeper", "--link"]);
    command.arg(format!("l,at={},ip=10.0.0.2/24", fifo.display()));
    command.env("SHMRING_RUNTIME_DIR", run).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().context("stdpkt")
}

fn meet(fifo: &Path, dir: &RuntimeDir) -> Result<Link> {
    let offer = Offer { label: "report".into(), capacity: 256 << 10, ..Offer::default() };
    let mut rendezvous = Rendezvous::new(PipeEnd::open(fifo, Role::Either)?, dir, offer)?;
    Ok(rendezvous.wait()?)
}

/// Asks one after the other; milliseconds until each has answered.
fn wake(links: &mut [Link]) -> Result<Vec<f64>> {
    links.iter_mut().map(|link| answer(link).map(|time| time.as_secs_f64() * 1e3)).collect()
}

fn answer(link: &mut Link) -> Result<Duration> {
    let (tx, rx) =
        (link.tx.as_mut().context("no way out")?, link.rx.as_mut().context("no way in")?);
    let question = question();
    let begun = Instant::now();
    let sent = tx.put(question.len(), |room| {
        room.copy_from(0, &question);
        Ok::<_, ()>(question.len())
    });
    sent.ok().context("no room")?.ok().context("not filled")?;
    tx.publish();
    while begun.elapsed() < PATIENCE {
        let answers = rx.take(|frame| {
            let mut head = [0; ARP_END];
            frame.copy_to(0, &mut head);
            (true, head[ARP_KIND..ARP_END] == [0, 2])
        });
        match answers {
            Ok(true) => return Ok(begun.elapsed()),
            Ok(false) => {}
            Err(RecvError::Empty) => rx.wait(Some(PATIENCE))?,
            Err(error) => bail!("a function: {error}"),
        }
    }
    bail!("a function does not answer")
}

/// Where the kind of an ARP packet stands in a frame: header for offloads, Ethernet.
const ARP_KIND: usize = frames::VNET_LEN + 14 + 6;
const ARP_END: usize = ARP_KIND + 2;

/// Who has 10.0.0.2, tell 10.0.0.1.
fn question() -> Vec<u8> {
    let us = [2, 0, 0, 0, 0, 1];
    let mut frame = vec![0; frames::VNET_LEN];
    frame.extend([0xff; 6]);
    frame.extend(us);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(us);
    frame.extend([10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    frame
}

/// Bytes of memory that a process does not share with others.
fn private(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).context(path)?;
    let of = |name| machine::field(&text, name).unwrap_or_default();
    Ok((of("Private_Clean:") + of("Private_Dirty:")) as f64)
}

struct Times {
    median: f64,
    p99: f64,
    worst: f64,
}

impl Times {
    fn of(times: &mut [f64]) -> Times {
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
        Times { median: at(0.5), p99: at(0.99), worst: at(1.0) }
    }
}

fn report(
    args: &Args,
    load: &str,
    all_up: Duration,
    memory: [&[f64]; 2],
    times: [&Times; 2],
) -> Result<String> {
    let mut text = String::new();
    let count = args.functions;
    let rate = count as f64 / all_up.as_secs_f64();
    writeln!(text, "# {count} functions on demand\n")?;
    writeln!(text, "Machine: {}.\n", machine::line())?;
    writeln!(
        text,
        "Command: `cargo build --release && cargo run --release -p stdpkt-benches --bin on-demand-report -- --out docs/performance/on-demand.md`"
    )?;
    writeln!(
        text,
        "(`--functions N` for another number). Each function has one interface, no `--setup` and no CMD; the"
    )?;
    writeln!(
        text,
        "report is each one's neighbour, and asks for its hardware address, one function after the other. Load average before: {load},"
    )?;
    writeln!(text, "after: {}.\n", machine::load())?;
    writeln!(text, "| | |\n|---|--:|")?;
    writeln!(text, "| started and linked, a second | {rate:.0} |")?;
    for (what, memory) in ["asleep", "awake"].into_iter().zip(memory) {
        let memory = Summary::of(memory.iter().map(|bytes| bytes / 1024.0)).context("none")?;
        writeln!(text, "| memory of its own, {what}, kB: median (least..most) | {memory} |")?;
    }
    writeln!(text, "\n| time until the answer, ms | median | 99 % | worst |\n|---|--:|--:|--:|")?;
    for (what, Times { median, p99, worst }) in
        ["first frame: it sleeps", "second frame: it is awake"].into_iter().zip(times)
    {
        writeln!(text, "| {what} | {median:.2} | {p99:.2} | {worst:.2} |")?;
    }
    writeln!(
        text,
        "\nFor comparison, from the papers: a function of the paper this project follows starts in 47.4 ms; ClickOS needs 30 ms and"
    )?;
    writeln!(
        text,
        "Jitsu 20 ms, on machines of their own. Memory is what the process does not share with others; what the kernel"
    )?;
    writeln!(text, "has for a namespace and a TAP is not in it.")?;
    Ok(text)
}

fn allow_descriptors(needed: usize) -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if maximum.is_some_and(|maximum| maximum < needed as u64) {
        bail!("{needed} descriptors are needed, {maximum:?} allowed: take fewer --functions");
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed as u64), maximum })
        .context("setrlimit")
}
