//! The `netns` stack against the running kernel.
//!
//! Entering a namespace takes a process with a single thread, which the usual
//! test harness is not: this one runs each case in a process of its own, by
//! starting itself with the case's name. A case that lacks something says so
//! and counts as skipped.

mod backlog;
mod keeper;
mod network;
mod privileges;

use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shell_shim::stack::keeper::{Keeper, Links};
use shell_shim::stack::namespace::enter;

const SKIPPED: u8 = 77;

type Case = fn() -> Result<()>;

const CASES: [(&str, Case); 12] = [
    ("connections_outlive_programs", backlog::connections_outlive_programs),
    ("datagrams_wait_for_addresses", backlog::datagrams_wait_for_addresses),
    ("commands", keeper::commands),
    ("command_surroundings", keeper::command_surroundings),
    (
        "what_a_command_leaves_behind_ends_with_it",
        keeper::what_a_command_leaves_behind_ends_with_it,
    ),
    ("drop_leaves_nothing", keeper::drop_leaves_nothing),
    ("killed_function_leaves_nothing", keeper::killed_function_leaves_nothing),
    ("links_are_let_go", keeper::links_are_let_go),
    ("configuration", network::configuration),
    ("refusals", network::refusals),
    ("idle_is_silent", network::idle_is_silent),
    ("without_privileges", privileges::without_privileges),
];

/// Does not end by itself; only ever run by `killed_function_leaves_nothing`.
const HELPER: &str = "helper_that_waits";

/// What a case lacks.
#[derive(Debug, thiserror::Error)]
#[error("lacks {0}")]
struct Lacks(String);

fn main() -> ExitCode {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let ([name], Ok(_)) = (wanted.as_slice(), std::env::var("NETNS_CASE")) {
        let case = CASES
            .iter()
            .find(|(known, _)| known == name)
            .map_or(keeper::helper_that_waits as Case, |(_, case)| *case);
        return match case() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) if error.is::<Lacks>() => {
                say::line!("{name}: skipped: {error}");
                ExitCode::from(SKIPPED)
            }
            Err(error) => {
                say::line!("{name}: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, _) in CASES
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| name.contains(&**w)))
    {
        let status = this_test(name).status().expect("a test can start itself");
        let (count, verdict) = match status.code() {
            Some(0) => (&mut passed, "ok"),
            Some(code) if code == i32::from(SKIPPED) => (&mut skipped, "skipped"),
            _ => (&mut failed, "FAILED"),
        };
        *count += 1;
        println!(
            "test {name} ... {verdict}{}",
            status.signal().map(|s| format!(" (signal {s})")).unwrap_or_default()
        );
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    ExitCode::from(u8::from(failed > 0))
}

fn this_test(case: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its path"));
    command.arg(case).env("NETNS_CASE", "1");
    command
}

fn lacking(what: &str) -> impl Fn(anyhow::Error) -> anyhow::Error {
    move |error| Lacks(format!("{what}: {error:#}")).into()
}

fn inside(links: Links) -> Result<Keeper> {
    enter().map_err(lacking("namespaces"))?;
    Keeper::start(links, &[]).map_err(lacking("pid namespaces"))
}

fn sh(script: &str) -> Vec<std::ffi::OsString> {
    ["sh", "-c", script].map(Into::into).to_vec()
}

fn run(keeper: &mut Keeper, script: &str) -> Result<u8> {
    keeper.spawn(&sh(script))?;
    keeper.status()
}

/// Whether `fd` becomes readable (or hangs up) within `wait`.
fn readable(fd: impl AsFd, wait: Duration) -> Result<bool> {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::try_from(wait)?)? > 0)
}
