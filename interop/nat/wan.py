"""The wide area network of the laboratory: takes IP packets from the TUN device `wan0` of each namespace and
hands them to the one they are for, later. netem, which would delay them in the kernel, is not in every kernel.

    python3 wan.py <namespace>=<IPv4 address>[,<IPv4 address>...]:<delay in ms> ...

A packet takes the delay of the sender plus that of the receiver. Prints `ready` once all devices are
open, and runs until its stdin ends.
"""

import ctypes
import fcntl
import heapq
import os
import select
import socket
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
# Packets on the way, at most; a queue of a real network has an end, too.
MAX_QUEUED = 20_000
LONGEST_PACKET = 65_535


def open_tun(namespace):
    """The device must be made before (`ip tuntap add`); opening /dev/net/tun in its namespace attaches to it."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"wan0", IFF_TUN | IFF_NO_PI))
    return tun


def main():
    delay_of, device_of = {}, {}
    for word in sys.argv[1:]:
        namespace, rest = word.split("=")
        addresses, delay = rest.split(":")
        tun = open_tun(namespace)
        delay_of[tun] = float(delay) / 1000
        for address in addresses.split(","):
            device_of[socket.inet_aton(address)] = tun
    print("ready", flush=True)

    stdin = sys.stdin.fileno()
    readable = [stdin, *delay_of]
    # Entries are (time, number, device, packet); the number keeps the order of equal times.
    queue, number = [], 0
    while True:
        wait = max(0.0, queue[0][0] - time.monotonic()) if queue else None
        ready, _, _ = select.select(readable, [], [], wait)
        now = time.monotonic()
        for source in ready:
            if source == stdin:
                if not os.read(stdin, 1024):
                    return
                continue
            while True:
                try:
                    packet = os.read(source, LONGEST_PACKET)
                except BlockingIOError:
                    break
                target = device_of.get(packet[16:20]) if packet[0] >> 4 == 4 else None
                if target is None or target == source or len(queue) >= MAX_QUEUED:
                    continue
                heapq.heappush(queue, (now + delay_of[source] + delay_of[target], number, target, packet))
                number += 1
        while queue and queue[0][0] <= time.monotonic():
            _, _, target, packet = heapq.heappop(queue)
            try:
                os.write(target, packet)
            except BlockingIOError:
                pass


main()
