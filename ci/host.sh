#!/usr/bin/env bash
# Is the host as it was? Functions leave nothing on it and change nothing there.
# usage: ci/host.sh save FILE, then, after the tests, ci/host.sh compare FILE
# What others on a busy machine make and take away within seconds does not count.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

# A line for each thing. What cannot be looked at is left out.
state() {
    set +e
    echo "hostname $(cat /proc/sys/kernel/hostname)"
    # podman, what it starts, and DPDK keep a state of their own there.
    find /run -maxdepth 2 -regextype egrep -not -regex '/run/(libpod|containers|crun|runc|dpdk)(/.*)?' \
        -printf 'file %p\n'
    find /tmp -maxdepth 1 -name 'stdpkt-*' -printf 'file %p\n'
    find /tmp/shmring-* /run/user/*/shmring -mindepth 1 -printf 'file %p\n'
    find /sys/class/net -mindepth 1 -printf 'interface %f\n'
    awk '{ print "mount", $5, "of", $4 }' /proc/self/mountinfo
    find /proc/[0-9]*/ns -name '[mnpu][nest]*' -printf 'namespace %l\n'
    ip -o address show | sed -E 's/^[0-9]+: /address /; s/valid_lft.*//'
    for family in -4 -6; do
        ip "$family" route show table all | sed 's/^/route /; s/ expires [0-9]*sec//'
        ip "$family" rule show | sed 's/^/rule /'
    done
    nft list ruleset | sed 's/counter packets.*//; s/^/rules /'
    grep -rs . /proc/sys/net /proc/sys/user /proc/sys/kernel /proc/sys/fs /proc/sys/vm |
        sed 's/^/sysctl /'
    true
} 2>/dev/null

save() {
    state | sort -u >"$1"
    # What changes by itself, counters for instance, is no part of the state.
    printf 'sysctl /proc/sys/%s\n' fs/quota/ kernel/pty/nr: net/netfilter/nf_conntrack_count: \
        >"$1.changing"
    for _ in 1 2 3; do
        sleep 1
        state | sort -u | comm -13 "$1" - | sed -n 's/^\(sysctl [^:]*:\).*/\1/p' >>"$1.changing"
    done
}

# What is there now and was not, and the other way round. A sysctl that was not there
# came with a module, which the kernel loads when it is needed.
difference() {
    state | sort -u |
        awk -F: 'NR == FNR { known[$1]; next } !/^sysctl / || $1 in known' "$1" - |
        comm -3 "$1" - | tr -d '\t' | { grep -vFf "$1.changing" || true; } | sort -u
}

# What a killed function leaves in the runtime directory, the next ones take away.
functions() {
    local stdpkt=target/debug/stdpkt-under-test
    [ -x "$stdpkt" ] || return 0
    "$stdpkt" run --right 10.0.0.1/24 -- true | "$stdpkt" run --left 10.0.0.2/24
}

compare() {
    local left tries
    left=$(difference "$1")
    # One gate that was being made when its process was killed counts as dead after a minute.
    for ((tries = 0; tries < 70; tries++)); do
        [ -n "$left" ] || return 0
        sleep 1
        functions
        left=$(comm -12 <(echo "$left") <(difference "$1"))
    done
    [ -n "$left" ] || return 0
    echo "the host is not as it was:" >&2
    echo "$left" >&2
    return 1
}

"$1" "$2"
