#!/usr/bin/env python3
"""The odd conversations of the captures, between plain sockets.

    peer.py serve            answers on the ports below until it is killed
    peer.py KIND HOST [N]    plays one client: echo, half, reset, abort, upload, download, idle
"""
import socket
import struct
import sys
import threading
import time

HALF, RESET, UPLOAD, DOWNLOAD, IDLE, ECHO = 7002, 7003, 7004, 7005, 7006, 7007
LINE = b"weir test traffic, line %06d of a long transfer\r\n"


def lines(count):
    return b"".join(LINE % i for i in range(count))


def hang_up(sock):
    """Closes with a RST instead of a FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def until_end(sock):
    total = 0
    while data := sock.recv(65536):
        total += len(data)
    return total


def answer(port, sock):
    if port == HALF:  # the client has closed its side, and is still answered
        until_end(sock)
        for i in range(5):
            sock.sendall(b"still here %d\n" % i)
            time.sleep(0.05)
    elif port == RESET:
        sock.recv(100)
        hang_up(sock)
        return
    elif port == UPLOAD:
        sock.sendall(b"got %d bytes\n" % until_end(sock))
    elif port == DOWNLOAD:
        sock.sendall(lines(int(sock.recv(100))))
    elif port == IDLE:
        sock.recv(100)
        time.sleep(60)  # the capture ends before this connection does
    sock.close()


def quietly(work, *args):
    try:
        work(*args)
    except OSError:
        pass


def listen(port):
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        sock, _ = server.accept()
        threading.Thread(target=quietly, args=(answer, port, sock), daemon=True).start()


def serve():
    for port in (HALF, RESET, UPLOAD, DOWNLOAD, IDLE):
        threading.Thread(target=listen, args=(port,), daemon=True).start()
    echo = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    echo.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    echo.bind(("::", ECHO))
    while True:
        data, peer = echo.recvfrom(65536)
        echo.sendto(data, peer)


def play(kind, host, count):
    if kind == "echo":
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.settimeout(2)
        sock.sendto(b"e" * count, (host, ECHO))
        sock.recvfrom(65536)
        return
    port = {"half": HALF, "reset": RESET, "abort": IDLE, "idle": IDLE,
            "upload": UPLOAD, "download": DOWNLOAD}[kind]
    sock = socket.create_connection((host, port), timeout=30)
    if kind == "download":
        sock.sendall(b"%d" % count)
    elif kind == "upload":
        sock.sendall(lines(count))
    else:
        sock.sendall(b"hello from %s\n" % kind.encode())
    if kind == "abort":
        time.sleep(0.1)
        hang_up(sock)
        return
    if kind == "idle":
        time.sleep(60)
    if kind in ("half", "upload"):
        sock.shutdown(socket.SHUT_WR)
    until_end(sock)


if sys.argv[1:] == ["serve"]:
    serve()
elif len(sys.argv) in (3, 4):
    quietly(play, sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) == 4 else 100)
else:
    sys.exit(__doc__)
