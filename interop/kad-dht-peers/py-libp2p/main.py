"""A participant of unified-testing's kad-dht suite on py-libp2p, built on the published package only.

ROLE says what it does (docs/peers.md): a bootstrap publishes its address, a provider announces
itself and stores a value, a querier finds both. stdout carries the querier's result and nothing
else. Exit codes: 0 found, 1 failed, 2 configuration wrong, 127 a transport it does not have.
"""

from dataclasses import dataclass
import ipaddress
import os
import sys
import traceback

ROLES = ["bootstrap", "provider", "querier"]
TRANSPORTS = ["tcp", "quic-v1", "ws", "wss"]
# How often a querier asks, and how long it waits in between, in seconds.
ATTEMPTS = 10
PAUSE = 0.5
# Longest Redis reply taken, in bytes. A multiaddr is far shorter.
LONGEST_REPLY = 1 << 16


class Configuration(Exception):
    """Ends the process with 2."""


class Unsupported(Exception):
    """Ends the process with 127."""


def variable(name: str, fallback: str = "") -> str:
    """An environment variable's value; unset, empty and `null` are the same."""
    value = os.environ.get(name, "").strip()
    return fallback if value in ("", "null") else value


def one_of(name: str, value: str, known: list[str]) -> str:
    if value not in known:
        raise Configuration(f"{name}={value}: want one of {', '.join(known)}")
    return value


@dataclass(frozen=True)
class Config:
    role: str
    transport: str
    ip: str
    redis: str
    test_key: str
    timeout: float
    debug: bool

    def log(self, *words: object) -> None:
        if self.debug:
            print(*words, file=sys.stderr)

    # The suite's keys are plain text, also where a multihash belongs.
    @property
    def provider_key(self) -> str:
        return f"interop-test-key-{self.test_key}"

    @property
    def value_key(self) -> str:
        return f"/example/data/{self.test_key}"


def configure() -> Config:
    role = one_of("ROLE", variable("ROLE"), ROLES)
    transport = one_of("TRANSPORT", variable("TRANSPORT", "tcp"), TRANSPORTS)
    test_key = variable("TEST_KEY")
    if not test_key:
        raise Configuration("TEST_KEY is not set")
    ip = variable("LISTENER_IP")
    try:
        if ip:
            ipaddress.IPv4Address(ip)
    except ValueError:
        raise Configuration(f"LISTENER_IP={ip}: not an IPv4 address") from None
    seconds = variable("TEST_TIMEOUT_SECS", "180")
    try:
        timeout = float(seconds)
    except ValueError:
        timeout = 0
    if not 0 < timeout < 1e6:
        raise Configuration(f"TEST_TIMEOUT_SECS={seconds}: not a number of seconds")
    if transport not in ("tcp", "quic-v1"):
        raise Unsupported(f"no {transport} in this peer")
    return Config(
        role=role,
        transport=transport,
        ip=ip,
        redis=variable("REDIS_ADDR", "redis:6379"),
        test_key=test_key,
        timeout=timeout,
        debug=variable("DEBUG") == "true",
    )


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

    def own_ip(self) -> str:
        """This machine's address on the way to Redis, where the other participants are, too."""
        return self._stream.socket.getsockname()[0]

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

    async def fetch(self, key: str) -> str:
        """Waits for the value under a key, a list or a string."""
        import trio

        while True:
            kind = await self.command("TYPE", key)
            read = {"list": ("LINDEX", key, "0"), "string": ("GET", key)}.get(kind or "")
            value = await self.command(*read) if read else None
            if value is not None:
                return value
            await trio.sleep(0.02)

    async def _fill(self) -> None:
        data = await self._stream.receive_some(4096)
        if not data or len(self._buffer) > 2 * LONGEST_REPLY:
            raise OSError("redis closed the connection")
        self._buffer += data


def make_host(config: Config, address):
    from libp2p import generate_new_ed25519_identity, new_host

    if config.transport == "quic-v1":
        return new_host(
            key_pair=generate_new_ed25519_identity(), listen_addrs=[address], enable_quic=True
        )
    # By default it is tcp with noise and yamux.
    return new_host(key_pair=generate_new_ed25519_identity(), listen_addrs=[address])


def make_dht(config: Config, host):
    from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
    from libp2p.kad_dht.peer_routing import PeerRouting
    from libp2p.records.validator import Validator

    # Up to 0.6 a lookup dials this very peer when another one names it, and hangs.
    query_peer = PeerRouting._query_single_peer_for_closest

    async def query_another(self, peer, *rest):
        if peer != self.host.get_id():
            await query_peer(self, peer, *rest)

    PeerRouting._query_single_peer_for_closest = query_another

    class AnyRecord(Validator):
        def validate(self, key: str, value: bytes) -> None:
            pass

        def select(self, key: str, values: list[bytes]) -> int:
            return 0

    dht = KadDHT(host, DHTMode.CLIENT if config.role == "querier" else DHTMode.SERVER)
    dht.register_validator("example", AnyRecord())
    return dht


async def take_part(config: Config) -> None:
    from multiaddr import Multiaddr
    import trio

    from libp2p.peer.peerinfo import info_from_p2p_addr

    try:
        from libp2p.tools.anyio_service import background_trio_service
    except ImportError:
        from libp2p.tools.async_service.trio_service import background_trio_service

    redis = await Redis.connect(config.redis)
    ip = config.ip or redis.own_ip()
    rest = "tcp/0" if config.transport == "tcp" else "udp/0/quic-v1"
    wanted = Multiaddr(f"/ip4/{ip}/{rest}")
    host = make_host(config, wanted)
    async with host.run(listen_addrs=[wanted]):
        while not host.get_addrs():
            await trio.sleep(0.02)
        address = str(host.get_addrs()[0])
        if "/p2p/" not in address:
            address = f"{address}/p2p/{host.get_id()}"
        config.log("listening on", address)
        dht = make_dht(config, host)
        if config.role == "bootstrap":
            async with background_trio_service(dht):
                await redis.command("SET", f"{config.test_key}_bootstrap_addr", address)
                await trio.sleep_forever()
        if config.role == "querier":
            await redis.fetch(f"{config.test_key}_provider_done")
        bootstrap = info_from_p2p_addr(
            Multiaddr(await redis.fetch(f"{config.test_key}_bootstrap_addr"))
        )
        await host.connect(bootstrap)
        async with background_trio_service(dht):
            await dht.add_peer(bootstrap.peer_id)
            if config.role == "provider":
                # False is no failure: it waits for answers that not everybody gives.
                config.log("provided:", await dht.provide(config.provider_key))
                await dht.put_value(config.value_key, b"hello from py client")
                await redis.command("SET", f"{config.test_key}_provider_done", "done")
                await trio.sleep_forever()
            await query(config, dht)
            report(None)
            finish(0)


async def query(config: Config, dht) -> None:
    import trio

    for attempt in range(ATTEMPTS):
        providers = await dht.find_providers(config.provider_key)
        config.log("providers:", providers)
        if providers:
            break
        await trio.sleep(PAUSE)
    else:
        raise LookupError("no provider was found")
    for attempt in range(ATTEMPTS):
        value = await dht.get_value(config.value_key)
        config.log("value:", value)
        if value:
            break
        await trio.sleep(PAUSE)
    else:
        raise LookupError("no value was found")
    if b"hello from" not in value:
        raise ValueError(f"the value is {value[:80]!r}")


def report(error: BaseException | None) -> None:
    if error is not None:
        print(f"error: {' '.join(f'{type(error).__name__}: {error}'.split())}")
    print("status: fail" if error is not None else "status: pass")


def participate(config: Config) -> None:
    # py-libp2p takes a second to import: configuration errors are reported before.
    if config.debug:
        os.environ.setdefault("LIBP2P_DEBUG", "DEBUG")
    import trio

    async def main() -> None:
        with trio.move_on_after(config.timeout):
            await take_part(config)
        raise TimeoutError("the time is up")

    try:
        trio.run(main)
    except BaseException as error:
        if config.role == "querier":
            report(error)
        raise


def finish(code: int) -> None:
    """Ends the process at once: closing a host takes seconds and may fail after a good answer."""
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
