#!/bin/sh
# Instructions for one frame of 64 bytes: reserve, commit, borrow, release.
# Counted, not timed, so that it says the same on any busy machine. Compares
# with the committed baseline and fails where it is off by more than 5 %;
# `ci/bench-smoke.sh --update` writes the baseline anew.
set -eu
cd "$(dirname "$0")/.."
baseline=ci/bench-smoke.baseline
cargo build --release -q -p stdpkt-benches --bin one-frame

count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/one-frame "$1" 2>&1 |
        sed -n 's/.*Collected : *\([0-9]*\).*/\1/p'
}
# The difference: start and end of the program do not count.
few=$(count 10000)
many=$(count 110000)
now=$(((many - few) / 100000))

if [ "${1-}" = --update ]; then
    echo "$now" >"$baseline"
fi
was=$(cat "$baseline")
echo "instructions for one frame of 64 bytes: $now (baseline $was)"
off=$(((now - was) * 100))
if [ "$off" -gt $((was * 5)) ] || [ "$off" -lt $((was * -5)) ]; then
    echo "more than 5 % off: find out why, then ci/bench-smoke.sh --update" >&2
    exit 1
fi
