"""The client's side: one connection of an app, its heads, its deadlines, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from gateway import heads
from gateway.exchange import Exchange
from gateway.heads import BadHeadError, RequestHead
from gateway.policy import Health
from gateway.refusal import Refusal, health_answer, own_answer
from gateway.relay import Relay, new_id
from gateway.transports import Stall, hung_up, reset

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

    from gateway.policy import Passage

HEAD_TIMEOUT_S = 10.0
MAX_PIPELINED_BYTES = 64 << 10
_LINGER_S = 5.0
_LINGER_IN_ALL_S = 30.0
_END_OF_HEAD = b"\r\n\r\n"
_CR = b"\r"


class Client(asyncio.Protocol):
    """One client connection; given to uvicorn as its protocol class, with the Relay as its app."""

    __slots__ = (
        "_arrived",
        "_buffer",
        "_connections",
        "_crowded",
        "_deadline",
        "_exchange",
        "_left",
        "_linger_end",
        "_relay",
        "_stall",
        "_transport",
        "closing",
        "keep",
        "paused",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        del app_state, _loop
        relay: object = config.app
        if not isinstance(relay, Relay):
            raise TypeError("the app given to uvicorn must be the Relay")
        self._relay: Relay = relay
        self._connections: set[Any] = server_state.connections
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._arrived = 0.0
        """When the head of the present request was whole."""
        self._buffer = b""
        self._deadline = 0.0
        self._linger_end: float | None = None
        self._stall: Stall | None = None
        self._crowded = False
        self._left = False
        self.closing = False
        """No further request is taken."""
        self.keep = False
        """Whether the connection outlives the present exchange."""
        self.paused = False
        """Whether the client reads too slowly."""

    # What asyncio and uvicorn call.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected (asyncio)."""
        self._transport = transport  # type: ignore[assignment]  # asyncio hands a Transport to stream protocols
        relay = self._relay
        self._connections.add(self)
        relay.clients.add(self)
        self._deadline = relay.clock() + HEAD_TIMEOUT_S
        limit = relay.policy.settings.max_connections
        self._crowded = len(relay.clients) > limit
        if len(relay.clients) > 2 * limit:
            self.reset()

    def data_received(self, data: bytes) -> None:
        """The client sent bytes (asyncio)."""
        try:
            self._take(data)
        except Exception as error:  # noqa: BLE001 (a fault of ours ends this connection, never the process)
            self._crash(error)

    def eof_received(self) -> None:
        """The client ended its side. It is taken as gone, half-closed or not; the transport closes itself (asyncio)."""
        self._gone()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone (asyncio)."""
        del exc
        self._connections.discard(self)
        self._relay.clients.discard(self)
        self._gone()
        self._transport = None

    def pause_writing(self) -> None:
        """The client reads too slowly (asyncio)."""
        self.paused = True
        self._stall = Stall(self._transport, self._relay.clock())
        if self._exchange is not None:
            self._exchange.client_paused()

    def resume_writing(self) -> None:
        """The client caught up (asyncio)."""
        self.paused = False
        self._stall = None
        try:
            if self._exchange is not None:
                self._exchange.client_resumed()
            elif self._buffer:
                self._next()
        except Exception as error:  # noqa: BLE001 (as in data_received)
            self._crash(error)

    def shutdown(self) -> None:
        """The server stops: finish what is under way, take nothing new (uvicorn)."""
        self.closing = True
        if self._exchange is None and self._transport is not None:
            self._transport.close()

    # What the exchange calls.

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""
        if self._transport is not None:
            self._transport.write(data)

    def pause_reading(self) -> None:
        """Take no more of a body for now."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take bytes again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def take_buffer(self) -> bytes:
        """What the client sent ahead; a tunnel takes it over."""
        early, self._buffer = self._buffer, b""
        return early

    def reset(self) -> None:
        """Cut the client off with RST, so that an answer without a length cannot look whole."""
        reset(self._transport)

    def ended(self, *, unread: bool) -> None:
        """The exchange is over; `unread` when the client may still be sending its body."""
        self._exchange = None
        transport = self._transport
        if transport is None or transport.is_closing() or self._left:
            return
        if not self.keep or self.closing:
            self._close(unread=unread)
            return
        self._deadline = self._relay.clock() + self._relay.policy.settings.keep_alive_s
        self.resume_reading()
        if self._buffer:
            self._next()

    # Deadlines.

    def sweep(self, now: float) -> None:
        """Enforce the deadlines of this connection."""
        exchange = self._exchange
        if self._stall is not None and self._stall.lasts(now) > self._relay.policy.settings.write_stall_timeout_s:
            if exchange is not None:
                exchange.client_stalled()
            else:
                self.reset()
        elif exchange is not None:
            if hung_up(self._transport):
                self._gone()
                self.reset()
            else:
                exchange.sweep(now)
        elif now > self._deadline:
            self._expire()

    def drain_is_over(self) -> None:
        """Whatever is still under way is broken off."""
        if self._exchange is not None:
            self._exchange.drained()
        else:
            self.reset()

    # Requests.

    def _take(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is not None:
            if exchange.uploading or exchange.tunnelled:
                data = exchange.client_data(data)
            if data:
                self._put_by(data)
        elif self.closing:
            self._linger(data)
        elif self._buffer:
            self._read_heads(self._buffer + data)
        else:
            self._read_heads(data)

    def _put_by(self, data: bytes) -> None:
        """Keep what belongs to a later request; reading is never paused for it, too much of it ends the connection."""
        self._buffer += data
        if self._exchange is None:
            self._next()
        else:
            self._limit_buffer()

    def _limit_buffer(self) -> None:
        if len(self._buffer) > MAX_PIPELINED_BYTES:
            self._relay.counters["pipelined_too_much"] += 1
            self._gone()
            self.reset()

    def _next(self) -> None:
        data, self._buffer = self._buffer, b""
        self._read_heads(data)

    def _read_heads(self, data: bytes) -> None:
        """Begin one request after the other, until one is under way or a head is incomplete."""
        while data and self._exchange is None and not self.closing and not self.paused:
            if data.startswith(b"\r\n"):
                data = data[2:]  # RFC 9112 2.2: an empty line before a request is ignored
                continue
            end = data.find(_END_OF_HEAD)
            if end < 0:
                self._check_part(data)
                break
            self._arrived = self._relay.clock()
            rest = data[end + 4 :]
            known = self._relay.known.find(data, end + 2)
            if known is not None and not self._crowded:
                data = self._start(known.head, known.passage, rest, wire=known.wire)
                continue
            block = data[: end + 2]
            try:
                head = heads.read_request(block)
            except BadHeadError as error:
                self._refuse_unread(error)
                return
            data = self._begin(head, block, rest)
        if not self.closing:
            self._buffer = data
            self._limit_buffer()  # a client that takes no answers may not send requests without end either

    def _check_part(self, part: bytes) -> None:
        """A head that is not whole yet gets its deadline, and is refused as soon as it cannot become a sound one."""
        if part == _CR:
            return  # half of an empty line before a request: no head has begun, and these may not put its deadline off
        if self._buffer in (b"", _CR):
            self._deadline = self._relay.clock() + HEAD_TIMEOUT_S
        if len(part) > heads.MAX_REQUEST_HEAD_BYTES:
            self._refuse_unread(BadHeadError(431, "the request head is larger than 64 KiB"))
        elif heads.has_bare_lf(part) or part.startswith(_CR):
            self._refuse_unread(BadHeadError(400, "a line of the request does not end with CR LF"))

    def _begin(self, head: RequestHead, block: bytes, rest: bytes) -> bytes:
        """Start one request; returns what is already the next one."""
        relay = self._relay
        if self._crowded:
            self._refuse(head, Refusal(status=503, error="too_many_connections", message="too many connections"))
            return b""
        decision = relay.policy.decide(head)
        if isinstance(decision, Refusal):
            self._refuse(head, decision)
            return b""
        if isinstance(decision, Health):
            return self._answer_health(head, decision, rest)
        relay.known.keep(block, head, decision)
        return self._start(head, decision, rest, wire=None)

    def _start(self, head: RequestHead, passage: Passage, rest: bytes, *, wire: bytes | None) -> bytes:
        """Begin an exchange; `wire` is the head that goes up when it is known already."""
        self._exchange = exchange = Exchange(self._relay, self, head, passage, wire, arrived=self._arrived)
        return exchange.begin(rest)

    def _answer_health(self, head: RequestHead, question: Health, rest: bytes) -> bytes:
        ready = self._relay.ready or not question.readiness
        keep = head.keep_alive and not (head.length or head.chunked) and not self.closing
        self.write(health_answer(ready=ready, head=head, request_id=new_id(), close=not keep))
        if not keep:
            self._close(unread=True)
            return b""
        self._deadline = self._relay.clock() + self._relay.policy.settings.keep_alive_s
        return rest

    def _refuse(self, head: RequestHead, refusal: Refusal) -> None:
        """Answer a sound request that may not pass; the connection ends, so its body need not be read."""
        recording = self._relay.recording(head, None, self._arrived)
        recording.status = refusal.status
        recording.gateway_error = refusal.error
        self.write(own_answer(refusal, head=head, request_id=recording.id, close=True))
        self._close(unread=bool(head.length or head.chunked))
        self._relay.submit(recording, "rejected")

    def _refuse_unread(self, error: BadHeadError) -> None:
        """Answer what is no request: without a method and a path there is nothing to record."""
        self._relay.counters["bad_head"] += 1
        name = "head_too_large" if error.status == 431 else "bad_request"  # noqa: PLR2004 (the status says it)
        refusal = Refusal(status=error.status, error=name, message=str(error))
        self.write(own_answer(refusal, head=None, request_id=new_id(), close=True))
        self._close(unread=True)

    # Ends.

    def _gone(self) -> None:
        exchange, self._exchange = self._exchange, None
        self.closing = self._left = True
        if exchange is not None:
            exchange.client_gone()

    def _crash(self, error: Exception) -> None:
        self._relay.crashed(error)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.failed()
        self.reset()

    def _close(self, *, unread: bool) -> None:
        """Close after what was written; a client still sending is read on for a while, or RST would eat the answer."""
        self.closing = True
        self._buffer = b""
        transport = self._transport
        if transport is None:
            return
        now = self._relay.clock()
        if not unread:
            self._deadline = now + self._relay.policy.settings.write_stall_timeout_s
            transport.close()
            return
        self._deadline = now + _LINGER_S
        self._linger_end = now + _LINGER_IN_ALL_S
        self.resume_reading()
        if transport.can_write_eof():
            with contextlib.suppress(OSError):  # the client reset the connection, and we were not told yet
                transport.write_eof()

    def _linger(self, data: bytes) -> None:
        """Drop what a client sends after its answer."""
        del data
        if self._linger_end is not None:
            self._deadline = min(self._linger_end, self._relay.clock() + _LINGER_S)

    def _expire(self) -> None:
        """The deadline of a head, of an idle connection or of a close has passed."""
        if self.closing and self._unsent():
            self.reset()
        elif self.closing and self._transport is not None:
            self._transport.abort()
        elif self._buffer:
            self._relay.counters["head_timeout"] += 1
            refusal = Refusal(status=408, error="head_timeout", message="the request head did not arrive in time")
            self.write(own_answer(refusal, head=None, request_id=new_id(), close=True))
            self._close(unread=False)
        else:
            self._close(unread=False)

    def _unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0
