#!/bin/sh
# A private host, a NAT, a public host. The server sees the NAT's address.
stdpkt run --right 192.168.0.1/24 --gateway 192.168.0.254 -- ping -c3 8.8.8.8 |
stdpkt run --left 192.168.0.254/24 --right 8.8.8.4/24 --forward \
    --setup 'iptables -t nat -A POSTROUTING -s 192.168.0.0/24 -o right -j MASQUERADE' |
stdpkt run --left 8.8.8.8/24
