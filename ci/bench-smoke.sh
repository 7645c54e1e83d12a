#!/bin/sh
# Instructions for one frame of 64 bytes: over a ring (reserve, commit, borrow,
# release), and from an edge, as a TAP is one, to a link and from a link to an edge,
# where all of it has to be inlined.
# Counted, not timed, so that it says the same on any busy machine. Compares
# with the committed baseline and fails where it is off by more than 5 %;
# `ci/bench-smoke.sh --update` writes the baseline anew.
set -eu
cd "$(dirname "$0")/.."
baseline=ci/bench-smoke.baseline
# Two functions are counted by their names, which a release goes without.
CARGO_PROFILE_RELEASE_STRIP=none cargo build --release -q -p stdpkt-benches --bin one-frame

# of_one NAME WAY [OPTION]: the difference of two counts, as start and end of the
# program do not count.
of_one() {
    name=$1 way=$2
    shift 2
    few=$(count 10000 "$@")
    many=$(count 110000 "$@")
    echo "$name $(((many - few) / 100000))"
}

count() {
    frames=$1
    shift
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" \
        target/release/one-frame "$frames" "$way" 2>&1 |
        sed -n 's/.*Collected : *\([0-9]*\).*/\1/p'
}

measure() {
    of_one ring ring
    of_one edge-to-link jack --toggle-collect='one_frame::edge_to_link*'
    of_one link-to-edge jack --toggle-collect='one_frame::link_to_edge*'
}

now=$(measure)
if [ "${1-}" = --update ]; then
    echo "$now" >"$baseline"
fi
failed=0
while read -r way was; do
    is=$(echo "$now" | sed -n "s/^$way //p")
    echo "instructions for one frame of 64 bytes, $way: $is (baseline $was)"
    off=$(((is - was) * 100))
    if [ "$off" -gt $((was * 5)) ] || [ "$off" -lt $((was * -5)) ]; then
        echo "more than 5 % off: find out why, then ci/bench-smoke.sh --update" >&2
        failed=1
    fi
done <"$baseline"
exit $failed
