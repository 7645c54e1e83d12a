#!/bin/sh
# A host that knows nothing but its link gets prefix and router by an advertisement, and
# reaches the network behind.
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
stdpkt run --right none --name host \
    --setup 'sysctl -q net.ipv6.conf.right.disable_ipv6=0' \
    --setup 'sysctl -q net.ipv6.conf.right.accept_ra=2 net.ipv6.conf.right.accept_dad=0' -- sh -c '
    for i in $(seq 50); do ip -6 route | grep -q ^default && break; sleep 0.2; done
    ip -6 -br address show dev right; ping -c2 -W5 2001:db8:2::1' |
stdpkt run --left 2001:db8:1::1/64 --right 2001:db8:2::2/64 --forward --name router -- \
    dnsmasq -d -p 0 -i left --pid-file= --log-facility=- --dhcp-leasefile="$dir/leases" \
    --enable-ra --dhcp-range=2001:db8:1::,ra-only --ra-param=left,1 |
stdpkt run --left 2001:db8:2::1/64 --gateway 2001:db8:2::2 --name server
