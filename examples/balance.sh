#!/bin/sh
# One address, three servers: each connection stays with the server that got it.
dir=$(mktemp -d) && cd "$dir" && mkfifo web1 web2 web3 || exit
trap 'kill $servers 2>/dev/null; wait; rm -r "$dir"' EXIT
for n in 1 2 3; do
    mkdir "www$n" && echo "this is server $n" >"www$n/index.html"
    stdpkt run --link web,at=web$n,ip=10.0.0.80/24 --name "web$n" -- \
        python3 -m http.server -d "www$n" 80 >/dev/null 2>&1 &
    servers="$servers $!"
done
stdpkt run --right 10.0.0.1/24 --name client -- sh -c '
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
        curl -s --retry 5 --retry-connrefused --max-time 20 http://10.0.0.80/
    done | sort | uniq -c' |
stdpkt balance web1 web2 web3
