//! Where lines go: to standard error, unless that is the link, as after `2>&1 |`,
//! bash's `|&` and fish's `&|`. Text between frames would spoil them, so lines go
//! to the terminal then, if there is one.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};

use nix::unistd::dup2_stderr;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};

use crate::succession::heir;

/// Puts the terminal, or nothing, in the place of a standard error that is the link,
/// for all that this process and CMD say. Decides it from what the descriptors are
/// and what the command line, the program's name first, says of standard output:
/// mistakes in it are to be told, too.
pub fn choose(words: &[OsString]) {
    if sends_frames(words) {
        leave_link();
    }
}

/// The same, once it is known that standard output is a link.
pub fn leave_link() {
    if !heir::may_be_link(1) || !is_shared() {
        return;
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = open("/dev/tty", flags, Mode::empty());
    if let Ok(place) = terminal.or_else(|_| open("/dev/null", flags, Mode::empty())) {
        let _ = dup2_stderr(&place);
    }
}

/// Whether standard error is the same pipe or socket as standard output.
fn is_shared() -> bool {
    let id = |fd: BorrowedFd<'_>| {
        let stat = fstat(fd).ok()?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        matches!(kind, FileType::Fifo | FileType::Socket).then_some((stat.st_dev, stat.st_ino))
    };
    let out = id(std::io::stdout().as_fd());
    out.is_some() && out == id(std::io::stderr().as_fd())
}

/// Whether standard output is a link or a capture.
fn sends_frames(words: &[OsString]) -> bool {
    let words: Vec<_> = words.iter().skip(1).map(|word| word.to_string_lossy()).collect();
    let Some((command, rest)) = words.split_first() else { return false };
    let mut options = rest.iter().take_while(|word| *word != "--");
    match &**command {
        "balance" | "check" | "completions" | "demo" | "exec" | "help" | "insert" | "ls"
        | "man" | "metrics" | "perf" | "remove" | "swap" | "uplink" => false,
        // What else it is joined to, its place in the chain tells.
        "join" => options.any(|word| word.starts_with("--right")),
        "wire" if options.clone().any(|word| word.starts_with("--set")) => false,
        "run" if options.clone().any(|word| word == "--print-file") => false,
        "run" => options.any(|word| {
            // What stands in a file is not known yet.
            let elsewhere = word.starts_with("--file") || word.starts_with("--lkl-config");
            elsewhere
                || word.starts_with("--right")
                || word.contains("/dev/stdout")
                || word.contains("/fd/1")
        }),
        "dump" => !options.any(|word| {
            word.ends_with("hex")
                || word.ends_with("hexdump")
                || word.starts_with("-w")
                || word.starts_with("--write")
        }),
        option => !option.starts_with('-'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_standard_output_is() {
        for (line, frames) in [
            ("stdpkt run --right 10.0.0.1/24 -- ping x", true),
            ("stdpkt run --left 10.0.0.1/24 --rihgt x", false),
            ("stdpkt run --left 10.0.0.1/24 -- sh -c --right", false),
            ("stdpkt run --link x,at=/dev/stdin:/dev/stdout,ip=10.0.0.1/24", true),
            ("stdpkt join frames:stdio qemu:unix:s", false),
            ("stdpkt join --right frames -- cat", true),
            ("stdpkt join frames -- cat --right", false),
            ("stdpkt uplink", false),
            ("stdpkt run --file nat", true),
            ("stdpkt run --file nat --print-file", false),
            ("stdpkt run --lkl-config env -- true", true),
            ("stdpkt tee x", true),
            ("stdpkt dump", true),
            ("stdpkt dump --format hex", false),
            ("stdpkt dump --format=hexdump", false),
            ("stdpkt dump -w x", false),
            ("stdpkt ls", false),
            ("stdpkt perf server", false),
            ("stdpkt exec nat -- ip address", false),
            ("stdpkt insert nat:right -- stdpkt tee x", false),
            ("stdpkt wire --delay 20ms", true),
            ("stdpkt wire --set cable --delay 20ms", false),
            ("stdpkt --help", false),
            ("stdpkt fliter tcp", true),
            ("stdpkt", false),
        ] {
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            assert_eq!(sends_frames(&words), frames, "{line}");
        }
    }
}
