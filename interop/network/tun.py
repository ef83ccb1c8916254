#!/usr/bin/env python3
"""
Runs a command in a network namespace of its own whose only way out is a TUN device, each IP packet of
which is a UDP datagram outside. tcp-path.ts says what for. The namespace ends with the command.

  tun.py (--bind PORT | --connect PORT) --address IPV4 --mtu BYTES --forward PORT -- COMMAND...

--bind: take datagrams at that port of 127.0.0.1 and answer whoever sent the last. --connect: exchange
them with that port. --forward: a TCP port of 127.0.0.1 inside that leads to the same one outside.
The exit code is the command's; 125 when there can be no such namespace here.
"""
import argparse
import ctypes
import fcntl
import os
import selectors
import signal
import socket
import struct
import sys

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFMTU = 0x8914, 0x8916, 0x891C, 0x8922
IFF_UP = 0x1
TUN = b"tun0"
PREFIX = "255.255.255.0"
LONGEST = 65535
SOCKET_BUFFER = 4 << 20

libc = ctypes.CDLL(None, use_errno=True)


def configure(control, name, address, mtu):
    """Gives a device its address and MTU and takes it up."""
    if address is not None:
        for request, value in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, PREFIX)):
            in_addr = struct.pack("=H2x4s8x", socket.AF_INET, socket.inet_aton(value))
            fcntl.ioctl(control, request, struct.pack("16s16s", name, in_addr))
        fcntl.ioctl(control, SIOCSIFMTU, struct.pack("16si", name, mtu))
    fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh", name, IFF_UP))


def inside(options, channel):
    """In the child: makes the namespace, hands the TUN device and the forwarding socket out, becomes the command."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace")
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22s", TUN, IFF_TUN | IFF_NO_PI, b""))
    # Router solicitations would count as packets.
    with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as file:
        file.write("1")
    # What one connection learnt must not help the next.
    with open("/proc/sys/net/ipv4/tcp_no_metrics_save", "w") as file:
        file.write("1")
    for name in options.congestion.split(","):
        # A namespace may use what the machine allows to all its users only.
        try:
            with open("/proc/sys/net/ipv4/tcp_congestion_control", "w") as file:
                file.write(name)
            break
        except OSError:
            continue
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        configure(control, b"lo", None, None)
        configure(control, TUN, options.address, options.mtu)
    listener = socket.create_server(("127.0.0.1", options.forward), backlog=64)
    socket.send_fds(channel, [b"ready"], [tun, listener.fileno()])
    # Until what is sent has a way.
    if channel.recv(1) != b"g":
        os._exit(125)
    os.execvp(options.command[0], options.command)


class Bridge:
    """In the parent: moves packets between the TUN device and UDP, and forwards TCP connections."""

    def __init__(self, options, tun, listener):
        self.tun, self.listener, self.port = tun, listener, options.forward
        self.udp = options.udp
        self.peer = ("127.0.0.1", options.connect) if options.connect else None
        self.selector = selectors.DefaultSelector()
        for file, handle in ((tun, self.out), (self.udp, self.into), (listener, self.accept)):
            os.set_blocking(file if isinstance(file, int) else file.fileno(), False)
            self.selector.register(file, selectors.EVENT_READ, handle)

    def out(self, _):
        """Packets of the command; what comes before the other side has spoken is lost."""
        for _ in range(64):
            try:
                packet = os.read(self.tun, LONGEST)
            except BlockingIOError:
                return
            if self.peer is not None:
                try:
                    self.udp.sendto(packet, self.peer)
                except OSError:
                    pass

    def into(self, _):
        """Packets for the command."""
        for _ in range(64):
            try:
                packet, self.peer = self.udp.recvfrom(LONGEST)
            except BlockingIOError:
                return
            except OSError:
                continue
            try:
                os.write(self.tun, packet)
            except OSError:
                pass  # Not an IP packet any more: a corrupted one.

    def accept(self, _):
        try:
            near, _ = self.listener.accept()
        except OSError:
            return
        try:
            far = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            one.settimeout(5)
            self.selector.register(one, selectors.EVENT_READ, lambda s, other=other: self.copy(s, other))

    def copy(self, one, other):
        try:
            data = one.recv(LONGEST)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        for end in (one, other):
            if end.fileno() >= 0:
                self.selector.unregister(end)
                end.close()

    def run(self, pid):
        """Until the child `pid` has ended."""
        ended = os.pidfd_open(pid)
        self.selector.register(ended, selectors.EVENT_READ, None)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == ended:
                    return
                if key.data is not None and (isinstance(key.fileobj, int) or key.fileobj.fileno() >= 0):
                    key.data(key.fileobj)


def main():
    parser = argparse.ArgumentParser()
    side = parser.add_mutually_exclusive_group(required=True)
    side.add_argument("--bind", type=int)
    side.add_argument("--connect", type=int)
    parser.add_argument("--address", required=True)
    parser.add_argument("--mtu", type=int, required=True)
    parser.add_argument("--forward", type=int, required=True)
    parser.add_argument("--congestion", default="cubic,reno", help="the first of these that is allowed")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    options.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    options.udp.bind(("127.0.0.1", options.bind or 0))
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        options.udp.setsockopt(socket.SOL_SOCKET, buffer, SOCKET_BUFFER)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    pid = os.fork()
    if pid == 0:
        ours.close()
        try:
            inside(options, theirs)
        except Exception as error:  # One line, whatever it is.
            print(f"tun.py: {error}", file=sys.stderr, flush=True)
        os._exit(125)
    theirs.close()
    try:
        # Before all that would delay packets; not so the command.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        pass
    # A signal is for the command, whose end ends this.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _: os.kill(pid, number))
    message, files, _, _ = socket.recv_fds(ours, 16, 2)
    if message == b"ready":
        tun, listener = files
        bridge = Bridge(options, tun, socket.socket(fileno=listener))
        ours.send(b"g")
        bridge.run(pid)
    _, status = os.waitpid(pid, 0)
    sys.exit(os.waitstatus_to_exitcode(status) if not os.WIFSIGNALED(status) else 128 + os.WTERMSIG(status))


if __name__ == "__main__":
    main()
