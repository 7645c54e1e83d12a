#!/bin/sh
# A slow link that loses packets: 20 ms each way, 2 % lost, 10 Mbit/s. The seed makes it
# the same each time.
stdpkt run --right 10.0.0.1/24 --name client -- \
    sh -c 'ping -q -c20 -i0.1 10.0.0.2; stdpkt perf client --seconds 3 10.0.0.2' |
stdpkt wire --delay 20ms --jitter 2ms --loss 2% --rate 10mbit --seed 7 |
stdpkt run --left 10.0.0.2/24 --name server -- stdpkt perf server
