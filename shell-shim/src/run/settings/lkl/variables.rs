//! `NAME=value`: of the environment, and of files that a shell could read.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use super::{Config, Value, read_file};

/// Those of one interface, with its number at the end or, where there is but one, without;
/// and their keys of LKL's JSON.
const OF_INTERFACES: [(&str, &str); 16] = [
    ("NET_IFTYPE", "type"),
    ("NET_IFPARAMS", "param"),
    ("NET_TAP", "tap"),
    ("NET_MTU", "mtu"),
    ("NET_IP", "ip"),
    ("NET_NETMASK_LEN", "masklen"),
    ("NET_IPV6", "ipv6"),
    ("NET_NETMASK6_LEN", "masklen6"),
    ("NET_IFGATEWAY", "ifgateway"),
    ("NET_IFGATEWAY6", "ifgateway6"),
    ("NET_MAC", "mac"),
    ("NET_NEIGHBOR", "neigh"),
    ("NET_QDISC", "qdisc"),
    // Of the paper.
    ("NET_IF", "if"),
    ("NET_NETMASK", "masklen"),
    ("NET_OFFLOAD", "offload"),
];
/// Those of the whole, likewise.
const OF_ALL: [(&str, &str); 11] = [
    ("NET_GATEWAY", "gateway"),
    ("NET_GATEWAY6", "gateway6"),
    ("DEBUG", "debug"),
    ("MOUNT", "mount"),
    ("SINGLE_CPU", "singlecpu"),
    ("SYSCTL", "sysctl"),
    ("BOOT_CMDLINE", "boot_cmdline"),
    ("DUMP", "dump"),
    ("DELAY_MAIN", "delay_main"),
    ("MEMSIZE", "boot_cmdline"),
    ("OFFLOAD", "singlecpu"),
];
const PREFIX: &str = "LKL_HIJACK_";
/// Of these, one names the file with the rest; LKL's own name first.
const FILES: [&str; 2] = ["LKL_HIJACK_CONFIG_FILE", "LKL_CONFIG"];
/// As the paper has them, without prefix.
const OF_PAPER: [&str; 4] = ["IF", "IP", "NETMASK", "GATEWAY"];

/// Takes what the environment says; whether there was anything.
///
/// # Errors
/// One line that names the variable.
pub fn of_environment(config: &mut Config) -> Result<bool> {
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    let all: Vec<(String, String)> = std::env::vars_os().map(|(n, v)| (text(n), text(v))).collect();
    // Names as short as IP0 mean something else elsewhere.
    let of_paper = all.iter().any(|(name, _)| is_of_paper(name) && name.starts_with("IF"));
    let mut found = false;
    for (name, value) in &all {
        if name.starts_with(PREFIX) || of_paper && is_of_paper(name) {
            found |= take(config, name, value, name)?;
        }
    }
    let file = FILES.iter().find_map(|name| std::env::var_os(name).filter(|it| !it.is_empty()));
    if let Some(file) = file.map(PathBuf::from) {
        read_file(&file, config)?;
        found = true;
    }
    Ok(found)
}

/// Takes what stands in a file: words as of a shell, over several lines and with
/// backslashes at their ends or not.
///
/// # Errors
/// One line: file, line, and what is wrong there.
pub fn of_text(file: &str, text: &str, config: &mut Config) -> Result<()> {
    // What belongs together: a line, or several where a quote or a word goes on.
    let (mut open, mut begins) = (String::new(), 1);
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        if open.is_empty() {
            begins = number;
        }
        open += line;
        let before = open.trim_end_matches('\n').strip_suffix('\\').unwrap_or_default();
        let goes_on = before.ends_with(|c: char| !c.is_whitespace() && c != '\\');
        let Some(words) = shlex::split(&open).filter(|_| !goes_on) else { continue };
        open.clear();
        // A backslash at the end of a line is a word of nothing.
        for word in words.iter().filter(|word| !word.is_empty() && *word != "export") {
            let place = format!("{file}:{begins}");
            let Some((name, value)) = word.split_once('=') else {
                bail!("{place}: `{}` is neither NAME=value nor JSON", word.escape_debug());
            };
            take(config, name, value, &place)?;
        }
    }
    ensure!(open.is_empty(), "{file}:{begins}: a quote or a backslash without its end");
    Ok(())
}

fn is_of_paper(name: &str) -> bool {
    OF_PAPER.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit()))
}

/// Takes one; whether it says something of the network.
fn take(config: &mut Config, name: &str, value: &str, place: &str) -> Result<bool> {
    if FILES.contains(&name) {
        return Ok(false);
    }
    let short = match name.strip_prefix(PREFIX) {
        Some(short) => short.to_owned(),
        None if is_of_paper(name) => format!("NET_{name}"),
        None => bail!("{place}: {}: {}", name.escape_debug(), nearest(name)),
    };
    let value = Value { text: value.to_owned(), place: place.to_owned() };
    if let Some((_, key)) = OF_ALL.iter().find(|(known, _)| *known == short) {
        config.set(None, key, value);
        return Ok(short.starts_with("NET_"));
    }
    let stem = short.trim_end_matches(|c: char| c.is_ascii_digit());
    // IFGATEWAY6 and the like end in a digit that is no interface's.
    let whole = OF_INTERFACES.iter().find(|(known, _)| *known == short).map(|(_, key)| (*key, ""));
    let numbered = || {
        let known = OF_INTERFACES.iter().chain([&("NET_GATEWAY", "ifgateway")]);
        let known = known.filter_map(|(known, key)| Some((*key, short.strip_prefix(known)?)));
        let known = known.filter(|(_, rest)| rest.bytes().all(|byte| byte.is_ascii_digit()));
        // Of IFGATEWAY60, the interface is 0.
        known.min_by_key(|(_, rest)| rest.len())
    };
    let Some((key, index)) = whole.or_else(numbered) else {
        bail!("{place}: {}: {}", name.escape_debug(), nearest(&format!("{PREFIX}{stem}")));
    };
    let index = match index {
        "" => 0,
        digits => digits.parse().with_context(|| format!("{place}: {name}: too large a number"))?,
    };
    config.set(Some(index), key, value);
    Ok(true)
}

/// What a variable may have been meant to be.
fn nearest(name: &str) -> String {
    let known = OF_INTERFACES.iter().chain(&OF_ALL).map(|(known, _)| format!("{PREFIX}{known}"));
    let near = known.map(|known| (strsim::jaro_winkler(name, &known), known));
    let (_, known) = near.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default();
    format!("no variable of LKL's: did you mean {known}?")
}
