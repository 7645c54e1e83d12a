#!/bin/bash
# The package in a fresh Debian 12: installed there, and then, as an ordinary user, the
# README's chain, `stdpkt check`, the examples (but that with the real network), a manual page.
# usage: tests/package.sh DEB   (as root; needs debootstrap and a mirror)
set -euo pipefail
deb=$(realpath "$1")
# The mirror that this machine uses.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n1)
packages=iputils-ping,iptables,iproute2,nftables,curl,python3,socat,tcpdump,dnsmasq-base,busybox,procps,libpcap0.8
root=$(mktemp -d)
chmod 755 "$root" # it becomes /, and users are to see it
trap 'rm -rf --one-file-system "$root"' EXIT
debootstrap --variant=minbase --include="$packages" bookworm "$root" "$mirror" >"$root.log" 2>&1 ||
    { tail -n5 "$root.log"; exit 1; }
rm "$root.log"
cp "$deb" "$root/stdpkt.deb"
chroot "$root" dpkg -i /stdpkt.deb || chroot "$root" apt-get -y -q -f install
chroot "$root" useradd -m user
cat >"$root/home/user/first" <<'END'
set -e
stdpkt check | tail -n1
stdpkt run --right 192.168.0.1/24 --gateway 192.168.0.254 -- ping -c3 8.8.8.8 \
| stdpkt run --left 192.168.0.254/24 --right 8.8.8.4/24 --forward \
      --setup 'iptables -t nat -A POSTROUTING -s 192.168.0.0/24 -o right -j MASQUERADE' \
| stdpkt run --left 8.8.8.8/24
for example in /usr/share/doc/stdpkt/examples/*.sh; do
    case $example in
    */trace-uplink.sh) ;;
    *) echo "== $example" && timeout 100 "$example" </dev/null 2>&1 || true ;;
    esac
done
zcat /usr/share/man/man1/stdpkt-run.1.gz | grep -c gateway
END
# Not a chroot, which forbids user namespaces: the fresh system is the root of a mount
# namespace, as after booting it.
unshare -m --propagation private sh -euc '
    root=$1
    mount --bind "$root" "$root" && cd "$root" && mkdir -p old
    mount -t proc proc proc && mount -t tmpfs tmpfs tmp
    mkdir -p dev/net && mknod -m 666 dev/net/tun c 10 200 # as udev makes it
    pivot_root . old && cd / && umount -l old
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin
    exec su user -c "sh ~/first"
' sh "$root" </dev/null 2>&1 | tee "$root/said"
while read -r words; do
    grep -q -e "$words" "$root/said" || { echo "nobody said: $words"; exit 1; }
done <<'END'
functions can run here
3 received
from the outside:
over 10.0.13.3
this is server
10.0.0.3 dev eth0 lladdr
you asked for /index.html
names 10.0.0.1
2001:db8:1:
vlan 100
lost (seed 7)
dropped by --limit
10.0.2.1.53
END
echo "the package works"
