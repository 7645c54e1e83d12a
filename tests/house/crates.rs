//! Which crate may depend on which.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::files::workspace;

/// From below to above, as the registry will know them.
const FOUNDATIONS: [&str; 5] =
    ["stdpkt-say", "stdpkt-shmring", "stdpkt-frames", "stdpkt-cable", "stdpkt-edges"];

/// What a program prints.
fn output(program: &str, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).current_dir(workspace()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What cargo knows of the workspace, with all that it depends on on this machine:
/// what other systems would need is not there.
pub fn metadata() -> Value {
    let rustc = String::from_utf8(output("rustc", &["-vV"])).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let args =
        ["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", host];
    serde_json::from_slice(&output(&cargo, &args)).unwrap()
}

/// Names of packages by what cargo calls them, and of what each one's code uses.
struct Graph {
    names: BTreeMap<String, String>,
    uses: BTreeMap<String, Vec<String>>,
    members: Vec<String>,
}

impl Graph {
    fn new() -> Graph {
        let metadata = metadata();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let names = list(&metadata["packages"]);
        let names = names.iter().map(|it| (text(&it["id"]), text(&it["name"]))).collect();
        let is_normal = |dep: &Value| list(&dep["dep_kinds"]).iter().any(|it| it["kind"].is_null());
        let uses = |node: &Value| {
            let deps = list(&node["deps"]);
            deps.iter().filter(|dep| is_normal(dep)).map(|dep| text(&dep["pkg"])).collect()
        };
        let nodes = list(&metadata["resolve"]["nodes"]);
        let uses = nodes.iter().map(|node| (text(&node["id"]), uses(node))).collect();
        let members = list(&metadata["workspace_members"]).iter().map(text).collect();
        Graph { names, uses, members }
    }

    /// Names of all that the code of a package uses, directly or not.
    fn all(&self, name: &str) -> BTreeSet<&str> {
        let start = self.members.iter().find(|id| self.names[*id] == name);
        let mut todo = vec![start.unwrap_or_else(|| panic!("no crate {name}"))];
        let mut seen = BTreeSet::new();
        while let Some(id) = todo.pop() {
            for used in &self.uses[id] {
                if seen.insert(used) {
                    todo.push(used);
                }
            }
        }
        seen.into_iter().map(|id| self.names[id].as_str()).collect()
    }
}

/// Crates for command lines, asynchronous runtimes and netlink.
fn is_heavy(name: &str) -> bool {
    let families = ["clap", "tokio", "async", "futures", "mio", "netlink", "rtnetlink"];
    families.iter().any(|family| name == *family || name.starts_with(&format!("{family}-")))
}

#[test]
fn frames_and_cables_know_nothing_of_command_lines_runtimes_and_netlink() {
    let graph = Graph::new();
    for name in FOUNDATIONS {
        let heavy: Vec<_> = graph.all(name).into_iter().filter(|name| is_heavy(name)).collect();
        assert!(heavy.is_empty(), "{name} depends on {heavy:?}");
    }
    // The look finds what is there.
    let command = graph.all("shell-shim");
    for name in ["clap", "tokio", "rtnetlink"] {
        assert!(command.contains(name) && is_heavy(name), "{name}");
    }
}

#[test]
fn each_crate_stands_on_those_below_it() {
    let graph = Graph::new();
    let members: BTreeSet<_> = graph.members.iter().map(|id| graph.names[id].as_str()).collect();
    let mut below: Vec<&str> = Vec::new();
    for name in FOUNDATIONS.into_iter().chain(["shell-shim"]) {
        let used = graph.all(name);
        let own: Vec<_> = used.into_iter().filter(|used| members.contains(used)).collect();
        assert!(own.iter().all(|used| below.contains(used)), "{name} uses {own:?}");
        below.push(name);
    }
}
