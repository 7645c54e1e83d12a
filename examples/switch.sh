#!/bin/sh
# Three hosts at a switch, which learns who is where.
dir=$(mktemp -d) && cd "$dir" && mkfifo p1 p2 p3 || exit
trap 'kill $others 2>/dev/null; wait; rm -r "$dir"' EXIT
stdpkt run --bridge --name switch \
    --link p1,at=p1 --link p2,at=p2 --link p3,at=p3 &
others=$!
for n in 2 3; do
    stdpkt run --link eth0,at=p$n,ip=10.0.0.$n/24 --name "host$n" &
    others="$others $!"
done
stdpkt run --link eth0,at=p1,ip=10.0.0.1/24 --name host1 -- \
    sh -c 'ping -c2 -W2 10.0.0.2; ping -c2 -W2 10.0.0.3; ip neighbour'
