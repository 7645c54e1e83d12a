//! `--print-file`: the function file of a command line.

use std::ffi::OsString;

use anyhow::{Context, Result};
use clap::parser::ValueSource;

use super::parameters::literal;
use super::{COMMAND, command, is_switch};

/// Flags that are not of the function.
const LEFT_OUT: [&str; 4] = ["file", "print-file", "lkl-config", "help"];

/// What the file is that says the same as `words`, which begin with the program's name.
///
/// # Errors
/// A word that TOML cannot have: it is no UTF-8.
pub fn function_file(words: &[OsString]) -> Result<String> {
    let command = command();
    let matches = command.clone().try_get_matches_from(&words[1..])?;
    let mut file = "#!/usr/bin/env -S stdpkt run --file\n".to_owned();
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        let flag = arg.get_long().unwrap_or(COMMAND);
        let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
        let is_off = is_switch(arg) && !matches.get_flag(id);
        if !is_given || is_off || LEFT_OUT.contains(&flag) {
            continue;
        }
        let values = matches.get_raw(id).into_iter().flatten();
        let values: Option<Vec<String>> =
            values.map(|it| Some(value(flag, it.to_str()?))).collect();
        let values = values.with_context(|| format!("{flag}: no UTF-8, which a file has to be"))?;
        let key = match flag {
            "link" => "links",
            "route" => "routes",
            flag => flag,
        };
        let text = match &values[..] {
            _ if is_switch(arg) => "true".to_owned(),
            [one] if flag != COMMAND => one.clone(),
            many if many.iter().map(String::len).sum::<usize>() > 60 && flag != COMMAND => {
                format!("[\n    {},\n]", many.join(",\n    "))
            }
            many => format!("[{}]", many.join(", ")),
        };
        file += &format!("{key} = {text}\n");
    }
    Ok(file)
}

/// A number or a text of TOML.
fn value(flag: &str, text: &str) -> String {
    let is_number = text.parse::<i64>().is_ok_and(|number| number.to_string() == text);
    if is_number && flag != COMMAND {
        return text.to_owned();
    }
    let text = literal(text);
    // Rules and filters are full of double quotes.
    let is_plain = |text: &str| !text.contains('\'') && !text.chars().any(char::is_control);
    if text.contains(['"', '\\']) && is_plain(&text) {
        return format!("'{text}'");
    }
    let mut out = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\t' => out += "\\t",
            c if c.is_control() => out += &format!("\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}
