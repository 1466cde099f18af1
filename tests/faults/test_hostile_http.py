"""No bytes a client or an upstream sends make two requests of one, or one answer of two."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import h11
import httptools
import pytest

from tests.faults.hostile_corpus import AFTER, ANSWERS, GROUPS, REQUESTS, Answered, Seen, Sent, places
from tests.support.client import Client, NoAnswerError
from tests.support.http1 import Framing, Message, MessageReader, slices
from tests.support.inprocess import Bench
from tests.support.live import Live, running, settings_for
from tests.support.upstream import OK, Answer, Gate, Handler, Part, Upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.client import Address
    from tests.support.upstream import ConnectionLog

_MOST_AT_ONCE = 100_000
"""No connection hands over more in one piece."""

Reading = list[tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]]
"""Method, target, fields (in lower case, for h11 lowers some values) and body of each request in some bytes."""


@pytest.fixture(scope="module")
def _shared_upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def live(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    with running(settings_for(upstream.base_url, folder / "shadow.db"), folder) as live:
        yield live


@pytest.mark.parametrize("size", [None, 1], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_hostile_request_comes_to_this_and_nothing_else(
    upstream: Upstream, live: Live, name: str, size: int | None
) -> None:
    case = REQUESTS[name]
    upstream.answer(answering(case))
    with HeadAwareClient(live.address, case) as client:
        try:
            client.send(case.sent + AFTER, size=size and max(size, len(case.sent) // 1000))
        except (ConnectionResetError, BrokenPipeError):
            assert case.fate != "open"  # closed while we were still sending
        check_answers(client, case)
    check_upstream(upstream, case)


class HeadAwareClient(Client):
    """A client that knows which of the answers it waits for have no body."""

    def __init__(self, address: Address, case: Sent) -> None:
        super().__init__(address)
        self._reader = PipelinedReader([seen.line.startswith(b"HEAD ") for seen in case.seen])


class PipelinedReader(MessageReader):
    """Reads answers to several requests that were sent at once."""

    def __init__(self, heads: list[bool]) -> None:
        self._heads = heads
        super().__init__("answer")

    def _framing(self, message: Message) -> tuple[Framing, int]:
        self.head_only = len(self.messages) < len(self._heads) and self._heads[len(self.messages)]
        return super()._framing(message)


def answering(case: Sent) -> Handler:
    """What upstream does: the case's own answer to all but the request that comes after it."""

    def answer(seen: Message) -> Answer:
        if seen.target == b"/after" or case.upstream is None:
            return Answer(parts=(OK[:-2] if seen.method == b"HEAD" else OK,))
        return case.upstream

    return answer


def check_answers(client: Client, case: Sent) -> None:
    for status in case.answers:
        try:
            received = client.receive()
        except NoAnswerError:
            assert case.begun, "no answer, though upstream got nothing of it"  # a reset is as good as a 400
            return
        assert received.status == status
        assert received.complete
    if case.fate == "open":
        received = client.receive()
        assert (received.status, received.body) == (200, b"ok")
    else:
        with pytest.raises(NoAnswerError):
            client.receive()
        assert client.ended != "kept"


def check_upstream(upstream: Upstream, case: Sent) -> None:
    authority = b"127.0.0.1:%d" % upstream.port
    expected = [*case.seen, *([Seen(line=b"GET /after")] if case.fate == "open" else [])]
    whole = [request for request in upstream.requests if request.complete]
    assert [bytes(request.body) for request in whole] == [seen.body for seen in expected]
    assert [lines(request.trailers) for request in whole] == [seen.trailers for seen in expected]
    for log in upstream.connections:
        assert log.error is None
    begun = [log for log in upstream.connections if log.requests and not log.requests[-1].complete]
    heads = [seen.head(authority) for seen in expected]
    if begun:
        (log,) = begun
        assert case.begun
        eventually(lambda: log.closed_at, what="the end of the request that upstream shall not get whole")
        heads.append(case.begun.head(authority))
        assert case.begun.body.startswith(bytes(log.requests[-1].body))
    received = [bytes(log.received) for log in upstream.connections if log.received]
    assert [head for log in upstream.connections for head in heads_of(log)] == heads
    agree(received, case, [seen.body for seen in expected])


# Cut in two at every place that could matter: pieces are handed to the connection itself, so each is seen alone.


@pytest.mark.parametrize("group", GROUPS)
async def test_a_cut_anywhere_changes_nothing(upstream: Upstream, group: str) -> None:
    async with Bench.over(upstream.base_url) as bench:
        for name, case in GROUPS[group].items():
            upstream.answer(answering(case))
            if len(case.sent) > _MOST_AT_ONCE:
                continue
            for at in places(case.sent):
                try:
                    await run(bench, case, [case.sent[:at], case.sent[at:] + AFTER])
                    check_upstream(upstream, case)
                except BaseException:
                    print(f"{name}, cut at {at}: {case.sent[:at][-40:]!r} | {case.sent[at:][:40]!r}")  # noqa: T201
                    raise
                upstream.answer(upstream.handler)


async def run(bench: Bench, case: Sent, pieces: list[bytes]) -> None:
    """Hand over the pieces one by one and check what comes back."""
    connection, reader = await bench.connect()
    try:
        for piece in pieces:
            connection.data_received(piece)
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await check_stream(case, reader)
    finally:
        connection.reset()
    await asyncio.sleep(0)


async def check_stream(case: Sent, reader: asyncio.StreamReader) -> None:
    answers = PipelinedReader([seen.line.startswith(b"HEAD ") for seen in case.seen])
    expected = [*case.answers, *([200] if case.fate == "open" else [])]
    while not (case.fate == "open" and len(answers.messages) == len(expected) and answers.messages[-1].complete):
        data = await reader.read(65_536)
        if not data:
            break
        answers.feed(data)
    else:
        assert not reader.at_eof()
    statuses = [message.status for message in answers.messages]
    assert statuses == expected
    assert answers.rest == b""


# Answers.


@pytest.mark.parametrize("name", ANSWERS)
def test_a_hostile_answer_comes_to_this_and_nothing_else(upstream: Upstream, live: Live, name: str) -> None:
    case = ANSWERS[name]
    upstream.answer(playing(case, None, go_on := upstream.gate()))
    with Client(live.address) as client:
        client.send(case.method + b" /g HTTP/1.1\r\nHost: a\r\n\r\n")
        if len(case.parts) > 1:
            client.receive_until(case.body)  # so that the parts do not arrive as one
        go_on.open()
        if case.status:
            received = client.receive(method=case.method)
            assert (received.status, received.complete) == (case.status, case.whole)
            assert received.body == case.body or received.header(b"x-shadow-gateway-error")
        else:
            with pytest.raises(NoAnswerError):
                client.receive(method=case.method)
        assert case.whole or client.ended == "reset"
        the_next_answer_is_its_own(upstream, client, case)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_hostile_answer_byte_by_byte_ends_no_better(upstream: Upstream, live: Live, name: str) -> None:
    case = ANSWERS[name]
    upstream.answer(playing(case, 1, upstream.gate()))
    with Client(live.address) as client:
        client.send(case.method + b" /g HTTP/1.1\r\nHost: a\r\n\r\n")
        if case.whole:
            received = client.receive(method=case.method)
            assert (received.status, received.complete) == (case.status, True)
            assert received.body == case.body or received.header(b"x-shadow-gateway-error")
        else:  # what was wrong came when the head was on its way, or the whole answer even
            with contextlib.suppress(NoAnswerError):
                received = client.receive(method=case.method)
                assert case.body.startswith(received.body)
                assert received.complete is (case.status == 0) or received.ended == "reset"
        the_next_answer_is_its_own(upstream, client, case)


def the_next_answer_is_its_own(upstream: Upstream, client: Client, case: Answered) -> None:
    if client.ended != "kept":
        return
    if not case.reused:  # what comes late is told from the next answer only while nobody waits for one
        eventually(lambda: all(log.closed_at for log in upstream.connections if log.requests))
    upstream.handler = lambda _request: Answer()
    client.send(AFTER)
    again = client.receive()
    assert (again.status, again.body) == (200, b"ok")
    assert again.header(b"set-cookie") is None
    (before, after) = [log for log in upstream.connections for _ in log.requests]
    assert (before is after) == case.reused


def playing(case: Answered, size: int | None, go_on: Gate) -> Handler:
    """What upstream does: the case's parts, the later ones when the client has the first."""
    if size is not None:
        data = b"".join(case.parts)
        parts: tuple[Part, ...] = slices(data, max(size, len(data) // 1000))
    else:
        parts = (case.parts[0], *(part for later in case.parts[1:] for part in (go_on, later)))
    return lambda _request: Answer(parts=parts, end=case.end)


# What upstream got.


def lines(fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%s: %s\r\n" % field for field in fields)


def heads_of(log: ConnectionLog) -> list[bytes]:
    """The bytes of every head in what a connection received."""
    heads, rest = [], bytes(log.received)
    for request in log.requests:
        start = rest.index(request.start)
        end = rest.index(b"\r\n\r\n", start) + 4
        heads.append(rest[start:end])
        rest = rest[end:]
    return heads


def agree(received: list[bytes], case: Sent, bodies: list[bytes]) -> None:
    """Two readers that are not ours find the same requests in the bytes, with the same bodies."""
    for name, read in (("h11", read_by_h11), ("llhttp", read_by_llhttp)):
        if name in case.narrow:
            with pytest.raises((h11.RemoteProtocolError, httptools.HttpParserError)):
                [read(data) for data in received]
            continue
        found = [request for data in received for request in read(data)]
        assert [body for _, _, _, body in found] == bodies, name
    if not case.narrow:
        assert [read_by_h11(data) for data in received] == [read_by_llhttp(data) for data in received]


def read_by_h11(data: bytes) -> Reading:
    found: Reading = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            found.append((event.method, event.target, [(name, value.lower()) for name, value in event.headers], b""))
            body = b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            found[-1] = (*found[-1][:3], body)
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
        else:
            return found if connection.their_state is not h11.SEND_BODY else found[:-1]


class _Listener:
    """What llhttp finds."""

    def __init__(self) -> None:
        self.found: Reading = []
        self.parser = httptools.HttpRequestParser(self)
        self._begin()

    def _begin(self) -> None:
        self._target, self._body, self._fields, self._whole = b"", b"", [], False
        self._fields: list[tuple[bytes, bytes]]

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._whole:
            self._fields.append((name.lower(), value.strip(b" \t").lower()))

    def on_headers_complete(self) -> None:
        self._whole = True

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.found.append((self.parser.get_method(), self._target, self._fields, self._body))
        self._begin()


def read_by_llhttp(data: bytes) -> Reading:
    found: Reading = []
    while data:
        listener = _Listener()
        try:
            listener.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            data = data[upgrade.args[0] :]
        else:
            data = b""
        found += listener.found
    return found
