"""A client that hangs up takes its upstream connection with it, at once, in every phase."""

from __future__ import annotations

import functools
import itertools
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.live.identity_cases import request
from tests.support.client import Client, ask
from tests.support.http1 import chunked
from tests.support.lateness import Lateness
from tests.support.upstream import OK, Answer, ConnectionLog, Part, Upstream
from tests.support.waiting import AT_ONCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.live import Live

ASK = b'{"model": "m", "max_tokens": 1, "stream": true, "messages": [{"role": "user", "content": "hi"}]}'
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"data: {}\n\n"
PHASES: dict[str, tuple[Part, ...]] = {
    "before the first byte": (),
    "after a 100": (b"HTTP/1.1 100 Continue\r\n\r\n",),
    "within the head": (STREAM[:30],),
    "after the head": (STREAM,),
    "mid-stream": (STREAM, chunked(EVENT * 3, [10])[:-5]),
    "before the last chunk": (STREAM, chunked(EVENT * 3, [10])[:-1]),
    "before the last byte of a length": (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",),
    "before the close": (b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + EVENT,),
}
LEAVE: dict[str, Callable[[Client], None]] = {"FIN": Client.close, "RST": Client.reset}


def leave_and_be_followed(leave: Callable[[], None], connection: ConnectionLog) -> None:
    """The client leaves, and within a second the gateway closes upstream's connection."""
    with Lateness() as lateness:
        left_at = time.monotonic()
        leave()
        eventually(lambda: connection.closed_at, within_s=AT_ONCE_S, what="closing the upstream connection")
    assert connection.closed_at is not None
    assert connection.closed_at - left_at < lateness.bound(1)


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("phase", PHASES)
def test_upstream_is_closed_within_a_second_and_the_exchange_is_aborted(
    upstream: Upstream, live: Live, phase: str, how: str
) -> None:
    parts = PHASES[phase]
    path = f"/{phase.replace(' ', '-')}/{how}/v1/messages"
    upstream.answer(Answer(parts=parts, end="stall"))
    client = Client(live.address)
    client.send(request("POST", path, body=ASK))
    connection, seen = upstream.wait_for_request()
    eventually(lambda: seen.complete and connection.sent == sum(len(part) for part in parts if isinstance(part, bytes)))
    if phase not in ("before the first byte", "within the head", "after a 100"):
        client.receive_head()
    leave_and_be_followed(lambda: LEAVE[how](client), connection)
    exchange = live.exchange(path=path)
    assert exchange["outcome"] == "aborted"
    assert not exchange["eligible"]
    assert [job["state"] for job in live.jobs(exchange) if job["state"] in ("pending", "sent", "leased")] == []


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("sent", [0, 1, 5000], ids=lambda sent: f"{sent} bytes sent")
def test_a_client_that_leaves_while_it_uploads(upstream: Upstream, live: Live, how: str, sent: int) -> None:
    path = f"/upload/{how}/{sent}/v1/messages"
    client = Client(live.address)
    client.send(request("POST", path, b"Content-Length: 100000\r\n") + b"x" * sent)
    connection, seen = upstream.wait_for_request()
    eventually(lambda: len(seen.body) == sent)
    leave_and_be_followed(lambda: LEAVE[how](client), connection)
    assert not seen.complete
    assert live.exchange(path=path)["outcome"] == "aborted"


def test_a_client_that_resets_while_its_upload_is_held_back(upstream: Upstream, live: Live) -> None:
    """A FIN would wait behind the bytes nobody reads; a RST is there at once."""
    gate = upstream.gate()
    upstream.answer(Answer(read_after=gate, parts=(OK,)))
    path = "/held-back/v1/files"
    client = Client(live.address, timeout_s=0.3)
    client.send(request("POST", path, b"Content-Length: 500000000\r\n"))
    connection, seen = upstream.wait_for_request()
    with suppress(TimeoutError):
        while True:
            client.send(bytes(65536))
    client.reset()
    assert live.exchange(path=path)["outcome"] == "aborted"
    gate.open()  # an upstream that does not read sees the close only now
    eventually(lambda: connection.closed_at, within_s=AT_ONCE_S, what="closing the upstream connection")
    assert not seen.complete


def test_a_client_that_leaves_mid_chunk(upstream: Upstream, live: Live) -> None:
    client = Client(live.address)
    client.send(request("POST", "/v1/files", b"Transfer-Encoding: chunked\r\n") + b"5\r\nab")
    connection, seen = upstream.wait_for_request()
    leave_and_be_followed(client.close, connection)
    assert not seen.complete


def test_a_client_that_leaves_with_pipelined_requests_behind(upstream: Upstream, live: Live) -> None:
    upstream.answer(Answer(parts=(STREAM,), end="stall"))
    client = Client(live.address)
    client.send(request(body=ASK) * 3)
    connection, _ = upstream.wait_for_request()
    leave_and_be_followed(client.close, connection)
    assert len(upstream.requests) == 1


def test_a_client_that_left_after_its_whole_answer_is_no_abort(upstream: Upstream, live: Live) -> None:
    received = ask(live.address, request("POST", "/whole/v1/messages", body=b'{"model": "m"}'))
    assert received.complete
    assert live.exchange(path="/whole/v1/messages")["outcome"] != "aborted"


def test_three_hundred_clients_that_leave_cost_nothing_that_stays(upstream: Upstream, live: Live) -> None:
    ask(live.address, request(body=b"{}"))
    before = live.open_sockets()
    phases = itertools.cycle(PHASES.values())
    upstream.answer(lambda _request: Answer(parts=next(phases), end="stall"))
    for number in range(300):
        client = Client(live.address)
        client.send(request("POST", "/churn/v1/messages", body=ASK))
        if number % 3 == 0:  # the others leave whenever, also while the upstream connection is being made
            eventually(functools.partial(upstream.has_seen, number // 3))
        LEAVE["RST" if number % 2 else "FIN"](client)
    eventually(lambda: live.open_sockets() <= before + 1, what="closing every socket")
    eventually(lambda: all(connection.closed_at for connection in upstream.connections if connection.requests))
    upstream.answer(Answer(parts=(OK,)))
    with Lateness() as lateness:
        began = time.monotonic()
        assert ask(live.address, request(body=b"{}")).body == b"ok"
        took_s = time.monotonic() - began
    assert took_s < lateness.bound(1)
    records = live.exchanges(path="/churn/v1/messages", count=100)
    assert {record["outcome"] for record in records} == {"aborted"}
