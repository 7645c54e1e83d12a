"""Captures in every format that scapy and Wireshark's tools write, in the current directory.

With the argument `whole`, also each kind of link in both byte orders and units of time, and
every kind of link that editcap can name."""
import re
import struct
import subprocess
import sys
import zlib

from scapy.all import (ARP, IP, TCP, UDP, Dot1Q, Ether, IPv6, PcapNgWriter, Raw, RawPcapWriter,
                       hexdump, wrpcap, wrpcapng)

TIME = 1_700_000_000


def sh(command):
    """What a command writes. Not every tool can write everything: those files are not there."""
    return subprocess.run(command, shell=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False).stdout.decode()


def packets():
    """UDP, TCP over IPv6, VLANs and ARP, from shorter than Ethernet's 60 bytes on."""
    for n in range(20):
        ip = IP(src="10.0.0.1", dst="10.0.0.2", id=n) / UDP(sport=1000 + n, dport=53)
        ip /= Raw(bytes(n * 7 % 256 for _ in range(n * 9)))
        if n % 4 == 1:
            ip = IPv6(src="fd00::1", dst="ff02::5") / TCP(dport=n) / Raw(b"x" * n)
        packet = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01") / ip
        if n % 4 == 2:
            packet = Ether(dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=n) / ip
        if n % 4 == 3:
            packet = Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst=f"10.0.0.{n}")
        packet.time = TIME + n * 0.25
        yield packet


def link(number, frame):
    """A frame, or the IP in it, as it is on a link of that `LINKTYPE_*`; None if it cannot be."""
    mac, kind, ip = frame[6:12], frame[12:14], frame[14:]
    is4, is6 = kind == b"\x08\0", kind == b"\x86\xdd"
    fcs = struct.pack("<I", zlib.crc32(frame))
    if number in (1, 10, 105, 127, 147, 189, 195, 227):
        return frame  # the last ones are rubbish, as they are no Ethernet
    if number in (240, 241):
        return b"\0\4\0\0" + b"\x55\x55\x55\x55\x55\x55\x55\xd5" * (number == 241) + frame + fcs
    if number == 274:
        return b"\x55" * 7 + b"\xd5" + frame + fcs
    if number == 192:
        return struct.pack("<BBHI", 0, 0, 8, 1) + frame
    if not is4 and not is6:
        return None
    ppp = b"\0\x21" if is4 else b"\0\x57"
    if number == 228 and not is4 or number == 229 and not is6:
        return None
    return {
        0: b"\2\0\0\0" if is4 else b"\x1e\0\0\0",
        108: b"\0\0\0\2" if is4 else b"\0\0\0\x18",
        9: b"\xff\3" + ppp,
        50: b"\xff\3" + ppp,
        51: b"\x11\0\0\1" + struct.pack(">H", len(ip) + 2) + ppp,
        104: b"\x0f\0" + kind,
        109: b"\2\0\0\0" + bytes(8) if is4 else b"\x18\0\0\0" + bytes(8),
        113: b"\0\0\0\1\0\6" + mac + b"\0\0" + kind,
        239: b"\2\0\0\0" + struct.pack("<HH", len(ip) + 4, 9),
        276: kind + b"\0\0\0\0\0\1\0\1\0\6" + mac + b"\0\0",
    }.get(number, b"") + ip


def scapy(all_packets, whole):
    """Every writer of scapy's, every kind of link that is read and some that are not."""
    wrpcap("scapy.pcap", all_packets)
    wrpcap("scapy-gz.pcap", all_packets, gz=True)
    wrpcap("scapy-snap.pcap", all_packets, snaplen=80)
    wrpcapng("scapy.pcapng", all_packets)
    writer = PcapNgWriter("scapy-written.pcapng")
    for packet in all_packets:
        packet.comment = "a comment"
        writer.write(packet)
    writer.close()
    with open("scapy.hexdump", "w", encoding="ascii") as out:
        for packet in all_packets:
            out.write(hexdump(packet, dump=True) + "\n\n")
    frames = [bytes(packet) for packet in all_packets]
    links = (0, 1, 9, 10, 12, 14, 50, 51, 101, 104, 105, 108, 109, 113, 127, 147, 189, 192, 195, 227,
             228, 229, 239, 240, 241, 274, 276, 1 | 1 << 26 | 2 << 28)
    for number in links:
        for order in "<>":
            for nano in (False, True) if whole else (order == ">",):
                name = f"link{number & 0xffff}{'-fcs' * (number > 0xffff)}"
                name += f"-{'le' if order == '<' else 'be'}{'-ns' * nano}.pcap"
                writer = RawPcapWriter(name, linktype=number, endianness=order, nano=nano)
                writer.write_header(None)
                for n, frame in enumerate(frames):
                    data = frame + bytes(4) if number > 0xffff else link(number, frame)
                    if data:
                        writer.write_packet(data, sec=TIME + n, usec=n * 1000)
                writer.close()


def wireshark(whole):
    """Every format and option of editcap, mergecap, text2pcap, randpkt and tshark."""
    for kind in re.findall(r"^\t(\S+)", sh("randpkt -h"), re.M):
        sh(f"randpkt -b 300 -c 20 -t {kind} randpkt-{kind}.pcapng")
    sh("randpkt -r -b 2000 -c 40 randpkt-any.pcapng")
    formats = re.findall(r"^ +(\S+) - ", sh("editcap -F"), re.M)
    for base in ("scapy.pcap", "randpkt-dns.pcapng"):
        for form in formats:
            sh(f"editcap -F {form} {base} editcap-{base.split('.')[0]}.{form}")
    for form in ("pcap", "pcapng", "nsecpcap", "modpcap", "nokiapcap", "rh6_1pcap", "suse6_3pcap"):
        for snap in (14, 60, 100):
            sh(f"editcap -s {snap} -F {form} scapy.pcap snap{snap}.{form}")
        sh(f"editcap -F {form} link113-le.pcap editcap-113.{form}")
    for name, options in {
        "shift": "-t -3.5", "ip": "-T rawip -C 14 -L", "comment": "-a 3:words",
        "capture-comment": "--capture-comment words", "strict": "-S 0.5", "same": "-d",
        "errors": "-E 0.02 --seed 7", "long": "-C 14:4 -L", "range": "-r 3-9",
    }.items():
        sh(f"editcap {options} scapy.pcap edited-{name}.pcapng")
    sh("printf 'CLIENT_RANDOM 00 00\\n' > keys; editcap --inject-secrets tls,keys scapy.pcap secrets.pcapng; rm keys")
    sh("mergecap -w merged.pcapng scapy.pcap link113-le.pcap link101-be-ns.pcap link105-le.pcap")
    sh("mergecap -a -w appended.pcapng scapy.pcap randpkt-usb-linux.pcapng randpkt-arp.pcapng link276-le.pcap")
    sh("mergecap -F nsecpcap -w merged.nsecpcap scapy.pcap randpkt-ip.pcapng")
    for mode in ("none", "all", "any"):
        sh(f"mergecap -I {mode} -w merged-{mode}.pcapng scapy.pcap scapy.pcapng randpkt-any.pcapng link0-be-ns.pcap")
    sh("cat scapy.pcap merged.pcapng link113-le.pcap scapy.pcapng > together")
    sh("tshark -r scapy.pcap -w tshark.pcapng; tshark -r scapy.pcap -F nsecpcap -w tshark.nsecpcap")
    sh("tshark -x -r scapy.pcap > tshark.dump")
    for form in ("pcap", "pcapng", "nsecpcap", "modpcap", "nokiapcap", "rh6_1pcap", "suse6_3pcap"):
        sh(f"text2pcap -q -F {form} tshark.dump text2pcap.{form}")
    for number in (1, 12, 101, 113, 147, 228):
        sh(f"text2pcap -q -l {number} tshark.dump text2pcap-{number}.pcapng")
    for name, options in {"udp": "-u 1,2", "tcp": "-4 10.0.0.1,10.0.0.2 -T 1,2",
                          "six": "-6 fd00::1,fd00::2 -u 1,2", "eth": "-e 800", "sctp": "-s 1,2,3"}.items():
        sh(f"text2pcap -q {options} tshark.dump text2pcap-{name}.pcapng")
    for base in ("scapy.pcap", "merged.pcapng", "randpkt-ip.pcapng"):
        sh(f"gzip -k {base}; zstd -q -k {base}; zstd -q -19 {base} -o {base}.19.zst")
        sh(f"lz4 -q {base} {base}.lz4; lz4 -q -9 -BD {base} {base}.9.lz4")
    if whole:
        for encap in re.findall(r"^ +(\S+) - ", sh("editcap -T"), re.M):
            sh(f"editcap -T {encap} scapy.pcap encap-{encap}.pcapng")


if __name__ == "__main__":
    WHOLE = sys.argv[1:] == ["whole"]
    scapy(list(packets()), WHOLE)
    wireshark(WHOLE)
