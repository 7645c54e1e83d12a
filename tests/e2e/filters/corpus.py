"""Captures in every format that scapy and Wireshark's tools write, each read by stdpkt
and by tshark, packet by packet. Prints the numbers and every difference."""
import json, os, re, struct, subprocess, sys

def sh(command, **more):
    return subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **more).stdout

def make():
    from scapy.all import ARP, CookedLinux, Ether, IP, IPv6, TCP, UDP, Dot1Q, Raw, RawPcapWriter, wrpcap, wrpcapng
    packets = []
    for n in range(20):
        ip = IP(src="10.0.0.1", dst="10.0.0.2", id=n) / UDP(sport=1000 + n, dport=53) / Raw(bytes(n * 7 % 256 for _ in range(n * 9)))
        if n % 4 == 1:
            ip = IPv6(src="fd00::1", dst="ff02::5") / TCP(dport=n) / Raw(b"x" * n)
        packet = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01") / ip
        if n % 4 == 2:
            packet = Ether(dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=n) / ip
        if n % 4 == 3:
            packet = Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="10.0.0.%d" % n)
        packet.time = 1700000000 + n * 0.25
        packets.append(packet)
    wrpcap("scapy.pcap", packets)
    wrpcap("scapy.pcap.gz", packets, gz=True)
    wrpcapng("scapy.pcapng", packets)
    ips = [bytes(p.payload) for p in packets if p.type in (0x800, 0x86dd)]
    def head(data, cooked):
        kind = b"\x08\0" if data[0] >> 4 == 4 else b"\x86\xdd"
        return {
            0: (b"\2\0\0\0" if data[0] >> 4 == 4 else b"\x1e\0\0\0"), 108: b"\0\0\0\2",
            113: b"\0\0\0\1\0\6\2\0\0\0\0\1\0\0" + kind, 276: kind + b"\0\0\0\0\0\1\0\1\0\6\2\0\0\0\0\1\0\0",
            9: b"\xff\3\0\x21" if data[0] >> 4 == 4 else b"\xff\3\0\x57", 104: b"\x0f\0" + kind,
        }.get(cooked, b"")
    for order in "<>":
        for nano in (False, True):
            for link in (1, 0, 9, 101, 104, 108, 113, 276, 228, 105, 127, 189, 195, 10):
                name = "scapy-%d%s%s.pcap" % (link, "le" if order == "<" else "be", "-ns" if nano else "")
                writer = RawPcapWriter(name, linktype=link, endianness=order, nano=nano)
                for n, data in enumerate(ips if link != 1 else map(bytes, packets)):
                    if link == 228 and data[0] >> 4 != 4 or link == 108 and data[0] >> 4 != 4:
                        continue
                    writer.write_packet(head(data, link) + data, sec=1700000000 + n, usec=n * 1000) if hasattr(writer, "write_packet") else writer._write_packet(head(data, link) + data, sec=1700000000 + n, usec=n * 1000)
                writer.close()
    for kind in re.findall(r"^\t(\S+)", sh("randpkt -h; randpkt -h 2>&1").decode(), re.M):
        sh("randpkt -b 300 -c 20 -t %s randpkt-%s.pcapng" % (kind, kind))
    formats = re.findall(r"^ +(\S+) - ", sh("editcap -F 2>&1").decode(), re.M)
    for base in ("scapy.pcap", "randpkt-dns.pcapng"):
        for form in formats:
            sh("editcap -F %s %s editcap-%s.%s" % (form, base, base.split(".")[0], form))
    for snap in (14, 60, 100):
        for form in ("pcap", "pcapng", "nsecpcap"):
            sh("editcap -s %d -F %s scapy.pcap snap%d.%s" % (snap, form, snap, form))
    sh("editcap -t -3.5 scapy.pcap shift.pcapng; editcap -T rawip -C 14 -L scapy.pcap rawip.pcapng")
    sh("mergecap -w merged.pcapng scapy.pcap scapy-113le.pcap scapy-101be.pcap scapy-105le.pcap")
    sh("mergecap -a -w appended.pcapng scapy.pcap randpkt-usb-linux.pcapng randpkt-arp.pcapng scapy-276le.pcap")
    sh("mergecap -F nsecpcap -w merged.nsecpcap scapy.pcap randpkt-ip.pcapng")
    sh("cat scapy.pcap merged.pcapng scapy-113le.pcap scapy.pcapng > together")
    sh("tshark -x -r scapy.pcap > dump.txt")
    for form in ("pcap", "pcapng", "nsecpcap", "modpcap", "nokiapcap", "rh6_1pcap", "suse6_3pcap"):
        sh("text2pcap -q -F %s dump.txt text2pcap.%s" % (form, form))
    for link in (1, 12, 101, 113, 147, 228):
        sh("text2pcap -q -l %d dump.txt text2pcap-%d.pcapng" % (link, link))
    sh("text2pcap -q -u 1,2 dump.txt text2pcap-udp.pcapng; text2pcap -q -4 10.0.0.1,10.0.0.2 -T 1,2 dump.txt text2pcap-tcp.pcapng")
    os.remove("dump.txt")
    for base in ("scapy.pcap", "merged.pcapng", "randpkt-ip.pcapng"):
        sh("gzip -k %s; zstd -q -k %s; zstd -q -19 %s -o %s.19.zst; lz4 -q -k %s; lz4 -q -9 -BD %s %s.9.lz4" % ((base,) * 7))

# WTAP_ENCAP_* of tshark, and how many bytes stand before IP.
ETHERNET, SKIPS = 1, {7: 0, 129: 0, 130: 0, 15: 4, 32: 4, 25: 16, 210: 20, 4: 4, 28: 4}

def by_tshark(path):
    out = sh("tshark -r %s -T json -x -J 'frame frame_raw'" % path)
    if not out.strip():
        return None
    for packet in json.loads(out or b"[]", object_pairs_hook=lambda pairs: dict(reversed(pairs))):
        layers = packet["_source"]["layers"]
        frame = layers["frame"]
        yield (int(frame["frame.encap_type"]), bytes.fromhex(layers["frame_raw"][0]),
               int(frame["frame.len"]), frame.get("frame.time_epoch"))

def by_stdpkt(path):
    run = subprocess.run("stdpkt dump --format pcapng < " + path, shell=True, capture_output=True)
    data, packets = run.stdout, []
    while data:
        kind, length = struct.unpack_from("<II", data)
        if kind == 6:
            high, low, kept = struct.unpack_from("<III", data, 12)
            packets.append((data[28:28 + kept], high << 32 | low))
        data = data[length:]
    return packets, run.stderr.decode(), run.returncode

def main():
    make()
    numbers = {"files": 0, "refused": 0, "packets": 0, "read": 0}
    reasons, bad = {}, 0
    def wrong(path, why):
        nonlocal bad
        bad += 1
        print("DIFFERENT", path, why)
    for path in sorted(os.listdir(".")):
        packets, said, status = by_stdpkt(path)
        numbers["files"] += 1
        if not packets and ("before this command" in said or "none of pcap" in said):
            numbers["refused"] += 1
            continue
        theirs = list(by_tshark(path) or []) if path != "together" else sum((list(by_tshark(part)) for part in ("scapy.pcap", "merged.pcapng", "scapy-113le.pcap", "scapy.pcapng")), [])
        numbers["packets"] += len(theirs)
        numbers["read"] += len(packets)
        want = []
        for encap, raw, length, time in theirs:
            if encap == ETHERNET and len(raw) >= length and length >= 14:
                want.append((raw, time))
            elif encap in SKIPS and len(raw) >= length and raw[SKIPS[encap]:][:1] and raw[SKIPS[encap]] >> 4 in (4, 6):
                want.append((raw[SKIPS[encap]:], time))
        if len(want) != len(packets):
            wrong(path, "%d packets, tshark has %d: %s" % (len(packets), len(want), said))
            continue
        for n, ((ours, at), (raw, time)) in enumerate(zip(packets, want)):
            if ours != raw and ours[14:] != raw:
                wrong(path, "packet %d: %s, not %s" % (n, ours.hex(), raw.hex()))
                break
            seconds, _, part = (time or "").partition(".")
            if time and not time.startswith("-") and at != int(seconds) * 10**9 + int((part + "0" * 9)[:9]) and int(seconds) > 0:
                wrong(path, "packet %d: at %d, not %s" % (n, at, time))
                break
        for count, why in re.findall(r"(\d+) ([a-z][^,\n]*)", said.partition("packets: ")[2]):
            reasons[why] = reasons.get(why, 0) + int(count)
        counted = sum(int(count) for count in re.findall(r"left out (\d+) of", said))
        if counted != len(theirs) - len(packets):
            wrong(path, "%d counted of %d that are missing: %s" % (counted, len(theirs) - len(packets), said))
    print("files %(files)d, of other formats %(refused)d, packets %(packets)d, read %(read)d" % numbers)
    for why, count in sorted(reasons.items(), key=lambda item: -item[1]):
        print("left out %d %s" % (count, why))
    sys.exit(bad > 0)

main()
