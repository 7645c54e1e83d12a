//! LKL's JSON.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value as Json};

use super::{Config, Value};

const OF_ALL: [&str; 10] = [
    "interfaces",
    "gateway",
    "gateway6",
    "debug",
    "mount",
    "singlecpu",
    "sysctl",
    "boot_cmdline",
    "dump",
    "delay_main",
];
const OF_INTERFACES: [&str; 13] = [
    "type",
    "param",
    "mtu",
    "ip",
    "masklen",
    "ipv6",
    "masklen6",
    "ifgateway",
    "ifgateway6",
    "mac",
    "neigh",
    "qdisc",
    "offload",
];

/// Takes what a file says.
///
/// # Errors
/// One line: file, place, and what is wrong there.
pub fn read(file: &str, text: &str, config: &mut Config) -> Result<()> {
    let all: Map<String, Json> = serde_json::from_str(text).with_context(|| file.to_owned())?;
    for (key, value) in &all {
        let place = format!("{file}: {}", key.escape_debug());
        known(key, &OF_ALL, &place)?;
        let Json::Array(interfaces) = value else {
            config.set(None, key, scalar(value, place)?);
            continue;
        };
        if key != "interfaces" {
            bail!("{place}: write text, not a list");
        }
        for (index, interface) in (0..).zip(interfaces) {
            let Json::Object(interface) = interface else {
                bail!("{place}[{index}]: an interface is {{ \"type\": ..., \"param\": ... }}");
            };
            for (key, value) in interface {
                let place = format!("{place}[{index}].{}", key.escape_debug());
                known(key, &OF_INTERFACES, &place)?;
                config.set(Some(index), key, scalar(value, place)?);
            }
        }
    }
    Ok(())
}

fn known(key: &str, all: &[&str], place: &str) -> Result<()> {
    if all.contains(&key) {
        return Ok(());
    }
    let near = all.iter().map(|known| (strsim::jaro_winkler(key, known), *known));
    let (_, known) = near.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default();
    bail!("{place}: no key of LKL's: did you mean `{known}`?")
}

fn scalar(value: &Json, place: String) -> Result<Value> {
    let text = match value {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        _ => bail!("{place}: write text or a number"),
    };
    Ok(Value { text, place })
}
