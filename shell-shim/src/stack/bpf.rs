//! Programs of eBPF, which setup commands put on a function's interfaces.

/// What to do where programs of eBPF cannot be loaded.
pub const WAY_OUT: &str = "have root load it and pin it (bpftool prog load), and attach what is pinned: `ip link set dev left xdp pinned PATH`";

/// Whether programs of eBPF can be loaded here: by root, outside of user namespaces.
pub fn can_load() -> bool {
    /// `CAP_SYS_ADMIN` and `CAP_BPF`.
    const EITHER: u64 = 1 << 21 | 1 << 39;
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let is_first = read("/proc/self/uid_map").split_whitespace().eq(["0", "0", "4294967295"]);
    let status = read("/proc/self/status");
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let rights = rights.and_then(|rights| u64::from_str_radix(rights.trim(), 16).ok());
    is_first && rights.is_some_and(|rights| rights & EITHER != 0)
}

/// What to do about a setup command that failed.
pub fn way_out(script: &str) -> String {
    let words: Vec<&str> = script.split_whitespace().collect();
    let loads = |pair: &[&str]| pair[0].starts_with("xdp") && "object".starts_with(pair[1]);
    match words.windows(2).any(loads) && !can_load() {
        true => format!(": no program can be loaded here: {WAY_OUT}"),
        false => String::new(),
    }
}
