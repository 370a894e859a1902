#!/usr/bin/env python3
"""Makes the captures of corpus/engine out of the conversations in the other folders.

Each conversation becomes one flow with a handshake, and is sent through a tunnel or in fragments where its
turn comes. Run it after a conversation was added: fuzz/captures.py
"""

import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"
PORTS = {
    "dce_rpc": 135, "dhcp": 67, "dnp3_tcp": 20000, "dnp3_udp": 20000, "dns": 53, "dtls": 443, "ftp": 21, "http": 80,
    "imap": 143, "irc": 6667, "krb": 88, "krb_tcp": 88, "modbus": 502, "mqtt": 1883, "mysql": 3306, "ntp": 123,
    "pop3": 110, "radius": 1812, "rdp": 3389, "rdpeudp": 3389, "rfb": 5900, "sip": 5060, "smb": 445, "smtp": 25,
    "snmp": 161, "socks": 1080, "ssh": 22, "ssl": 443, "xmpp": 5222,
}
SYN, ACK, PSH, FIN = 2, 16, 8, 1


def ip4(protocol, payload, source, destination, ident=1, fragment=0):
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), ident, fragment, 64, protocol, 0)
    return head + source + destination + payload


def steps(talk):
    """What each end says: (from the responder, bytes)."""
    line, _, rest = talk.partition(b"\n")
    name, transport = line.decode().split()
    said = []
    while len(rest) >= 3:
        what, length = rest[0], int.from_bytes(rest[1:3], "big")
        rest = rest[3:]
        if what & 3 == 0:
            said.append((what >> 7, rest[:length]))
            rest = rest[length:]
    return name, transport, said


def packets(name, transport, said, hosts):
    ports = (40000, PORTS.get(name, 9999))

    def tcp(responder, flags, payload=b""):
        ends = (ports[responder], ports[1 - responder])
        head = struct.pack("!HHIIBBHHH", *ends, sent[responder], sent[1 - responder], 0x50, flags, 8192, 0, 0)
        sent[responder] += len(payload) + (1 if flags & (SYN | FIN) else 0)
        return ip4(6, head + payload, hosts[responder], hosts[1 - responder])

    if transport == "udp":
        for responder, payload in said:
            head = struct.pack("!HHHH", ports[responder], ports[1 - responder], 8 + len(payload), 0)
            yield ip4(17, head + payload, hosts[responder], hosts[1 - responder])
        return
    sent = [1000, 5000]
    yield tcp(0, SYN)
    yield tcp(1, SYN | ACK)
    for responder, payload in said:
        yield tcp(responder, ACK | PSH, payload)
    yield tcp(0, FIN | ACK)
    yield tcp(1, FIN | ACK)


def wrapped(turn, packet, hosts):
    """Ethernet, for some turns with a tunnel, a VLAN tag or fragments inside."""
    out = [packet]
    if turn == 1:
        out = [ip4(47, struct.pack("!HH", 0, 0x0800) + packet, hosts[1], hosts[0])]
    elif turn == 2:
        frame = bytes(12) + b"\x08\x00" + packet
        vxlan = struct.pack("!HHHHII", 5000, 4789, 16 + len(frame), 0, 0x08000000, 7 << 8) + frame
        out = [ip4(17, vxlan, hosts[1], hosts[0])]
    elif turn == 3:
        body, protocol, cut = packet[20:], packet[9], max(8, (len(packet) - 20) // 16 * 8)
        more = 0x2000 if len(body) > cut else 0
        out = [ip4(protocol, body[:cut], packet[12:16], packet[16:20], 9, more)]
        if more:
            out.append(ip4(protocol, body[cut:], packet[12:16], packet[16:20], 9, cut // 8))
    elif turn == 4:
        return [bytes(12) + b"\x81\x00\x00\x05\x08\x00" + packet]
    elif turn == 5:
        v6 = struct.pack("!IHBB", 6 << 28, len(packet), 4, 64) + bytes(15) + b"\1" + bytes(15) + b"\2"
        return [bytes(12) + b"\x86\xdd" + v6 + packet]
    return [bytes(12) + b"\x08\x00" + each for each in out]


def main():
    (CORPUS / "engine").mkdir(exist_ok=True)
    talks = sorted(
        path for path in CORPUS.glob("*/*")
        # One of those that are numbered is enough.
        if not path.name[-1].isdigit() or path.name.endswith("-1")
        if path.parent.name != "engine" and path.read_bytes().partition(b"\n")[0].endswith((b" tcp", b" udp"))
    )
    for number, path in enumerate(talks):
        hosts = (bytes([10, 0, 0, number % 200 + 1]), bytes([192, 168, number % 7, 9]))
        out = [struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
        time = 1_700_000_000
        for packet in packets(*steps(path.read_bytes()), hosts):
            for frame in wrapped(number % 8, packet, hosts):
                out.append(struct.pack("<IIII", time, 0, len(frame), len(frame)) + frame)
            time += 1
        (CORPUS / "engine" / f"{path.parent.name}-{path.name}").write_bytes(b"".join(out))


main()
