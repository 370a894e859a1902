#!/usr/bin/env python3
"""A small Ethernet switch with a mirror port, for making captures in network namespaces.

    lan.py NAMESPACE[,KEY=VALUE...]...  [--mirror IFACE] [--tun]

Each argument is one port: a TAP interface (`eth0`) that is put into the namespace. Whatever passes
the switch is also written to the mirror interface, which stays in the namespace that this program
runs in; tcpdump listens there, as a monitor does at a real switch. It needs nothing of the kernel
but /dev/net/tun: no bridge, vlan or netem module. TAP interfaces have no offloads, so that the
checksums and the segment sizes are those of the wire.

Keys of a port:
    delay=MS       every frame that enters here waits this long
    reorder=P      of these, this share waits 6 ms more, and so is overtaken
    loss_in=P      share of entering frames that are lost before the mirror sees them
    loss_out=P     share of leaving frames that are lost after the mirror saw them
    blind=N        every N-th entering frame arrives, but the mirror misses it
    vlan=ID[.ID]   the mirror sees tags (two: 802.1ad outside, 802.1Q inside); the ports stay untagged,
                   and frames pass only between ports of the same vlan

With --tun the ports are TUN interfaces (`tun0`): packets without a link header, and no mirror.
The losses come from a seeded generator.
"""
import fcntl
import heapq
import os
import random
import selectors
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_TAP, IFF_NO_PI = 0x0001, 0x0002, 0x1000


def device(name, tun=False):
    """Makes a TAP or TUN interface and returns the descriptor of its other end."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    flags = (IFF_TUN if tun else IFF_TAP) | IFF_NO_PI
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    return fd


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Port:
    def __init__(self, number, text, tun):
        self.namespace, *pairs = text.split(",")
        given = dict(pair.split("=", 1) for pair in pairs)
        share = lambda key: float(given.pop(key, 0))
        self.delay = share("delay") / 1000
        self.reorder = share("reorder")
        self.blind, self.entered = int(given.pop("blind", 0)), 0
        self.loss_in, self.loss_out = share("loss_in"), share("loss_out")
        self.vlan = given.pop("vlan", "")
        if given:
            sys.exit(f"lan.py: unknown key {', '.join(given)} in {text!r}")
        name = "tun0" if tun else "eth0"
        self.fd = device(f"port{number}", tun)
        ip("link", "set", f"port{number}", "netns", self.namespace, "name", name)
        if not tun:
            ip("-n", self.namespace, "link", "set", name, "address", f"02:77:00:00:00:{number:02x}")

    def tagged(self, frame):
        ids = [int(i) for i in self.vlan.split(".") if i]
        kinds = [0x88A8, 0x8100][-len(ids):] if ids else []
        tags = b"".join(struct.pack("!HH", kind, i) for kind, i in zip(kinds, ids))
        return frame[:12] + tags + frame[12:]


def write(fd, frame):
    try:
        os.write(fd, frame)
    except OSError:
        pass  # the interface is down


def main():
    words = sys.argv[1:]
    tun = "--tun" in words
    mirror = None
    if "--mirror" in words:
        at = words.index("--mirror")
        mirror = device(words[at + 1])
        ip("link", "set", words[at + 1], "up")
        del words[at:at + 2]
    ports = [Port(n, text, tun) for n, text in enumerate((w for w in words if w != "--tun"), 1)]
    print("ready", flush=True)

    dice = random.Random(77)
    selector = selectors.DefaultSelector()
    for port in ports:
        selector.register(port.fd, selectors.EVENT_READ, port)
    waiting, serial, where = [], 0, {}

    def arrive(port, frame):
        port.entered += 1
        if mirror is not None and not (port.blind and port.entered % port.blind == 0):
            write(mirror, port.tagged(frame))
        where[frame[6:12]] = port
        known = None if tun or frame[0] & 1 else where.get(frame[:6])
        for other in [known] if known else ports:
            if other is not port and other.vlan == port.vlan and dice.random() >= other.loss_out:
                write(other.fd, frame)

    while True:
        patience = max(0, waiting[0][0] - time.monotonic()) if waiting else None
        for key, _ in selector.select(patience):
            port = key.data
            try:
                frame = os.read(port.fd, 65536)
            except OSError:
                continue
            if dice.random() < port.loss_in:
                continue
            due = time.monotonic() + port.delay + (0.006 if dice.random() < port.reorder else 0)
            serial += 1
            heapq.heappush(waiting, (due, serial, port, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, port, frame = heapq.heappop(waiting)
            arrive(port, frame)


main()
