//! A function, and what `/proc` tells of it.

use serde::Serialize;

/// A function or another command with links.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Function {
    /// Process id.
    pub pid: u32,
    /// What it is called (`--name`).
    pub name: String,
    /// What it runs; empty where that is nothing.
    pub command: String,
    /// Of one that starts it again (`--restart`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<Restarts>,
    /// Of a balancer that starts functions (`--spawn`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawned: Option<Spawned>,
}

/// The functions that a balancer has started.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Spawned {
    /// Those that run.
    pub now: u64,
    /// All so far.
    pub total: u64,
    /// Times that there was no room for another one.
    pub refused: u64,
    /// Frames that no function took.
    pub lost: u64,
}

/// How often a function has started its CMD again.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Restarts {
    /// So far.
    pub count: u64,
    /// The exit status after which it did so last.
    pub last_status: u64,
}

/// The command line of a process.
pub fn command_of(pid: u32) -> Option<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = line
        .split(|&byte| byte == 0)
        .map(|word| String::from_utf8_lossy(word).replace(char::is_control, "?"))
        .collect();
    Some(words.join(" ").trim_end().to_owned()).filter(|command| !command.is_empty())
}

/// Frames that the network stack of a function handed to an interface and that
/// nobody took out of it in time.
pub fn interface_drops(pid: u32, interface: &str) -> Option<u64> {
    let own = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    // A command without a stack is where we are, and so are interfaces of any name.
    if own(&pid.to_string())? == own("self")? {
        return None;
    }
    let interfaces = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
    dropped(&interfaces, interface)
}

/// Frames that were to be sent and were dropped, in the words of `/proc/net/dev`.
fn dropped(interfaces: &str, name: &str) -> Option<u64> {
    /// Eight numbers of what was received; bytes, packets and errors sent.
    const BEFORE: usize = 8 + 3;
    let lines = interfaces.lines().filter_map(|line| line.split_once(':'));
    let (_, numbers) = lines.into_iter().find(|(found, _)| found.trim() == name)?;
    numbers.split_whitespace().nth(BEFORE)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drops_of_an_interface_are_found_in_what_the_kernel_prints() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
 right: 34697544   24064    0    0    0     0          0         0 34697544   24064    0 71944    0     0       0          0
";
        assert_eq!(dropped(text, "right"), Some(71944));
        assert_eq!(dropped(text, "lo"), Some(0));
        assert_eq!(dropped(text, "left"), None);
        assert_eq!(dropped("right: 1 2", "right"), None);
    }
}
