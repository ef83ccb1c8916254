"""An interop participant on py-libp2p, built on the published package only.

It obeys both harness dialects (docs/peers.md): stdout carries the dialer's result and nothing
else. Exit codes: 0 result printed, 1 failed, 2 configuration wrong, 127 a combination that
exists in the matrix but not here.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
import ipaddress
import os
import secrets
import ssl
import sys
import tempfile
import time
import traceback

TRANSPORTS = ["quic-v1", "quic", "tcp", "ws", "wss", "webtransport", "webrtc-direct", "webrtc"]
LAYERED = ["tcp", "ws", "wss"]
SECURE_CHANNELS = ["noise", "tls", "plaintext"]
MUXERS = ["yamux", "mplex"]
SUPPORTED = ["quic-v1", "tcp", "ws", "wss", "noise", "tls", "yamux", "mplex"]
PING = "/ipfs/ping/1.0.0"
PING_LENGTH = 32
# Longest Redis reply taken, in bytes. A multiaddr is far shorter.
LONGEST_REPLY = 1 << 16


class Configuration(Exception):
    """Ends the process with 2."""


class Unsupported(Exception):
    """Ends the process with 127."""


def variable(name: str) -> str | None:
    """An environment variable's value; unset, empty and `null` are the same."""
    value = os.environ.get(name, "").strip()
    return None if value in ("", "null") else value


def one_of(name: str, known: list[str]) -> str:
    value = variable(name)
    if value is None:
        raise Configuration(f"{name} is not set")
    if value not in known:
        raise Configuration(f"{name}={value}: want one of {', '.join(known)}")
    return value


@dataclass(frozen=True)
class Config:
    """What the environment asks for, whichever dialect it speaks."""

    unified: bool
    dialer: bool
    transport: str
    secure_channel: str | None
    muxer: str | None
    ip: str
    redis: str
    key: str
    timeout: float
    debug: bool

    def log(self, *words: object) -> None:
        if self.debug:
            print(*words, file=sys.stderr)


def configure() -> Config:
    unified = variable("IS_DIALER") is not None or variable("is_dialer") is None

    def name(unified_name: str, legacy_name: str) -> str:
        return unified_name if unified else legacy_name

    dialer = one_of(name("IS_DIALER", "is_dialer"), ["true", "false"]) == "true"
    transport = one_of(name("TRANSPORT", "transport"), TRANSPORTS)
    secure_channel = muxer = None
    if transport in LAYERED:
        secure_channel = one_of(name("SECURE_CHANNEL", "security"), SECURE_CHANNELS)
        muxer = one_of(name("MUXER", "muxer"), MUXERS)
    ip_name = name("LISTENER_IP", "ip")
    ip = variable(ip_name) or "0.0.0.0"
    try:
        ipaddress.ip_address(ip)
    except ValueError:
        raise Configuration(f"{ip_name}={ip}: not an IP address") from None
    timeout_name = name("TEST_TIMEOUT_SECS", "test_timeout_seconds")
    seconds = variable(timeout_name) or "180"
    try:
        timeout = float(seconds)
    except ValueError:
        timeout = 0
    if not 0 < timeout < 1e6:
        raise Configuration(f"{timeout_name}={seconds}: not a number of seconds")
    test_key = variable("TEST_KEY")
    if unified and test_key is None:
        raise Configuration("TEST_KEY is not set")
    for wanted in (transport, secure_channel, muxer):
        if wanted is not None and wanted not in SUPPORTED:
            raise Unsupported(f"no {wanted} in this peer")
    return Config(
        unified=unified,
        dialer=dialer,
        transport=transport,
        secure_channel=secure_channel,
        muxer=muxer,
        ip=ip,
        redis=variable(name("REDIS_ADDR", "redis_addr")) or "redis:6379",
        key=f"{test_key}_listener_multiaddr" if unified else "listenerAddr",
        timeout=timeout,
        debug=unified and variable("DEBUG") == "true",
    )


def participate(config: Config) -> None:
    # py-libp2p takes a second to import: configuration errors are reported before.
    if config.debug:
        os.environ.setdefault("LIBP2P_DEBUG", "DEBUG")
    import trio

    async def main() -> None:
        with trio.move_on_after(config.timeout):
            await (dial(config) if config.dialer else listen(config))
            return
        raise TimeoutError(
            "no ping in time" if config.dialer else "nobody ended this listener in time"
        )

    trio.run(main)


class Redis:
    """The little of Redis that a rendezvous needs: one command, one reply (RESP2)."""

    def __init__(self, stream):
        self._stream = stream
        self._buffer = b""

    @classmethod
    async def connect(cls, address: str) -> "Redis":
        """Connects, trying again until it is cancelled: Redis may start after us."""
        import trio

        host, _, port = address.removeprefix("redis://").rstrip("/").rpartition(":")
        while True:
            try:
                return cls(await trio.open_tcp_stream(host.strip("[]"), int(port)))
            except OSError:
                await trio.sleep(0.1)

    async def command(self, *words: str) -> str | None:
        body = b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in (w.encode() for w in words))
        await self._stream.send_all(b"*%d\r\n%s" % (len(words), body))
        while b"\r\n" not in self._buffer:
            await self._fill()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        if line == b"$-1":
            return None
        if line[:1] in b"+:":
            return line[1:].decode()
        if line[:1] != b"$" or not line[1:].isdigit() or int(line[1:]) > LONGEST_REPLY:
            raise OSError(f"redis answered {line[:200]!r}")
        length = int(line[1:])
        while len(self._buffer) < length + 2:
            await self._fill()
        value, self._buffer = self._buffer[:length], self._buffer[length + 2 :]
        return value.decode()

    async def _fill(self) -> None:
        data = await self._stream.receive_some(4096)
        if not data or len(self._buffer) > 2 * LONGEST_REPLY:
            raise OSError("redis closed the connection")
        self._buffer += data


async def fetch(config: Config) -> str:
    """Waits for the listener's address: a list in one suite, a string in another."""
    import trio

    redis = await Redis.connect(config.redis)
    while True:
        kind = await redis.command("TYPE", config.key)
        read = {"list": "LPOP", "string": "GET"}.get(kind or "")
        value = await redis.command(read, config.key) if read else None
        if value is not None:
            return value
        await trio.sleep(0.02)


async def publish(config: Config, address: str) -> None:
    redis = await Redis.connect(config.redis)
    if config.unified:
        await redis.command("DEL", config.key)
    await redis.command("RPUSH", config.key, address)


def self_signed() -> ssl.SSLContext:
    """The TLS of a wss listener. The secure channel inside it authenticates the peer."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    pkcs8 = serialization.PrivateFormat.PKCS8
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.NamedTemporaryFile() as file:
        file.write(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
        file.write(certificate.public_bytes(pem))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def make_host(config: Config, listen_addresses: list):
    """A host with exactly the transport, secure channel and muxer that were asked for."""
    from libp2p import generate_new_ed25519_identity, new_host
    from libp2p.crypto.x25519 import create_new_key_pair
    from libp2p.security.noise import transport as noise
    from libp2p.security.tls import transport as tls
    from libp2p.stream_muxer.mplex.mplex import MPLEX_PROTOCOL_ID, Mplex
    from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_PROTOCOL_ID, Yamux

    key_pair = generate_new_ed25519_identity()
    options = {}
    if config.secure_channel == "noise":
        static_key = create_new_key_pair().private_key
        channel = noise.Transport(key_pair, noise_privkey=static_key)
        options["sec_opt"] = {noise.PROTOCOL_ID: channel}
    elif config.secure_channel == "tls":
        options["sec_opt"] = {tls.PROTOCOL_ID: tls.TLSTransport(key_pair)}
    if config.muxer == "yamux":
        options["muxer_opt"] = {YAMUX_PROTOCOL_ID: Yamux}
    elif config.muxer == "mplex":
        options["muxer_opt"] = {MPLEX_PROTOCOL_ID: Mplex}
    if config.transport == "wss":
        if config.dialer:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            options["tls_client_config"] = context
        else:
            options["tls_server_config"] = self_signed()
    return new_host(
        key_pair=key_pair,
        listen_addrs=listen_addresses or None,
        enable_quic=config.transport == "quic-v1",
        enable_tcp=config.transport == "tcp",
        enable_websocket=config.transport in ("ws", "wss"),
        **options,
    )


async def dial(config: Config) -> None:
    from libp2p.io.utils import read_exactly
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from multiaddr import Multiaddr

    # Other libraries publish wss as the two protocols it is; py-libp2p refuses to dial that.
    address = (await fetch(config)).replace("/tls/ws", "/wss")
    config.log("dialling", address)
    info = info_from_p2p_addr(Multiaddr(address))
    host = make_host(config, [])
    async with host.run(listen_addrs=[]):
        start = time.perf_counter()
        await host.connect(info)
        stream = await host.new_stream(info.peer_id, [PING])
        payload = secrets.token_bytes(PING_LENGTH)
        ping_start = time.perf_counter()
        await stream.write(payload)
        answer = await read_exactly(stream, PING_LENGTH)
        end = time.perf_counter()
        if answer != payload:
            raise ValueError("the ping's answer is not what was sent")
        total, rtt = (end - start) * 1e3, (end - ping_start) * 1e3
        if config.unified:
            print(f"latency:\n  handshake_plus_one_rtt: {total:.3f}\n  ping_rtt: {rtt:.3f}\n  unit: ms")
        else:
            print(f'{{"handshakePlusOneRTTMillis": {total:.3f}, "pingRTTMilllis": {rtt:.3f}}}')
        finish(0)


def reachable(address: str) -> str:
    """Puts an interface's address where a wildcard was bound: not loopback if there is another."""
    import psutil

    for wildcard, family, fallback in (("/ip4/0.0.0.0/", 2, "127.0.0.1"), ("/ip6/::/", 10, "::1")):
        if not address.startswith(wildcard):
            continue
        found = [a.address for nic in psutil.net_if_addrs().values() for a in nic if a.family == family]
        usable = (ip for ip in found if "%" not in ip and not ipaddress.ip_address(ip).is_loopback)
        return address.replace(wildcard, f"{wildcard[:5]}{next(usable, fallback)}/", 1)
    return address


async def listen(config: Config) -> None:
    from multiaddr import Multiaddr
    import trio

    rest = {"quic-v1": "udp/0/quic-v1", "tcp": "tcp/0", "ws": "tcp/0/ws", "wss": "tcp/0/wss"}
    family = ipaddress.ip_address(config.ip).version
    wanted = Multiaddr(f"/ip{family}/{config.ip}/{rest[config.transport]}")
    host = make_host(config, [wanted])
    async with host.run(listen_addrs=[wanted]):
        addresses = [str(a) for a in host.get_addrs()]
        if not addresses:
            raise OSError("no listen address")
        address = reachable(addresses[0])
        # Others write wss as the two protocols it is.
        address = address.replace("/wss", "/tls/ws")
        config.log("listening on", address)
        await publish(config, address)
        await trio.sleep_forever()


def finish(code: int) -> None:
    """Ends the process at once: closing a host takes seconds and may fail after a good ping."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    try:
        participate(configure())
        finish(1)
    except Configuration as error:
        print(error, file=sys.stderr)
        finish(2)
    except Unsupported as error:
        print(error, file=sys.stderr)
        finish(127)
    except BaseException:
        traceback.print_exc()
        finish(1)
