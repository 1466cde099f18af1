"""A broken upstream never ends cleanly at the client, and is never shadowed."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pytest

from tests.live.identity_cases import request
from tests.support.client import Client, NoAnswerError, Received, ask
from tests.support.http1 import chunked, slices
from tests.support.live import Live, running, settings_for
from tests.support.upstream import OK, Answer, Upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

End = Literal["fin", "reset", "stall"]

HEAD_OF_LENGTH = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
HEAD_OF_CHUNKS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
HEAD_OF_CLOSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
EVENTS = b'event: message_start\ndata: {"type": "message_start"}\n\n' * 5
CHUNKS = chunked(EVENTS, [50])
BODY = b'{"type": "message"' + b" " * 982


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Where and how upstream breaks."""

    name: str
    parts: tuple[bytes, ...]
    end: End


def breaks(where: dict[str, tuple[bytes, ...]], ends: tuple[End, ...]) -> list[Break]:
    """Every place with every end."""
    return [Break(name=f"{name}, {end}", parts=parts, end=end) for name, parts in where.items() for end in ends]


CUT_BEFORE_THE_HEAD = breaks(
    {
        "nothing": (),
        "one byte": (b"H",),
        "half a status line": (b"HTTP/1.1 20",),
        "half a head": (b"HTTP/1.1 200 OK\r\ncontent-le",),
        "all but the last byte of the head": (HEAD_OF_CHUNKS[:-1],),
        "a 103 only": (b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",),
        "a 100 and half a head": (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200"),
    },
    ("fin", "reset", "stall"),
)

NOT_HTTP: dict[str, bytes] = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    "another protocol": b"220 smtp.example ESMTP ready\r\n",
    "another version": b"HTTP/3.7 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "a request": b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "a status of letters": b"HTTP/1.1 abc OK\r\ncontent-length: 2\r\n\r\nok",
    "a field without a colon": b"HTTP/1.1 200 OK\r\nnonsense\r\ncontent-length: 2\r\n\r\nok",
    "a NUL in a field": b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
    "a length and a coding": b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length of letters": b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok",
    "a negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
    "an endless field": b"HTTP/1.1 200 OK\r\nx: " + b"v" * 3_000_000,
    "a 101 nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
}

CUT_AFTER_THE_HEAD = [
    *breaks(
        {
            "length: head only": (HEAD_OF_LENGTH,),
            "length: one byte": (HEAD_OF_LENGTH, BODY[:1]),
            "length: half of it": (HEAD_OF_LENGTH, BODY[:500]),
            "length: all but the last byte": (HEAD_OF_LENGTH + BODY[:-1],),
            "chunks: head only": (HEAD_OF_CHUNKS,),
            "chunks: half a size": (HEAD_OF_CHUNKS, CHUNKS[:1]),
            "chunks: in the first chunk": (HEAD_OF_CHUNKS, CHUNKS[:20]),
            "chunks: between two chunks": (HEAD_OF_CHUNKS, CHUNKS[: 4 + 50 + 2]),
            "chunks: without the last chunk": (HEAD_OF_CHUNKS + CHUNKS[:-5],),
            "chunks: half the last chunk": (HEAD_OF_CHUNKS, CHUNKS[:-4]),
            "chunks: without the last line end": (HEAD_OF_CHUNKS + CHUNKS[:-2],),
            "chunks: without the last byte": (HEAD_OF_CHUNKS, CHUNKS[:-1]),
            "chunks: within the trailers": (HEAD_OF_CHUNKS, CHUNKS[:-2], b"x-sum: 1\r\n"),
        },
        ("fin", "reset", "stall"),
    ),
    *breaks(
        {
            "close: head only": (HEAD_OF_CLOSE,),
            "close: one event": (HEAD_OF_CLOSE, EVENTS[:54]),
            "close: within an event": (HEAD_OF_CLOSE + EVENTS[:70],),
        },
        ("reset", "stall"),
    ),
]

BAD_CHUNKS: dict[str, bytes] = {
    "a size of letters": b"zz\r\nabc\r\n",
    "no size": b"\r\nabc\r\n",
    "a chunk that is longer than it says": b"3\r\nabcdef\r\n0\r\n\r\n",
    "an absurd size": b"fffffffffffffffffff\r\nabc",
    "a bare LF after the size": b"3\nabc\r\n0\r\n\r\n",
}

TOO_MANY_BYTES: dict[str, tuple[bytes, ...]] = {
    "after the length": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokMORE",),
    "after the length, the head sent before": (HEAD_OF_LENGTH, BODY + b"}"),
    "a second answer": (OK + OK,),
    "a second answer with the last chunk": (HEAD_OF_CHUNKS, CHUNKS + OK),
    "after the last chunk": (HEAD_OF_CHUNKS + CHUNKS + b"MORE",),
    "a body of a 204": (b"HTTP/1.1 204 No Content\r\n\r\nbody",),
    "a body of a 304": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nbody",),
}

ASK = b'{"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}'


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Upstream, Live]]:
    """A live process that waits 0.3 s for a first byte and 0.3 s between two slices."""
    folder = tmp_path_factory.mktemp("impatient")
    with Upstream() as upstream:
        settings = settings_for(
            upstream.base_url,
            folder / "shadow.db",
            first_byte_timeout_s=0.3,
            idle_timeout_s=0.3,
        )
        with running(settings, folder) as live:
            yield upstream, live


def shadow_jobs_to_do(live: Live, exchange: dict[str, object]) -> list[str]:
    """States of the jobs that would still be sent."""
    return [job["state"] for job in live.jobs(exchange) if job["state"] in ("pending", "leased", "sent", "done")]


def assert_own_error(received: Received, *, status: int) -> None:
    """Our own answer: status, the mark, and the shape of the API that was asked (Anthropic's here)."""
    assert received.status == status
    assert received.header(b"x-shadow-gateway-error")
    assert received.header(b"x-should-retry") is None
    assert received.complete
    assert received.request_id
    body = json.loads(received.body)
    assert body["type"] == "error"
    assert body["error"]["type"]
    assert body["error"]["message"]


def path_of(name: str) -> str:
    """A recognised path of its own for one case, so that its record can be found."""
    return "/" + "".join(letter if letter.isalnum() else "-" for letter in name) + "/v1/messages"


def assert_broken_after_the_head(upstream: Upstream, live: Live, path: str, outcome: str) -> None:
    """Ask, and see the connection reset before the answer is whole; the record says so and nothing is shadowed."""
    with Client(live.address) as client:
        try:
            received = client.ask(request("POST", path, body=ASK))
        except NoAnswerError as error:
            assert error.ended == "reset"  # noqa: PT017  (both are allowed: the RST may overtake the head)
        else:
            assert not received.complete
            assert received.ended == "reset"
    exchange = live.exchange(path=path)
    assert exchange["outcome"] == outcome
    assert exchange["error"]
    assert shadow_jobs_to_do(live, exchange) == []
    assert len(upstream.requests) == 1
    eventually(lambda: upstream.connections[0].closed_at, within_s=1, what="closing the broken connection")


@pytest.mark.parametrize("case", CUT_BEFORE_THE_HEAD, ids=lambda case: case.name)
def test_an_upstream_that_breaks_before_the_head_is_a_502_and_a_silent_one_a_504(
    impatient: tuple[Upstream, Live], case: Break
) -> None:
    upstream, live = impatient
    upstream.start_over()
    upstream.answer(Answer(parts=case.parts, end=case.end))
    received = ask(live.address, request(body=ASK))
    assert_own_error(received, status=504 if case.end == "stall" else 502)
    exchange = live.exchange(request_id=received.request_id)
    assert exchange["outcome"] in (("timeout",) if case.end == "stall" else ("error_connect", "error_stream"))
    assert exchange["gateway_error"] == (received.header(b"x-shadow-gateway-error") or b"").decode()
    assert shadow_jobs_to_do(live, exchange) == []
    assert len(upstream.requests) == 1
    eventually(lambda: upstream.connections[0].closed_at, within_s=1, what="closing the broken connection")


@pytest.mark.parametrize("name", NOT_HTTP)
def test_an_answer_that_is_not_http_is_a_502(impatient: tuple[Upstream, Live], name: str) -> None:
    upstream, live = impatient
    upstream.start_over()
    upstream.answer(Answer(parts=(NOT_HTTP[name],), end="stall"))
    received = ask(live.address, request(body=ASK))
    assert_own_error(received, status=502)
    exchange = live.exchange(request_id=received.request_id)
    assert exchange["outcome"] in ("error_connect", "error_stream")
    assert shadow_jobs_to_do(live, exchange) == []
    assert len(upstream.requests) == 1
    eventually(lambda: upstream.connections[0].closed_at, within_s=1, what="closing the broken connection")


@pytest.mark.parametrize("size", [1, 65536], ids=["byte by byte", "at once"])
@pytest.mark.parametrize("case", CUT_AFTER_THE_HEAD, ids=lambda case: case.name)
def test_an_upstream_that_breaks_after_the_head_is_seen_as_broken_by_the_client(
    impatient: tuple[Upstream, Live], case: Break, size: int
) -> None:
    upstream, live = impatient
    upstream.start_over()
    sliced = tuple(piece for part in case.parts for piece in slices(part, size))
    upstream.answer(Answer(parts=sliced, end=case.end))
    outcome = "timeout" if case.end == "stall" else "error_stream"
    assert_broken_after_the_head(upstream, live, path_of(f"{case.name} {size}"), outcome)


@pytest.mark.parametrize("size", [1, 65536], ids=["byte by byte", "at once"])
@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_bad_chunks_are_seen_as_broken_by_the_client(impatient: tuple[Upstream, Live], name: str, size: int) -> None:
    upstream, live = impatient
    upstream.start_over()
    upstream.answer(Answer(parts=(HEAD_OF_CHUNKS, b"2\r\nhi\r\n", *slices(BAD_CHUNKS[name], size)), end="stall"))
    assert_broken_after_the_head(upstream, live, path_of(f"{name} {size}"), "error_stream")


@pytest.mark.parametrize("name", TOO_MANY_BYTES)
def test_bytes_past_the_end_of_an_answer_break_it(impatient: tuple[Upstream, Live], name: str) -> None:
    upstream, live = impatient
    upstream.start_over()
    upstream.answer(Answer(parts=TOO_MANY_BYTES[name], end="stall"))
    assert_broken_after_the_head(upstream, live, path_of(name), "error_stream")


def test_a_body_after_the_answer_to_head_breaks_it(impatient: tuple[Upstream, Live]) -> None:
    upstream, live = impatient
    upstream.start_over()
    upstream.answer(Answer(parts=(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",), end="stall"))
    with Client(live.address) as client:
        client.send(request("HEAD"))
        with pytest.raises(NoAnswerError) as caught:
            client.receive(method=b"HEAD")
        assert caught.value.ended == "reset"


def test_bytes_that_come_while_a_connection_is_idle_reach_nobody(impatient: tuple[Upstream, Live]) -> None:
    upstream, live = impatient
    upstream.start_over()
    gate = upstream.gate()
    forged = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
    upstream.answer(Answer(parts=(OK, gate, forged)))
    assert ask(live.address, request(body=ASK)).body == b"ok"
    gate.open()
    eventually(lambda: upstream.connections[0].closed_at, within_s=1, what="dropping the talkative connection")
    upstream.answer(Answer())
    assert ask(live.address, request(body=ASK)).body == b"ok"
    assert len(upstream.connections) == 1


def test_an_old_client_sees_a_cut_as_a_reset(impatient: tuple[Upstream, Live]) -> None:
    upstream, live = impatient
    upstream.start_over()
    upstream.answer(Answer(parts=(HEAD_OF_CHUNKS, CHUNKS[:-5]), end="fin"))
    received = ask(live.address, request("GET", "/", version="1.0"))
    assert received.body == EVENTS
    assert received.ended == "reset"


def test_a_connection_that_upstream_closed_while_idle_is_not_used_again(impatient: tuple[Upstream, Live]) -> None:
    upstream, live = impatient
    upstream.start_over()
    upstream.answer(Answer(parts=(OK,), end="fin"))
    for _ in range(5):
        assert ask(live.address, request(body=ASK)).status == 200
        eventually(lambda: upstream.connections[-1].closed_at, what="the close of the idle connection")
    assert [len(connection.requests) for connection in upstream.connections] == [1] * 5


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_a_request_that_met_a_dying_idle_connection_is_a_502_and_never_sent_again(
    impatient: tuple[Upstream, Live], end: End
) -> None:
    upstream, live = impatient
    upstream.start_over()
    assert ask(live.address, request(body=ASK)).status == 200
    upstream.handler = lambda _request: Answer(parts=(), end=end)
    received = ask(live.address, request(body=ASK))
    assert_own_error(received, status=502)
    assert [len(connection.requests) for connection in upstream.connections] == [2]


def test_a_slow_but_steady_upstream_is_not_cut(impatient: tuple[Upstream, Live]) -> None:
    upstream, live = impatient
    upstream.start_over()
    steady = tuple(part for event in slices(CHUNKS, 40) for part in (event, 0.1))
    upstream.answer(Answer(parts=(HEAD_OF_CHUNKS, *steady)))
    received = ask(live.address, request(body=ASK))
    assert received.complete
    assert received.body == EVENTS


def unreachable() -> Iterator[tuple[str, str]]:
    """Base URLs that cannot be connected to, with what is wrong."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield "refused", f"http://127.0.0.1:{taken.getsockname()[1]}"
        yield "no such name", "http://no-such-host.invalid"
        taken.listen(0)
        with contextlib.ExitStack() as stack:
            for _ in range(3):  # fills the backlog, so that the next SYN is never answered
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(taken.getsockname())
            yield "no answer to SYN", f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    ("path", "shape"),
    [("/v1/messages", "anthropic"), ("/openai/v1/chat/completions", "openai"), ("/v1/responses", "openai")],
)
def test_an_upstream_that_cannot_be_reached_is_a_502_in_the_shape_of_the_api(
    tmp_path: Path, path: str, shape: str
) -> None:
    for wrong, base_url in unreachable():
        settings = settings_for(base_url, tmp_path / "shadow.db", connect_timeout_s=0.5)
        with running(settings, tmp_path) as live:
            received = ask(live.address, request("POST", path, body=ASK))
            assert received.status == 502, wrong
            assert received.header(b"x-shadow-gateway-error"), wrong
            body = json.loads(received.body)
            assert body["error"]["message"], wrong
            assert body["error"]["type"], wrong
            assert (body.get("type") == "error") == (shape == "anthropic"), wrong
            assert ("code" in body["error"]) == (shape == "openai"), wrong
            exchange = live.exchange(request_id=received.request_id)
            assert exchange["outcome"] == "error_connect", wrong
            assert shadow_jobs_to_do(live, exchange) == [], wrong


def test_a_504_of_ours_has_the_shape_of_the_api(impatient: tuple[Upstream, Live]) -> None:
    upstream, live = impatient
    upstream.start_over()
    upstream.answer(Answer(parts=(), end="stall"))
    received = ask(live.address, request("POST", "/openai/v1/chat/completions", body=ASK))
    assert received.status == 504
    assert received.header(b"x-shadow-gateway-error") == b"first_byte_timeout"
    body = json.loads(received.body)
    assert set(body) == {"error"}
    assert set(body["error"]) >= {"message", "type", "param", "code"}
