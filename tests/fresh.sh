# A system of its own to try things in. Sourced by package.sh and newcomer.sh, as root.
# shellcheck shell=bash

# The mirror that this machine uses.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n1
}

# fresh DIR PACKAGE[,PACKAGE...]: a bare Debian 12 at DIR, with these.
fresh() {
    chmod 755 "$1" # it becomes /, and users are to see it
    debootstrap --variant=minbase --include="$2" bookworm "$1" "$(mirror)" >"$1.log" 2>&1 ||
        { tail -n5 "$1.log"; return 1; }
    rm "$1.log"
}

# inside DIR COMMAND...: with the fresh system at DIR as the root of a mount namespace, as after
# booting it. (Not in a chroot, which forbids user namespaces.) Where `here=1` is set, it is
# this machine's system instead, and what the command changes is gone afterwards.
# `binds=/a:/b` shows this machine's /a there as /b, to be read only.
inside() {
    unshare -m --propagation private bash -euc '
        root=$1
        shift
        if [ -n "${here-}" ]; then
            mount -t tmpfs tmpfs "$root"
            mkdir "$root/upper" "$root/work" "$root/all"
            mount -t overlay -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work" overlay "$root/all"
            root=$root/all
            mount --rbind /dev "$root/dev"
        else
            mount --bind "$root" "$root"
            mkdir -p "$root/dev/net"
            [ -e "$root/dev/net/tun" ] || mknod -m 666 "$root/dev/net/tun" c 10 200 # as udev does
        fi
        for bind in ${binds-}; do
            mkdir -p "$root${bind#*:}"
            mount --rbind "${bind%%:*}" "$root${bind#*:}"
            mount -o remount,bind,ro "$root${bind#*:}"
        done
        cd "$root"
        mkdir -p old
        mount -t proc proc proc
        mount -t sysfs sysfs sys # without one there, no function can have its own
        mkdir -p dev/pts
        mountpoint -q dev/pts || mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
        mount -t tmpfs tmpfs tmp
        pivot_root . old
        cd /
        umount -l old
        unset here binds
        export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
        exec "$@"
    ' bash "$@"
}

# said FILE: each line of standard input is in FILE.
said() {
    local words
    while read -r words; do
        grep -q -e "$words" "$1" || { echo "nobody said: $words"; return 1; }
    done
}
