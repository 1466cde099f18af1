"""How a live process ends: what is under way ends whole, then the records are written, then it exits with 0."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.live.identity_cases import request
from tests.support.client import Client, NoAnswerError, Received
from tests.support.http1 import chunked
from tests.support.live import Live, running, settings_for
from tests.support.upstream import Answer, Gate, Upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FIRST = b'data: {"n": 1}\n\n'
LAST = b"data: [DONE]\n\n"
STREAMS = 50


@pytest.fixture
def gate(upstream: Upstream) -> Gate:
    """Upstream sends the first event of every stream, and the rest once this opens."""
    gate = upstream.gate()
    rest = chunked(LAST, [3])
    upstream.answer(Answer(parts=(HEAD + chunked(FIRST, [99])[:-5], gate, rest)))
    return gate


@pytest.fixture
def own(upstream: Upstream, tmp_path: Path) -> Iterator[Live]:
    """A live process of its own."""
    with running(settings_for(upstream.base_url, tmp_path / "shadow.db"), tmp_path) as live:
        yield live


@pytest.fixture
def short(upstream: Upstream, tmp_path: Path) -> Iterator[Live]:
    """A live process of its own, which drains for at most a second."""
    with running(settings_for(upstream.base_url, tmp_path / "shadow.db", drain_timeout_s=1), tmp_path) as live:
        yield live


@contextmanager
def streams(live: Live, count: int = STREAMS) -> Iterator[list[Client]]:
    """So many clients in the middle of their streams."""
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(live.address, timeout_s=20)) for _ in range(count)]
        for client in clients:
            client.send(request(body=b'{"model": "m", "stream": true, "max_tokens": 5, "messages": []}'))
        for client in clients:
            client.receive_until(FIRST)
        yield clients


def receive_all(clients: list[Client]) -> list[Received]:
    """What every client got in the end."""
    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(Client.receive, clients))


def ids_in_store(live: Live) -> set[str]:
    """All exchanges in the store."""
    return {row["id"] for row in live.rows("SELECT id FROM exchange")}


STOPS: dict[str, Callable[[Live], None]] = {
    "SIGTERM": Live.terminate,
    "the parent is gone": Live.close_stdin,
}


@pytest.mark.parametrize("how", STOPS)
def test_fifty_streams_end_whole_and_every_record_is_in_the_store(own: Live, gate: Gate, how: str) -> None:
    with streams(own) as clients:
        STOPS[how](own)
        own.wait_for("draining")
        assert own.process.poll() is None
        gate.open()
        received = receive_all(clients)
    assert own.wait() == 0
    assert [answer.complete for answer in received] == [True] * STREAMS
    assert {answer.body for answer in received} == {FIRST + LAST}
    assert ids_in_store(own) == {answer.request_id for answer in received}
    assert [event.event for event in own.events] == ["ready", "draining", "flushed"]


def test_nothing_new_is_accepted_while_it_drains_and_ready_says_so(own: Live, gate: Gate) -> None:
    with streams(own, 1) as clients, Client(own.address) as kept:
        kept.send(b"GET /readyz HTTP/1.1\r\nHost: a\r\n")  # its head is not whole yet when the drain begins
        own.terminate()
        own.wait_for("draining")
        with pytest.raises((ConnectionRefusedError, ConnectionResetError, NoAnswerError)):
            eventually(lambda: connect_and_ask(own))
        with suppress(NoAnswerError, OSError):  # closing what has not asked yet is as good
            kept.send(b"\r\n")
            assert kept.receive().status == 503
        gate.open()
        assert receive_all(clients)[0].complete
        assert own.wait() == 0


def connect_and_ask(live: Live) -> bool:
    """Ask on a new connection; never true, so that this is tried until it fails."""
    with Client(live.address, timeout_s=2) as client:
        assert client.ask(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").status == 503
    return False


def test_idle_connections_are_closed_at_once_and_do_not_hold_the_end_up(own: Live) -> None:
    with Client(own.address) as silent, Client(own.address) as kept:
        assert kept.ask(request("GET", "/")).ended == "kept"
        own.terminate()
        assert kept.wait_for_end() == "fin"
        assert silent.wait_for_end() == "fin"
        assert own.wait() == 0


def test_a_kept_connection_ends_after_the_answer_that_was_under_way(upstream: Upstream, own: Live, gate: Gate) -> None:
    with streams(own, 1) as (client,):
        client.send(request("GET", "/pipelined"))
        own.terminate()
        own.wait_for("draining")
        gate.open()
        answers = [client.receive()]
        with suppress(NoAnswerError):  # the pipelined request may have come in time, or not at all
            answers.append(client.receive())
        assert [answer.complete for answer in answers] == [True] * len(upstream.requests)
        assert client.closes_within(5)
        assert own.wait() == 0


def test_an_upload_under_way_ends_whole(upstream: Upstream, own: Live) -> None:
    with Client(own.address) as client:
        client.send(request("POST", "/v1/files", b"Content-Length: 10\r\n") + b"hello")
        _, seen = upstream.wait_for_request()
        own.terminate()
        own.wait_for("draining")
        client.send(b"world")
        assert client.receive().body == b"ok"
    assert bytes(seen.body) == b"helloworld"
    assert own.wait() == 0


def assert_cut_off_and_recorded(upstream: Upstream, live: Live, clients: list[Client]) -> None:
    """Every stream was cut so that the client sees it, and is in the store nevertheless."""
    received = receive_all(clients)
    assert [answer.complete for answer in received] == [False] * len(clients)
    assert {answer.ended for answer in received} == {"reset"}
    assert live.wait() == 0
    assert ids_in_store(live) == {answer.request_id for answer in received}
    assert {row["outcome"] for row in live.rows("SELECT outcome FROM exchange")} <= {"aborted", "error_stream"}
    assert live.rows("SELECT * FROM shadow_job WHERE state = 'pending'") == []
    assert "flushed" in [event.event for event in live.events]
    eventually(lambda: all(connection.closed_at for connection in upstream.connections))


def test_a_second_sigterm_skips_the_drain_but_not_the_records(upstream: Upstream, own: Live, gate: Gate) -> None:
    with streams(own) as clients:
        own.terminate()
        own.wait_for("draining")
        own.terminate()
        assert_cut_off_and_recorded(upstream, own, clients)


def test_streams_beyond_the_drain_limit_are_cut_off_and_recorded(upstream: Upstream, short: Live, gate: Gate) -> None:
    with streams(short, 10) as clients:
        short.terminate()
        assert_cut_off_and_recorded(upstream, short, clients)


def test_a_client_that_never_reads_its_answer_does_not_hold_the_end_up(upstream: Upstream, short: Live) -> None:
    block = b"10000\r\n" + bytes(65536) + b"\r\n"
    upstream.answer(Answer(parts=(HEAD, *(block for _ in range(400)))))
    with Client(short.address, receive_buffer=65536) as client:
        client.send(request(body=b"{}"))
        connection, _ = upstream.wait_for_request()
        eventually(lambda: connection.sent > 1_000_000)
        short.terminate()
        assert short.wait() == 0


def test_ctrl_c_reaches_the_parent_only(own: Live, gate: Gate) -> None:
    with streams(own, 1) as clients, Client(own.address) as another:
        own.process.send_signal(signal.SIGINT)
        gate.open()
        assert receive_all(clients)[0].complete
        assert another.ask(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").status == 200


def test_new_settings_hold_for_new_requests_and_the_old_ones_for_those_under_way(own: Live, gate: Gate) -> None:
    with Upstream() as other, streams(own, 1) as (client,), Client(own.address) as fresh:
        own.replace(settings_for(other.base_url, own.store))
        own.wait_for("reloaded")
        assert fresh.ask(request("GET", "/new")).body == b"ok"
        assert [seen.target for seen in other.requests] == [b"/new"]
        gate.open()
        assert client.receive().body == FIRST + LAST
        assert client.ask(request("GET", "/next")).body == b"ok"
        assert [seen.target for seen in other.requests] == [b"/new", b"/next"]


def test_settings_that_cannot_be_read_change_nothing(own: Live) -> None:
    own.send_line(b'{"settings": {"deployment_id": 7}}\n')
    own.wait_for("reload_failed")
    with Client(own.address) as client:
        assert client.ask(request("GET", "/")).body == b"ok"
