//! LKL's own configurations: its JSON, and its variables by their names of several years.
//!
//! LKL's interfaces are eth0, eth1, ... here, too: rules that name them find them.

mod interfaces;
mod json;
mod variables;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::{Setting, text};
use interfaces::Interfaces;

/// The bit of LKL's `debug` by which a function stays when CMD has ended.
const STAYS: u32 = 0x100;

/// A value, and where it stands.
#[derive(Debug, Clone)]
struct Value {
    text: String,
    place: String,
}

/// What a configuration says.
#[derive(Debug, Default)]
struct Config {
    interfaces: Interfaces,
    gateways: Vec<Value>,
    sysctls: Vec<Value>,
    debug: Option<Value>,
    /// What has no counterpart here and would change what the network does.
    left_out: Vec<String>,
}

impl Config {
    /// Takes a value by its key of LKL's JSON; `index` is its interface's.
    fn set(&mut self, index: Option<u32>, key: &str, value: Value) {
        match (index, key) {
            (None, "gateway" | "gateway6") => self.gateways.push(value),
            (None, "sysctl") => self.sysctls.push(value),
            (None, "debug") => self.debug = Some(value),
            (None, "mount") => self.left_out.push(value.place),
            // How LKL boots and logs, and what its devices offload: ours do by themselves.
            (None, _) | (Some(_), "offload") => {}
            (Some(_), "mac" | "neigh" | "qdisc") => self.left_out.push(value.place),
            (Some(index), key) => self.interfaces.set(index, key, value),
        }
    }
}

/// Reads a configuration: of a file, or of the environment and the files that it names.
///
/// # Errors
/// One line that names the place and the way out.
pub fn read(from: &str) -> Result<Vec<Setting>> {
    let mut config = Config::default();
    if from == "env" {
        let found = variables::of_environment(&mut config)?;
        ensure!(
            found,
            "--lkl-config env: there is no LKL_HIJACK_NET_* in the environment, and neither LKL_CONFIG nor LKL_HIJACK_CONFIG_FILE"
        );
    } else {
        read_file(Path::new(from), &mut config)?;
    }
    settings(config).with_context(|| format!("--lkl-config {}", from.escape_debug()))
}

fn read_file(path: &Path, config: &mut Config) -> Result<()> {
    let (name, text) = (text::shown(path), text::read("lkl-config", path)?);
    match text.trim_start().starts_with('{') {
        true => json::read(&name, &text, config),
        false => variables::of_text(&name, &text, config),
    }
}

fn settings(config: Config) -> Result<Vec<Setting>> {
    let setting = |flag: &str, Value { text, place }| Setting {
        flag: flag.to_owned(),
        value: Some(text),
        place,
    };
    let interfaces::Translated { links, mtu, gateways, left_out } =
        config.interfaces.translate(&config.gateways)?;
    let mut all: Vec<Setting> = links.into_iter().map(|link| setting("link", link)).collect();
    all.extend(mtu.map(|mtu| setting("mtu", mtu)));
    all.extend(config.gateways.into_iter().chain(gateways).map(|it| setting("gateway", it)));
    for Value { text, place } in config.sysctls {
        // Of today, `a=1;b=2`; of the talks, `a|1;b|2`.
        for assignment in text.split(';').map(str::trim).filter(|it| !it.is_empty()) {
            let Some((key, value)) = assignment.split_once(['=', '|']) else {
                bail!("{place}: `{}`: write KEY=VALUE", assignment.escape_debug());
            };
            let text = format!("{}={}", key.trim(), value.trim().trim_matches('"'));
            all.push(setting("sysctl", Value { text, place: place.clone() }));
        }
    }
    if let Some(Value { text, place }) = config.debug {
        let number = match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        };
        let number = number.with_context(|| format!("{place}: write a number, as 0x100"))?;
        if number & STAYS != 0 {
            all.push(Setting { flag: "keep".to_owned(), value: None, place });
        }
    }
    let left_out: Vec<String> = config.left_out.into_iter().chain(left_out).collect();
    if !left_out.is_empty() {
        say::note!("--lkl-config: no counterpart here, left out: {}", left_out.join(", "));
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
