#!/bin/sh
# What one program sends to the real network, and nothing else of this machine: its
# packets go through a user-mode uplink, without root, and tee writes them down.
# usage: trace-uplink.sh [CMD...]
[ $# -gt 0 ] || set -- ping -c2 10.0.2.2
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
stdpkt run --right 10.0.2.15/24 --gateway 10.0.2.2 --dns 10.0.2.3 --name program -- "$@" |
stdpkt tee "$dir/program.pcap" |
stdpkt uplink
echo "it sent and got:"
tcpdump -n -r "$dir/program.pcap" 2>/dev/null
