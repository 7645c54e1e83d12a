//! Programs that hold packets back, since they see no terminal, are told not to.
//!
//! A terminal in the place of the pipe is no way out: its lines end at 4095 bytes
//! (`N_TTY_BUF_SIZE`), and a packet of 64 KiB is a line of 200 000.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// `command` in a form that passes each line on at once: by stdbuf(1) where the C
/// library buffers, by an option of its own for mawk, which buffers its input, too.
pub(super) fn unbuffered(command: &[String]) -> Vec<String> {
    let mut words = command.to_vec();
    let Some(program) = words.first().and_then(|name| find(name)) else { return words };
    let real = fs::canonicalize(&program).unwrap_or(program);
    let name = real.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if name == "mawk" {
        if !words.iter().any(|word| word == "interactive") {
            say::note!(
                "{} is mawk, which gets -W interactive to pass on each packet at once",
                words[0]
            );
            words.splice(1..1, ["-W".to_owned(), "interactive".to_owned()]);
        }
        return words;
    }
    if name == "stdbuf" || find("stdbuf").is_none() {
        return words;
    }
    ["stdbuf", "-oL"].into_iter().map(str::to_owned).chain(words).collect()
}

/// The file that a name stands for.
fn find(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path: &PathBuf| Path::is_file(path))
}
