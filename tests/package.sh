#!/bin/bash
# The package in a system of its own: installed there, and then, as an ordinary user, the
# README's chain, `stdpkt check`, a manual page, VDE's plugin, a program in C with the header, the examples
# and each block of the tutorial (but those with LKL and with the real network); and removed.
# usage: tests/package.sh [--here] DEB   (as root)
# In a bare Debian 12, which needs debootstrap and a mirror; with --here on this machine's
# system, laid under a layer that is gone afterwards, and without examples and tutorial, which
# other tests run here.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/fresh.sh
here=
[ "$1" != --here ] || { here=1 && shift; }
export here
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root" "$root".*' EXIT
mkdir "$root.in"
cp "$1" "$root.in/stdpkt.deb"
cargo build -q --locked -p stdpkt-shmring --example answers
cp target/debug/examples/answers "$root.in/" # the neighbour of the program in C
# The tutorial, block by block; what one sees stands in between.
awk '/^```sh$/ { n++; file = sprintf("%s/lesson-%02d", dir, n); next }
     /^```sh / { file = ""; next } /^```/ { file = ""; next } file { print > file }' \
    dir="$root.in" docs/tutorial.md
cat >"$root.in/first" <<'END'
set -e
cd
stdpkt check | tail -n1
stdpkt run --right 192.168.0.1/24 --gateway 192.168.0.254 -- ping -c3 8.8.8.8 \
| stdpkt run --left 192.168.0.254/24 --right 8.8.8.4/24 --forward \
      --setup 'iptables -t nat -A POSTROUTING -s 192.168.0.0/24 -o right -j MASQUERADE' \
| stdpkt run --left 8.8.8.8/24
zcat /usr/share/man/man1/stdpkt-run.1.gz | grep -q gateway && echo "a page of the manual"
bash -c '. /usr/share/bash-completion/completions/stdpkt; complete -p stdpkt'
mkfifo lan # and a program of VDE's, by the plugin
stdpkt run --link lan,at=lan,ip=10.0.9.2/24 -- sleep 100 &
vdens stdpkt://lan sh -c 'ip address add 10.0.9.1/24 dev vde0; ip link set vde0 up; ping -c4 10.0.9.2'
kill $!
gcc -Wall -Werror $(pkg-config --cflags --libs shmring) -o questions \
    /usr/share/doc/stdpkt/examples/questions.c
./questions | /in/answers
END
cat >"$root.in/all" <<'END'
cd # captures are written
sh -e /in/first
# What they say goes to a file: a pipe might be another link. Some end with the status of what they end.
try() {
    echo "== $*"
    timeout 100 "$@" </dev/null >said 2>&1 || case $? in 12[4-7]) echo "$* has failed" >>said ;; esac
    cat said
}
for example in /usr/share/doc/stdpkt/examples/*.sh; do
    case $example in
    */trace-uplink.sh) ;;
    *) try "$example" ;;
    esac
done
for lesson in /in/lesson-*; do
    try bash "$lesson"
done
END
# shellcheck disable=SC2016
script='
    if [ -n "$1" ]; then dpkg -i --force-depends /in/stdpkt.deb
    else dpkg -i /in/stdpkt.deb || apt-get -y -q -f install; fi
    useradd -m newcomer
    su newcomer -c "sh /in/$2"
    dpkg -r stdpkt
    left=$(find /usr /etc -xdev -name "*stdpkt*" -newer /in/stdpkt.deb)
    [ -z "$left" ] || { echo "dpkg -r leaves $left"; exit 1; }
    echo "nothing is left"
'
if [ -z "$here" ]; then
    fresh "$root" iputils-ping,iptables,iproute2,nftables,curl,python3,socat,tcpdump,dnsmasq-base,busybox,procps,libpcap0.8,gcc,libc6-dev,pkgconf,vdens
fi
binds="$root.in:/in" inside "$root" sh -euc "$script" sh "$here" "$([ "$here" ] && echo first || echo all)" \
    </dev/null 2>&1 | tee "$root.said"
said "$root.said" <<'END'
functions can run here
3 received
a page of the manual
stdpkt$
4 received
three: THREE
nothing is left
END
[ -n "$here" ] || said "$root.said" <<'END'
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
! grep "has failed" "$root.said"
echo "the package works"
