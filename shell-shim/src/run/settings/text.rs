//! Files that people write, and the places in them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// No configuration is longer than this, in bytes; what is may never end.
const LONGEST: u64 = 1 << 20;

/// What a file is called in messages: one line, whatever its name.
pub fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// Reads the file that `flag` names.
///
/// # Errors
/// One line: the flag or the place in the file, and why it cannot be read.
pub fn read(flag: &str, path: &Path) -> Result<String> {
    let name = shown(path);
    let what = || format!("--{flag} {name}");
    let file = File::open(path).with_context(what)?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).with_context(what)?;
    ensure!(bytes.len() as u64 <= LONGEST, "{}: longer than such a file can be", what());
    match String::from_utf8(bytes) {
        // A mark of the byte order and ends of lines of two bytes, which editors put there, are
        // none of the file's words.
        Ok(text) => Ok(text.trim_start_matches('\u{feff}').replace("\r\n", "\n")),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&error.as_bytes()[..good]);
            bail!("{name}:{}: this is not UTF-8", line_and_column(&before, good));
        }
    }
}

/// `LINE:COLUMN` of a byte, counted from 1, columns in characters.
pub fn line_and_column(text: &str, at: usize) -> String {
    let before = &text[..text.floor_char_boundary(at)];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    format!("{line}:{column}")
}
