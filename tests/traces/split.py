#!/usr/bin/env python3
"""Work on pcap files (little-endian, microseconds), record by record.

    split.py split FILE DIR N      DIR/NAME-0.pcap ... : every host pair whole, in one of N files
    split.py null FILE OUT         Ethernet headers rewritten to BSD loopback ones (DLT_NULL)
    split.py stretch FILE OUT N    all that follows the first packet comes N times as late after it
    split.py cut FILE OUT SHARE    the file up to the middle of the packet record at this share of it
"""
import collections
import pathlib
import struct
import sys

MAGIC, DLT_NULL, DLT_ETHERNET = 0xA1B2C3D4, 0, 1
ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
AF_INET, AF_INET6 = 2, 30  # as on macOS


def read(path):
    """The global header and the records, each as (header, packet)."""
    data = pathlib.Path(path).read_bytes()
    magic, = struct.unpack_from("<I", data)
    link, = struct.unpack_from("<I", data, 20)
    if magic != MAGIC or link != DLT_ETHERNET:
        sys.exit(f"{path}: not a little-endian microsecond pcap of Ethernet")
    records, at = [], 24
    while at < len(data):
        length, = struct.unpack_from("<I", data, at + 8)
        records.append((data[at:at + 16], data[at + 16:at + 16 + length]))
        at += 16 + length
    return data[:24], records


def write(path, head, records):
    pathlib.Path(path).write_bytes(head + b"".join(h + p for h, p in records))


def host_pair(frame):
    kind, = struct.unpack_from("!H", frame, 12)
    at, size = {ARP: (28, 4), IPV4: (26, 4), IPV6: (22, 16)}[kind]
    if kind == ARP:
        return tuple(sorted((frame[at:at + 4], frame[at + 10:at + 14])))
    return tuple(sorted((frame[at:at + size], frame[at + size:at + 2 * size])))


def split(path, folder, count):
    head, records = read(path)
    sizes = collections.Counter()
    for _, frame in records:
        sizes[host_pair(frame)] += len(frame)
    home, load = {}, [0] * count
    for pair, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        home[pair] = load.index(min(load))
        load[home[pair]] += size
    for n in range(count):
        mine = [r for r in records if home[host_pair(r[1])] == n]
        write(pathlib.Path(folder) / f"{pathlib.Path(path).stem}-{n}.pcap", head, mine)


def null(path, out):
    head, records = read(path)
    family = {IPV4: AF_INET, IPV6: AF_INET6}
    new = []
    for (header, frame) in records:
        kind, = struct.unpack_from("!H", frame, 12)
        if kind in family:
            packet = struct.pack("<I", family[kind]) + frame[14:]
            lengths = struct.pack("<II", len(packet), len(packet))
            new.append((header[:8] + lengths, packet))
    write(out, head[:20] + struct.pack("<I", DLT_NULL), new)


def cut(path, out, share):
    head, records = read(path)
    keep = int(len(records) * share)
    whole = head + b"".join(h + p for h, p in records[:keep])
    header, packet = records[keep]
    pathlib.Path(out).write_bytes(whole + header + packet[:len(packet) // 2])


def stretch(path, out, factor):
    head, records = read(path)
    first = min((struct.unpack_from("<II", header) for header, _ in records), default=(0, 0))
    new = []
    for (header, packet) in records:
        seconds, micros = struct.unpack_from("<II", header)
        micros = ((seconds - first[0]) * 1_000_000 + micros - first[1]) * factor + first[1]
        time = struct.pack("<II", first[0] + micros // 1_000_000, micros % 1_000_000)
        new.append((time + header[8:], packet))
    write(out, head, new)


match sys.argv[1:]:
    case ["split", path, folder, count]:
        split(path, folder, int(count))
    case ["null", path, out]:
        null(path, out)
    case ["cut", path, out, share]:
        cut(path, out, float(share))
    case ["stretch", path, out, factor]:
        stretch(path, out, int(factor))
    case _:
        sys.exit(__doc__)
