#!/bin/sh
# Firewall rules tested without a network: packets from a capture go in on the left, what
# comes out on the right is another capture, and the difference is what the rules dropped.
# (Packets wait for the function's CMD, which starts when both links are there.)
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
python3 - >"$dir/in.txt" <<'EOF'
from struct import pack
def udp(port):
    ip = bytes.fromhex("4500001c00000000401100000a0001010a000201")
    total = sum(int.from_bytes(ip[i:i+2], "big") for i in range(0, 20, 2))
    total = (total & 0xffff) + (total >> 16)
    ip = ip[:10] + pack(">H", ~total & 0xffff) + ip[12:]
    return (ip + pack(">HHHH", 1000, port, 8, 0)).hex(" ")
for port in (53, 80, 123, 443):
    print("0 02720a0001fe 020000000001 0800", udp(port))
EOF
stdpkt feed "$dir/in.txt" |
stdpkt run --left 10.0.1.254/24 --right 10.0.2.254/24 --forward \
    --setup 'ip neighbour add 10.0.2.1 lladdr 02:00:00:00:00:09 dev right' \
    --setup 'iptables -A FORWARD -p udp -m multiport --dports 80,443 -j DROP' -- sleep 5 |
stdpkt dump --write "$dir/out.pcap"
echo "passed:"; tcpdump -n -t -r "$dir/out.pcap" udp 2>/dev/null
