"""Large bodies stream through in both directions with bounded memory; nobody waits for more than they must."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.live.identity_cases import request
from tests.support.client import Client
from tests.support.live import Live, running, settings_for
from tests.support.upstream import OK, Answer, Upstream
from tests.support.waiting import AT_ONCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


MIB = 1 << 20
BLOCK = bytes(range(256)) * 256  # 64 KiB
KERNEL_BUFFERS = 24 * MIB
"""What the sockets between client, gateway and upstream may hold on this system, generously."""


@pytest.fixture(scope="module")
def strict(_shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A live process that gives a stalled client up after a second, and whose copies are small."""
    folder = tmp_path_factory.mktemp("strict")
    settings = settings_for(_shared_upstream.base_url, folder / "shadow.db", write_stall_timeout_s=1)
    with running(settings, folder) as live:
        with Client(live.address) as client:
            client.ask(request(body=b"{}"))
        yield live


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("path", ["/v1/files", "/v1/messages"])
def test_a_hundred_megabytes_go_up_whole_and_memory_stays_bounded(
    upstream: Upstream, strict: Live, framing: str, path: str
) -> None:
    before = strict.peak_memory_bytes(since_now=True)
    with Client(strict.address, timeout_s=60) as client:
        if framing == "length":
            client.send(request("POST", path, b"Content-Length: %d\r\n" % (1600 * len(BLOCK))))
            for _ in range(1600):
                client.send(BLOCK)
        else:
            client.send(request("POST", path, b"Transfer-Encoding: chunked\r\n"))
            for _ in range(1600):
                client.send(b"10000\r\n" + BLOCK + b"\r\n")
            client.send(b"0\r\n\r\n")
        received = client.receive()
    assert received.body == b"ok"
    (seen,) = upstream.requests
    assert len(seen.body) == 1600 * len(BLOCK)
    assert hashlib.sha256(seen.body).digest() == hashlib.sha256(BLOCK * 1600).digest()
    assert seen.framing == framing
    assert strict.peak_memory_bytes() - before < 40 * MIB
    assert strict.exchange(request_id=received.request_id)["request_bytes"] == 1600 * len(BLOCK)


def test_a_hundred_megabytes_come_down_whole_and_memory_stays_bounded(upstream: Upstream, strict: Live) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (1600 * len(BLOCK))
    upstream.answer(Answer(parts=itertools.chain((head,), itertools.repeat(BLOCK, 1600))))
    before = strict.peak_memory_bytes(since_now=True)
    with Client(strict.address, timeout_s=60) as client:
        received = client.ask(request(body=b'{"model": "m"}'))
    assert received.complete
    assert received.body == BLOCK * 1600
    assert strict.peak_memory_bytes() - before < 40 * MIB


def test_a_slow_upstream_slows_the_client_down(upstream: Upstream, strict: Live) -> None:
    gate = upstream.gate()
    upstream.answer(Answer(read_after=gate, parts=(OK,)))
    before = strict.peak_memory_bytes(since_now=True)
    with Client(strict.address, timeout_s=0.3) as client:
        client.send(request("POST", "/v1/files", b"Content-Length: %d\r\n" % (200 * MIB)))
        upstream.wait_for_request()
        sent = 0
        with suppress(TimeoutError):
            while sent < 200 * MIB:
                sent += client.socket.send(BLOCK)
        assert sent < KERNEL_BUFFERS
        assert strict.peak_memory_bytes() - before < 8 * MIB
        gate.open()
        client.socket.settimeout(30)
        position = sent % len(BLOCK)
        client.send(BLOCK[position:])
        sent += len(BLOCK) - position
        while sent < 200 * MIB:
            client.send(BLOCK)
            sent += len(BLOCK)
        assert client.receive().body == b"ok"
    (seen,) = upstream.requests
    assert len(seen.body) == 200 * MIB
    assert strict.peak_memory_bytes() - before < 40 * MIB


@pytest.mark.parametrize("end", ["fin", "stall", "reset"])
def test_an_early_answer_is_handed_on_and_stops_the_upload(upstream: Upstream, live: Live, end: str) -> None:
    refusal = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 9\r\nRetry-After: 1\r\n\r\ntoo large"
    gate = upstream.gate()
    ends = {
        "fin": Answer(on_head=(refusal,), read_body=False, end="fin"),
        "stall": Answer(on_head=(refusal,), read_body=True),
        "reset": Answer(on_head=(refusal, gate), read_body=False, end="reset"),
    }
    upstream.answer(ends[end])
    stop = threading.Event()
    with Client(live.address) as client:
        client.send(request("POST", "/v1/messages", b"Content-Length: %d\r\n" % (500 * MIB)))
        feeder = threading.Thread(target=feed, args=(client, stop))
        feeder.start()
        try:
            received = client.receive()
            assert client.closes_within(AT_ONCE_S)
        finally:
            gate.open()
            stop.set()
            feeder.join()
    assert received.status == 413
    assert received.body == b"too large"
    assert received.complete
    (seen,) = upstream.requests
    assert not seen.complete
    assert len(seen.body) < KERNEL_BUFFERS
    connection = upstream.connections[0]
    eventually(lambda: connection.closed_at, within_s=AT_ONCE_S, what="closing the connection of the stopped upload")


def feed(client: Client, stop: threading.Event) -> None:
    """Upload until told to stop, or until the peer closes."""
    while not stop.wait(0.001):
        try:
            client.send(BLOCK)
        except OSError:
            return


def test_an_upload_stops_as_soon_as_an_error_begins(upstream: Upstream, live: Live) -> None:
    gate = upstream.gate()
    refusal = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 9\r\n\r\ntoo "
    upstream.answer(Answer(on_head=(refusal, gate, b"large"), read_body=False, end="stall"))
    with Client(live.address) as client:
        client.send(request("POST", "/v1/messages", b"Content-Length: 1000000\r\n") + b"before")
        assert client.receive_until(b"too ") == b"too "
        client.send(b"after")
        assert not client.closes_within(0.2)
        gate.open()
        assert client.receive().body == b"too large"
    (seen,) = upstream.requests
    assert bytes(seen.body) == b"before"


def test_an_early_answer_may_end_after_the_upload(upstream: Upstream, live: Live) -> None:
    """Upstream may begin to answer while it still reads: nothing is cut when both go on to their end."""
    gate = upstream.gate()
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n"
    upstream.answer(Answer(on_head=(start,), parts=(gate, b"4\r\nlate\r\n0\r\n\r\n")))
    with Client(live.address) as client:
        client.send(request("POST", "/v1/messages", b"Content-Length: 10\r\n") + b"hello")
        assert client.receive_until(b"early") == b"early"
        client.send(b"world")
        _, seen = upstream.wait_for_request()
        eventually(lambda: seen.complete)
        gate.open()
        assert client.receive().body == b"earlylate"
    assert bytes(seen.body) == b"helloworld"


def test_a_client_that_reads_slowly_slows_upstream_down(upstream: Upstream, live: Live) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    blocks = itertools.repeat(b"10000\r\n" + BLOCK + b"\r\n", 3200)
    upstream.answer(Answer(parts=itertools.chain((head,), blocks, (b"0\r\n\r\n",))))
    before = live.peak_memory_bytes(since_now=True)
    with Client(live.address, receive_buffer=65536, timeout_s=60) as client:
        client.send(request(body=b'{"model": "m"}'))
        connection, _ = upstream.wait_for_request()
        sent = -1
        while sent != connection.sent:  # until nothing moves any more
            sent = connection.sent
            time.sleep(0.3)
        assert sent < KERNEL_BUFFERS
        assert live.peak_memory_bytes() - before < 12 * MIB
        received = client.receive()
    assert received.complete
    assert received.body == BLOCK * 3200
    assert live.peak_memory_bytes() - before < 40 * MIB


def test_a_client_that_stops_reading_is_aborted_after_the_write_stall_timeout(upstream: Upstream, strict: Live) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    upstream.answer(Answer(parts=itertools.chain((head,), itertools.repeat(b"10000\r\n" + BLOCK + b"\r\n"))))
    with Client(strict.address, receive_buffer=65536) as client:
        client.send(request("POST", "/stalled/v1/messages", body=b'{"model": "m"}'))
        connection, _ = upstream.wait_for_request()
        eventually(lambda: connection.closed_at, what="giving the stalled client up")
        received = client.receive()
        assert not received.complete
        assert received.ended == "reset"
    assert strict.exchange(path="/stalled/v1/messages")["outcome"] in ("aborted", "timeout")


def test_a_client_that_reads_a_little_now_and_then_is_not_aborted(upstream: Upstream, strict: Live) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (400 * len(BLOCK))
    upstream.answer(Answer(parts=itertools.chain((head,), itertools.repeat(BLOCK, 400))))
    with Client(strict.address, receive_buffer=65536) as client:
        client.send(request(body=b'{"model": "m"}'))
        until = time.monotonic() + 2.5  # more than twice the write stall timeout
        while time.monotonic() < until:
            client.read_some()
            time.sleep(0.1)
        received = client.receive()
    assert received.complete
    assert received.body == BLOCK * 400
