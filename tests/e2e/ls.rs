//! `stdpkt ls` on live chains.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::chains::{three, two};
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::support::terminal::Terminal;
use crate::support::{SOON, wait_until};

/// What there is on this machine, where others may run chains, too.
fn report(scene: &Scene) -> Value {
    let outcome = scene.sh("stdpkt ls --json");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    serde_json::from_str(&outcome.out).expect("JSON")
}

/// All links.
fn all(scene: &Scene) -> Vec<Value> {
    report(scene)["links"].as_array().expect("links").clone()
}

/// Those of one function.
fn rings(scene: &Scene, first: u64) -> Vec<Value> {
    let ours = |ring: &Value| [&ring["from"], &ring["to"]].iter().any(|f| f["pid"] == first);
    all(scene).into_iter().filter(ours).collect()
}

#[test]
fn a_function_in_another_pid_namespace_is_known() {
    need_functions!("root", "ping", "unshare");
    let scene = Scene::new();
    let name = format!("far-{}", std::process::id());
    let play = scene.start_sh(&format!(
        "unshare --pid --fork --kill-child stdpkt run --name {name} --right 10.0.0.1/24 \
           -- ping -q 10.0.0.2 | stdpkt run --left 10.0.0.2/24"
    ));
    wait_until(SOON, || {
        let seen = scene.sh("stdpkt ls --chains").out;
        let is_it =
            |line: &str| line.starts_with(&format!("{name}[")) && line.contains(" right----left ");
        if seen.lines().any(is_it) { Ok(()) } else { Err(seen) }
    });
    play.signal_group(Signal::TERM);
    play.end();
}

#[test]
fn ls_shows_both_directions_of_a_live_link_and_counters_that_grow() {
    need_functions!("ping");
    let scene = Scene::new();
    let play = scene.start_sh(&two("", "-- ping -q -i0.1 10.0.0.1"));
    wait_until(SOON, || match scene.processes().iter().any(|p| p.name == "ping") {
        true => Ok(()),
        false => Err("no ping".into()),
    });
    let first = scene.function("10.0.0.1/24").pid as u64;
    let second = scene.function("10.0.0.2/24").pid as u64;
    let before = rings(&scene, first);
    assert_eq!(before.len(), 2, "{before:#?}");
    std::thread::sleep(Duration::from_secs(1));
    let after = rings(&scene, first);
    for (from, to, sender, receiver) in
        [("right", "left", first, second), ("left", "right", second, first)]
    {
        let find = |rings: &[Value]| {
            let found = rings.iter().find(|ring| ring["from"]["interface"] == from);
            found.unwrap_or_else(|| panic!("none from {from}: {rings:#?}")).clone()
        };
        let (before, after) = (find(&before), find(&after));
        assert_eq!(after["to"]["interface"], to);
        assert_eq!(after["from"]["pid"], sender);
        assert_eq!(after["to"]["pid"], receiver);
        assert_eq!(after["inode"], before["inode"]);
        for side in ["from", "to"] {
            for counter in ["frames", "bytes"] {
                let [a, b] = [&before, &after].map(|ring| ring[side][counter].as_u64());
                assert!(a.is_some() && b > a, "{side}.{counter}: {a:?}, then {b:?}");
            }
        }
        assert_eq!(after["from"]["drops"], 0, "{after:#?}");
    }
    let sender = &after.iter().find(|r| r["from"]["interface"] == "left").expect("ring")["from"];
    assert_eq!(sender["command"], "ping -q -i0.1 10.0.0.1");

    let table = scene.sh("stdpkt ls");
    assert_eq!(table.status, 0, "{table:?}");
    assert!(table.out.contains(&format!("{first}:right")), "{table:?}");
    play.end_all();
    assert_eq!(rings(&scene, first), Vec::<Value>::new());
}

#[test]
fn ls_works_where_nothing_runs_and_when_nobody_reads() {
    let scene = Scene::new();
    let outcome = scene.sh("stdpkt ls --json | head -c0; stdpkt ls >/dev/null");
    assert_eq!((outcome.status, outcome.err.as_str()), (0, ""));
}

/// Starts `script` and returns its links once they are those `expected`.
fn links_of(scene: &Scene, script: &str, expected: &[&str]) -> (Vec<Value>, String) {
    let play = scene.start_sh(script);
    let mut found = Vec::new();
    wait_until(SOON, || {
        let own: Vec<u64> = scene.processes().iter().map(|p| p.pid as u64).collect();
        found = all(scene);
        found.retain(|link| {
            let pids = [&link["from"]["pid"], &link["to"]["pid"]];
            pids.iter().any(|pid| pid.as_u64().is_some_and(|pid| own.contains(&pid)))
        });
        match lines(&found) == expected {
            true => Ok(()),
            false => Err(format!("{found:#?}")),
        }
    });
    let table = scene.sh("stdpkt ls");
    play.end_all();
    (found, table.out)
}

/// `FROM FORM TO` of each, by interface or program.
fn lines(links: &[Value]) -> Vec<String> {
    let end = |end: &Value| match (&end["interface"], &end["command"]) {
        (Value::String(name), _) | (_, Value::String(name)) => name.clone(),
        _ => "-".to_owned(),
    };
    let line = |link: &Value| {
        format!("{} {} {}", end(&link["from"]), link["form"].as_str().unwrap(), end(&link["to"]))
    };
    let mut lines: Vec<_> = links.iter().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn ls_shows_links_through_pipes() {
    need_functions!("ping");
    let scene = Scene::new();
    let chain = two("--channel fifo", "-- ping -q -i0.1 10.0.0.1");
    let (links, table) = links_of(&scene, &chain, &["left pipe right", "right pipe left"]);
    let back = links.iter().find(|link| link["from"]["interface"] == "left").unwrap();
    assert_eq!(back["from"]["command"], "ping -q -i0.1 10.0.0.1");
    for link in &links {
        assert_eq!(link["from"]["interface_drops"], 0, "{link:#?}");
        let [sent, received] = ["from", "to"].map(|end| link[end]["frames"].as_u64());
        // Each side counts for itself, after its own call: neither is first.
        assert!(sent.is_some() && received.is_some(), "{link:#?}");
        assert_eq!((&link["capacity_bytes"], &link["used_bytes"]), (&Value::Null, &Value::Null));
    }
    // Those of other tests are there, too.
    assert!(table.matches(" pipe ").count() >= 2, "{table}");
}

#[test]
fn ls_shows_captures_and_who_is_in_the_way() {
    need_functions!("ping", "cat");
    let scene = Scene::new();
    let chain = two("-- ping -q -i0.1 10.0.0.2 | cat", "");
    let (links, table) = links_of(&scene, &chain, &["cat capture left", "right capture cat"]);
    assert_eq!(links[0]["from"]["frames"].is_u64(), links[0]["from"]["interface"].is_string());
    assert!(table.matches(" cat ").count() >= 2, "{table}");
}

#[test]
fn ls_shows_links_to_which_nobody_has_come() {
    need_functions!("ping", "mkfifo", "sleep");
    let scene = Scene::new();
    let chain = two("--link x,at=f,ip=10.0.1.1/24 -- ping -q -i0.1 10.0.0.2", "");
    let script = format!("mkfifo f; sleep 1000 | stdpkt tee copy | cat & {chain}");
    let expected = [
        "- waiting left",
        "left ring right",
        "loopback ring loopback", // of the copy
        "right capture cat",
        "right ring left",
        "x waiting -",
    ];
    let (links, _) = links_of(&scene, &script, &expected);
    let named = |link: &&Value| link["what"] == "f" && link["form"] == "waiting";
    assert_eq!(links.iter().filter(named).count(), 1, "{links:#?}");
}

/// Waits until there are links of all three functions, and returns their process ids.
fn three_named(scene: &Scene) -> [u64; 3] {
    let functions = ["10.0.1.1/24", "10.0.1.2/24", "10.0.2.1/24"];
    wait_until(SOON, || match scene.processes().iter().any(|p| p.name == "ping") {
        true => Ok(()),
        false => Err("no ping".into()),
    });
    functions.map(|address| scene.function(address).pid as u64)
}

#[test]
fn functions_have_names_by_which_ls_finds_them() {
    need_functions!("ping");
    let scene = Scene::new();
    let chain = three("-- ping -q -i0.1 10.0.2.1", "--name fw-names", "--name web-names");
    let play = scene.start_sh(&chain);
    let [ping, fw, web] = three_named(&scene);
    let names = |links: &[Value]| -> Vec<String> {
        let ends = links.iter().flat_map(|link| [&link["from"], &link["to"]]);
        ends.map(|end| end["name"].as_str().unwrap_or("-").to_owned()).collect()
    };
    for (pattern, count) in
        [("fw-names", 4), ("'fw-n*es'", 4), ("web-n", 2), (&ping.to_string(), 2)]
    {
        let outcome = scene.sh(&format!("stdpkt ls --json {pattern}"));
        let report: Value = serde_json::from_str(&outcome.out).expect("JSON");
        let links = report["links"].as_array().unwrap();
        assert_eq!(links.len(), count, "{pattern}: {report:#}");
        let names = names(links);
        assert!(names.iter().any(|name| name == "fw-names"), "{pattern}: {names:?}");
    }
    let report = report(&scene);
    let of = |pid: u64| {
        let functions = report["functions"].as_array().unwrap();
        functions.iter().find(|it| it["pid"] == pid).expect("a function").clone()
    };
    assert_eq!((&of(ping)["name"], &of(web)["name"]), (&"ping".into(), &"web-names".into()));
    assert_eq!(of(ping)["command"], "ping -q -i0.1 10.0.2.1");
    let nobody = scene.sh("stdpkt ls nobody-names");
    assert_eq!(nobody.status, 125);
    assert!(
        nobody.only_line().contains("no function is called nobody-names: there is"),
        "{nobody:?}"
    );

    let chains = scene.sh("stdpkt ls --chains").out;
    let line = format!("ping[{ping}] right----left fw-names[{fw}] right----left web-names[{web}]");
    assert!(chains.lines().any(|it| it == line), "{line}\n{chains}");
    let dot = scene.sh("stdpkt ls --dot names").out;
    assert!(dot.starts_with("digraph") && dot.contains(&format!("\"fw-names\\n{fw}\"")), "{dot}");
    play.end_all();
}

#[test]
fn what_ls_writes_as_json_is_what_its_schema_says() {
    need_functions!("ping");
    let scene = Scene::new();
    let script = format!(
        "mkfifo f; stdpkt run --link x,at=f,ip=10.0.9.1/24 & {}",
        two("--channel fifo", "-- ping -q -i0.1 10.0.0.1")
    );
    let play = scene.start_sh(&script);
    wait_until(SOON, || match scene.processes().iter().any(|p| p.name == "ping") {
        true => Ok(()),
        false => Err("no ping".into()),
    });
    let schema = std::fs::read_to_string("../docs/ls.schema.json").expect("the schema");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let mut report = report(&scene);
    assert_eq!(report["version"], 1);
    let errors: Vec<_> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert_eq!(errors, Vec::<String>::new(), "{report:#}");
    // It can tell.
    report["links"][0]["form"] = 7.into();
    assert!(!validator.is_valid(&report));
    let watched = scene.sh("stdpkt ls --json --watch | head -n2 | tail -n1").out;
    let watched: Value = serde_json::from_str(&watched).expect("JSON");
    assert!(validator.is_valid(&watched), "{watched:#}");
    assert!(watched.to_string().contains("bits_per_second"), "{watched:#}");
    play.end_all();
}

#[test]
fn ls_redraws_in_place_on_a_terminal_until_q() {
    need!("setsid");
    let scene = Scene::new();
    let mut terminal = Terminal::new();
    let mut command = scene.command("setsid");
    let script = "stty rows 20 cols 100; exec stdpkt ls --watch >/dev/tty";
    command.args(["--ctty", "--wait", "sh", "-c", script]);
    command.env("TERM", "xterm").stdin(std::process::Stdio::from(terminal.open()));
    let play = scene.start(command);
    terminal.wait_for("q)uit");
    terminal.type_keys("dq");
    let outcome = play.end();
    assert_eq!((outcome.status, outcome.err.as_str()), (0, ""));
}
