"""Sends UDP datagrams with a forged source, one for each line on stdin, and answers `ok` or why not.

A line is `<source host> <source port> <target host> <target port> <payload, hex>`; hosts are IPv4
or IPv6 literals. Raw sockets, so it takes root.
"""

import socket
import struct
import sys


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def datagram(family, source, source_port, target, target_port, payload):
    length = 8 + len(payload)
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, target)
    udp = struct.pack("!HHHH", source_port, target_port, length, 0) + payload
    if family == socket.AF_INET:
        pseudo = ends + struct.pack("!BBH", 0, 17, length)
        # The kernel fills in the total length and the header's checksum.
        head = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, 17, 0) + ends
    else:
        pseudo = ends + struct.pack("!IHBB", length, 0, 0, 17)
        head = struct.pack("!IHBB", 6 << 28, length, 17, 64) + ends
    total = checksum(pseudo + udp) or 0xFFFF
    return head + udp[:6] + struct.pack("!H", total) + udp[8:]


def opened(family):
    made = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    if family == socket.AF_INET:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    return made


sockets = {}
for line in sys.stdin:
    try:
        source, source_port, target, target_port, payload = line.split()
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        if family not in sockets:
            sockets[family] = opened(family)
        packet = datagram(
            family, source, int(source_port), target, int(target_port), bytes.fromhex(payload)
        )
        sockets[family].sendto(packet, (target, 0))
        print("ok", flush=True)
    except OSError as error:
        print(error, flush=True)
