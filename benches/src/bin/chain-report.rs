//! `chain-report`: netperf through rows of routers, over rings of several sizes,
//! pipes, and veth pairs between namespaces.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::Parser;
use stdpkt_benches::machine;
use stdpkt_benches::netperf::Test;
use stdpkt_benches::programs;
use stdpkt_benches::stats::Summary;

/// Measures chains and writes a markdown table.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
struct Args {
    /// Times that everything is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one measurement
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// Routers between client and server
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1, 2, 4, 8])]
    routers: Vec<usize>,
    /// `pairs` (--channel veth), `fifo`, the KiB of a ring, or `veth` (with `ip netns`)
    #[arg(long, value_delimiter = ',', default_value = "128,256,512,1024,fifo,pairs,veth")]
    channels: Vec<Channel>,
    /// Tests, as tcp-65507 or rr
    #[arg(long, value_delimiter = ',', value_parser = Test::parse, default_value = "tcp-65507,rr")]
    tests: Vec<Test>,
    /// Where the table goes, besides standard output
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What joins the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Channel {
    /// Rings of so many KiB.
    Ring(u32),
    Fifo,
    Pairs,
    Veth,
}

impl FromStr for Channel {
    type Err = String;

    fn from_str(text: &str) -> Result<Channel, String> {
        match text {
            "fifo" => Ok(Channel::Fifo),
            "pairs" => Ok(Channel::Pairs),
            "veth" => Ok(Channel::Veth),
            kib => kib.parse().map(Channel::Ring).map_err(|_| format!("`{kib}` is no channel")),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Channel::Ring(kib) => write!(f, "rings of {kib} KiB"),
            Channel::Fifo => write!(f, "pipes"),
            Channel::Pairs => write!(f, "veth pairs of functions"),
            Channel::Veth => write!(f, "veth"),
        }
    }
}

const SERVER: &str = "netserver -D -4 >/dev/null 2>&1";

impl Channel {
    /// A shell's line: the server, `routers` routers, the client, which writes to `$OUT`.
    /// Link K is the network 10.0.K.0/24, .1 on its left and .2 on its right.
    fn line(self, routers: usize, client: &str) -> String {
        match self {
            Channel::Ring(kib) => chain(&format!("--ring {}", kib << 10), routers, client),
            Channel::Fifo => chain("--channel fifo", routers, client),
            Channel::Pairs => chain("--channel veth", routers, client),
            Channel::Veth => namespaces(routers, client),
        }
    }
}

fn chain(channel: &str, routers: usize, client: &str) -> String {
    let run = format!("$S run {channel}");
    let gateway = if routers > 0 { "--gateway 10.0.0.2 " } else { "" };
    let mut line = format!("{run} --right 10.0.0.1/24 {gateway}-- sh -c 'exec {SERVER}'");
    for router in 1..=routers {
        let left = router - 1;
        write!(line, " | {run} --forward --left 10.0.{left}.2/24 --right 10.0.{router}.1/24").ok();
        if router < routers {
            write!(line, " --gateway 10.0.{router}.2").ok();
        }
        if router > 1 {
            write!(line, " --route 10.0.0.0/24=10.0.{left}.1").ok();
        }
    }
    let gateway = if routers > 0 { format!("--gateway 10.0.{routers}.1 ") } else { String::new() };
    write!(line, " | {run} --left 10.0.{routers}.2/24 {gateway}-- sh -c '{client} >$OUT'").ok();
    line
}

fn namespaces(routers: usize, client: &str) -> String {
    let last = routers + 1;
    // What a function does by itself.
    let mut line = "mount -t tmpfs none /run; ".to_owned();
    for host in 0..=last {
        write!(
            line,
            "ip netns add n{host}; ip -n n{host} link set lo up; ip netns exec n{host} sh -c \
             'f=/proc/sys/net/ipv4/tcp_congestion_control; case $(cat $f) in bbr*) echo reno >$f;; esac; \
             echo 1 >/proc/sys/net/ipv4/ip_forward'; "
        )
        .ok();
    }
    for link in 0..=routers {
        let next = link + 1;
        write!(
            line,
            "ip link add r netns n{link} type veth peer name l netns n{next}; \
             ip -n n{link} addr add 10.0.{link}.1/24 dev r; ip -n n{link} link set dev r up; \
             ip -n n{next} addr add 10.0.{link}.2/24 dev l; ip -n n{next} link set dev l up; "
        )
        .ok();
    }
    for host in 0..=routers {
        if host < routers {
            write!(line, "ip -n n{host} route add default via 10.0.{host}.2; ").ok();
        }
        if host > 1 {
            write!(line, "ip -n n{host} route add 10.0.0.0/24 via 10.0.{}.1; ", host - 1).ok();
        }
    }
    if routers > 0 {
        write!(line, "ip -n n{last} route add default via 10.0.{routers}.1; ").ok();
    }
    write!(
        line,
        "ip netns exec n0 {SERVER} & server=$!; ip netns exec n{last} sh -c '{client} >$OUT'; \
         kill $server"
    )
    .ok();
    line
}

type Row = (Test, usize);

fn main() -> Result<()> {
    let args = Args::parse();
    let program = programs::stdpkt()?;
    let before = machine::load();
    let mut figures: BTreeMap<(Row, Channel), Vec<f64>> = BTreeMap::new();
    for round in 0..args.rounds {
        for &routers in &args.routers {
            for &test in &args.tests {
                for turn in 0..args.channels.len() {
                    let channel = args.channels[(turn + round) % args.channels.len()];
                    let figure = measure(&program, channel, routers, test, args.seconds)
                        .with_context(|| format!("{test}, {routers} routers, {channel}"))?;
                    say::line!("round {round}: {routers} routers: {test}: {channel}: {figure}");
                    figures.entry(((test, routers), channel)).or_default().push(figure);
                }
            }
        }
    }
    let text = render(&args, &before, &figures)?;
    if let Some(out) = &args.out {
        std::fs::write(out, &text).with_context(|| out.display().to_string())?;
    }
    print!("{text}");
    Ok(())
}

fn measure(
    program: &Path,
    channel: Channel,
    routers: usize,
    test: Test,
    seconds: u32,
) -> Result<f64> {
    let scratch = tempfile::Builder::new().prefix("chain-report").tempdir()?;
    let out = scratch.path().join("out");
    let mut command = Command::new("timeout");
    command.args(["-k", "1", &(seconds + 20).to_string(), "unshare", "-m", "sh", "-c"]);
    command.arg(channel.line(routers, &test.client("10.0.0.1", seconds)));
    command
        .env("S", program)
        .env("OUT", &out)
        .env("SHMRING_RUNTIME_DIR", scratch.path().join("run"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().context("timeout")?;
    let answer = std::fs::read_to_string(&out).unwrap_or_default();
    match test.figure(&answer) {
        Some(figure) => Ok(figure),
        None => bail!("netperf answered {:?}", answer.trim()),
    }
}

fn render(
    args: &Args,
    before: &str,
    figures: &BTreeMap<(Row, Channel), Vec<f64>>,
) -> Result<String> {
    let mut out = String::new();
    let words: Vec<String> = std::env::args().skip(1).collect();
    writeln!(out, "# Chains of routers\n\nMachine: {}.\n", machine::line())?;
    writeln!(
        out,
        "Command: `cargo run --release -p stdpkt-benches --bin chain-report -- {}`.\nMedian \
         (smallest..largest) of {} rounds of {} s, channels in turn; functions of the host's \
         stack, MTU 1500, nothing pinned. Load average {before} before, {} after.",
        words.join(" "),
        args.rounds,
        args.seconds,
        machine::load()
    )?;
    let veth = args.channels.contains(&Channel::Veth);
    for &test in &args.tests {
        writeln!(out, "\n## {test}, {}\n", test.unit())?;
        let heads = args.channels.iter().map(|channel| format!(" {channel} |"));
        let ratios = args.channels.iter().filter(|&&channel| veth && channel != Channel::Veth);
        let shares = ratios.clone().map(|channel| format!(" {channel}/veth |"));
        writeln!(out, "| routers |{}", heads.chain(shares).collect::<String>())?;
        writeln!(out, "|--:|{}", "--:|".repeat(args.channels.len() + ratios.clone().count()))?;
        for &routers in &args.routers {
            let all = |channel: &Channel| figures.get(&((test, routers), *channel));
            let summary = |channel| Summary::of(all(channel).into_iter().flatten().copied());
            let cell = |channel| summary(channel).map_or(" - |".into(), |it| format!(" {it} |"));
            let share = |channel| {
                let pairs = all(channel).into_iter().flatten().zip(all(&Channel::Veth)?);
                Summary::of(pairs.map(|(it, veth)| it / veth)).map(|it| it.median)
            };
            let cells: String = args.channels.iter().map(cell).collect();
            let shares = ratios
                .clone()
                .map(|channel| share(channel).map_or(" - |".into(), |it| format!(" {it:.2} |")));
            writeln!(out, "| {routers} |{cells}{}", shares.collect::<String>())?;
        }
    }
    Ok(out)
}
