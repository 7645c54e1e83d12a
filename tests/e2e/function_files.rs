//! Function files: executable, kept, shared.

use std::os::unix::fs::PermissionsExt;

use crate::support::need::{need, need_functions};

use crate::support::scene::Scene;
use crate::support::{SOON, wait_until};

/// Makes an executable file in the scene's directory.
fn write(scene: &Scene, name: &str, text: &str) {
    let path = scene.path(name);
    std::fs::write(&path, text).expect("scene");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("scene");
}

const NAT: &str = r#"#!/usr/bin/env -S stdpkt run --file
left = "192.168.0.254/24"
right = "${RIGHT:-8.8.8.4/24}"
forward = true
setup = "iptables -t nat -A POSTROUTING -s 192.168.0.0/24 -o right -j MASQUERADE"
"#;

#[test]
fn a_chain_of_files() {
    need_functions!("ping", "iptables", "bash");
    let scene = Scene::new();
    let ping = "#!/usr/bin/env -S stdpkt run --file\nright = \"192.168.0.1/24\"\n\
        gateway = \"192.168.0.254\"\ncommand = [\"ping\", \"-c2\", \"8.8.8.8\"]\n";
    write(&scene, "ping", ping);
    write(&scene, "nat", NAT);
    write(&scene, "dest", "#!/usr/bin/env -S stdpkt run --file\nleft = \"8.8.8.8/24\"\n");
    let (statuses, outcome) = scene.pipeline("./ping | ./nat | ./dest");
    assert_eq!(statuses, [0, 0, 0], "{outcome:?}");
    assert!(outcome.err.contains("2 received"), "{outcome:?}");
    // Flags win, and parameters come from the environment.
    let chain = "./ping --gateway 192.168.0.254 -- ping -c1 9.9.9.9 \
                 | RIGHT=9.9.9.4/24 ./nat --name fw | ./dest --left 9.9.9.9/24";
    let (statuses, outcome) = scene.pipeline(chain);
    assert_eq!(statuses, [0, 0, 0], "{outcome:?}");
    assert!(outcome.err.contains("1 received"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_command_line_becomes_a_file_and_functions_are_called_like_their_files() {
    need_functions!("ping", "iptables", "bash");
    let scene = Scene::new();
    let line = "stdpkt run --left 192.168.0.254/24 --right 8.8.8.4/24 --forward --setup 'iptables -t nat \
                -A POSTROUTING -s 192.168.0.0/24 -o right -j MASQUERADE'";
    let printed = scene.sh(&format!("{line} --print-file"));
    assert_eq!((printed.status, printed.err.as_str()), (0, ""));
    assert_eq!(printed.out, NAT.replace("${RIGHT:-8.8.8.4/24}", "8.8.8.4/24"));
    // Of a file and flags together.
    write(&scene, "nat", NAT);
    let printed = scene.sh("RIGHT=9.9.9.4/24 stdpkt run --file nat --mtu 9000 --print-file");
    assert!(
        printed.out.contains("9.9.9.4/24") && printed.out.contains("mtu = 9000"),
        "{printed:?}"
    );
    let play = scene.start_sh("sleep 1000 | ./nat | sleep 1000");
    wait_until(SOON, || {
        let named = scene.sh("stdpkt ls --json nat").out;
        let pid = scene.find_function("./nat").map_or(0, |function| function.pid);
        match named.contains(&format!("{{\"pid\":{pid},\"name\":\"nat\"")) {
            true => Ok(()),
            false => Err(named),
        }
    });
    play.end_all();
}

#[test]
fn what_is_wrong_with_a_file_is_told_where() {
    let scene = Scene::new();
    write(
        &scene,
        "nat",
        "#!/usr/bin/env -S stdpkt run --file\nforward = true\n\nlefft = \"10.0.0.1/24\"\n",
    );
    let outcome = scene.sh("./nat");
    assert_eq!(outcome.status, 125);
    assert_eq!(outcome.only_line(), "stdpkt: ./nat:4:1: `lefft` is no key: did you mean `left`?");
}
