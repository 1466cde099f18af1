"""Heads: what we accept and send on is one request, or one answer, framed alike for two other strict readers."""

# ruff: noqa: PT017  (checks also run where there is no pytest, and both outcomes of a call are looked at)

from __future__ import annotations

from typing import Any

import h11
import httptools

from gateway import heads
from gateway.exchange import _reader_of
from gateway.framing import ChunkedBody, LengthBody, UntilCloseBody
from gateway.heads import AnswerHead, BadHeadError, RequestHead
from tests.fuzz.support import Options

DEPLOYMENT = b"deployment-1"
_NEXT = b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n"
_PLAIN = b"abc"
_MOST_BODY = 4096
# Where the second readers are stricter than RFC 9110 (methods are tokens, targets may hold obs-text): they refuse the
# message whole, which no attacker gains from. Everything else they refuse would be a finding.
_LLHTTP_REFUSES = ("Invalid method", "Expected space after method", "Expected HTTP/")


def request(data: bytes) -> None:
    options = Options(data)
    drop = heads.CREDENTIALS if options.flag() else frozenset[bytes]()
    block = options.rest().partition(b"\r\n\r\n")[0] + b"\r\n"
    assert heads.has_bare_lf(block) or b"\n" not in block.replace(b"\r\n", b"")
    try:
        head = heads.read_request(block)
    except BadHeadError as error:
        assert error.status in (400, 431, 505)
        return
    length = 3 if options.flag() and b"content-length" in head.fields.names else None
    sent = heads.request_head(
        head,
        target=b"/up" + (head.target if head.target.startswith(b"/") else b"/"),
        authority=b"upstream.example:8443",
        drop=drop,
        credentials=[b"x-api-key: ours"] if drop else [],
        deployment_id=DEPLOYMENT,
        length=length,
    )
    _check_request_fields(head, sent, drop=drop, length=length)
    if head.websocket:
        return
    again = heads.read_request(sent[:-2])
    body = _body(again)
    if body is not None:
        _check_with_httptools(again, sent + body)
        _check_with_h11(again, sent + body)


def _check_request_fields(head: RequestHead, sent: bytes, *, drop: Any, length: int | None) -> None:
    assert sent.endswith(b"\r\n\r\n")
    assert sent.count(b"\r\n\r\n") == 1
    again = heads.read_request(sent[:-2])
    assert (again.method, again.minor) == (head.method, 1)
    assert (again.length, again.chunked) == (head.length if length is None else length, head.chunked)
    gone = heads.HOP_BY_HOP | head.named | drop
    expected = [
        (name.lower(), value)
        for name, value in head.fields.pairs
        if name.lower() not in gone and not heads.is_ours(name.lower()) and name.lower() != b"host"
    ]
    if length is not None:
        expected = [(name, b"%d" % length if name == b"content-length" else value) for name, value in expected]
    added = {b"host", heads.HOP_FIELD} | ({b"connection", b"upgrade"} if head.websocket else set())
    ours = (b"x-api-key", b"ours") if drop else None
    kept = [
        (name.lower(), value)
        for name, value in again.fields.pairs
        if name.lower() not in added and (name.lower(), value) != ours
    ]
    assert kept == [pair for pair in expected if pair != ours]
    assert again.fields.values(b"host") == [b"upstream.example:8443"]
    assert again.fields.values(heads.HOP_FIELD)[0].endswith(DEPLOYMENT)


def _body(head: RequestHead) -> bytes | None:
    """A body as the head frames it; None when it would be too long to send."""
    if head.chunked:
        return heads.chunk(_PLAIN) + heads.last_chunk([])
    if (head.length or 0) > _MOST_BODY:
        return None
    return b"x" * (head.length or 0)


class _Seen:
    """What httptools makes of a stream of messages."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.url = b""
        self.body = b""
        self.fields: list[tuple[bytes, bytes]] = []

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.ended += 1


def _check_with_httptools(head: RequestHead, message: bytes) -> None:
    seen = _Seen()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(message)
    except httptools.HttpParserError as error:
        known = any(reason in str(error) for reason in _LLHTTP_REFUSES)
        assert known or not head.target.isascii(), (error, message)
        return
    assert (seen.begun, seen.ended) == (1, 1)
    assert seen.url == head.target
    assert parser.get_method() == head.method
    assert seen.fields == head.fields.pairs
    assert seen.body == (_PLAIN if head.chunked else b"x" * (head.length or 0))


def _check_with_h11(head: RequestHead, message: bytes) -> None:
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    server.receive_data(message + _NEXT)
    try:
        events = _events_of(server)
    except h11.RemoteProtocolError as error:
        assert not head.target.isascii(), (error, message)
        return
    request = events[0]
    assert isinstance(request, h11.Request)
    assert (request.method, request.target) == (head.method, head.target)
    assert list(request.headers.raw_items()) == [(name, value.rstrip(b" \t")) for name, value in head.fields.pairs]
    body = b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data))
    assert body == (_PLAIN if head.chunked else b"x" * (head.length or 0))
    assert isinstance(events[-1], h11.EndOfMessage)
    assert server.trailing_data[0] == _NEXT


def _events_of(side: h11.Connection) -> list[Any]:
    events: list[Any] = []
    while True:
        event = side.next_event()
        if event in (h11.NEED_DATA, h11.PAUSED):
            return events
        events.append(event)
        if isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
            return events


def answer(data: bytes) -> None:
    options = Options(data)
    method = options.one_of([b"GET", b"POST", b"HEAD"])
    close, old = options.flag(), options.flag()
    block = options.rest().partition(b"\r\n\r\n")[0] + b"\r\n"
    try:
        head = heads.read_answer(block)
    except BadHeadError as error:
        assert error.status in (400, 502)
        return
    assert heads.may_become_answer(block)
    assert all(heads.may_become_answer(block[:size]) for size in range(0, len(block), 7))
    if head.status < 200:  # an interim answer has no body, and a switch of protocols is no message at all
        return
    dechunked = old and head.chunked
    down = heads.answer_head(head, request_id=b"id-1", close=close, dechunked=dechunked)
    _check_answer_fields(head, down, dechunked=dechunked)
    if not dechunked:
        _check_answer_with_h11(method, head, down)


def _check_answer_fields(head: AnswerHead, down: bytes, *, dechunked: bool) -> None:
    assert down.count(b"\r\n\r\n") == 1
    assert down.endswith(b"\r\n\r\n")
    again = heads.read_answer(down[:-2])
    assert again.status == head.status
    assert (again.length, again.chunked) == (head.length, head.chunked and not dechunked)
    gone = heads.HOP_BY_HOP | head.named | {heads.REQUEST_ID_FIELD}
    if dechunked:
        gone |= {b"trailer", b"transfer-encoding"}
    expected = [pair for pair in head.fields.pairs if pair[0].lower() not in gone]
    assert [pair for pair in again.fields.pairs if pair[0].lower() not in gone | {b"connection"}] == expected
    assert again.fields.values(heads.REQUEST_ID_FIELD) == [b"id-1"]


def _check_answer_with_h11(method: bytes, head: AnswerHead, down: bytes) -> None:
    reader = _reader_of(method, head)
    body = b""
    if isinstance(reader, ChunkedBody):
        body = heads.chunk(_PLAIN) + heads.last_chunk([])
    elif isinstance(reader, UntilCloseBody):
        body = _PLAIN
    elif isinstance(reader, LengthBody):
        if reader.left > _MOST_BODY:
            return
        body = b"x" * reader.left
    reader.close()
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(down + body)
    events = _events_of(client)
    if isinstance(reader, UntilCloseBody):
        assert not isinstance(events[-1], h11.EndOfMessage)
        client.receive_data(b"")
        events += _events_of(client)
    assert isinstance(events[0], h11.Response)
    assert events[0].status_code == head.status
    assert b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data)) in (body, _PLAIN)
    assert isinstance(events[-1], h11.EndOfMessage)
    assert client.trailing_data[0] == b""
