#!/usr/bin/env python3
"""Makes a large capture out of a small one: grow.py IN.pcap OUT.pcap TIMES.

Every copy is later by the length of the capture and has other IPv4 addresses, checksums mended, so
that each is new flows. For machines without ../shared/mixer, which mixes hundreds of captures.
"""
import struct
import sys


def mended(old_sum, old, new):
    """RFC 1624: the checksum after one 16-bit word changed."""
    total = (~old_sum & 0xFFFF) + (~old & 0xFFFF) + new
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def moved(frame, by):
    """The frame with `by` xored into the second word's low byte of both IPv4 addresses."""
    if len(frame) < 34 or frame[12:14] != b"\x08\x00":
        return frame
    frame = bytearray(frame)
    transport = 14 + (frame[14] & 15) * 4
    first = (frame[20] & 0x1F) == 0 and frame[21] == 0
    sums = [24]
    at = transport + {6: 16, 17: 6}.get(frame[23], 0)
    if first and at > transport and at + 2 <= len(frame):
        if frame[23] == 6 or frame[at:at + 2] != b"\0\0":
            sums.append(at)
    for word in (26, 30):
        if frame[word] >= 224:
            continue
        old = struct.unpack_from(">H", frame, word)[0]
        new = old ^ (by & 0xFF)
        struct.pack_into(">H", frame, word, new)
        for at in sums:
            have = struct.unpack_from(">H", frame, at)[0]
            struct.pack_into(">H", frame, at, mended(have, old, new))
    return bytes(frame)


def main():
    source, target, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
    data = open(source, "rb").read()
    packets, at = [], 24
    while at + 16 <= len(data):
        sec, usec, captured, length = struct.unpack_from("<IIII", data, at)
        packets.append((sec, usec, length, data[at + 16:at + 16 + captured]))
        at += 16 + captured
    span = packets[-1][0] - packets[0][0] + 1
    with open(target, "wb") as out:
        out.write(data[:24])
        for copy in range(times):
            for sec, usec, length, frame in packets:
                frame = moved(frame, copy)
                out.write(struct.pack("<IIII", sec + copy * span, usec, len(frame), length) + frame)


main()
