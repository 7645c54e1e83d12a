#!/bin/sh
# Congestion controls over the same link of 20 Mbit/s with 10 ms each way: how their
# windows grow, side by side. gnuplot draws; without it the numbers are printed.
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
for control in $(cat /proc/sys/net/ipv4/tcp_allowed_congestion_control); do
    stdpkt run --right 10.0.0.1/24 --sysctl net.ipv4.tcp_congestion_control="$control" -- sh -c "
        stdpkt perf client --seconds 4 10.0.0.2 >&2 &
        for i in \$(seq 40); do
            ss -tinH state established | sed -n 's/.* cwnd:\([0-9]*\) .*/\1/p' | sort -n | tail -n1
            sleep 0.1
        done >$dir/$control; wait" |
    stdpkt wire --delay 10ms --rate 20mbit --limit 100 --seed 1 |
    stdpkt run --left 10.0.0.2/24 -- stdpkt perf server
    plots="$plots '$control' with lines,"
done
cd "$dir" || exit
if command -v gnuplot >/dev/null; then
    gnuplot -e "set terminal dumb 90 24; set xlabel 'tenths of a second'; plot ${plots%,}"
else
    paste -- *
fi
