#!/bin/sh
# Three routers, two paths: a - b directly, and a - c - b. b's routes prefer the first
# until it is taken away, and ping goes on over the second.
dir=$(mktemp -d) && cd "$dir" && mkfifo ab ac cb || exit
trap 'kill $b $c 2>/dev/null; wait; rm -r "$dir"' EXIT
stdpkt run --name b --forward --link ab,at=ab,ip=10.0.12.2/24 --link cb,at=cb,ip=10.0.23.2/24 \
    --setup 'ip address add 10.9.9.9/32 dev lo' --setup 'ip route add 10.0.13.0/24 via 10.0.23.3' &
b=$!
stdpkt run --name c --forward --link ac,at=ac,ip=10.0.13.3/24 --link cb,at=cb,ip=10.0.23.3/24 \
    --setup 'ip route add 10.9.9.9 via 10.0.23.2' &
c=$!
stdpkt run --name a --link ab,at=ab,ip=10.0.12.1/24 --link ac,at=ac,ip=10.0.13.1/24 \
    --setup 'ip route add 10.9.9.9 via 10.0.12.2 metric 1' \
    --setup 'ip route add 10.9.9.9 via 10.0.13.3 metric 2' -- sh -c '
    echo "over $(ip route get 10.9.9.9 | cut -d" " -f3)"; ping -c2 -W2 10.9.9.9
    ip link set ab down
    echo "over $(ip route get 10.9.9.9 | cut -d" " -f3)"; ping -c2 -W2 10.9.9.9'
