#!/bin/bash
# The first minute: the README's two commands in a bare Debian 12 with a Rust toolchain, as an
# ordinary user, first without ping and iptables and then with them, and in a chroot.
# The toolchain and the crates are this machine's; the user downloads nothing.
# usage: tests/newcomer.sh [demo]   (as root; needs debootstrap and a mirror; takes a while;
# `demo` leaves out the second command, the tests)
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/fresh.sh
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
fresh "$root" gcc,libc6-dev,git,procps,python3
home=$root/home/user
chroot "$root" useradd -m user
git clone -q . "$home/stdpkt"
# Crates as they were packed, those of the tests, too; the user unpacks them.
cargo fetch -q --locked
mkdir -p "$home/.cargo/registry"
cp -a "${CARGO_HOME:-$HOME/.cargo}"/registry/{index,cache} "$home/.cargo/registry/"
chroot "$root" chown -R user: /home/user
export binds="$(rustc --print sysroot):/opt/rust"

user() {
    inside "$root" su user -c "cd ~/stdpkt && PATH=/opt/rust/bin:\$PATH CARGO_NET_OFFLINE=true && export PATH CARGO_NET_OFFLINE && $1" </dev/null 2>&1
}

echo "== cargo run --release -- demo, without ping and iptables"
user "cargo run -q --release -- demo" | tee "$root/bare"
said "$root/bare" <<'END'
iputils-ping
with 8.8.8.8:5202
shm
fifo
END
echo "== in a chroot"
mount -t proc proc "$root/proc"
chroot "$root" su user -c "~/stdpkt/target/release/stdpkt check" 2>&1 | tee "$root/chroot" || true
umount "$root/proc"
said "$root/chroot" <<'END'
chroot
END
chroot "$root" apt-get -q -y install --no-install-recommends iputils-ping iptables >/dev/null
echo "== cargo run --release -- demo, with them"
user "cargo run -q --release -- demo" | tee "$root/full"
said "$root/full" <<'END'
64 bytes from 8.8.8.8: icmp_seq=1 ttl=63
shm
fifo
END
[ "${1-}" = demo ] || {
    echo "== cargo test --workspace"
    user "cargo test --workspace"
}
echo "a newcomer gets by"
