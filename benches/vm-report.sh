#!/bin/bash
# vm-report.sh: goodput between two virtual machines, and small frames of DPDK, over stdpkt and
# over what else there is. A markdown table each.
#
# The machines are Linux under QEMU with an emulated processor, whatever the host can: what
# counts is the order. Each path gets its turn ROUNDS times; the middle one is shown. ROUNDS,
# SECONDS_EACH and PATHS change what is measured; the usual takes 4 minutes. Needs
# qemu-system-x86_64, busybox, iperf3, cpio, ip, ldd, Debian's linux-image-cloud-amd64, and
# vde_switch, taskset and dpdk-testpmd for their lines.
set -u
ROUNDS=${ROUNDS:-3} EACH=${SECONDS_EACH:-2}
PATHS=${PATHS:-stdpkt socket-pair stream dgram vde tap}
PMD=${PMD:-stdpkt vhost memif}

for program in qemu-system-x86_64 busybox iperf3 cpio ip ldd; do
    command -v $program >/dev/null || { echo "vm-report.sh: $program is not installed" >&2; exit 2; }
done
kernel=$(ls /boot/vmlinuz-*-cloud-amd64 2>/dev/null | sort | tail -1)
[ -n "$kernel" ] || { echo "vm-report.sh: linux-image-cloud-amd64 is not installed" >&2; exit 2; }
if [ -z "${IN_NAMESPACE:-}" ]; then
    cd "$(dirname "$0")/.." && cargo build -q --release || exit
    export PATH=${CARGO_TARGET_DIR:-$PWD/target}/release:$PATH:/usr/sbin:/sbin
    flags=-rn
    [ "$(id -u)" != 0 ] || flags=-n
    IN_NAMESPACE=1 exec unshare $flags "$PWD/benches/${0##*/}"
fi
modules=/lib/modules/${kernel#*vmlinuz-}/kernel
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir" || exit
mkdir -m 700 run
export SHMRING_RUNTIME_DIR=$dir/run

# The image of all guests but for their script.
order="virtio/virtio_ring virtio/virtio virtio/virtio_pci_legacy_dev virtio/virtio_pci_modern_dev virtio/virtio_pci"
mkdir -p root/bin root/proc root/sys root/dev root/tmp
for program in busybox iperf3; do
    cp -L "$(command -v $program)" root/bin/
    ldd "$(command -v $program)" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "root${library%/*}" && cp -L "$library" "root$library"
    done
done
for module in $order; do cp "$modules/drivers/$module.ko" root/; done
cp "$modules/net/core/failover.ko" "$modules/drivers/net/net_failover.ko" "$modules/drivers/net/virtio_net.ko" root/
cat >root/init <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for module in $(for module in $order; do echo "${module#*/}"; done | tr '\n' ' ') failover net_failover virtio_net; do insmod /\$module.ko; done
ip link set lo up; ip link set eth0 up
sh /run.sh
poweroff -f
INIT
chmod 755 root/init
(cd root && find . | cpio -o -H newc --quiet) >base.cpio

# image NAME SCRIPT: what a machine boots.
image() {
    mkdir -p "of.$1" && echo "$2" >"of.$1/run.sh"
    { cat base.cpio; (cd "of.$1" && echo run.sh | cpio -o -H newc --quiet); } >"$1.cpio"
}
image one "ip addr add 10.0.0.1/24 dev eth0; while :; do iperf3 -s -1 >/dev/null 2>&1; done"
image two "ip addr add 10.0.0.2/24 dev eth0
    until ping -q -c1 -W1 10.0.0.1 >/dev/null; do :; done; sleep 1
    for way in '' -R; do
        until iperf3 -c 10.0.0.1 -t $EACH -f m \$way >/tmp/out 2>&1; do sleep 0.5; done
        echo GOODPUT \$(grep receiver /tmp/out)
        sleep 0.5
    done"
# machine NAME: the command line, without a card, in the array of that name.
machine() {
    machine=(qemu-system-x86_64 -M q35,accel=tcg -m 192 -display none -monitor none
        -global virtio-net-pci.romfile= -kernel "$kernel" -initrd "$1.cpio"
        -append "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check" -serial "file:$1.log")
}
# start NAME NETDEV ARGUMENT...: with a card on that, silently.
start() {
    local netdev=$2 mac=52:54:00:00:00:01
    machine "$1"
    [ "$1" = one ] || mac=52:54:00:00:00:02
    shift 2
    exec "${machine[@]}" -netdev "$netdev,id=n" -device "virtio-net-pci,netdev=n,mac=$mac,vectors=0" "$@" \
        >/dev/null 2>&1 </dev/null
}
shared=(-object "memory-backend-memfd,id=mem,size=192M,share=on" -machine memory-backend=mem)

# there SOCKET...: waits until somebody has made them; who has ended by then makes none.
there() {
    local socket
    for socket; do
        for _ in $(seq 600); do
            [ ! -S "$socket" ] || break
            sleep 0.05
        done
    done
}
# pair PATH: runs both machines over it, until the second one is done.
pair() {
    rm -f one.log two.log s1 s2 pid
    case $1 in
        stdpkt)
            (machine one && exec stdpkt join --right vhost-user -- "${machine[@]}") 2>err </dev/null \
                | (machine two && exec stdpkt join --left vhost-user -- "${machine[@]}") 2>>err
            return
            ;;
        socket-pair)
            stdpkt join vhost-user:unix:s1 vhost-user:unix:s2 2>err &
            there s1 s2
            start one vhost-user,chardev=c -chardev socket,id=c,path=s1 "${shared[@]}" &
            start two vhost-user,chardev=c -chardev socket,id=c,path=s2 "${shared[@]}" &
            ;;
        stream)
            start one stream,server=on,addr.type=unix,addr.path=s1 &
            there s1
            start two stream,server=off,addr.type=unix,addr.path=s1 &
            ;;
        dgram)
            start one dgram,local.type=unix,local.path=s1,remote.type=unix,remote.path=s2 &
            start two dgram,local.type=unix,local.path=s2,remote.type=unix,remote.path=s1 &
            ;;
        vde)
            vde_switch -d -s sw -p pid </dev/null
            there sw/ctl
            start one vde,sock=sw &
            start two vde,sock=sw &
            ;;
        tap)
            ip link add b0 type bridge
            ip link set b0 up
            for tap in t1 t2; do
                ip tuntap add $tap mode tap vnet_hdr
                ip link set $tap master b0 up
            done
            start one tap,ifname=t1,script=no,downscript=no &
            start two tap,ifname=t2,script=no,downscript=no &
            ;;
    esac
    wait $!
    kill $(jobs -p) 2>/dev/null
    [ ! -s pid ] || kill "$(cat pid)"
    wait
    [ "$1" != tap ] || { ip link del t1; ip link del t2; ip link del b0; } 2>/dev/null
    return 0
}

median() { sort -g | awk '{ all[NR] = $1 } END { print NR ? all[int((NR + 1) / 2)] : "-" }'; }

echo "Goodput between two machines, Mbit/s, TCP, median of $ROUNDS ($(nproc) cores, $(qemu-system-x86_64 --version | head -1 | grep -o '[0-9][0-9.]*' | head -1), emulated)"
echo
echo "| path | one way | the other |"
echo "|---|--:|--:|"
for ((round = 0; round < ROUNDS; round++)); do
    for path in $PATHS; do
        [ "$path" != vde ] || command -v vde_switch >/dev/null || continue
        pair "$path"
        grep -a GOODPUT two.log | grep -o '[0-9.]* Mbits' | awk -v path="$path" '{ print $1 >> path "." NR }'
    done
done
for path in $PATHS; do
    [ -s "$path.1" ] || { echo "| $path | failed | |"; continue; }
    echo "| $path | $(median <"$path.1") | $(median <"$path.2") |"
done

command -v dpdk-testpmd >/dev/null || exit 0
# Each testpmd polls, and so does stdpkt while there is something to do. Three that share two
# cores wait for each other's time slices, with what a ring holds for each: of two cores stdpkt
# gets one, and on any path the two testpmds share the other.
if [ "$(nproc)" -gt 2 ]; then receiver_core=1 stdpkt_core=2; else receiver_core=0 stdpkt_core=1; fi
testpmd() { # NAME VDEV MODE CORE
    # Its standard input keeps it running.
    sleep 60 | dpdk-testpmd --lcores '0@0,1@'$4 --no-huge -m 300 --no-pci --no-telemetry --no-shconf \
        --file-prefix "$1$$" --log-level=lib.eal:error --vdev="$2" \
        -- --forward-mode="$3" --total-num-mbufs=8192 --txpkts=64 --stats-period 1 -a >"$1.pmd" 2>&1
}
# run PATH: one sends, one receives, for some seconds.
flood() {
    rm -f s1 s2 ./*.pmd
    case $1 in
        stdpkt)
            taskset -c $stdpkt_core stdpkt join vhost-user:unix:s1 vhost-user:unix:s2 2>err &
            join=$!
            there s1 s2
            testpmd receiver net_virtio_user0,path=s2,queue_size=1024 rxonly $receiver_core &
            testpmd sender net_virtio_user0,path=s1,queue_size=1024 txonly 0 &
            ;;
        vhost)
            testpmd receiver net_vhost0,iface=s1,queues=1 rxonly $receiver_core &
            there s1
            testpmd sender net_virtio_user0,path=s1,queue_size=1024 txonly 0 &
            ;;
        memif)
            testpmd receiver net_memif0,role=server,id=0,socket=$dir/s1,socket-abstract=no,rsize=11 rxonly $receiver_core &
            there s1
            testpmd sender net_memif0,role=client,id=0,socket=$dir/s1,socket-abstract=no,rsize=11 txonly 0 &
            ;;
    esac
    # Both have begun; then some seconds, and how much of a processor stdpkt took in them.
    for _ in $(seq 150); do
        grep -aqs Rx-pps receiver.pmd && grep -aqs Tx-pps sender.pmd && break
        sleep 0.2
    done
    busy=-
    [ "$1" != stdpkt ] || read -r before _ <"/proc/$join/schedstat"
    sleep 6
    [ "$1" != stdpkt ] || { read -r after _ <"/proc/$join/schedstat" && busy="$(((after - before) / 60000000)) %"; }
    kill $(jobs -p) 2>/dev/null
    # shellcheck disable=SC2009 # by the mark of this run
    for pid in $(ps -eo pid,args | grep -- "--file-prefix [r]eceiver$$\|--file-prefix [s]ender$$" | awk '{ print $1 }'); do kill "$pid"; done
    wait
}
echo
echo "Frames of 64 bytes from one testpmd to another, million a second, best second of 6; how much of a core stdpkt took"
echo
echo "| path | received | x first | stdpkt's core |"
echo "|---|--:|--:|--:|"
for path in $PMD; do
    flood "$path" 2>/dev/null
    best=$(grep -a -o 'Rx-pps: *[0-9]*' receiver.pmd | awk '{ if ($2 > best) best = $2 } END { printf "%.2f", best / 1e6 }')
    first=${first:-$best}
    echo "| $path | $best | $(awk -v a="$best" -v b="$first" 'BEGIN { print (b > 0 ? sprintf("%.1f", a / b) : "-") }') | $busy |"
done
