#!/bin/sh
# A host without an address gets one, and a name server, from dnsmasq at the other end.
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
cat >"$dir/bound" <<'EOF'
#!/bin/sh
[ "$1" = bound ] && ip address add "$ip/$mask" dev "$interface" && echo "got $ip, router $router, names $dns"
exit 0
EOF
chmod +x "$dir/bound"
stdpkt run --right none --name client -- sh -c "
    busybox udhcpc -n -q -f -t 20 -T 1 -i right -s '$dir/bound' &&
    busybox nslookup -type=a server.lan 10.0.0.1 | tail -n3" |
stdpkt run --left 10.0.0.1/24 --name server -- dnsmasq -d -p 53 -i left --bind-interfaces \
    --no-resolv --no-hosts --log-facility=- --dhcp-leasefile="$dir/leases" --pid-file= \
    --dhcp-range=10.0.0.100,10.0.0.200 --address=/server.lan/10.0.0.1
