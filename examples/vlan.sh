#!/bin/sh
# A trunk: between two access ports frames have the VLAN tag 100, which sed puts on
# at one end and takes off at the other, each in its direction. tee shows the trunk.
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
tag='s/^\([^ ]* [^ ]* [^ ]*\) \([0-9A-F]*\) /\1 8100 00 64 \2 /; s/ 64 \(..\)\(..\) / 64 \1 \2 /'
untag='s/ 8100 00 64 \(..\) \(..\) / \1\2 /'
stdpkt run --right 10.0.0.1/24 --name host1 -- ping -c3 -W5 10.0.0.2 |
stdpkt each --only left-to-right -- sed -u "$tag" |
stdpkt each --only right-to-left -- sed -u "$untag" |
stdpkt tee "$dir/trunk.pcap" |
stdpkt each --only left-to-right -- sed -u "$untag" |
stdpkt each --only right-to-left -- sed -u "$tag" |
stdpkt run --left 10.0.0.2/24 --name host2
echo "on the trunk:"
tcpdump -n -e -t -r "$dir/trunk.pcap" 2>/dev/null | grep 'vlan 100' | cut -c1-110
