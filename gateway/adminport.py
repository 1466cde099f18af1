"""The admin port's connections: uvicorn's h11 protocol, with deadlines and without what it forgives.

Anyone who reaches the port may send bytes before a token is asked for, so a request has to arrive in time here too, its
answer has to be taken, and there are only so many connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

REQUEST_TIMEOUT_S = 10.0
"""For a head from its first byte (or from the connect), and once more for the body behind it."""
STALL_TIMEOUT_S = 30.0
"""For a client to take what fills our buffer (48 KiB), and to take the rest of a connection that is being closed."""
MAX_CONNECTIONS = 256
"""The candidates' and the store's files are opened by the same process: strangers may not use up all of them."""

_AWAITED = (h11.IDLE, h11.SEND_BODY)
_MAY_ANSWER = (h11.IDLE, h11.SEND_RESPONSE)


class _StrictConnection(h11.Connection):
    """RFC 9112 6.1: a request with both a length and a coding ought to be handled as an error, and TE is 1.1's."""

    def next_event(self) -> Any:
        """Read the next event (h11); raises RemoteProtocolError."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if b"transfer-encoding" in names and (b"content-length" in names or event.http_version != b"1.1"):
                raise h11.RemoteProtocolError("Transfer-Encoding beside Content-Length, or not on HTTP/1.1")
        return event


class AdminConnection(H11Protocol):
    """One connection to the admin port; given to uvicorn as its protocol class."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn = _StrictConnection(h11.SERVER, self.config.h11_max_incomplete_event_size or 16 << 10)
        self._timer: asyncio.TimerHandle | None = None
        self._awaited: type[h11.IDLE | h11.SEND_BODY | h11.CLOSED] | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client connected (asyncio)."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """The client sent bytes (asyncio)."""
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self._disarm()  # the first bytes of a head: its time begins
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone (asyncio)."""
        self._disarm()
        self._end_stall()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not take its answer (asyncio)."""
        super().pause_writing()
        self._end_stall()
        self._stall = self.loop.call_later(STALL_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client took it (asyncio)."""
        self._end_stall()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """An answer is out; the next request may come (uvicorn)."""
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request (uvicorn); a body that goes wrong behind its answer gets no second one."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # an answer that is being made now has nowhere to go
            self.cycle.message_event.set()
        if self.conn.our_state in _MAY_ANSWER:
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _should_upgrade(self) -> bool:
        return False  # without a word: anyone may ask, and each time uvicorn would log two lines

    def _watch(self) -> None:
        """Have a deadline while the client owes bytes, or the end; what it sends meanwhile does not renew it."""
        state = h11.CLOSED if self.transport.is_closing() else self.conn.their_state
        if state is not h11.CLOSED and state not in _AWAITED:
            self._disarm()
        elif state is not self._awaited:
            self._disarm()
            self._awaited = state
            limit_s = STALL_TIMEOUT_S if state is h11.CLOSED else REQUEST_TIMEOUT_S
            self._timer = self.loop.call_later(limit_s, self.transport.abort)

    def _disarm(self) -> None:
        self._awaited = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
