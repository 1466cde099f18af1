"""A whole client connection, without sockets: whatever bytes come and however cut, upstream sees whole, sound requests.

The upstream is h11, a strict reader of its own. It answers each request once it is whole; what the client gets, what
upstream got and what was recorded must not depend on how the client's bytes were cut.
"""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import h11

from gateway.downstream import Client
from gateway.policy import Policy
from gateway.recording import Recording, TeeBudget
from gateway.relay import Relay
from gateway.settings import LiveSettings, Upstream
from gateway.upstream import Connection
from shadow.dialects import dialect_of
from tests.fuzz.support import Options, slicings

ANSWERS = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 \r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nset-cookie: a\r\nset-cookie: b\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
]
_ENDS_WITH_THE_CONNECTION = 4
_HEAD_END = b"\r\n\r\n"
_IDS = re.compile(rb"(x-shadow-request-id: |\"request_id\":\")[0-9a-f]{32}")
# A part of a head may be refused for another of its faults than the whole: what is said may differ (505 counts as 400).
_REASONS = re.compile(rb"content-length: [0-9]+\r\n(x-shadow-gateway-error: .*?\r\n\r\n)[{].*?}}", re.DOTALL)
_POLICIES = [
    Policy(
        LiveSettings(deployment_id="d1", upstream=Upstream(base_url="http://a.example"), primary_model=model),
        dialect_of=dialect_of,
    )
    for model in (None, "spliced")
]


class Wire:
    """What is written to one side: a transport without a socket."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.aborted = self.ended = False
        self.reading = True

    def write(self, data: bytes) -> None:
        assert data, "an empty write"
        if not self.closed:
            self.written += data

    def take(self) -> bytes:
        taken, self.written = self.written, b""
        return taken

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> None:
        del name


class Upstreams:
    """The pool, and behind each of its connections a server that reads with h11."""

    def __init__(self, answer: int) -> None:
        self.answer = answer
        self.requests: list[tuple[Any, ...]] = []
        self.idle: list[Connection] = []
        self.crashes = 0
        self.servers: dict[Connection, h11.Connection] = {}
        self.reading: dict[Connection, list[Any]] = {}
        self.raw: dict[Connection, bytes] = {}

    def take(self, origin: object, now: float) -> Connection:
        del origin, now
        if self.idle:
            return self.idle.pop()
        connection = Connection(self)  # type: ignore[arg-type]
        connection.connection_made(Wire())  # type: ignore[arg-type]
        self.servers[connection] = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        self.reading[connection] = []
        return connection

    def release(self, connection: Connection, now: float) -> None:
        del now
        connection.receiver = None
        if connection.alive:
            self.idle.append(connection)

    def forget(self, connection: Connection) -> None:
        self.idle = [other for other in self.idle if other is not connection]

    def crashed(self, error: BaseException) -> None:
        raise error

    def serve(self) -> bool:
        """Read what was written on every connection; answer whole requests. True when there was one."""
        answered = False
        for connection in list(self.servers):
            wire: Any = connection.transport
            data = wire.take() if wire is not None else b""
            if data:
                self.raw[connection] = self.raw.get(connection, b"") + data
                self.servers[connection].receive_data(data)
                answered |= self._read(connection)
        return answered

    def _read(self, connection: Connection) -> bool:
        server, events = self.servers[connection], self.reading[connection]
        while True:
            try:
                event = server.next_event()
            except h11.RemoteProtocolError:
                # h11 takes no obs-text in targets; for that it may refuse a request, and for nothing else.
                assert not self.raw[connection].partition(b"\r\n")[0].isascii(), self.raw[connection]
                self.requests.append(())
                connection.data_received(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                return True
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return False
            events.append(event)
            if isinstance(event, h11.EndOfMessage):
                break
        assert server.trailing_data[0] == b"", "bytes after the end of a request"
        self.requests.append(_plain(events))
        self.servers[connection] = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        events.clear()
        self.raw[connection] = b""
        connection.data_received(ANSWERS[self.answer])
        if self.answer == _ENDS_WITH_THE_CONNECTION:
            connection.eof_received()
        return True


def _plain(events: list[Any]) -> tuple[Any, ...]:
    request, end = events[0], events[-1]
    assert isinstance(request, h11.Request), events
    body = b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data))
    return request.method, request.target, list(request.headers), body, list(end.headers)


class Records:
    """The recorder."""

    def __init__(self) -> None:
        self.ended: list[Recording] = []

    def submit(self, recording: Recording) -> None:
        self.ended.append(recording)


def connection(data: bytes) -> None:
    options = Options(data)
    answer, policy = options.number(len(ANSWERS)), options.one_of(_POLICIES)
    seed, stream = options.number(256), options.rest()
    conversations = [_converse(slices, policy, answer) for slices in slicings(stream, seed)]
    if any(() in requests for _, _, requests, _ in conversations):
        return  # h11 refused a head that we sent on before we refused its body, or did not
    assert conversations[0] == conversations[1] == conversations[2]


def _converse(slices: list[bytes], policy: Policy, answer: int) -> tuple[Any, ...]:
    records, upstreams = Records(), Upstreams(answer)
    relay = Relay(policy, recorder=records, budget=TeeBudget(limit=1 << 20), clock=lambda: 0.0)
    relay.pool = upstreams  # type: ignore[assignment]
    client = Client(SimpleNamespace(app=relay), SimpleNamespace(connections=set()), {})  # type: ignore[arg-type]
    wire = Wire()
    client.connection_made(wire)  # type: ignore[arg-type]
    for slice_ in slices:
        if wire.closed:
            break
        client.data_received(slice_)
        while upstreams.serve():
            pass
    assert relay.counters["internal_error"] == 0
    written = wire.written.replace(b"505 HTTP Version Not Supported", b"400 Bad Request")
    got, closed = _REASONS.sub(rb"\1", _IDS.sub(rb"\1-", written)), (wire.closed, wire.aborted, wire.ended)
    _check_records(records, upstreams, spliced=policy.settings.primary_model is not None)
    client.connection_lost(None)
    assert relay.counters["internal_error"] == 0
    assert len(relay.clients) == 0
    for connection in upstreams.servers:
        assert connection.receiver is None
    return got, closed, upstreams.requests, sorted((one.status or 0, one.ending or "") for one in records.ended)


def _check_records(records: Records, upstreams: Upstreams, *, spliced: bool) -> None:
    """What was recorded as sent is what upstream read; never more exchanges upstream than records."""
    answered = [one for one in records.ended if one.gateway_error is None or one.t_sent is not None]
    assert len(upstreams.requests) <= len(answered)
    for one, request in zip(answered, upstreams.requests, strict=False):
        if not request:  # refused by h11
            continue
        method, _, _, body, _ = request
        assert one.method.encode() == method
        if one.request is not None and not spliced:
            assert b"".join(one.request) == body
