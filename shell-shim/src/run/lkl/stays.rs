//! `--keep` of an LKL function: the kernel ends with CMD, so CMD has to be one that stays.

use std::path::Path;

use anyhow::{Result, bail};

/// What runs in the place of a CMD that would end.
#[derive(Debug, PartialEq, Eq)]
pub enum Stays {
    /// Nothing that has to be done.
    Idle,
    /// A program that reads rules from a pipe which never ends.
    Reads {
        /// `iptables-nft-restore` or its like.
        program: String,
        /// The rules.
        rules: String,
    },
}

/// What to run in the place of `command`.
///
/// # Errors
/// One line, for a command that cannot be had otherwise.
pub fn stays(command: &[String]) -> Result<Stays> {
    let Some((program, words)) = command.split_first() else { return Ok(Stays::Idle) };
    let name = Path::new(program).file_name().map(|name| name.to_string_lossy());
    let restore = match name.as_deref() {
        Some("true" | ":") => return Ok(Stays::Idle),
        Some("iptables" | "iptables-nft") => "iptables-nft-restore",
        Some("ip6tables" | "ip6tables-nft") => "ip6tables-nft-restore",
        _ => bail!(
            "--keep: the LKL kernel lives in CMD's process and ends with {}; only true and iptables can be had otherwise: leave CMD out, take one that stays, or use --stack netns",
            program.escape_debug()
        ),
    };
    let mut table = "filter".to_owned();
    let mut rule = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-t" | "--table" => table = words.next().cloned().unwrap_or_default(),
            // Of iptables itself, whose lock nobody else takes here.
            "-w" | "--wait" => {}
            word => rule.push(quoted(word)),
        }
    }
    let rules = format!("*{}\n{}\nCOMMIT\n", table.escape_debug(), rule.join(" "));
    Ok(Stays::Reads { program: restore.to_owned(), rules })
}

/// A word as iptables-restore reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,!+=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let word = word.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
    format!("\"{word}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_by_a_program_that_stays() {
        let of = |line: &str| stays(&shlex::split(line).unwrap());
        assert_eq!(of("/bin/true").unwrap(), Stays::Idle);
        let rules = "*nat\n-A POSTROUTING -s 192.168.0.0/24 -m comment --comment \"a b\" -j MASQUERADE\nCOMMIT\n";
        let line = "iptables -w -t nat -A POSTROUTING -s 192.168.0.0/24 -m comment --comment 'a b' -j MASQUERADE";
        let program = "iptables-nft-restore".to_owned();
        assert_eq!(of(line).unwrap(), Stays::Reads { program, rules: rules.to_owned() });
        let error = of("ping -c1 x").unwrap_err().to_string();
        assert!(error.contains("ends with ping") && error.contains("leave CMD out"), "{error}");
    }
}
