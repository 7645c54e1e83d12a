//! The keeper: what it runs, and that nothing outlives it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stdin, dup2_stdout};
use shell_shim::stack::keeper::{Links, NotStarted};

use super::{HELPER, Lacks, inside, readable, run, sh, this_test};

const SOON: Duration = Duration::from_secs(20);
const A_MOMENT: Duration = Duration::from_millis(100);

pub fn commands() -> Result<()> {
    let mut keeper = inside(Links::default())?;
    keeper.run_setup("true")?;
    let error = keeper.run_setup("exit 3").unwrap_err().to_string();
    ensure!(error == "setup command `exit 3` failed with status 3", "{error}");

    ensure!(run(&mut keeper, "exit 7")? == 7);
    ensure!(run(&mut keeper, "kill -9 $$")? == 137);
    for (program, code) in [("no-such-program", 127), ("/etc/passwd", 126), ("/", 126)] {
        let error = keeper.spawn(&[program.into()]).unwrap_err();
        let not_started = error.downcast_ref::<NotStarted>().context("another error")?;
        ensure!(not_started.exit_code == code && error.to_string().starts_with(program), "{error}");
    }

    keeper.spawn(&sh("exec sleep 1000"))?;
    ensure!(!readable(&keeper, A_MOMENT)?, "ended by itself");
    keeper.terminate(Signal::SIGTERM)?;
    ensure!(readable(&keeper, SOON)?, "not terminated");
    ensure!(keeper.status()? == 128 + 15);
    keeper.terminate(Signal::SIGTERM) // too late, without effect
}

pub fn command_surroundings() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).context("SigIgn")?;
    // Rust ignores SIGPIPE in its own programs only.
    let ignored = u64::from_str_radix(ignored.trim(), 16)? & !(1 << (Signal::SIGPIPE as i32 - 1));
    let passed = fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|fd| {
            // The octal flags of a descriptor that closes with exec have this bit.
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
            flags.is_some_and(|flags| flags & nix::libc::O_CLOEXEC as u32 == 0)
        })
        .count();
    let mut keeper = inside(Links { stdin: true, ..Links::default() })?;
    keeper.run_setup("echo a setup command speaks on standard error")?;
    for script in [
        "test $PPID = 1",
        "test \"$(readlink /proc/self/fd/0)\" = /dev/null",
        // Signals blocked and ignored are the user's.
        "test \"$(grep '^SigBlk:' /proc/self/status)\" = \"SigBlk:\t0000000000000000\"",
        &format!("test \"$(grep '^SigIgn:' /proc/self/status)\" = \"SigIgn:\t{ignored:016x}\""),
        // The user's, and the one ls reads with, but none of the function's.
        &format!("test \"$(ls /proc/self/fd | wc -w)\" = {}", passed + 1),
        "test \"$(pwd)\" = \"$(readlink /proc/self/cwd)\"",
        // Orphans are buried.
        "(sleep 0.05 &) ; sleep 0.3; test -z \"$(grep -s '^State:.Z' /proc/[0-9]*/status)\"",
    ] {
        ensure!(run(&mut keeper, script)? == 0, "{script}");
    }
    if run(&mut keeper, "test \"$(cat /proc/1/comm)\" = stdpkt-keeper")? != 0 {
        say::line!("note: no fresh /proc can be mounted here");
    }
    // The function's own view is not the keeper's: /dev/stdout still works.
    fs::read_link("/proc/self/fd/1").context("/proc of the function")?;
    Ok(())
}

pub fn what_a_command_leaves_behind_ends_with_it() -> Result<()> {
    let mut keeper = inside(Links::default())?;
    if run(&mut keeper, "test \"$(cat /proc/1/comm)\" = stdpkt-keeper")? != 0 {
        return Err(Lacks("a fresh /proc".into()).into());
    }
    keeper.run_setup("OF=setup setsid sh -c 'while :; do sleep 0.01; done' &")?;
    let command = format!("export OF=command; ({STUBBORN}) & setsid sh -c 'exit 5'");
    ensure!(run(&mut keeper, &command)? == 5);
    let lives = |of: &str| format!("grep -qs OF={of} /proc/[0-9]*/environ");
    // Not 1: grep says 2 when one ends while it looks.
    ensure!(run(&mut keeper, &lives("command"))? != 0, "something of the command lives on");
    // What it starts after the command has begun is no less its own.
    ensure!(run(&mut keeper, &lives("setup"))? == 0, "what a setup command left is gone");
    Ok(())
}

/// A command whose descendants hold standard output and cannot be told to go.
const STUBBORN: &str = "trap '' TERM HUP INT; setsid sleep 1000 & (setsid sh -c 'sleep 1000 & sleep 1000' &); sleep 1000";

pub fn drop_leaves_nothing() -> Result<()> {
    let (reader, writer) = io::pipe()?;
    dup2_stdout(&writer)?;
    drop(writer);
    let mut keeper = inside(Links::default())?;
    dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    keeper.spawn(&sh(STUBBORN))?;
    ensure!(!readable(&reader, A_MOMENT)?, "ended by itself");
    drop(keeper);
    ensure!(readable(&reader, Duration::ZERO)?, "something lives on after drop");
    Ok(())
}

pub fn killed_function_leaves_nothing() -> Result<()> {
    let mut function = this_test(HELPER).stdout(Stdio::piped()).spawn()?;
    let mut output = function.stdout.take().context("piped")?;
    let mut ready = [0; 5];
    output.read_exact(&mut ready).map_err(|_| Lacks("namespaces".into()))?;
    ensure!(!readable(&output, A_MOMENT)?, "ended by itself");
    function.kill()?;
    function.wait()?;
    ensure!(readable(&output, SOON)?, "something lives on after SIGKILL");
    ensure!(output.read(&mut ready)? == 0);
    Ok(())
}

pub fn helper_that_waits() -> Result<()> {
    let mut keeper = inside(Links::default())?;
    keeper.spawn(&sh(STUBBORN))?;
    io::stdout().write_all(b"ready")?;
    io::stdout().flush()?;
    keeper.status().map(drop)
}

pub fn links_are_let_go() -> Result<()> {
    let ((left, mut to_left), (from_right, right)) = (io::pipe()?, io::pipe()?);
    let (other, mut to_other) = io::pipe()?;
    dup2_stdin(&left)?;
    dup2_stdout(&right)?;
    drop((left, right));
    let mut keeper = inside(Links { stdin: true, stdout: true, ..Links::default() })?;
    keeper.spawn(&sh("echo on standard error; exec sleep 1000"))?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    drop(other);
    ensure!(readable(&from_right, A_MOMENT)?, "a copy of the right link stays open");
    for (name, link) in [("left", &mut to_left), ("other", &mut to_other)] {
        let kind = link.write(b"x").err().map(|e| e.kind());
        ensure!(
            kind == Some(io::ErrorKind::BrokenPipe),
            "a copy of the {name} link stays open: {kind:?}"
        );
    }
    ensure!(!readable(&keeper, Duration::ZERO)?, "ended by itself");
    Ok(())
}
