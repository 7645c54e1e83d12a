//! `stdpkt metrics`: what Prometheus makes of it, and who may read it.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::support::need::{need, need_functions};
use crate::support::scene::{Play, Scene};
use crate::support::{SOON, WATCHDOG, wait_until};

/// Two functions of this name that ping each other.
fn chain<'a>(scene: &'a Scene, name: &str) -> Play<'a> {
    let play = scene.start_sh(&format!(
        "stdpkt run --name {name} --right 10.0.0.1/24 -- ping -q -i0.05 10.0.0.2 \
         | stdpkt run --name {name}-2 --left 10.0.0.2/24"
    ));
    wait_until(SOON, || {
        let sample =
            format!("stdpkt_links{{function=\"{name}\",interface=\"right\",direction=\"sent\"}} 1");
        let out = scene.sh("stdpkt metrics --once");
        if out.out.lines().any(|line| line == sample) { Ok(()) } else { Err(format!("{out:?}")) }
    });
    play
}

fn name(kind: &str) -> String {
    format!("{kind}-{}", std::process::id())
}

/// The server, and the port that it has found.
fn serve<'a>(scene: &'a Scene, options: &str) -> (Play<'a>, u16) {
    let file = format!("said{options}");
    let play =
        scene.start_sh(&format!("exec stdpkt metrics --listen 127.0.0.1:0 {options} 2> {file}"));
    let mut port = None;
    wait_until(SOON, || {
        let said = std::fs::read_to_string(scene.path(&file)).unwrap_or_default();
        let digits = said.split("127.0.0.1:").nth(1).and_then(|it| it.split('/').next());
        port = digits.and_then(|digits| digits.parse().ok());
        port.map(drop).ok_or(said)
    });
    (play, port.expect("a port"))
}

fn get(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server");
    // A server that has heard enough may hang up in the middle.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// The value of a sample.
fn value(metrics: &str, sample: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
}

#[test]
fn promtool_finds_nothing_wrong_and_counters_grow() {
    need_functions!("ping", "promtool");
    let scene = Scene::new();
    let host = name("host");
    let play = chain(&scene, &host);
    let checked = scene.sh("stdpkt metrics --once > m && promtool check metrics < m");
    assert_eq!((checked.status, checked.out.as_str()), (0, ""), "{checked:?}");
    let sample = format!(
        "stdpkt_frames_total{{function=\"{host}\",interface=\"right\",direction=\"sent\"}}"
    );
    let frames = || value(&scene.sh("stdpkt metrics --once").out, &sample).expect("frames");
    let before = frames();
    wait_until(SOON, || if frames() > before { Ok(()) } else { Err("no more".to_owned()) });
    play.end_all();
}

/// Whoever has the ring, by a swap or after a kill -9, goes on with what it counted.
#[test]
fn no_counter_goes_back_when_another_process_has_the_link() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    let (router, client) = (name("handed"), name("client"));
    let run = format!(
        "stdpkt run --name {router} --restart --left 10.0.0.1/24 --right 10.0.1.1/24 --forward"
    );
    let play = scene.start_in(&["bash"], &format!(
        "stdpkt run --name {client} --right 10.0.0.2/24 --gateway 10.0.0.1 -- ping -q -i0.01 10.0.1.2 \
         | {run} | stdpkt run --left 10.0.1.2/24 --gateway 10.0.1.1"
    ));
    let (server, port) = serve(&scene, "");
    let samples = || -> Vec<(String, f64)> {
        let all = get(port, "GET /metrics HTTP/1.0\r\n\r\n");
        let ours = all.lines().filter(|line| line.contains("_total{") && line.contains(&router));
        let parts = ours.filter_map(|line| line.rsplit_once(' '));
        parts.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
    };
    let sent = |samples: &[(String, f64)]| -> f64 {
        let frames = samples.iter().filter(|(name, _)| name.starts_with("stdpkt_frames_total"));
        frames.map(|(_, value)| value).sum()
    };
    let mut last: Vec<(String, f64)> = Vec::new();
    // What the kernel counts of interfaces goes on after a kill, and begins anew after a swap.
    let mut look = |more: f64, swapped: bool| {
        let enough = sent(&last) + more;
        wait_until(SOON, || {
            let now = samples();
            for (name, before) in &last {
                let found = now.iter().find(|(it, _)| it == name).map(|(_, value)| *value);
                let is_new = name.contains("interface_dropped");
                assert!(
                    swapped && is_new || found.is_none_or(|found| found >= *before),
                    "{name}: {before}, then {found:?}"
                );
            }
            let grown = sent(&now) > enough;
            last = now;
            if grown { Ok(()) } else { Err(format!("{last:?}")) }
        });
    };
    look(100.0, false);
    for _ in 0..2 {
        let holder = scene.function(&router);
        let pid = scene.sh(&format!("stdpkt ls --json {router}")).out;
        let pid: serde_json::Value = serde_json::from_str(&pid).expect("JSON");
        let pid = pid["functions"][0]["pid"].as_i64().expect("a pid");
        assert_ne!(pid, i64::from(holder.pid), "the holder is not shown");
        scene.sh(&format!("kill -9 {pid}"));
        look(100.0, false);
    }
    let swapped = scene.sh(&format!("stdpkt swap {router} -- {run}"));
    assert_eq!(swapped.status, 0, "{swapped:?} {}", scene.everything_said());
    look(100.0, true);
    for play in [&server, &play] {
        play.signal_group(Signal::INT);
    }
    for play in [server, play] {
        play.end();
    }
    scene.assert_nothing_left();
}

#[test]
fn a_prometheus_scrapes_them() {
    need_functions!("ping", "prometheus", "curl");
    let scene = Scene::new();
    let host = name("seen");
    let play = chain(&scene, &host);
    let (server, port) = serve(&scene, "");
    std::fs::write(
        scene.path("prometheus.yml"),
        format!(
            "scrape_configs:\n- job_name: stdpkt\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['127.0.0.1:{port}']\n"
        ),
    )
    .expect("scene");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let web = listener.local_addr().expect("a port").port();
    drop(listener);
    let prometheus = scene.start_sh(&format!(
        "exec prometheus --config.file=prometheus.yml --storage.tsdb.path=data --web.listen-address=127.0.0.1:{web}"
    ));
    let query = |query: &str| {
        scene.sh(&format!(
            "curl -sG http://127.0.0.1:{web}/api/v1/query --data-urlencode 'query={query}'"
        ))
    };
    let frames = format!("stdpkt_frames_total{{function=\"{host}\",direction=\"sent\"}} > 0");
    for query_for in [frames.as_str(), "up{job=\"stdpkt\"} == 1"] {
        wait_until(WATCHDOG, || {
            let found = query(query_for).out;
            let there = found.contains("\"result\":[{");
            if there { Ok(()) } else { Err(format!("{found} {}", scene.everything_said())) }
        });
    }
    for play in [&prometheus, &server, &play] {
        play.signal_group(Signal::TERM);
    }
    for play in [prometheus, server, play] {
        play.end();
    }
    scene.assert_nothing_left();
}

#[test]
fn the_server_survives_whoever_comes_and_serves_its_own_user_only() {
    need_functions!("root", "curl", "setpriv");
    let scene = Scene::new();
    let (server, port) = serve(&scene, "");
    for (request, part) in [
        ("GET /metrics HTTP/1.1\r\n\r\n", "200 OK\r\nContent-Type: text/plain; version=0.0.4"),
        (
            "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n",
            "# EOF",
        ),
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("\0\u{1}\u{2}\r\n\r\n", "405"),
    ] {
        assert!(get(port, request).contains(part), "{request}: {}", get(port, request));
    }
    // Those who say nothing, or too much, are let go.
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(("127.0.0.1", port))).collect();
    let _ = get(port, &"x".repeat(1 << 20));
    wait_until(SOON, || match get(port, "GET /metrics HTTP/1.0\r\n\r\n").contains("200 OK") {
        true => Ok(()),
        false => Err("busy".to_owned()),
    });
    drop(silent);
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let ask = |port: u16| scene.sh(&format!("{nobody} curl -s http://127.0.0.1:{port}/metrics"));
    let refused = ask(port);
    assert_eq!(refused.out, "another user's: see --anyone\n", "{refused:?}");
    let (open, port) = serve(&scene, "--anyone");
    let chain = scene.start_sh("stdpkt run --right 10.0.0.1/24 | stdpkt run --left 10.0.0.2/24");
    wait_until(SOON, || match ask(port).out {
        it if it.contains("# TYPE stdpkt_frames_total counter") => Ok(()),
        it => Err(it),
    });
    let outcome = scene.sh("stdpkt metrics --listen 0.0.0.0:0");
    assert_eq!(outcome.status, 125, "{outcome:?}");
    assert!(outcome.only_line().contains("--anyone"), "{outcome:?}");
    for play in [server, open, chain] {
        play.signal_group(Signal::TERM);
        play.end();
    }
    scene.assert_nothing_left();
}
