"""The pool of upstream connections: TLS, proxies, keep-alive and their limits."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import os
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from gateway.policy import Origin, origin_of
from gateway.race import open_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.settings import LiveSettings

MAX_IDLE_S = 15.0
MAX_AGE_S = 300.0
"""A connection older than this is not used again, so that a changed DNS answer is followed."""
MAX_HANDSHAKES = 8
_MAX_PROXY_ANSWER_BYTES = 16 << 10
_SALVAGE_BYTES = 256 << 10


class Receiver(Protocol):
    """What a connection tells the exchange that uses it."""

    def upstream_data(self, data: bytes) -> None:
        """Bytes arrived."""
        ...

    def upstream_ended(self, *, clean: bool) -> None:
        """No more bytes will come; `clean` when upstream ended its side in order (FIN, or close_notify under TLS)."""
        ...

    def failed(self) -> None:
        """A fault of ours: both sides are to be closed."""
        ...

    def upstream_paused(self) -> None:
        """Upstream takes no more bytes for now."""
        ...

    def upstream_resumed(self) -> None:
        """Upstream takes bytes again."""
        ...


class Waiter(Protocol):
    """Who asked for a new connection."""

    def connected(self, connection: Connection) -> None:
        """The connection is there."""
        ...

    def connect_failed(self, why: str) -> None:
        """There will be none; `why` names no internals."""
        ...

    def failed(self) -> None:
        """A fault of ours: the exchange is to be closed."""
        ...


class Connection(asyncio.Protocol):
    """One connection to an origin. It belongs to one exchange at a time, or lies in the pool."""

    __slots__ = ("born", "idle_since", "pool", "receiver", "transport", "used")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport | None = None
        self.receiver: Receiver | None = None
        self.born = time.monotonic()
        self.idle_since = 0.0
        self.used = False
        """True once an exchange had it before: an end without an answer may then be a lost race."""

    @property
    def alive(self) -> bool:
        """Whether bytes may still be written."""
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport (asyncio)."""
        self.transport = transport  # type: ignore[assignment]  # asyncio hands a Transport to stream protocols

    def data_received(self, data: bytes) -> None:
        """Hand bytes on; bytes nobody asked for make the connection unfit (asyncio)."""
        receiver = self.receiver
        if receiver is None:
            self.abort()
            return
        try:
            receiver.upstream_data(data)
        except Exception as error:  # noqa: BLE001 (a fault of ours ends this exchange, never the process)
            self.pool.crashed(error)
            self.abort()
            receiver.failed()

    def eof_received(self) -> None:
        """Upstream ended its side; the transport closes itself after this (asyncio)."""
        receiver = self.receiver
        if receiver is not None:
            receiver.upstream_ended(clean=self._ended_in_order())

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; an answer that lies unread in its buffer is still handed on (asyncio)."""
        del exc
        self.pool.forget(self)
        if self.receiver is not None:
            self._salvage()
        transport, self.transport = self.transport, None
        del transport
        if self.receiver is not None:
            self.receiver.upstream_ended(clean=False)

    def pause_writing(self) -> None:
        """Upstream reads too slowly (asyncio)."""
        if self.receiver is not None:
            self.receiver.upstream_paused()

    def resume_writing(self) -> None:
        """Upstream caught up (asyncio)."""
        if self.receiver is not None:
            self.receiver.upstream_resumed()

    def abort(self) -> None:
        """Close at once, without a word."""
        self.receiver = None
        if self.transport is not None:
            self.transport.abort()

    def _ended_in_order(self) -> bool:
        """Under TLS a bare FIN could be anybody's; only close_notify is upstream's own word."""
        tls = self.transport.get_extra_info("ssl_object") if self.transport is not None else None
        if tls is None:
            return True
        try:
            return bool(tls.read(1) == b"")
        except ssl.SSLZeroReturnError:
            return True
        except ssl.SSLError:
            return False

    def _salvage(self) -> None:
        """Read what an upstream that answered early and closed had said, before our next write to it failed."""
        transport = self.transport
        if transport is None or transport.get_extra_info("ssl_object") is not None:
            return
        sock = transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return
        while self.receiver is not None:
            try:
                data = os.read(sock.fileno(), _SALVAGE_BYTES)
            except OSError:
                return
            if not data:
                return
            self.data_received(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class DialSettings:
    """How origins are reached. Two equal ones share a pool across a reload."""

    proxy: str | None
    no_proxy: tuple[str, ...]
    ca_file: str | None

    @classmethod
    def of(cls, settings: LiveSettings) -> DialSettings:
        """The part of the settings that matters for connecting."""
        return cls(proxy=settings.proxy, no_proxy=settings.no_proxy, ca_file=settings.ca_file)


class Pool:
    """Idle connections by origin, last in first out, and the making of new ones."""

    def __init__(self, dial: DialSettings, *, crashed: Callable[[Exception], None]) -> None:
        self.crashed = crashed
        self.dial_settings = dial
        self._idle: dict[Origin, list[Connection]] = {}
        self._origins: dict[Connection, Origin] = {}
        self._dials: set[asyncio.Task[None]] = set()
        self._handshakes = asyncio.Semaphore(MAX_HANDSHAKES)
        self._tls: ssl.SSLContext | None = None
        self._closed = False

    @property
    def open_connections(self) -> int:
        """All connections, busy and idle."""
        return len(self._origins)

    def take(self, origin: Origin, now: float) -> Connection | None:
        """The idle connection used last, or None; what is too old or gone is discarded on the way."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.alive and _fresh(connection, now):
                return connection
            connection.abort()
        return None

    def release(self, connection: Connection, now: float) -> None:
        """Take a connection back whose answer ended in order."""
        connection.receiver = None
        connection.used = True
        connection.idle_since = now
        if self._closed or not connection.alive or not _fresh(connection, now):
            connection.abort()
            return
        self._idle.setdefault(self._origins[connection], []).append(connection)

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        origin = self._origins.pop(connection, None)
        if origin is None:
            return
        idle = self._idle.get(origin, [])
        if connection in idle:
            idle.remove(connection)

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long, oldest first."""
        for idle in self._idle.values():
            while idle and not _fresh(idle[0], now):
                idle.pop(0).abort()

    def close(self) -> None:
        """Close what is idle and keep nothing from now on; busy connections end with their exchanges."""
        self._closed = True
        for idle in self._idle.values():
            while idle:
                idle.pop().abort()

    def dial(self, origin: Origin, waiter: Waiter) -> asyncio.Task[None]:
        """Start connecting; the waiter is told. Cancelling the task gives up."""
        task = asyncio.get_running_loop().create_task(self._dial(origin, waiter))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)
        return task

    async def _dial(self, origin: Origin, waiter: Waiter) -> None:
        try:
            await self._tell(origin, waiter)
        except Exception as error:  # noqa: BLE001 (a fault of ours ends this exchange, never leaves it waiting)
            self.crashed(error)
            waiter.failed()

    async def _tell(self, origin: Origin, waiter: Waiter) -> None:
        try:
            if origin.tls:
                async with self._handshakes:
                    connection = await self._connect(origin)
            else:
                connection = await self._connect(origin)
        except ssl.SSLError:
            waiter.connect_failed("the TLS handshake with the upstream failed")
        except (OSError, TimeoutError, UnicodeError):
            waiter.connect_failed("no connection to the upstream")
        else:
            self._origins[connection] = origin
            waiter.connected(connection)

    async def _connect(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        proxy = self._proxy_for(origin)
        context = self._context() if origin.tls else None
        if proxy is not None:
            return await _connect_through(proxy, origin, context, lambda: Connection(self))
        _, connection = await loop.create_connection(
            lambda: Connection(self),
            sock=await open_socket(origin.host, origin.port),
            ssl=context,
            server_hostname=origin.host if context is not None else None,
        )
        return connection

    def _proxy_for(self, origin: Origin) -> str | None:
        settings = self.dial_settings
        if settings.proxy is None or bypasses_proxy(origin.host, origin.port, settings.no_proxy):
            return None
        return settings.proxy

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self.dial_settings.ca_file)
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def bypasses_proxy(host: str, port: int, no_proxy: Sequence[str]) -> bool:
    """Whether NO_PROXY names this host: `*`, a domain (and all below), an address, a network; `:port` optional."""
    host = host.lower().rstrip(".")
    return any(_names(entry.strip().lower(), host, port) for entry in no_proxy)


def _names(entry: str, host: str, port: int) -> bool:
    if entry in {"*", host}:
        return entry != ""
    address = _address(host)
    if address is not None:
        return _holds(entry, address, port)
    name, _, wanted = entry.partition(":")
    if wanted and wanted != str(port):
        return False
    name = name.lstrip("*").lstrip(".")
    return name != "" and (host == name or host.endswith("." + name))


def _holds(entry: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> bool:
    """Whether an entry names an address: alone, as [v6]:port or v4:port, or as a network."""
    if entry.removesuffix(f":{port}").strip("[]") == str(address):
        return True
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _fresh(connection: Connection, now: float) -> bool:
    return now - connection.idle_since <= MAX_IDLE_S and now - connection.born <= MAX_AGE_S


class _ProxyAnswer(asyncio.Protocol):
    """Waits for the head of a proxy's answer to CONNECT."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self.answer.done():
            return
        if b"\r\n\r\n" in self._head or len(self._head) > _MAX_PROXY_ANSWER_BYTES:
            self.answer.set_result(self._head)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self.answer.done():
            self.answer.set_exception(ConnectionResetError("the proxy closed the connection"))


async def _connect_through(
    proxy: str, origin: Origin, context: ssl.SSLContext | None, make: Callable[[], Connection]
) -> Connection:
    """CONNECT to the origin through an http:// proxy; https and http origins alike, so the proxy sees no request."""
    loop = asyncio.get_running_loop()
    via = origin_of(proxy)
    transport, waiting = await loop.create_connection(_ProxyAnswer, sock=await open_socket(via.host, via.port))
    try:
        transport.write(_connect_request(proxy, origin))
        head = await waiting.answer
        _check_proxy_answer(head)
        connection = make()
        transport.set_protocol(connection)
        upgraded: asyncio.BaseTransport | None = transport
        if context is not None:
            upgraded = await loop.start_tls(transport, connection, context, server_hostname=origin.host)
        connection.connection_made(_present(upgraded))
    except BaseException:
        transport.abort()
        raise
    return connection


def _check_proxy_answer(head: bytes) -> None:
    # Anything after the empty line would be bytes of an origin that was not asked yet.
    if not head.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")) or not head.endswith(b"\r\n\r\n"):
        raise ConnectionRefusedError("the proxy refused the connection")


def _present(transport: asyncio.BaseTransport | None) -> asyncio.BaseTransport:
    if transport is None:
        raise ConnectionResetError("the proxy closed the connection")
    return transport


def _connect_request(proxy: str, origin: Origin) -> bytes:
    authority = f"{origin.bracketed}:{origin.port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    parts = urlsplit(proxy)
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode()
