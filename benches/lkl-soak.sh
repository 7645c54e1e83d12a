#!/bin/bash
# lkl-soak.sh DIR: long runs of LKL functions over rings, DIR an LKL's tools/lkl. Ends with 1
# at the first thing that is not as it has to be.
#
# SECONDS_IN_ALL of netperf between two functions, one of which is killed, or stopped for a
# while and let go, now and then; CONNECTIONS one after the other; KERNELS with 16 devices each
# that come and go under flood; MIXTURES of the tests' netperf. PROFILE=dev for a debug build,
# STRESS=1 has stress-ng run beside it. Needs netperf, the right to make namespaces, and a built workspace.
set -u
ALL=${SECONDS_IN_ALL:-3600} CONNECTIONS=${CONNECTIONS:-10000} KERNELS=${KERNELS:-63} MIXTURES=${MIXTURES:-200}
PROFILE=${PROFILE:-release}
if [ -z "${IN_NAMESPACE:-}" ]; then
    [ $# = 1 ] && [ -f "$1/lib/hijack/liblkl-hijack.so" ] || {
        echo "lkl-soak.sh: name the tools/lkl of a built LKL: there is no ${1:-DIR}/lib/hijack/liblkl-hijack.so" >&2
        exit 2
    }
    LKL_DIR=$(realpath "$1")
    export LKL_DIR
    cd "$(dirname "$0")/.." && cargo build -q --profile "$PROFILE" -p lkl-netdev-preload || exit
    export PRELOAD=${CARGO_TARGET_DIR:-$PWD/target}/${PROFILE/dev/debug}/liblkl_netdev_preload.so
    [ -z "${STRESS:-}" ] || {
        command -v stress-ng >/dev/null || {
            echo "lkl-soak.sh: STRESS: there is no stress-ng: install it, or leave STRESS out" >&2
            exit 2
        }
        stress-ng -q --cpu 2 --switch 1 --timeout 0 &
        trap 'kill $!' EXIT
    }
    IN_NAMESPACE=1 unshare -rn "$0" "$LKL_DIR" || exit
    [ "$KERNELS" = 0 ] || LKL_KERNELS=$KERNELS cargo test -q --profile "$PROFILE" -p lkl-netdev --test embedded || exit
    for round in $(seq "$MIXTURES"); do
        cargo test -q --profile "$PROFILE" --workspace --test e2e lkl::netperf_runs_over_every_mixture || { echo "mixture $round"; exit 1; }
    done
    exit
fi
HIJACK=$1/lib/hijack/liblkl-hijack.so
ip link set lo up
ip address add 192.0.2.1/32 dev lo
dir=$(mktemp -d)
server=''
trap 'kill -9 $server 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir" || exit
mkfifo f1 f2
export SHMRING_RUNTIME_DIR=$dir/run
mkdir -m 700 run
config() {
    echo "{\"boot_cmdline\":\"mem=512M\",\"interfaces\":[{\"type\":\"pipe\",\"param\":\"$2\",\"ip\":\"10.7.0.$3\",\"masklen\":\"24\",\"mac\":\"12:34:56:78:9a:0$3\",\"mtu\":\"$4\",\"offload\":\"$5\"}]}" >"$1"
}
function_of() { # CONFIG PROGRAM...: in the place of this shell
    local config=$1
    shift
    exec env LKL_HIJACK_CONFIG_FILE="$config" LD_PRELOAD="$PRELOAD:$HIJACK" "$@"
}
serve() {
    (function_of a netserver -D -f -4 -L 10.7.0.1 -p 12865) &>/dev/null &
    server=$!
    # On a busy machine a kernel takes its time.
    for _ in 1 2 3 4 5; do
        sleep 0.5
        ask 60 TCP_RR 1
        answer "the first to a server" && return
    done
    fail "no server"
}
fail() {
    echo "lkl-soak.sh: $1"
    cat out
    exit 1
}
# ask LIMIT TEST LENGTH OPTIONS...: netperf, which has LIMIT seconds.
ask() {
    local limit=$1 kind=$2 length=$3
    shift 3
    (function_of b netperf -4 -H 10.7.0.1 -L 10.7.0.2 -p 12865 -P 0 -t "$kind" -l "$length" -- "$@") &>out &
    asked=$!
    (sleep "$limit" && kill -9 $asked && touch late) 2>/dev/null &
    watch=$!
}
answer() {
    local status
    wait $asked 2>/dev/null
    status=$?
    kill $watch 2>/dev/null
    wait $watch 2>/dev/null
    [ ! -e late ] || fail "netperf hung: $1"
    return $status
}
kinds=("TCP_STREAM -m 64" "TCP_STREAM -m 1024" "TCP_STREAM -m 65507" TCP_RR UDP_RR)
end=$(($(date +%s) + ALL)) runs=0 whole=0
while [ "$(date +%s)" -lt $end ]; do
    [ $((RANDOM % 2)) = 0 ] && { mtu=1500 offload=0x8883; } || { mtu=65500 offload=0x883; }
    config a 'f1|f2' 1 $mtu $offload
    config b 'f2|f1' 2 $mtu $offload
    serve
    for _ in 1 2 3 4; do
        read -r kind options <<<"${kinds[RANDOM % ${#kinds[@]}]}"
        # shellcheck disable=SC2086
        ask 60 "$kind" 2 $options
        sleep "0.$((RANDOM % 9 + 1))"
        fate=$((RANDOM % 4))
        case $fate in
        0) kill -9 $asked ;;
        1) kill -STOP $server; sleep 0.3; kill -CONT $server ;;
        2) kill -STOP $asked; sleep 0.3; kill -CONT $asked ;;
        esac 2>/dev/null
        runs=$((runs + 1))
        if answer "$kind $options, MTU $mtu, fate $fate"; then
            whole=$((whole + 1))
        elif [ $fate != 0 ]; then
            fail "netperf failed: $kind $options, MTU $mtu, fate $fate"
        else
            # A server that lost its client in the middle is waiting for it.
            break
        fi
    done
    kill -9 $server 2>/dev/null
    wait $server 2>/dev/null
done
echo "$runs netperfs, $whole came to their end, the others were killed; none hung."
[ "$CONNECTIONS" = 0 ] || {
    config a 'f1|f2' 1 1500 0x8883
    config b 'f2|f1' 2 1500 0x8883
    (function_of a perl -MSocket -e 'socket S, PF_INET, SOCK_STREAM, 0; bind S, pack_sockaddr_in 9, INADDR_ANY or die;
        listen S, 64; while (accept C, S) { sysread C, $x, 1; syswrite C, $x; close C }') &
    server=$!
    sleep 0.5
    (function_of b perl -MSocket -e '$to = pack_sockaddr_in 9, inet_aton "10.7.0.1"; for (1 .. shift) {
        socket C, PF_INET, SOCK_STREAM, 0; connect C, $to or die "connection $_: $!\n";
        syswrite C, "x"; sysread(C, $x, 1) == 1 or die "connection $_ ended\n"; close C }' "$CONNECTIONS") &
    asked=$!
    (sleep 600 && kill -9 $asked && touch late) 2>/dev/null &
    watch=$!
    answer "$CONNECTIONS connections" || fail "connections failed"
    kill -9 $server
    wait $server 2>/dev/null
    echo "$CONNECTIONS connections."
}
