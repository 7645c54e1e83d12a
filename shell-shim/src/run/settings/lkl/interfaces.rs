//! LKL's interfaces as `--link`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};

use super::Value;

/// Interfaces by number: values by their keys of LKL's JSON.
#[derive(Debug, Default)]
pub struct Interfaces(BTreeMap<u32, BTreeMap<String, Value>>);

/// What they are in words of the command line.
pub struct Translated {
    /// Values of `--link`.
    pub links: Vec<Value>,
    /// The one MTU.
    pub mtu: Option<Value>,
    /// Gateways of interfaces, where there is no other of that family.
    pub gateways: Vec<Value>,
    /// Where stands what has no counterpart.
    pub left_out: Vec<String>,
}

impl Interfaces {
    /// Takes a value; a later one counts, as in LKL, where the file comes after the
    /// environment.
    pub fn set(&mut self, index: u32, key: &str, value: Value) {
        self.0.entry(index).or_default().insert(key.to_owned(), value);
    }

    /// `gateways` are those of the whole.
    pub fn translate(self, gateways: &[Value]) -> Result<Translated> {
        ensure!(!self.0.is_empty(), "there is no interface in it");
        let mut all = Translated { links: vec![], mtu: None, gateways: vec![], left_out: vec![] };
        for (index, interface) in self.0 {
            let (text, place) = link(index, &interface)?;
            all.links.push(Value { text, place });
            if let Some(mtu) = interface.get("mtu") {
                let is_less =
                    |other: &Value| mtu.text.parse::<u32>().ok() < other.text.parse::<u32>().ok();
                match &all.mtu {
                    Some(other) if other.text == mtu.text => {}
                    // A function has one.
                    Some(other) if !is_less(other) => all.left_out.push(mtu.place.clone()),
                    other => {
                        all.left_out.extend(other.iter().map(|other| other.place.clone()));
                        all.mtu = Some(mtu.clone());
                    }
                }
            }
            for key in ["ifgateway", "ifgateway6"] {
                let Some(gateway) = interface.get(key) else { continue };
                let same = |other: &&Value| other.text.contains(':') == gateway.text.contains(':');
                match gateways.iter().chain(&all.gateways).find(same) {
                    Some(other) if other.text == gateway.text => {}
                    Some(_) => all.left_out.push(gateway.place.clone()),
                    None => all.gateways.push(gateway.clone()),
                }
            }
        }
        Ok(all)
    }
}

/// `ethN,at=...,ip=...`, and where it comes from.
fn link(index: u32, interface: &BTreeMap<String, Value>) -> Result<(String, String)> {
    let get = |key: &str| interface.get(key);
    let at = match (get("param"), get("tap"), get("if")) {
        (Some(param), ..) => (at(get("type").map(|kind| kind.text.as_str()), param)?, &param.place),
        (None, Some(tap), _) => (format!("tap:{}", tap.text), &tap.place),
        (None, None, Some(either)) => (at(None, either)?, &either.place),
        (None, None, None) => bail!(
            "eth{index}: nothing says what it is joined to: set LKL_HIJACK_NET_IFPARAMS{index}, as \"/dev/stdin|/tmp/fifo1\""
        ),
    };
    let mut text = format!("eth{index},at={}", at.0);
    for (ip, length) in [("ip", "masklen"), ("ipv6", "masklen6")] {
        if let Some(Value { text: address, place }) = get(ip) {
            let Some(length) = get(length) else {
                bail!(
                    "{place}: an address without the length of its mask: set LKL_HIJACK_NET_NETMASK_LEN{index}, as 24"
                );
            };
            text += &format!(",ip={address}/{}", prefix(length)?);
        }
    }
    Ok((text, at.1.clone()))
}

/// The length of a mask, which the paper writes as one, too.
fn prefix(Value { text, place }: &Value) -> Result<String> {
    let Ok(mask) = text.parse::<Ipv4Addr>() else { return Ok(text.clone()) };
    let ones = mask.to_bits().leading_ones();
    ensure!(
        ones == mask.to_bits().count_ones(),
        "{place}: {text} is no mask: write 24 or 255.255.255.0"
    );
    Ok(ones.to_string())
}

/// What an interface is joined to.
fn at(kind: Option<&str>, Value { text, place }: &Value) -> Result<String> {
    let is_path = |text: &str| {
        text.contains(['|', '/'])
            || matches!(text, "stdin" | "stdout")
            || std::fs::exists(text).unwrap_or(false)
    };
    match kind {
        Some("tap") => return Ok(format!("tap:{text}")),
        Some("pipe" | "fifo") => {}
        None if is_path(text) => {}
        // A name, which the paper has for TAPs.
        None => return Ok(format!("tap:{text}")),
        Some(other) => bail!(
            "{place}: an interface of type {} has no counterpart here: there are pipe, fifo and tap",
            other.escape_debug()
        ),
    }
    let paths: Result<Vec<String>> =
        text.split('|').map(|it| path(it).context(place.clone())).collect();
    match &paths?[..] {
        [both] => Ok(both.clone()),
        [rx, tx] => Ok(format!("{rx}:{tx}")),
        _ => bail!("{place}: `{}`: write RX|TX, as /dev/stdin|/tmp/fifo1", text.escape_debug()),
    }
}

fn path(text: &str) -> Result<String> {
    ensure!(!text.is_empty(), "a path is missing: write RX|TX, as /dev/stdin|/tmp/fifo1");
    ensure!(
        !text.contains([':', ',']),
        "`{}`: give the FIFO a name without `:` and `,`",
        text.escape_debug()
    );
    Ok(match text {
        "stdin" | "stdout" => format!("/dev/{text}"),
        // So that no name is taken for an edge's.
        relative if !relative.starts_with(['/', '.']) => format!("./{relative}"),
        path => path.to_owned(),
    })
}
