"""No bytes a client or an upstream sends make two requests of one, or one answer of two."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import h11
import httptools
import pytest

from gateway.settings import Upstream as UpstreamSettings
from tests.faults.hostile_corpus import AFTER, ANSWERS, CHUNKED, GROUPS, REQUESTS, Answered, Seen, Sent, places
from tests.faults.test_slow_clients import admin_port
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

EVERY_CUT = "EVERY_CUT" in os.environ
"""Set to cut at every place; every third is enough for a short run, for the cases are many and alike."""
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
    if case.begun is not None:
        with Client(live.address) as client:
            assert client.ask(AFTER).status == 200
        settle(upstream)


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
            for at in places(case.sent)[:: 1 if EVERY_CUT else 3]:
                try:
                    await run(bench, case, [case.sent[:at], case.sent[at:] + AFTER])
                    check_upstream(upstream, case)
                except BaseException:
                    print(f"{name}, cut at {at}: {case.sent[:at][-40:]!r} | {case.sent[at:][:40]!r}")  # noqa: T201
                    raise
                if case.begun is not None:
                    await run(bench, ORDINARY, [ORDINARY.sent, AFTER])
                    settle(upstream)
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


async def test_trailers_that_are_too_large_end_the_connection_when_their_end_comes_with_them(
    upstream: Upstream,
) -> None:
    case = REQUESTS["trailers: trailers of 400 kB"]
    at = case.sent.index(b"0\r\nX: ")
    async with Bench.over(upstream.base_url) as bench:
        upstream.answer(answering(case))
        await run(bench, case, [case.sent[:at], case.sent[at:] + AFTER])
        check_upstream(upstream, case)
        await run(bench, ORDINARY, [ORDINARY.sent, AFTER])
        settle(upstream)


ORDINARY = Sent(sent=AFTER, answers=(200,), fate="open", seen=(Seen(line=b"GET /after"),))


def settle(upstream: Upstream) -> None:
    """Wait for what upstream heard of a broken request; an ordinary one was asked after it, so nothing comes later."""
    eventually(
        lambda: all(log.closed_at or (log.requests and log.requests[-1].complete) for log in upstream.connections)
    )


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
                assert b"okok".startswith(received.body)  # of a second chunk, what came before its fault
                assert received.ended == "reset" or received.complete is (case.status == 0 or "past" in name)
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


# Keys of the gateway's own: what goes up with them is what a client of the gateway may ask, and no more.

KEY = b"x-api-key: sk-client\r\n"
BODY = b"content-length: 2\r\n\r\n{}"
OUTSIDE = [
    b"/admin%252e%252e/v1/messages",
    b"/admin/%252e%252e%252fv1/messages",
    b"/admin/delete%00/v1/messages",
    b"/admin/delete%3f/v1/messages",
    b"/admin/delete%3F/v1/chat/completions",
    b"/admin/delete%23/v1/messages",
    b"/admin/delete;/v1/messages",
    b"/admin/delete;x=/v1/messages",
    b"/admin/..;/v1/messages",
    b"/admin/%2e%2e/v1/messages",
    b"/admin/..%2fv1/messages",
    b"/admin\\..\\v1/messages",
    b"/admin/..%5cv1/messages",
    b"/admin/..%c0%afv1/messages",
    b"/admin/delete%0d%0a/v1/messages",
    b"/admin/delete\xe3\x80\x82/v1/messages",
    b"/v1/messages/../admin/delete",
    b"/v1/messages%2f..%2fadmin",
    b"/admin/delete",
    b"/v1/messages/admin",
    b"http://evil.example/admin/delete",
    b"*",
]


@pytest.fixture(scope="module")
def guarded(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("guarded")
    own = UpstreamSettings(base_url=upstream.base_url, api_key="sk-own")
    settings = settings_for(
        upstream.base_url,
        folder / "shadow.db",
        auth="gateway",
        clients=("sk-client",),
        upstream=own,
        allow_paths=("/v1/files",),
    )
    with running(settings, folder) as live:
        yield live


@pytest.mark.parametrize("path", OUTSIDE, ids=repr)
def test_no_spelling_of_a_path_takes_the_gateways_key_elsewhere(upstream: Upstream, guarded: Live, path: bytes) -> None:
    upstream.answer(Answer())
    for method in (b"POST", b"GET", b"DELETE", b"OPTIONS"):
        with Client(guarded.address) as client:
            received = client.ask(method + b" " + path + b" HTTP/1.1\r\nHost: a\r\n" + KEY + BODY)
            assert received.status in (400, 403)
    assert upstream.requests == []


@pytest.mark.parametrize(
    "fields",
    [
        b"Connection: x-api-key\r\n",
        b"Connection: authorization, x-shadow-hop\r\n",
        b"Authorization: Bearer sk-client\r\nConnection: x-api-key, close\r\n",
        b"X-Api-Key: sk-client\r\n",
        b"AUTHORIZATION: bearer sk-other\r\n",
    ],
)
def test_only_the_gateways_key_goes_up_whatever_connection_names(
    upstream: Upstream, guarded: Live, fields: bytes
) -> None:
    upstream.answer(Answer())
    with Client(guarded.address) as client:
        sent = b"POST /v1/messages HTTP/1.1\r\nHost: a\r\n" + KEY + fields + CHUNKED + b"\r\n"
        assert client.ask(sent + b"2\r\n{}\r\n0\r\nX-Api-Key: sk-3\r\nAuthorization: Bearer k\r\n\r\n").status == 200
    (seen,) = upstream.requests
    assert (seen.values(b"x-api-key"), seen.values(b"authorization")) == ([b"sk-own"], [])
    assert seen.values(b"x-shadow-hop")
    assert (seen.trailers, bytes(seen.body)) == ([], b"{}")


def test_trace_does_not_show_the_gateways_key(upstream: Upstream, guarded: Live) -> None:
    upstream.answer(Answer())
    with Client(guarded.address) as client:
        assert client.ask(b"TRACE /v1/files HTTP/1.1\r\nHost: a\r\n" + KEY + b"\r\n").status == 405
    assert upstream.requests == []


# Heads that are known already.


@pytest.mark.parametrize("digits", [b"\0", b"", b"-2", b"2, 2", b"2 2", b"0x2", b"9" * 19, b"2\r\nContent-Length: 2"])
def test_a_head_that_differs_from_a_known_one_in_its_length_only_is_read_as_strictly(
    upstream: Upstream, live: Live, digits: bytes
) -> None:
    upstream.answer(Answer())
    head = b"POST /known HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\nX: y\r\n\r\n"
    with Client(live.address) as client:
        for length in (2, 2, 0, 2):
            assert client.ask(head % b"%d" % length + b"{}"[:length]).status == 200
        assert client.ask(head % digits + b"{}" + AFTER).status == 400
        assert client.closes_within(5)
    assert [bytes(seen.body) for seen in upstream.requests] == [b"{}", b"{}", b"", b"{}"]


# The 33 demands of h1spec (uNetworking), in our words; scripts/h1spec.sh runs the original.

WHOLE = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"
CUTS = [1, 4, 10, 11, 15, 19, 20, 21, 24, 26, 27, 36, 37, 38, 39]
HOSTED = b"GET / HTTP/1.1\r\nHost: example.com\r\n"
DEMANDS: dict[str, tuple[bytes, range, bytes]] = {
    "no version": (b"GET / \r\n\r\n", range(400, 600), b""),
    "Expect": (HOSTED + b"Expect: 100-continue\r\n\r\n", range(100, 300), b""),
    "a GET": (HOSTED + b"\r\n", range(200, 300), b""),
    "odd case, a tab, an empty field": (
        b"GET / HTTP/1.1\r\nhoSt:\texample.com\r\nempty:\r\n\r\n",
        range(200, 300),
        b"",
    ),
    "brackets in a name": (HOSTED + b"X-Invalid[]: test\r\n\r\n", range(400, 500), b""),
    "no Host": (b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", range(400, 500), b""),
    "two Hosts": (HOSTED + b"Host: example.org\r\n\r\n", range(400, 500), b""),
    "a very negative length": (HOSTED + b"Content-Length: -123456789123456789123456789\r\n\r\n", range(400, 500), b""),
    "a negative length": (HOSTED + b"Content-Length: -1234\r\n\r\n", range(400, 500), b""),
    "a length of letters": (HOSTED + b"Content-Length: abc\r\n\r\n", range(400, 500), b""),
    "an empty value": (HOSTED + b"X-Empty-Header: \r\n\r\n", range(200, 300), b""),
    "a control character": (HOSTED + b"X-Bad-Control-Char: test\x07\r\n\r\n", range(400, 500), b""),
    "HTTP/9.9": (b"GET / HTTP/9.9\r\nHost: example.com\r\n\r\n", range(400, 600), b""),
    "words before the method": (b"Extra line" + HOSTED + b"\r\n", range(400, 600), b""),
    "a CR before a name": (HOSTED + b"\rSome-Header: Test\r\n\r\n", range(400, 500), b""),
    "a POST": (HOSTED.replace(b"GET", b"POST") + b"Content-Length: 5\r\n\r\nhello", range(200, 300), b"hello"),
    "chunks": (
        HOSTED.replace(b"GET", b"POST") + CHUNKED + b"\r\nc\r\nHellO world1\r\n0\r\n\r\n",
        range(200, 300),
        b"HellO world1",
    ),
    "a length and a coding": (
        HOSTED.replace(b"GET", b"POST") + b"content-LengtH: 5\r\nTransFer-Encoding: chunked\r\n\r\n"
        b"c\r\nHellO world1\r\n0\r\n\r\n",
        range(400, 500),
        b"",
    ),
}


def echo(seen: Message) -> Answer:
    return Answer(parts=(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(seen.body), seen.body),))


@pytest.mark.parametrize("name", DEMANDS)
def test_h1spec_demands_this_status_and_body(upstream: Upstream, live: Live, name: str) -> None:
    sent, statuses, body = DEMANDS[name]
    upstream.answer(echo, by_body=True)
    with Client(live.address) as client:
        received = client.ask(sent)
    assert received.status in statuses
    assert received.status >= 400 or received.body == body


@pytest.mark.parametrize("at", CUTS)
def test_h1spec_demands_that_part_of_a_request_is_waited_for(upstream: Upstream, live: Live, at: int) -> None:
    upstream.answer(echo, by_body=True)
    with Client(live.address) as client:
        client.send(WHOLE[:at])
        assert not client.closes_within(0.05)
        client.send(WHOLE[at:])
        assert client.receive().status == 200


# The admin port, which has one reader only: what h11 forgives is one request for everybody.

ADMIN_FORGIVES = frozenset(
    {
        "content length: two equal lengths",
        "content length: two equal lengths in other case",
        "content length: a list of equal lengths",
        "content length: a length beyond 64 bits",
        "content length: a folded length",
        "transfer coding: a folded coding",
        "transfer coding: a coding in a folded line",
        "transfer coding: a coding behind a bare LF",
        "transfer coding: a blank after chunked",
        "transfer coding: a tab after chunked",
    }
)
_ADMIN_WAITS = {
    "content length: a length beyond 64 bits",
    "chunks: a chunk size beyond 64 bits",
    "chunks: a chunk size of 64 bits and five",
}


@pytest.mark.parametrize("size", [None, 1], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("group", GROUPS)
async def test_on_the_admin_port_too_one_request_has_one_answer(
    group: str, size: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with admin_port() as address:
        for name, case in GROUPS[group].items():
            if case.upstream is None:
                await ask_admin(address, f"{group}: {name}", case, size)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL") or record.exc_info]


async def ask_admin(address: tuple[str, int], name: str, case: Sent, size: int | None) -> None:
    reader, writer = await asyncio.open_connection(*address)
    answers = PipelinedReader([seen.line.startswith(b"HEAD ") for seen in case.seen])
    sent = case.sent + AFTER
    step = len(sent) if size is None else max(1, len(sent) // 500)
    at_most = 1 if name in _ADMIN_WAITS else max(1, len(case.seen)) + 1
    sending = asyncio.create_task(drip(writer, slices(sent, step)))
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(20):
            while sum(message.complete for message in answers.messages) < at_most and (data := await reader.read(4096)):
                answers.feed(data)
    sending.cancel()
    writer.close()
    statuses = [message.status for message in answers.messages]
    assert len(statuses) <= at_most, name
    assert all(status < 500 for status in statuses), name
    if case.answers == (400,) and name.startswith(("content length", "transfer coding")):
        assert (statuses[:1] == [400]) == (name not in ADMIN_FORGIVES), name


async def drip(writer: asyncio.StreamWriter, pieces: tuple[bytes, ...]) -> None:
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)


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
