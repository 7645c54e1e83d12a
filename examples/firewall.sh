#!/bin/sh
# A stateful firewall: the inside reaches the outside, the outside reaches nobody.
rules='nft -f - <<EOF
table inet fw {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "left" accept
  }
}
EOF'
chain() {
    stdpkt run --right 10.0.1.1/24 --gateway 10.0.1.254 --name inside -- sh -c "$1" |
    stdpkt run --left 10.0.1.254/24 --right 10.0.2.254/24 --forward --name fw --setup "$rules" |
    stdpkt run --left 10.0.2.1/24 --gateway 10.0.2.254 --name outside -- sh -c "$2"
}
echo "from the inside:"
chain 'ping -c2 -W2 10.0.2.1' 'sleep 100'
echo "from the outside:"
chain 'sleep 100' 'ping -c2 -W1 10.0.1.1; true'
