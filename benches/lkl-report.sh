#!/bin/bash
# lkl-report.sh DIR: netperf between two LKL functions, DIR an LKL's tools/lkl.
# Over shm (rings), bells (rings with STDPKT_LOOK=off: who waits does not look), fifo (the same frames through pipes, length-framed), tap (LKL's
# own TAP device on a bridge) and veth (no LKL, the host's stack). A markdown table.
#
# ROUNDS, SECONDS_EACH, SIZES, CHANNELS change what is measured; LINKS is how many
# functions are started in a row; CPUS the cores of the functions, CPUS= leaves
# them to the scheduler. CHAIN= leaves out three functions in a row. SHORT=1 is for ten
# minutes: pinned and not, few sizes. Needs netperf, ip, and the right to make namespaces.
# `plot-table` draws what is saved as FILE.md.
set -u
ROUNDS=${ROUNDS:-5} EACH=${SECONDS_EACH:-1} LINKS=${LINKS:-1000}
SIZES=${SIZES:-64 128 256 512 1024 2048 4096 8192 16384 32768 65507}
CHANNELS=${CHANNELS:-shm bells fifo tap veth}
SETTINGS=${SETTINGS:-1500:0x8883 65500:0x883 65500:0x8883} CHAIN=${CHAIN-1500:0x8883 65500:0x883}
CPUS=${CPUS-$([ "$(nproc)" = 1 ] || echo 0 1)}

if [ -n "${SHORT:-}" ]; then
    export SHORT='' LINKS=0 ROUNDS=3 SECONDS_EACH=1 SETTINGS="1500:0x8883 65500:0x883"
    SIZES="64 1024 4096 65507" "$0" "$@" && echo && CPUS='' CHAIN='' SIZES="64 1024 65507" "$0" "$@"
    exit
fi
if [ -z "${IN_NAMESPACE:-}" ]; then
    [ $# = 1 ] && [ -f "$1/lib/hijack/liblkl-hijack.so" ] || {
        echo "lkl-report.sh: name the tools/lkl of a built LKL: there is no ${1:-DIR}/lib/hijack/liblkl-hijack.so" >&2
        exit 2
    }
    for program in netperf netserver ip; do
        command -v $program >/dev/null || { echo "lkl-report.sh: $program is not installed" >&2; exit 2; }
    done
    cd "$(dirname "$0")/.." && cargo build -q --release -p lkl-netdev-preload || exit
    export PRELOAD=${CARGO_TARGET_DIR:-$PWD/target}/release/liblkl_netdev_preload.so
    IN_NAMESPACE=1 exec unshare -rn "$0" "$(realpath "$1")"
fi
HIJACK=$1/lib/hijack/liblkl-hijack.so
ip link set lo up
# getaddrinfo(3) of netperf looks for an address outside of LKL.
ip address add 192.0.2.1/32 dev lo
# The host's own choice may pace what it sends (BBR), which leaves cores idle.
RENO='echo reno >/proc/sys/net/ipv4/tcp_congestion_control'
eval "$RENO"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit
mkfifo f1 f2 f3 f4
export SHMRING_RUNTIME_DIR=$dir/run
mkdir -m 700 run

# interface TYPE PARAM IP NUMBER MTU OFFLOAD
interface() {
    echo "{\"type\":\"$1\",\"param\":\"$2\",\"ip\":\"$3\",\"masklen\":\"24\",\"mac\":\"12:34:56:78:9a:0$4\",\"mtu\":\"$5\",\"offload\":\"$6\"}"
}

# functions MORE INTERFACES: LKL's configuration.
functions() {
    echo "{\"boot_cmdline\":\"mem=512M\",\"singlecpu\":\"1\",$1,\"interfaces\":[$2]}"
}

# config FILE TYPE PARAM NUMBER MTU OFFLOAD
config() {
    functions '"debug":"0"' "$(interface "$2" "$3" "10.7.0.$4" "$4" "$5" "$6")" >"$1"
}

# pin FUNCTION: what goes before the program of function a or b, or r between them,
# which has the third core, or shares the server's.
pin() {
    local cores
    read -ra cores <<<"$CPUS"
    [ -z "$CPUS" ] || case $1 in
        a) echo "taskset -c ${cores[0]}" ;;
        b) echo "taskset -c ${cores[1]:-${cores[0]}}" ;;
        r) echo "taskset -c ${cores[2]:-${cores[0]}}" ;;
    esac
}

# The program alone gets LKL, not the timeout(1) around it. Ends the shell.
lkl() { # CONFIG LIMIT PROGRAM...
    local config=$1 limit=$2
    shift 2
    # shellcheck disable=SC2086
    exec timeout "$limit" $(pin "$config") env LKL_HIJACK_CONFIG_FILE="$config" LD_PRELOAD="$PRELOAD:$HIJACK" "$@"
}

client() { echo "netperf -4 -H 10.7.0.1 -L 10.7.0.2 -p 12865 -P 0 -t $1 -l $EACH -- $2"; }
SERVER="netserver -D -f -4 -L 10.7.0.1 -p 12865"

# rings CHANNEL: what a function is told for it.
rings() {
    export STDPKT_CHANNEL=${1/bells/shm} STDPKT_LOOK=on
    [ "$1" != bells ] || STDPKT_LOOK=off
}

# measure CHANNEL MTU OFFLOAD TEST OPTIONS: netperf's figure, 0 if it has none.
measure() {
    local channel=$1 limit=$((EACH + 10)) server tries=0 columns=5 before
    times >took
    before=$(cpu_time)
    [ "$4" = TCP_STREAM ] || columns=6
    case $channel in
    shm | bells | fifo)
        rings "$channel"
        config a pipe 'f1|f2' 1 "$2" "$3"
        config b pipe 'f2|f1' 2 "$2" "$3"
        ;;
    tap)
        for n in 1 2; do
            ip tuntap add t$n mode tap vnet_hdr
            ip link set t$n mtu "$2" up
        done
        ip link add bridge type bridge
        ip link set bridge mtu "$2" up
        ip link set t1 master bridge
        ip link set t2 master bridge
        config a tap t1 1 "$2" "$3"
        config b tap t2 2 "$2" "$3"
        ;;
    veth)
        timeout $((limit + 2)) unshare -n sh -c "echo \$\$ >pid; while [ ! -e go ]; do sleep 0.01; done
            ip link set lo up; ip link set v1 mtu $2 up; ip address add 10.7.0.1/24 dev v1; $RENO; exec $(pin a) $SERVER" &>/dev/null &
        server=$!
        while [ ! -s pid ]; do sleep 0.01; done
        ip link add v2 type veth peer name v1 netns "$(cat pid)"
        ip link set v2 mtu "$2" up
        ip address add 10.7.0.2/24 dev v2
        touch go
        ;;
    esac
    if [ $channel != veth ]; then
        lkl a $((limit + 2)) $SERVER &>/dev/null &
        server=$!
    fi
    sleep 0.3
    # shellcheck disable=SC2046
    until
        if [ $channel = veth ]; then timeout $limit $(pin b) $(client "$4" "$5"); else (lkl b $limit $(client "$4" "$5")); fi >out 2>/dev/null
    do
        [ $((tries += 1)) -lt 3 ] || break
        sleep 0.2
    done
    kill $server 2>/dev/null
    wait $server 2>/dev/null
    rm -f pid go
    case $channel in
    tap) ip link del bridge; ip link del t1; ip link del t2 ;;
    veth) ip link del v2 2>/dev/null ;;
    esac
    awk -v columns=$columns 'NF == columns { x = $NF } END { print x + 0 }' out
    times >took
    # Of both functions, what they take to boot included; of the host's kernel what it does for them.
    awk -v columns=$columns -v each="$EACH" -v ms=$(($(cpu_time) - before)) \
        'NF == columns { x = $NF } END { print x ? ms * 1000 / (x * each) : 0 }' out >>"cpu.$channel"
}

# Milliseconds that children took which have ended, in the file took: not in a shell of its own.
cpu_time() { awk 'NR == 2 { gsub("[ms]", " "); print int(($1 + $3) * 60000 + ($2 + $4) * 1000) }' took; }

median() { sort -g | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

row() { # MTU OFFLOAD TEST OPTIONS NAME
    local round channel cells='' took=''
    for round in $(seq "$ROUNDS"); do
        for channel in $CHANNELS; do measure "$channel" "$1" "$2" "$3" "$4" >>"figures.$channel"; done
    done
    for channel in $CHANNELS; do
        median <"figures.$channel" >"median.$channel"
        cells="$cells $(cat "median.$channel") |"
        [ "$3" != TCP_STREAM ] || took="$took $(median <"cpu.$channel" | awk '{ printf "%.1f", $1 }') |"
    done
    paste median.shm median.fifo median.veth 2>/dev/null | awk -v kind="$3" '$2 * $3 { print kind, $1 / $2, $1 / $3 }' >>ratios
    rm -f figures.* cpu.*
    echo "| $5 |$cells $(paste median.shm median.fifo 2>/dev/null | awk '{ printf "%.2f", $2 ? $1 / $2 : 0 }') |"
    [ -z "$took" ] || echo "| ms of processors for a Gbit (${5%%, *}) |$took |"
}

# What a reader wants to know, for the top of the page and the README.
sentence() {
    awk '{ for (i = 2; i <= 3; i++) {
            if (!(($1, i) in least) || $i < least[$1, i]) least[$1, i] = $i
            if ($i > most[$1, i]) most[$1, i] = $i
        } }
        function span(kind, i) { return sprintf("%.1f to %.1f", least[kind, i], most[kind, i]) }
        END { print "\nOver rings LKL carries " span("TCP_STREAM", 2) " times what it does over its pipe and " \
            span("TCP_STREAM", 3) " times what the veth of the host does, and makes " \
            span("TCP_RR", 2) " and " span("TCP_RR", 3) " times as many round trips." }' ratios
}

# through CHANNEL MTU OFFLOAD SIZE: TCP_STREAM through a third function, which forwards.
through() {
    local channel=$1 limit=$((EACH + 10)) started='' tries=0 name
    if [ "$channel" = veth ]; then
        for name in a r; do
            timeout $((limit + 4)) unshare -n sh -c "echo \$\$ >pid.$name; while [ ! -e go ]; do sleep 0.01; done; exec sh ./in.$name" &>/dev/null &
            started="$started $!"
            while [ ! -s pid.$name ]; do sleep 0.01; done
        done
        ip link add v1 type veth peer name va
        ip link add v2 type veth peer name vb
        ip link set v1 netns "$(cat pid.a)"
        ip link set va netns "$(cat pid.r)"
        ip link set vb netns "$(cat pid.r)"
        echo "ip link set lo up; ip link set v1 mtu $2 up; ip address add 10.7.0.1/24 dev v1
            ip route add default via 10.7.0.3; $RENO; exec $(pin a) $SERVER" >in.a
        echo "ip link set va mtu $2 up; ip link set vb mtu $2 up; ip address add 10.7.0.3/24 dev va
            ip address add 10.8.0.3/24 dev vb; echo 1 >/proc/sys/net/ipv4/ip_forward; exec sleep $limit" >in.r
        ip link set v2 mtu "$2" up
        ip address add 10.8.0.2/24 dev v2
        ip route add 10.7.0.0/24 via 10.8.0.3
        touch go
    else
        rings "$channel"
        functions '"gateway":"10.7.0.3"' "$(interface pipe 'f1|f2' 10.7.0.1 1 "$2" "$3")" >a
        functions '"sysctl":"net.ipv4.ip_forward=1"' \
            "$(interface pipe 'f2|f1' 10.7.0.3 3 "$2" "$3"),$(interface pipe 'f3|f4' 10.8.0.3 4 "$2" "$3")" >r
        functions '"gateway":"10.8.0.3"' "$(interface pipe 'f4|f3' 10.8.0.2 2 "$2" "$3")" >b
        lkl a $((limit + 4)) $SERVER &>/dev/null &
        started=$!
        lkl r $((limit + 4)) sleep $limit &>/dev/null &
        started="$started $!"
    fi
    sleep 0.4
    client="netperf -4 -H 10.7.0.1 -L 10.8.0.2 -p 12865 -P 0 -t TCP_STREAM -l $EACH -- -m $4"
    # shellcheck disable=SC2046
    until
        if [ "$channel" = veth ]; then timeout $limit $(pin b) $client; else (lkl b $limit $client); fi >out 2>/dev/null
    do
        [ $((tries += 1)) -lt 3 ] || break
        sleep 0.2
    done
    # shellcheck disable=SC2086
    kill $started 2>/dev/null
    # shellcheck disable=SC2086
    wait $started 2>/dev/null
    rm -f pid.* in.* go a r b
    [ "$channel" != veth ] || ip link del v2 2>/dev/null
    awk 'NF == 5 { x = $NF } END { print x + 0 }' out
}

# The time from a function's start to its first echo reply.
starts() { # CHANNEL
    rings "$1"
    config a pipe 'f1|f2' 1 1500 0x8883
    config b pipe 'f2|f1' 2 1500 0x8883
    lkl a 600 sleep 600 &
    local server=$! n begin
    for n in $(seq "$LINKS"); do
        begin=$(date +%s%N)
        (lkl b 10 ping -q -c1 10.7.0.1) >/dev/null 2>&1 && echo $((($(date +%s%N) - begin) / 1000))
    done >times
    kill $server
    wait $server 2>/dev/null
    echo "$1: $(wc -l <times) of $LINKS answered; first $(head -n1 times) us, median $(median <times) us, last $(tail -n1 times) us."
}

echo "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n1), $(nproc) cores, Linux $(uname -r). Medians of $ROUNDS rounds of $EACH s, channels in turn. Functions $([ -z "$CPUS" ] && echo "not pinned" || echo "on cores $CPUS")."
for setting in $SETTINGS; do
    mtu=${setting%:*} offload=${setting#*:}
    printf '\n## MTU %s, offload %s\n\n| netperf | %s | shm/fifo |\n|---|' "$mtu" "$offload" "$(echo $CHANNELS | sed 's/ / | /g')"
    for channel in $CHANNELS; do printf -- '--:|'; done
    echo '--:|'
    for size in $SIZES; do row "$mtu" "$offload" TCP_STREAM "-m $size" "TCP_STREAM $size, Mbit/s"; done
    row "$mtu" "$offload" TCP_RR "" "TCP_RR, /s"
done
[ ! -s ratios ] || sentence
[ -z "$CHAIN" ] || {
    in_a_row=$(for channel in $CHANNELS; do [ "$channel" = tap ] || echo "$channel"; done)
    printf '\n## Three functions in a row, TCP_STREAM through the one between, Mbit/s\n\n'
    echo "| MTU, offload, write | $(echo $in_a_row | sed 's/ / | /g') |"
    echo "|---|$(echo $in_a_row | sed 's/[^ ]* */--:|/g')"
    for setting in $CHAIN; do
        for size in 1024 65507; do
            for round in $(seq "$ROUNDS"); do
                for channel in $in_a_row; do through "$channel" "${setting%:*}" "${setting#*:}" $size >>"figures.$channel"; done
            done
            echo "| ${setting/:/, }, $size | $(for channel in $in_a_row; do median <"figures.$channel"; done | paste -sd'|' | sed 's/|/ | /g') |"
            rm -f figures.*
        done
    done
}
[ "$LINKS" = 0 ] || {
    printf '\n## From the start of a function to its first echo reply\n\n'
    for channel in shm fifo; do starts $channel && echo; done
}
