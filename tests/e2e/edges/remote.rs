//! Another machine or container: a namespace stands for each, the programs are real.

use super::said;
use crate::support::WATCHDOG;
use crate::support::need::{need, need_functions, program_path};
use crate::support::procs::MARK;
use crate::support::scene::{Outcome, Play, Scene};

/// Two hosts: the namespace that the script is in, 192.0.2.1, and `far`, 192.0.2.2.
const HOSTS: &str = "
    mount --make-rprivate / && mount -t tmpfs none /run && mkdir /run/netns /run/sshd
    ip link set lo up; ip netns add far
    ip link add near type veth peer name far netns far
    ip addr add 192.0.2.1/24 dev near; ip link set near up
    ip -n far addr add 192.0.2.2/24 dev far; ip -n far link set far up
    ip -n far link set lo up
";

/// An sshd of one's own on `far`, and an ssh that knows it as `host`.
const SSHD: &str = r#"
    mkdir -m 700 k; for key in host user; do ssh-keygen -q -t ed25519 -N '' -f k/$key; done
    printf '%s\n' "HostKey $PWD/k/host" "AuthorizedKeysFile $PWD/k/user.pub" 'StrictModes no' \
        'UsePAM no' 'PidFile none' 'ListenAddress 192.0.2.2' 'PermitRootLogin yes' \
        "SetEnv PATH=$PATH SHMRING_RUNTIME_DIR=$SHMRING_RUNTIME_DIR $(env | grep ^MARK=)" >k/sshd
    printf '%s\n' 'Host host' 'HostName 192.0.2.2' 'User root' "IdentityFile $PWD/k/user" \
        "UserKnownHostsFile $PWD/k/known" 'StrictHostKeyChecking no' 'LogLevel ERROR' >k/ssh
    printf '#!/bin/sh\nexec /usr/bin/ssh -F %s "$@"\n' $PWD/k/ssh >bin/ssh; chmod +x bin/ssh
    ip netns exec far $(command -v sshd) -D -e -f k/sshd 2>k/log & sshd=$!
    until ip netns exec far ss -tln | grep -q :22; do sleep 0.05; done
"#;

fn start_between_hosts<'a>(scene: &'a Scene, script: &str) -> Play<'a> {
    std::fs::write(scene.path("hosts"), format!("{HOSTS}\n{script}")).expect("scene");
    scene.start_sh("exec unshare -n -m bash hosts")
}

pub(super) fn between_hosts(scene: &Scene, script: &str) -> Outcome {
    start_between_hosts(scene, script).end()
}

fn start_with_ssh<'a>(scene: &'a Scene, script: &str) -> Play<'a> {
    let sshd = SSHD.replace("MARK", MARK);
    start_between_hosts(scene, &format!("{sshd}\n{script}\nkill $sshd; wait"))
}

/// Runs a script with an ssh that reaches `host`.
pub(super) fn with_ssh(scene: &Scene, script: &str) -> Outcome {
    start_with_ssh(scene, script).end()
}

#[test]
fn what_ends_a_link_through_ssh_is_told() {
    need_functions!("root", "ip", "ss", "unshare", "ping", "sshd", "ssh", "ssh-keygen");
    let scene = Scene::new();
    // The pid of the far function, and of ssh, whose parent is the shell's job.
    let outcome = with_ssh(
        &scene,
        "for victim in ssh function; do
             rm -f pid
             stdpkt run --right 10.0.0.1/24 -- ping -q -i0.2 10.0.0.2 \
             | stdpkt join frames -- sh -c 'echo $$ >ssh.pid; exec ssh host \"$@\"' ssh \
                   \"cd $PWD; echo \\$\\$ >pid; exec stdpkt run --left 10.0.0.2/24,at=frames:stdio -- sh -c 'touch $PWD/up-$victim; sleep 1000'\" &
             until [ -e up-$victim ]; do sleep 0.05; done
             if [ $victim = ssh ]; then kill -9 $(cat ssh.pid); else kill -9 $(cat pid); fi
             wait $!; echo $victim $?
         done
         stdpkt run --right 10.0.0.1/24 -- ping -q 10.0.0.2 | stdpkt join frames -- ssh host echo hello
         echo text $?",
    );
    for line in [
        "sh ended with status 137, as after signal 9, and the link with it",
        "sh ended with status 255, and the link with it",
        "ssh: byte 0: a frame of",
        "it says \"hello",
    ] {
        assert!(outcome.err.contains(line), "{line}: {outcome:?}");
    }
    assert_eq!(outcome.out, "ssh 137\nfunction 255\ntext 125\n", "{outcome:?}");
    scene.assert_nothing_left();
}

/// For so long nothing gets through, and more is sent than fits on the way.
fn stall(seconds: u32, stop: &str, go: &str) {
    let scene = Scene::new();
    let play = start_with_ssh(
        &scene,
        &format!(
            "stdpkt run --right 10.0.0.1/24 -- sh -c '
                 until ping -q -c1 -W30 10.0.0.2 >/dev/null; do :; done; touch up; sleep 1
                 ping -q -f -c 3000 -s 60000 -W1 10.0.0.2 >/dev/null; touch sent
                 for n in $(seq 60); do ping -q -c1 -W1 10.0.0.2 && break; done' \
             | stdpkt join frames -- sh -c 'echo $$ >ssh.pid; exec ssh host \"$@\"' ssh \
                   stdpkt run --left 10.0.0.2/24,at=frames:stdio & chain=$!
             until [ -e up ]; do sleep 0.05; done
             {stop}; sleep {seconds}; {go}; wait $chain; echo $?"
        ),
    );
    // What is sent is much, and TCP sends again after ever longer times: after half a minute of
    // silence that may take another.
    let outcome = play.end_within(5 * WATCHDOG);
    let outcome = outcome.unwrap_or_else(|| panic!("{}", scene.everything_said()));
    assert!(outcome.err.contains("sh takes nothing for 1 s"), "{outcome:?}");
    assert!(said(&outcome).contains(" 0% packet loss"), "{outcome:?}");
    assert_eq!(outcome.out, "0\n", "{outcome:?}");
    scene.assert_nothing_left();
}

const CUT: [&str; 2] = ["ip link set near down", "ip link set near up"];
const STOP: [&str; 2] = ["kill -STOP $(cat ssh.pid)", "kill -CONT $(cat ssh.pid)"];

#[test]
fn a_network_that_stalls_is_told_and_goes_on() {
    need_functions!("root", "ip", "ss", "unshare", "ping", "sshd", "ssh", "ssh-keygen");
    stall(4, CUT[0], CUT[1]);
}

#[test]
fn an_ssh_that_stalls_is_told_and_goes_on() {
    need_functions!("root", "ip", "ss", "unshare", "ping", "sshd", "ssh", "ssh-keygen");
    stall(4, STOP[0], STOP[1]);
}

#[test]
#[ignore = "takes a minute and a half"]
fn stalls_of_half_a_minute_are_told_and_it_goes_on() {
    need_functions!("root", "ip", "ss", "unshare", "ping", "sshd", "ssh", "ssh-keygen");
    stall(30, CUT[0], CUT[1]);
    stall(30, STOP[0], STOP[1]);
}

#[test]
fn functions_are_started_elsewhere() {
    need_functions!(
        "root",
        "user namespaces",
        "ping",
        "chroot",
        "nsenter",
        "unshare",
        "setpriv",
        "sudo",
        "socat"
    );
    // Another user; another root; the namespaces of a process. `kubectl exec` wants a cluster:
    // `pod` stands for it, which carries what it reads and writes to a process elsewhere.
    for elsewhere in [
        "sudo -u nobody",
        "./pod exec -i pod --",
        "env -u SHMRING_RUNTIME_DIR setpriv --reuid=65534 --regid=65534 --clear-groups",
        "chroot root",
        "nsenter -t $holder -a",
    ] {
        let scene = Scene::new();
        let outcome = scene.sh(&format!(
            "unshare -n -m -u sleep 1000 & holder=$!
             mkdir root; cp -L bin/stdpkt .; chmod 755 .
             printf '%s\\n' '#!/bin/sh' 'shift 4; printf \"#!/bin/sh\\\\nexec $*\" >in-pod; chmod +x in-pod; exec socat STDIO EXEC:./in-pod' >pod; chmod +x pod
             exec 3>&1; unshare -m sh -c '
                 umask 0; mknod tun c 10 200; mount --bind tun /dev/net/tun; mount --rbind / root
                 holder=$1
                 stdpkt run --right 10.0.0.1/24 -- ping -q -c2 -i0.05 -W5 10.0.0.2 \
                 | stdpkt join frames -- {elsewhere} '$PWD'/stdpkt run --left 10.0.0.2/24,at=frames:stdio
             ' sh $holder
             kill $holder; wait"
        ));
        // On a busy machine it may be told to end, which is another status.
        assert!(said(&outcome).contains(" 0% packet loss"), "{elsewhere}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

/// What podman needs to run in the scene's directory, and an image, `localhost/stdpkt`.
fn podman(scene: &Scene) -> String {
    let busybox = program_path("busybox").expect("needed");
    std::fs::write(
        scene.path("conf"),
        "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
         [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\n",
    )
    .expect("scene");
    format!(
        "export CONTAINERS_CONF=$PWD/conf
         podman() {{ command podman --root $PWD/store --runroot $PWD/runroot --storage-driver vfs \"$@\"; }}
         mkdir -p image/bin image/tmp image/etc image/proc image/sys image/dev
         cp -L bin/stdpkt {busybox} image/bin
         for library in $(ldd bin/stdpkt {busybox} | grep -o '/[^ ]*lib[^ ]*' | grep -v ':$' | sort -u); do
             mkdir -p image/${{library%/*}}; cp -L $library image/$library
         done
         for applet in sh mkdir mkfifo ping sleep ip; do ln -s busybox image/bin/$applet; done
         tar -C image -c . | podman import -q - localhost/stdpkt >image.id\n",
        busybox = busybox.display()
    )
}

#[test]
fn a_container_is_another_machine_and_a_namespace_to_be_in() {
    need_functions!("root", "ping", "podman", "runc", "conmon", "busybox", "tar", "ldd");
    let scene = Scene::new();
    let outcome = scene.sh(&format!(
        "{}
         podman run -d --name c --network none --cap-add NET_ADMIN,SYS_ADMIN,NET_RAW \
             --security-opt seccomp=unconfined --device /dev/net/tun localhost/stdpkt sleep 1000 >c.id
         stdpkt run --right 10.0.0.1/24 -- ping -q -c2 -i0.2 -W5 10.0.0.2 \
         | stdpkt join frames -- podman --root $PWD/store --runroot $PWD/runroot --storage-driver vfs \
               exec -i c stdpkt run --left 10.0.0.2/24,at=frames:stdio
         echo $?
         stdpkt run --netns $(podman inspect -f '{{{{.State.Pid}}}}' c) --right 10.0.1.1/24 \
             -- ping -q -c2 -i0.2 -W5 10.0.1.2 | stdpkt run --left 10.0.1.2/24
         echo $?
         podman rm -f -t 0 c >/dev/null",
        podman(&scene)
    ));
    assert_eq!(outcome.out, "0\n0\n", "{outcome:?}");
    assert_eq!(said(&outcome).matches(" 0% packet loss").count(), 2, "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn containers_of_one_pod_are_a_chain() {
    need_functions!("root", "podman", "runc", "conmon", "catatonit", "busybox", "tar", "ldd");
    let scene = Scene::new();
    let manifest = include_str!("../../../docs/examples/pod.yaml");
    std::fs::write(scene.path("pod.yaml"), manifest).expect("scene");
    let outcome = scene.sh(&format!(
        "{}
         podman play kube -q --network none pod.yaml >pod.id || exit
         podman wait chain-client; podman logs chain-client
         podman play kube --down pod.yaml >down; podman pod rm -a -f >down",
        podman(&scene)
    ));
    assert!(outcome.out.contains("3 packets received"), "{outcome:?}");
    scene.assert_nothing_left();
}
