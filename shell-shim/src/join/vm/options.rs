//! What QEMU is told on its command line: what it is given there, and what has to be added.

use std::os::fd::AsRawFd;

use anyhow::{Result, bail};

/// QEMU's memory when `-m` says nothing, in MiB.
const USUAL_MEMORY: &str = "128M";

/// A virtual machine as its user wrote it, which nothing contradicts.
#[derive(Debug)]
pub struct Machine {
    /// The command line.
    pub program: Vec<String>,
    /// The size of its memory, unless the user shares that.
    memory: Option<String>,
    /// The card's model.
    device: &'static str,
    /// The processor is emulated, or may be.
    is_emulated: bool,
}

/// A network card to be added.
#[derive(Debug)]
pub struct Card {
    number: usize,
    socket: String,
    mac: String,
}

impl Card {
    /// The card with that number, whose back end listens at an abstract socket.
    pub fn new(number: usize, socket: &str, mac: String) -> Card {
        Card { number, socket: socket.to_owned(), mac }
    }

    /// Its name for the machine's monitor.
    pub fn netdev(&self) -> String {
        format!("stdpkt{}", self.number)
    }
}

/// Programs that are machines and not QEMU, and how they join.
const OTHERS: [(&str, &str); 3] = [
    (
        "cloud-hypervisor",
        "start it beside: stdpkt join vhost-user:unix:PATH, and --memory shared=on --net vhost_user=true,socket=PATH",
    ),
    (
        "crosvm",
        "start it beside: stdpkt join vhost-user:unix:PATH, and --vhost-user net,socket=PATH",
    ),
    (
        "firecracker",
        "it knows TAPs only, and one to itself: let it be CMD of a switch, stdpkt run --left none --bridge --setup 'ip tuntap add vm0 mode tap; ip link set vm0 master br0 up' -- firecracker ..., with vm0 for its host_dev_name",
    ),
];

impl Machine {
    /// Looks through a command line.
    ///
    /// # Errors
    /// One line that names what contradicts a card of ours.
    pub fn new(program: &[String]) -> Result<Machine> {
        let name = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
        let is_qemu = |word: &String| name(word).starts_with("qemu") || name(word) == "kvm";
        let Some(at) = program.iter().position(is_qemu) else {
            let first = name(&program[0]);
            match OTHERS.iter().find(|(other, _)| first.starts_with(other)) {
                Some((_, way)) => bail!("{first} takes other options than QEMU: {way}"),
                None => bail!(
                    "{first} is no QEMU: let CMD be qemu-system-x86_64 ..., or start the machine beside and name its socket, vhost-user:unix:PATH"
                ),
            }
        };
        let mut machine = Machine {
            program: program.to_vec(),
            memory: Some(USUAL_MEMORY.to_owned()),
            device: "virtio-net-pci",
            is_emulated: name(&program[at]) != "kvm",
        };
        let words = &program[at + 1..];
        let is_shared = shares_memory(words);
        if is_shared {
            machine.memory = None;
        }
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix('-') else { continue };
            let option = option.strip_prefix('-').unwrap_or(option);
            let mut value = || words.next().map_or("", String::as_str);
            match option {
                "m" if !is_shared => machine.memory = Some(memory(value())),
                "M" | "machine" => machine.set_model(value(), is_shared)?,
                "accel" => machine.is_emulated &= !value().starts_with("kvm"),
                "enable-kvm" => machine.is_emulated = false,
                "object" => {
                    let value = value();
                    if value.starts_with("memory-backend") && !is_shared {
                        bail!(
                            "-object {value}: the machine's memory has to be shared: add share=on, and -machine memory-backend=ID, or leave it out"
                        );
                    }
                }
                "numa" if !is_shared => bail!(
                    "-numa {}: the machine's memory is one piece that is shared: leave it out, or share each node's, by -object memory-backend-memfd,share=on",
                    value()
                ),
                "mem-path" => bail!(
                    "-mem-path {}: the machine's memory has to be shared: leave it out, or write -object memory-backend-file,share=on and -machine memory-backend=ID",
                    value()
                ),
                "daemonize" => {
                    bail!(
                        "-daemonize: the machine ends with its link: leave it out, and write & behind the chain"
                    )
                }
                "chardev" | "netdev" | "device" => {
                    let value = value();
                    let own = value.split(',').any(|it| it.starts_with("id=stdpkt"));
                    if own {
                        bail!(
                            "-{option} {value}: names that begin with stdpkt are for what is added here: take another id"
                        );
                    }
                }
                _ => {}
            }
        }
        Ok(machine)
    }

    /// The machine's model, and what goes with it.
    fn set_model(&mut self, value: &str, is_shared: bool) -> Result<()> {
        for part in value.split(',') {
            let (key, given) = part.split_once('=').unwrap_or(("type", part));
            match (key, given) {
                ("type", "none" | "isapc") => bail!(
                    "-machine {given} has no place for a virtio network card: take q35, pc, microvm or virt"
                ),
                ("type", "microvm") => self.device = "virtio-net-device",
                ("accel", given) => self.is_emulated &= !given.starts_with("kvm"),
                ("memory-backend", _) if !is_shared => bail!(
                    "-machine {part}: that memory has to be shared: add share=on to its -object, or leave it out"
                ),
                _ => {}
            }
        }
        Ok(())
    }

    /// Its card's address on a side: the same each time it is started, and another for
    /// another command line or name.
    pub fn mac(&self, name: Option<&str>, side: &str) -> String {
        let words = self.program.join("\0");
        let bytes = name.unwrap_or(&words).bytes().chain([0]).chain(side.bytes());
        // FNV-1a: as good as any for a few neighbours.
        let hash = bytes
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let [a, b, c, d] = hash.to_be_bytes();
        // Locally administered, unicast; functions of IP addresses have 72 there.
        format!("02:76:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }

    /// The options to be added. `control` is inherited.
    pub fn more(&self, cards: &[Card], control: &impl AsRawFd) -> Vec<String> {
        let mut more = Vec::new();
        let mut add = |option: &str, value: String| more.extend([option.to_owned(), value]);
        if let Some(size) = &self.memory {
            let memory = format!("memory-backend-memfd,id=stdpkt-memory,size={size},share=on");
            add("-object", memory);
            add("-machine", "memory-backend=stdpkt-memory".to_owned());
        }
        let fd = control.as_raw_fd();
        add("-chardev", format!("socket,id=stdpkt-control,fd={fd}"));
        add("-mon", "chardev=stdpkt-control,mode=control".to_owned());
        // QEMU 7.2 dies of vhost-user with MSI-X and an emulated processor.
        let vectors =
            if self.is_emulated && self.device == "virtio-net-pci" { ",vectors=0" } else { "" };
        for card in cards {
            let (netdev, Card { number, socket, mac }) = (card.netdev(), card);
            add("-chardev", format!("socket,id=stdpkt-card{number},path={socket},abstract=on"));
            add("-netdev", format!("vhost-user,id={netdev},chardev=stdpkt-card{number}"));
            add("-device", format!("{},netdev={netdev},mac={mac}{vectors}", self.device));
        }
        more
    }
}

/// Whether the user shares the machine's memory: an object of memory that is shared, and
/// that is used.
fn shares_memory(words: &[String]) -> bool {
    let is_shared = words.iter().any(|word| {
        let is_memfd = word.starts_with("memory-backend-memfd"); // shared unless told otherwise
        word.starts_with("memory-backend-")
            && (word.contains("share=on") || is_memfd && !word.contains("share=off"))
    });
    is_shared
        && words.iter().any(|word| word.contains("memory-backend=") || word.contains("memdev="))
}

/// What `-m` says, as the size of an object: with a unit.
fn memory(value: &str) -> String {
    let size = value.split(',').find_map(|part| match part.split_once('=') {
        None => Some(part),
        Some(("size", size)) => Some(size),
        Some(_) => None,
    });
    match size {
        None | Some("") => USUAL_MEMORY.to_owned(),
        Some(size) if size.ends_with(|last: char| last.is_ascii_digit()) => format!("{size}M"),
        Some(size) => size.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(line: &str) -> Result<Machine> {
        Machine::new(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn added(line: &str) -> String {
        let cards = [Card::new(0, "stdpkt-1", "02:76:00:00:00:01".to_owned())];
        machine(line).unwrap().more(&cards, &5).join(" ")
    }

    #[test]
    fn memory_is_shared_and_of_the_size_that_was_asked_for() {
        for (line, size) in [
            ("qemu-system-x86_64", "128M"),
            ("qemu-system-x86_64 -m 512", "512M"),
            ("/usr/bin/qemu-system-x86_64 -m 1G", "1G"),
            ("nice kvm --m size=2G,maxmem=4G,slots=2", "2G"),
        ] {
            assert!(
                added(line).contains(&format!("id=stdpkt-memory,size={size},share=on")),
                "{line}"
            );
        }
        let own = "qemu-system-x86_64 -m 1G -object memory-backend-file,id=m,size=1G,share=on,mem-path=/x -M q35,memory-backend=m";
        assert!(!added(own).contains("memory"), "{}", added(own));
    }

    #[test]
    fn a_card_is_made_for_the_machine_that_there_is() {
        let card = added("qemu-system-x86_64 -M q35");
        assert!(card.contains("-netdev vhost-user,id=stdpkt0,chardev=stdpkt-card0"), "{card}");
        assert!(
            card.contains("virtio-net-pci,netdev=stdpkt0,mac=02:76:00:00:00:01,vectors=0"),
            "{card}"
        );
        assert!(!added("qemu-system-x86_64 -accel kvm").contains("vectors"));
        assert!(!added("kvm").contains("vectors"));
        assert!(added("qemu-system-x86_64 -M microvm").contains("virtio-net-device,"));
    }

    #[test]
    fn a_card_has_the_same_address_each_time() {
        let mac = |line: &str, name, side| machine(line).unwrap().mac(name, side);
        assert_eq!(mac("kvm a", None, "left"), mac("kvm a", None, "left"));
        assert_ne!(mac("kvm a", None, "left"), mac("kvm a", None, "right"));
        assert_ne!(mac("kvm a", None, "left"), mac("kvm b", None, "left"));
        assert_eq!(mac("kvm a", Some("vm"), "left"), mac("kvm b", Some("vm"), "left"));
    }

    #[test]
    fn what_contradicts_is_named() {
        for (line, part) in [
            ("cat", "cat is no QEMU"),
            ("cloud-hypervisor --kernel x", "vhost_user=true"),
            ("/opt/firecracker", "-- firecracker ..., with vm0 for"),
            ("crosvm run", "--vhost-user net"),
            ("kvm -object memory-backend-ram,id=m,size=1G", "add share=on"),
            (
                "kvm -object memory-backend-memfd,id=m,size=1G,share=off -M memory-backend=m",
                "share=on",
            ),
            ("kvm -M q35,memory-backend=m", "memory-backend=m: that memory has to be shared"),
            ("kvm -numa node", "-numa node: "),
            ("kvm -mem-path /dev/hugepages", "-mem-path /dev/hugepages: "),
            ("kvm -daemonize", "leave it out"),
            ("kvm -machine none", "no place for a virtio network card"),
            ("kvm -M isapc,accel=tcg", "no place for a virtio network card"),
            ("kvm -netdev user,id=stdpkt0", "take another id"),
        ] {
            let error = machine(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
