//! Programs that hold packets back, since they see no terminal, are told not to.
//!
//! A terminal in the place of the pipe is no way out: its lines end at 4095 bytes
//! (`N_TTY_BUF_SIZE`), and a packet of 64 KiB is a line of 200 000.

use std::ffi::OsStr;
use std::fs;

use crate::stack::keeper::search::{find, user_path};

/// `command` in a form that passes each line on at once: by stdbuf(1) where the C
/// library buffers, by an option of its own for mawk, which buffers its input, too.
pub(super) fn unbuffered(command: &[String]) -> Vec<String> {
    let mut words = command.to_vec();
    let path = user_path();
    let Some(Ok(program)) = words.first().map(|name| find(name, &path)) else { return words };
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
    if name == "stdbuf" || find("stdbuf", &path).is_err() {
        return words;
    }
    ["stdbuf", "-oL"].into_iter().map(str::to_owned).chain(words).collect()
}
