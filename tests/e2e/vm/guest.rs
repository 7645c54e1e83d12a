//! A Linux that boots in seconds: Debian's kernel for clouds, busybox, and a script.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::support::need::{guest_kernel, program_path};
use crate::support::scene::Scene;

/// In the order in which they need each other.
const MODULES: [&str; 8] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
];

const INIT: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules); do insmod /$module; done
ip link set lo up
sh /run.sh
poweroff -f
";

/// What a guest needs of the host.
macro_rules! need_guests {
    ($($what:expr),* $(,)?) => {
        need_functions!("qemu-system-x86_64", "busybox", "ldd", "guest kernel" $(, $what)*)
    };
}
pub(crate) use need_guests;

/// A file of an archive as cpio(5) has it, "new ASCII".
fn archive(out: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let fields = [0, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
    out.extend(b"070701");
    fields.iter().for_each(|field| out.extend(format!("{field:08x}").as_bytes()));
    out.extend(name.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(content);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A program and the libraries that it wants, as files of an archive that has a `/bin`.
fn add_program(out: &mut Vec<u8>, name: &str) {
    let path = program_path(name).expect("needed");
    let ldd = Command::new("ldd").arg(&path).output().expect("ldd");
    let said = String::from_utf8_lossy(&ldd.stdout).into_owned();
    let libraries = || said.split_whitespace().filter(|word| word.starts_with('/'));
    let mut dirs: Vec<_> = libraries()
        .flat_map(|library| Path::new(library).ancestors().skip(1))
        .map(|dir| dir.strip_prefix("/").unwrap_or(dir))
        .filter(|dir| !dir.as_os_str().is_empty())
        .collect();
    dirs.sort();
    dirs.dedup();
    for dir in dirs {
        archive(out, dir.to_str().expect("UTF-8"), DIR, b"");
    }
    archive(out, &format!("bin/{name}"), FILE, &fs::read(path).expect("a program"));
    for library in libraries() {
        archive(out, &library[1..], FILE, &fs::read(library).expect("a library"));
    }
}

const DIR: u32 = 0o040_755;
const FILE: u32 = 0o100_755;

/// All but the script: an archive, to which another may be appended.
fn base() -> &'static [u8] {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut out = Vec::new();
        for dir in ["bin", "proc", "sys", "dev", "tmp", "etc"] {
            archive(&mut out, dir, DIR, b"");
        }
        add_program(&mut out, "busybox");
        let mut add = |name: &str, content: &[u8]| archive(&mut out, name, FILE, content);
        let (_, modules) = guest_kernel().expect("a kernel");
        let names: Vec<_> =
            MODULES.map(|it| format!("{}.ko", it.rsplit('/').next().unwrap())).into();
        for (path, name) in MODULES.iter().zip(&names) {
            add(name, &fs::read(modules.join(format!("{path}.ko"))).expect("a module"));
        }
        add("modules", names.join(" ").as_bytes());
        add("init", INIT.as_bytes());
        end(&mut out);
        out
    })
}

fn end(out: &mut Vec<u8>) {
    archive(out, "TRAILER!!!", 0, b"");
    out.resize(out.len().next_multiple_of(512), 0);
}

/// The command line of a machine that runs `script` and then turns itself off. What it
/// says is in NAME.log. (Its kernel tries its timer for some ms, and gives up if the host is
/// busy just then, but for `no_timer_check`.)
pub fn machine(scene: &Scene, name: &str, script: &str) -> String {
    machine_with(scene, name, &[], script)
}

/// The same with more programs than busybox.
pub fn machine_with(scene: &Scene, name: &str, programs: &[&str], script: &str) -> String {
    let mut image = base().to_vec();
    programs.iter().for_each(|program| add_program(&mut image, program));
    archive(&mut image, "run.sh", 0o100_644, script.as_bytes());
    end(&mut image);
    fs::write(scene.path(&format!("{name}.cpio")), image).expect("scene");
    let (kernel, _) = guest_kernel().expect("a kernel");
    format!(
        "qemu-system-x86_64 -M q35,accel=tcg -m 96 -display none -monitor none \
         -global virtio-net-pci.romfile= -kernel {} -initrd {name}.cpio \
         -append 'console=ttyS0 quiet panic=-1 mitigations=off no_timer_check' -serial file:{name}.log",
        kernel.display()
    )
}

/// The same, with a card whose back end is at the socket `at`, and comes and goes.
pub fn machine_at(scene: &Scene, name: &str, at: &str, script: &str) -> String {
    let machine = machine(scene, name, script);
    format!(
        "{machine} -object memory-backend-memfd,id=mem,size=96M,share=on -machine memory-backend=mem \
         -chardev socket,id=c,path={at},reconnect=1 -netdev vhost-user,id=n,chardev=c \
         -device virtio-net-pci,netdev=n,vectors=0"
    )
}

/// What a machine said.
pub fn said(scene: &Scene, name: &str) -> String {
    let bytes = fs::read(scene.path(&format!("{name}.log"))).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
