"""A broken upstream never ends cleanly at the client, and is never shadowed."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import pytest

from tests.live.identity_cases import request
from tests.support.client import Client, NoAnswerError, Received, ask
from tests.support.http1 import chunked, slices
from tests.support.live import Live, running, settings_for
from tests.support.upstream import OK, Answer, Gate, Upstream
from tests.support.waiting import AT_ONCE_S, eventually

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

NOT_CHUNKS: dict[str, bytes] = {
    "a size of letters": b"zz\r\nabc\r\n",
    "no size": b"\r\nabc\r\n",
    "a chunk that is longer than it says": b"3\r\nabcdef\r\n0\r\n\r\n",
    "an absurd size": b"fffffffffffffffffff\r\nabc",
    "a bare LF after the size": b"3\nabc\r\n0\r\n\r\n",
    "a bare LF after the chunk": b"3\r\nabc\n0\r\n\r\n",
    "a trailer without a colon": b"3\r\nabc\r\n0\r\nnonsense\r\n\r\n",
}

TOO_MANY_BYTES: dict[str, tuple[bytes, ...]] = {
    "after the length": (HEAD_OF_LENGTH, BODY + b"}"),
    "after the length, with the head": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokMORE",),
    "a second answer": (HEAD_OF_LENGTH, BODY + OK),
    "a second answer, with the head": (OK + OK,),
    "a second answer with the last chunk": (HEAD_OF_CHUNKS, CHUNKS + OK),
    "after the last chunk": (HEAD_OF_CHUNKS, CHUNKS + b"MORE"),
    "after the last chunk, with the head": (HEAD_OF_CHUNKS + CHUNKS + b"MORE",),
    "a body of a 204": (b"HTTP/1.1 204 No Content\r\n\r\nbody",),
    "a body of a 304": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nbody",),
}

HEADS = (HEAD_OF_LENGTH, HEAD_OF_CHUNKS, HEAD_OF_CLOSE)
ASK = b'{"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}'


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Upstream, Live]]:
    """A live process that waits a second for a first byte and between two slices."""
    folder = tmp_path_factory.mktemp("impatient")
    with Upstream() as upstream:
        settings = settings_for(
            upstream.base_url,
            folder / "shadow.db",
            first_byte_timeout_s=1,
            idle_timeout_s=1,
        )
        with running(settings, folder) as live:
            yield upstream, live


def own_error(received: Received) -> bool:
    """Whether this is an answer of ours: the mark, and the shape of the API that was asked (Anthropic's here)."""
    if not received.header(b"x-shadow-gateway-error"):
        return False
    body = json.loads(received.body)
    assert body["type"] == "error"
    assert body["error"]["type"]
    assert body["error"]["message"]
    assert received.header(b"x-should-retry") is None
    assert received.complete
    assert received.request_id
    return True


Told = Literal["502", "504", "reset", "whole", "cut, but closed cleanly"]


def what_the_client_is_told(live: Live, path: str, wait_for: Gate | None) -> Told:
    """Ask once, and say how it ended for the client; upstream goes on when the head has come, if it waits for that."""
    with Client(live.address) as client:
        client.send(request("POST", path, body=ASK))
        try:
            if wait_for:
                client.receive_head()
                wait_for.open()
            received = client.receive()
        except NoAnswerError as error:
            return "reset" if error.ended == "reset" else "cut, but closed cleanly"
    if own_error(received):
        return "504" if received.status == 504 else "502"
    if received.complete:
        return "whole"
    return "reset" if received.ended == "reset" else "cut, but closed cleanly"


def break_all(upstream: Upstream, live: Live, table: list[Break]) -> dict[str, tuple[Told, str]]:
    """Play every case at the same time, each on a path of its own: what its client was told, and the recorded outcome.

    In every case upstream gets one request, its connection is closed, and no shadow job is left to do.
    """
    upstream.start_over()
    series = f"/{time.monotonic_ns()}"
    paths = {case.name: f"{series}/{number}/v1/messages" for number, case in enumerate(table)}
    gates = {case.name: upstream.gate() if case.parts and case.parts[0] in HEADS else None for case in table}
    answers = {paths[case.name].encode(): play(case, gates[case.name]) for case in table}
    upstream.answer(lambda seen: answers[seen.target])
    with ThreadPoolExecutor(len(table)) as pool:
        told = list(pool.map(lambda case: what_the_client_is_told(live, paths[case.name], gates[case.name]), table))
    asked = Counter(seen.target for seen in upstream.requests)
    assert asked == dict.fromkeys(answers, 1)
    eventually(
        lambda: all(log.closed_at for log in upstream.connections), within_s=AT_ONCE_S, what="closing what is broken"
    )
    query = "SELECT * FROM exchange WHERE path LIKE ? || '%'"
    eventually(lambda: len(live.rows(query, series)) == len(table), what=f"{len(table)} records")
    recorded = {row["path"]: row for row in live.rows(query, series)}
    for row in recorded.values():
        assert [job for job in live.jobs(row) if job["state"] not in ("skipped", "dropped")] == []
        assert row["error"]
    return {case.name: (said, recorded[paths[case.name]]["outcome"]) for case, said in zip(table, told, strict=True)}


def play(case: Break, gate: Gate | None) -> Answer:
    """The answer of one case; after a lone head upstream waits until the client has it."""
    if gate is None:
        return Answer(parts=case.parts, end=case.end)
    return Answer(parts=(case.parts[0], gate, *case.parts[1:]), end=case.end)


def byte_by_byte(table: list[Break]) -> list[Break]:
    """The same cases, with everything after a lone head sent in slices of one byte."""
    return [
        replace(
            case, parts=tuple(piece for part in case.parts for piece in ([part] if part in HEADS else slices(part, 1)))
        )
        for case in table
    ]


def test_an_upstream_that_breaks_before_the_head_is_a_502_and_a_silent_one_a_504(
    impatient: tuple[Upstream, Live],
) -> None:
    upstream, live = impatient
    happened = break_all(upstream, live, CUT_BEFORE_THE_HEAD)
    for case in CUT_BEFORE_THE_HEAD:
        told, outcome = happened[case.name]
        assert told == ("504" if case.end == "stall" else "502"), case.name
        assert outcome in (("timeout",) if case.end == "stall" else ("error_connect", "error_stream")), case.name


def test_an_answer_that_is_not_http_is_a_502(impatient: tuple[Upstream, Live]) -> None:
    upstream, live = impatient
    table = [Break(name=name, parts=(sent,), end="stall") for name, sent in NOT_HTTP.items()]
    happened = break_all(upstream, live, table)
    assert {name: told for name, (told, _) in happened.items()} == dict.fromkeys(NOT_HTTP, "502")
    assert {outcome for _, outcome in happened.values()} <= {"error_connect", "error_stream"}


@pytest.mark.parametrize("slicing", ["at once", "byte by byte"])
def test_an_upstream_that_breaks_after_the_head_is_seen_as_broken_by_the_client(
    impatient: tuple[Upstream, Live], slicing: str
) -> None:
    upstream, live = impatient
    table = byte_by_byte(CUT_AFTER_THE_HEAD) if slicing == "byte by byte" else CUT_AFTER_THE_HEAD
    assert break_all(upstream, live, table) == {
        case.name: ("reset", "timeout" if case.end == "stall" else "error_stream") for case in CUT_AFTER_THE_HEAD
    }


@pytest.mark.parametrize("slicing", ["at once", "byte by byte"])
def test_bad_chunks_are_seen_as_broken_by_the_client(impatient: tuple[Upstream, Live], slicing: str) -> None:
    upstream, live = impatient
    table = [Break(name=name, parts=(HEAD_OF_CHUNKS, sent), end="stall") for name, sent in NOT_CHUNKS.items()]
    happened = break_all(upstream, live, byte_by_byte(table) if slicing == "byte by byte" else table)
    assert happened == dict.fromkeys(NOT_CHUNKS, ("reset", "error_stream"))


def test_bytes_past_the_end_of_an_answer_break_it(impatient: tuple[Upstream, Live]) -> None:
    upstream, live = impatient
    table = [Break(name=name, parts=parts, end="stall") for name, parts in TOO_MANY_BYTES.items()]
    happened = break_all(upstream, live, table)
    for name, (told, outcome) in happened.items():
        # While nothing of the answer has gone down yet, a 502 tells the client more than a reset.
        assert told == "reset" or (told == "502" and len(TOO_MANY_BYTES[name]) == 1), name
        assert outcome == "error_stream", name


def test_a_body_after_the_answer_to_head_breaks_it(impatient: tuple[Upstream, Live]) -> None:
    upstream, live = impatient
    upstream.start_over()
    upstream.answer(Answer(parts=(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",), end="stall"))
    with Client(live.address) as client:
        client.send(request("HEAD"))
        try:
            assert client.receive(method=b"HEAD").status == 502
        except NoAnswerError as error:
            assert error.ended == "reset"  # noqa: PT017  (either tells the client that it is broken)


def test_bytes_that_come_while_a_connection_is_idle_reach_nobody(impatient: tuple[Upstream, Live]) -> None:
    upstream, live = impatient
    upstream.start_over()
    gate = upstream.gate()
    forged = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
    upstream.answer(Answer(parts=(OK, gate, forged)))
    assert ask(live.address, request(body=ASK)).body == b"ok"
    gate.open()
    eventually(lambda: upstream.connections[0].closed_at, within_s=AT_ONCE_S, what="dropping the talkative connection")
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
    assert received.status == 502
    assert own_error(received)
    assert received.header(b"x-shadow-gateway-error") == b"connection_lost"
    assert [len(connection.requests) for connection in upstream.connections] == [2]


NOT_ON_A_KEPT_CONNECTION_EITHER: dict[str, tuple[bytes, ...]] = {
    **{name: (sent,) for name, sent in NOT_HTTP.items()},
    "a control character in a field": (b"HTTP/1.1 200 OK\r\nX: a\x01\r\ncontent-length: 2\r\n\r\nok",),
    "a coding under the chunks": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",),
    "a status below 100": (b"HTTP/1.1 099 Odd\r\ncontent-length: 2\r\n\r\nok",),
    "half a head": (b"HTTP/1.1 200 OK\r\ncontent-le",),
    "a 103 only": (b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",),
}


def test_a_bad_answer_on_a_connection_that_was_used_before_is_called_a_bad_answer(
    impatient: tuple[Upstream, Live],
) -> None:
    upstream, live = impatient
    told = {}
    for name, parts in NOT_ON_A_KEPT_CONNECTION_EITHER.items():
        upstream.start_over()
        assert ask(live.address, request(body=ASK)).status == 200
        before = len(upstream.connections)
        upstream.answer(Answer(parts=parts, end="fin"))
        received = ask(live.address, request(body=ASK))
        assert own_error(received)
        assert len(upstream.connections) == before, name
        told[name] = received.header(b"x-shadow-gateway-error")
    assert told == dict.fromkeys(NOT_ON_A_KEPT_CONNECTION_EITHER, b"bad_answer")
    exchange = live.exchange(request_id=received.request_id)
    assert (exchange["gateway_error"], exchange["status"]) == ("bad_answer", 502)
    assert exchange["error"] == "the connection broke before an answer began"


def test_a_slow_but_steady_upstream_is_not_cut(impatient: tuple[Upstream, Live]) -> None:
    upstream, live = impatient
    upstream.start_over()
    steady = tuple(part for event in slices(CHUNKS, 20) for part in (event, 0.1))  # longer than a second
    upstream.answer(Answer(parts=(HEAD_OF_CHUNKS, *steady)))
    received = ask(live.address, request(body=ASK))
    assert received.complete
    assert received.body == EVENTS


def test_an_upload_may_take_longer_than_the_first_byte(impatient: tuple[Upstream, Live]) -> None:
    upstream, live = impatient
    upstream.start_over()
    with Client(live.address) as client:
        client.send(request(headers=b"Content-Length: 10\r\n"))
        for _ in range(10):
            client.send(b"x")
            assert not client.closes_within(0.15)
        assert client.receive().body == b"ok"


def test_a_client_that_stops_uploading_is_not_waited_for_for_ever(impatient: tuple[Upstream, Live]) -> None:
    upstream, live = impatient
    upstream.start_over()
    with Client(live.address) as client:
        client.send(request(headers=b"Content-Length: 10\r\n") + b"hello")
        connection, seen = upstream.wait_for_request()
        received = client.receive()
        assert received.status in (400, 408)
        assert client.closes_within(AT_ONCE_S)
    eventually(lambda: connection.closed_at, within_s=AT_ONCE_S)
    assert not seen.complete


@contextlib.contextmanager
def unreachable(wrong: str) -> Iterator[str]:
    """A base URL that cannot be connected to."""
    if wrong == "no such name":
        yield "http://no-such-host.invalid"
        return
    with socket.socket() as taken, contextlib.ExitStack() as stack:
        taken.bind(("127.0.0.1", 0))
        if wrong == "no answer":
            taken.listen(0)
            for _ in range(3):  # fills the backlog, so that the next SYN is never answered
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(taken.getsockname())
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("wrong", ["refused", "no such name", "no answer"])
def test_an_upstream_that_cannot_be_reached_is_a_502_in_the_shape_of_the_api(tmp_path: Path, wrong: str) -> None:
    shapes = {"/v1/messages": "anthropic", "/openai/v1/chat/completions": "openai", "/v1/responses": "openai"}
    with unreachable(wrong) as base_url:
        settings = settings_for(base_url, tmp_path / "shadow.db", connect_timeout_s=0.5)
        with running(settings, tmp_path) as live:
            for path, shape in shapes.items():
                received = ask(live.address, request("POST", path, body=ASK))
                assert received.status == 502
                assert received.header(b"x-shadow-gateway-error") == b"connect"
                body = json.loads(received.body)
                assert body["error"]["message"]
                assert body["error"]["type"]
                assert (body.get("type") == "error") == (shape == "anthropic")
                assert ("code" in body["error"]) == (shape == "openai")
                exchange = live.exchange(request_id=received.request_id)
                assert exchange["outcome"] == "error_connect"
                assert exchange["gateway_error"] == "connect"


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
