#!/usr/bin/env python3
"""A filter of a link: takes packets as lines of text and prints those that go on.

This one halves the TTL of IPv4 packets, and counts them. Try it:

    stdpkt run --right 10.0.0.1/24 -- ping -c3 10.0.0.2 |
    stdpkt each --only right-to-left -- python3 examples/filter.py |
    stdpkt run --left 10.0.0.2/24
"""
import sys

count = 0
for line in sys.stdin:
    time, to, source, kind, *octets = line.split()
    if kind == "0800":
        packet = bytearray(int(octet, 16) for octet in octets)
        packet[8] //= 2
        packet[10:12] = b"\0\0"
        total = sum(int.from_bytes(packet[i:i + 2], "big") for i in range(0, 20, 2))
        total = (total & 0xFFFF) + (total >> 16)
        packet[10:12] = (~total & 0xFFFF).to_bytes(2, "big")
        octets = [f"{octet:02X}" for octet in packet]
        count += 1
    print(time, to, source, kind, *octets, flush=True)
print(f"{count} packets", file=sys.stderr)
