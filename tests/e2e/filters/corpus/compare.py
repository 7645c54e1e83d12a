"""Reads each capture in the current directory with stdpkt and with tshark, compares them
packet by packet, and prints the numbers and every difference."""
import collections
import concurrent.futures
import json
import os
import re
import struct
import subprocess
import sys

# What stdpkt promises to find Ethernet or IP in, by tshark's name of its first header.
PROMISED = {"eth", "raw", "ip", "ipv6", "null", "loop", "sll", "sll2", "ppp", "pppoes", "chdlc", "enc", "ppi",
            "nflog", "fpp", "netanalyzer", "nettl"}
# What `cat` makes of others cannot be read by tshark as one.
TOGETHER = ("scapy.pcap", "merged.pcapng", "link113-le.pcap", "scapy.pcapng")
# No captures for tshark, but for text2pcap.
DUMPS = {"scapy.hexdump": "scapy.pcap", "tshark.dump": "scapy.pcap"}


class Theirs:
    """A packet as tshark reads it."""

    def __init__(self, layers):
        frame = layers["frame"]
        self.raw = bytes.fromhex(layers.get("frame_raw", [""])[0])
        self.is_cut = int(frame["frame.cap_len"]) < int(frame["frame.len"])
        self.time = frame.get("frame.time_epoch")
        names = frame.get("frame.protocols", "").split(":")
        self.first = names[0]
        # Where the outermost header begins that could be one of a frame.
        self.name = next((name for name in names if name in ("eth", "ip", "ipv6")), None)
        place = layers.get(f"{self.name}_raw")
        self.at = place[1] if place and isinstance(place[1], int) else None

    def must_be_read(self, fcs):
        """Whether there is whole Ethernet or IP in it, in a place where it is promised to be found."""
        if self.is_cut or self.first not in PROMISED or self.at is None:
            return False
        if self.first == "fpp" and self.at == 0:
            return False  # an mPacket begins with a preamble
        if self.name == "eth":
            return len(self.raw) - self.at >= 14 + fcs
        # It says `ip`, too, where a link type promises IP and something else is there.
        return self.raw[self.at] >> 4 in (4, 6)

    def is_like(self, ours, fcs):
        """Whether a frame of ours is this packet."""
        if self.first not in PROMISED:
            return False
        if self.first == "eth":
            return ours == self.raw[:len(self.raw) - fcs]
        if self.first in ("fpp", "netanalyzer"):
            # With a check sequence. tshark takes not all of netANALYZER's apart.
            return ours in [self.raw[at:-4] for at in ((4, 12) if self.at is None else (self.at,))]
        if self.name == "eth" and self.at is not None:
            return ours == self.raw[self.at:]
        # A header was made for what is there, IP or something that goes by a type.
        payload = ours[14:]
        return self.raw.endswith(payload) and (self.at is None or len(payload) >= len(self.raw) - self.at)

    def passed_at(self, time):
        """Whether that is its time, in nanoseconds. Dumps have none, and so have those before 1970."""
        if not self.time or self.time.startswith("-"):
            return True
        seconds, _, part = self.time.partition(".")
        return time == int(seconds) * 10**9 + int((part + "0" * 9)[:9])


def by_tshark(path):
    if path == "together":
        return [packet for part in TOGETHER for packet in by_tshark(part)]
    command = ["tshark", "-r", DUMPS.get(path, path), "-T", "json", "-x", "-J", "frame"]
    out = subprocess.run(command, capture_output=True, check=False).stdout
    # Of headers that are there twice, the first.
    first = lambda pairs: dict(reversed(pairs))
    packets = json.loads(out.strip() or b"[]", object_pairs_hook=first)
    theirs = [Theirs(packet["_source"]["layers"]) for packet in packets]
    for packet in theirs:
        packet.time = None if path in DUMPS else packet.time
    return theirs


def by_stdpkt(path, through=None):
    """Frames with their times, what was said, and the status."""
    command = f"{through} | stdpkt dump --format pcapng" if through else f"stdpkt dump --format pcapng < {path}"
    run = subprocess.run(command, shell=True, capture_output=True, check=False)
    data, frames = run.stdout, []
    while data:
        kind, length = struct.unpack_from("<II", data)
        if kind == 6:
            high, low, kept = struct.unpack_from("<III", data, 12)
            frames.append((data[28:28 + kept], high << 32 | low))
        data = data[length:]
    return frames, run.stderr.decode(), run.returncode


def differences(path, frames, said, status, theirs):
    """Every frame is the next packet of tshark's that it can be; those between are counted."""
    fcs = 4 if "fcs" in path else 0
    at, missed = 0, 0
    for ours, time in frames:
        while at < len(theirs) and not (theirs[at].is_like(ours, fcs) and theirs[at].passed_at(time)):
            if theirs[at].must_be_read(fcs):
                packet = theirs[at]
                yield f"packet {at + 1}: {packet.raw.hex()} at {packet.time}, not {ours.hex()} at {time}"
                return
            at, missed = at + 1, missed + 1
        if at == len(theirs):
            yield f"tshark has no {ours.hex()} at {time}"
            return
        at += 1
    rest = [packet for packet in theirs[at:] if packet.must_be_read(fcs)]
    missed += len(theirs) - at
    if rest:
        yield f"{len(rest)} packets that tshark reads are missing: {said}"
    counted = sum(int(count) for count in re.findall(r"left out (\d+) of", said))
    if counted != missed:
        yield f"{missed} packets are missing, {counted} were counted: {said}"
    broken = any(packet.is_cut for packet in theirs) or not frames
    if status != 125 if broken else not missed and status != 0:
        yield f"status {status}: {said}"
    ours = [line for line in said.splitlines() if line.startswith("stdpkt: ")]
    if len(ours) > 1 or "panicked" in said:
        yield f"not one line: {said}"


def compare(path):
    """The numbers of one file, and its differences."""
    frames, said, status = by_stdpkt(path)
    advice = re.search(r"put `(.* )\|` before this command", said)
    helped = bool(advice) and not frames
    if helped:
        frames, said, status = by_stdpkt(path, advice[1].replace("FILE", path))
    theirs = by_tshark(path)
    reasons = re.findall(r"(\d+) ([a-zA-Z][^,\n]*)", said.partition("packets: ")[2])
    return {
        "files": 1,
        "by editcap": int(helped),
        "packets": len(theirs),
        "read": len(frames),
        **{f"left out, {why}": int(count) for count, why in reasons},
    }, [f"DIFFERENT {path}: {why.strip()}" for why in differences(path, frames, said, status, theirs)]


def main():
    numbers, bad = collections.Counter(), []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for counts, wrong in pool.map(compare, sorted(os.listdir("."))):
            numbers.update(counts)
            bad += wrong
    for line in [f"{name}: {number}" for name, number in numbers.most_common()] + bad:
        print(line)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
