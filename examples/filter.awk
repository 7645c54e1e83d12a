#!/usr/bin/awk -f
# A filter of a link: prints the packets that go on, one a line: time, destination, source,
# type, octets. This one lets pass what is no echo request. Try it:
#
#   stdpkt run --right 10.0.0.1/24 -- ping -c3 -W1 10.0.0.2 |
#   stdpkt each --only left-to-right -- awk -f examples/filter.awk |
#   stdpkt run --left 10.0.0.2/24
#
# Octets of IPv4: the protocol is the tenth (1 is ICMP), and after a header of 20 octets
# comes the ICMP type (8 asks).
{ is_request = ($4 == "0800" && $14 == "01" && $25 == "08") }
!is_request { print; fflush() }
