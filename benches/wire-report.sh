#!/bin/sh
# Delays and rates of `stdpkt wire`, asked for and come: writes the tables at the end of
# docs/wire.md, below its line "<!-- benches/wire-report.sh -->". A minute, and the build.
# usage: benches/wire-report.sh [ROUNDS]   (pings a row, 200 unless told)
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-200}
cargo build -q --release --locked -p shell-shim
PATH=$PWD/target/release:$PATH
file=docs/wire.md
made=$(mktemp)
trap 'rm -f "$made" "$made.json"' EXIT

# delay ASKED [OPTION...]: least, median, 95% and most of the pings, there and back.
delay() {
    asked=$1 options=$2
    stdpkt run --right 10.0.0.1/24 -- ping -c "$rounds" -i 0.03 10.0.0.2 |
        stdpkt wire ${options:---seed 1} | stdpkt run --left 10.0.0.2/24
}

row() {
    # The first asks for an Ethernet address as well.
    delay "$@" 2>&1 | sed -n '/icmp_seq=1 /d; s/.* time=\([0-9.]*\) ms.*/\1/p' | sort -n |
        awk -v what="${2:-none}" -v asked="$1" '
            { t[NR] = $1 }
            function at(share) { i = int(share * NR + 0.999); return t[i < 1 ? 1 : i] }
            END {
                if (!NR) { print "no ping came back: " what > "/dev/stderr"; exit 1 }
                if (what != "none") what = "`" what "`"
                print "| " what " | " asked " | " t[1] " | " at(0.5) " | " at(0.95) " | " t[NR] " |"
            }'
}

# rate RATE: what TCP's payload had of it.
rate() {
    stdpkt run --right 10.0.0.1/24 -- stdpkt perf client 10.0.0.2 --seconds 3 --json 2>"$made.json" |
        stdpkt wire --rate "$1" | stdpkt run --left 10.0.0.2/24 -- stdpkt perf server 2>/dev/null || true
    came=$(sed -n 's/.*"gbit_per_second":\([0-9.]*\).*/\1/p' "$made.json")
    echo "$1 ${came:?the stream did not end}" |
        awk '{ printf "| `--rate %s` | %.3g Mbit/s |\n", $1, $2 * 1000 }'
}

{
    sed '/^<!-- benches\/wire-report.sh -->/q' "$file"
    echo
    echo "Times are those of one timer, set to the nanosecond, and then of the scheduler. $rounds pings each"
    echo "(\`ping -i0.03\`, but for the first) through the delay in both directions, milliseconds there and"
    echo "back, a release build, $(nproc) processors ($(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n1)),"
    echo "load $(cut -d' ' -f1 /proc/loadavg):"
    echo
    echo "| option | asked for | least | median | 95% | most |"
    echo "|---|--:|--:|--:|--:|--:|"
    row 0 ""
    row 2 "--delay 1ms"
    row 10 "--delay 5ms"
    row 40 "--delay 20ms"
    row "30 to 50" "--delay 20ms --jitter 5ms"
    row 200 "--delay 100ms"
    echo
    echo "No packet is ever early. Rates, by \`stdpkt perf client --seconds 3\` (bytes of TCP's payload,"
    echo "94.9% of a frame):"
    echo
    echo "| option | came |"
    echo "|---|--:|"
    rate 1mbit
    rate 10mbit
    rate 100mbit
} >"$made"
cat "$made" >"$file"
