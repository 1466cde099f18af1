"""One request in, at most one request up: strict framing, limits, and no destination from a request."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import websockets.sync.client
import websockets.sync.server
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.settings import Upstream as UpstreamSettings
from tests.live.identity_cases import request
from tests.support.client import Client, NoAnswerError, ask
from tests.support.http1 import chunked
from tests.support.live import DEPLOYMENT_ID, Live, bound_socket, running, settings_for
from tests.support.upstream import OK, Answer, Upstream
from tests.support.waiting import AT_ONCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.http1 import Message

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /v1/messages HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: 5\r\n"

REFUSED_HEADS: dict[str, bytes] = {
    "two different lengths": POST + LENGTH + b"Content-Length: 6\r\n\r\nhello",
    "two equal lengths": POST + LENGTH + LENGTH + b"\r\nhello",
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\nhello",
    "a signed length": POST + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": POST + b"Content-Length: -5\r\n\r\nhello",
    "a hexadecimal length": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "a length with a blank in it": POST + b"Content-Length: 5 5\r\n\r\nhello",
    "an empty length": POST + b"Content-Length:\r\n\r\nhello",
    "a length beyond 64 bits": POST + b"Content-Length: 18446744073709551621\r\n\r\nhello",
    "a blank before the colon of a length": POST + b"Content-Length : 5\r\n\r\nhello",
    "a length and a coding": POST + LENGTH + CHUNKED + b"\r\n0\r\n\r\n",
    "a coding and a length": POST + CHUNKED + LENGTH + b"\r\n0\r\n\r\n",
    "a length and an unknown coding": POST + LENGTH + b"Transfer-Encoding: identity\r\n\r\nhello",
    "two codings": POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "gzip, then chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a quoted coding": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "an empty coding": POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "a coding with a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon of a coding": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a tab before the colon of a coding": POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "a coding on HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "bare LF as line end": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF in the head": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "bare LF before the body": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\n\r\n",
    "bare CR in the head": b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    "a folded field": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
    "a folded first field": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\nX: y\r\n\r\n",
    "no field at all": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two equal Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
    "two Hosts on HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "a NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "a NUL in a name": b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n",
    "a NUL in the target": b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a control character in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n",
    "an empty name": b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "a blank in a name": b"GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n",
    "a field without a colon": b"GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",
    "a blank in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "no version": b"GET /\r\nHost: a\r\n\r\n",
    "a version without a point": b"GET / HTTP/11\r\nHost: a\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
    "HTTP/1.2 in lower case": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a relative target": b"GET v1/messages HTTP/1.1\r\nHost: a\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "an absolute form of another scheme": b"GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
}

REFUSED_CHUNKS: dict[str, bytes] = {
    "a size of letters": b"zz\r\nhello\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a signed size": b"+5\r\nhello\r\n0\r\n\r\n",
    "a size in 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "a chunk that is longer than it says": b"3\r\nhello\r\n0\r\n\r\n",
    "a bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "a bare LF after the chunk": b"5\r\nhello\n0\r\n\r\n",
    "a bare CR after the size": b"5\rXhello\r\n0\r\n\r\n",
    "a NUL in the size": b"5\0\r\nhello\r\n0\r\n\r\n",
    "a bad trailer": b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
    "a folded trailer": b"5\r\nhello\r\n0\r\nx: a\r\n b\r\n\r\n",
}


@pytest.mark.parametrize("size", [1, None], ids=["byte by byte", "at once"])
@pytest.mark.parametrize("name", REFUSED_HEADS)
def test_a_bad_head_is_a_400_the_connection_is_closed_and_upstream_hears_nothing(
    upstream: Upstream, live: Live, name: str, size: int | None
) -> None:
    with Client(live.address) as client:
        received = client.ask(REFUSED_HEADS[name] + SMUGGLED, size=size)
        assert received.status in (400, 501, 505)
        assert received.complete
        assert client.closes_within(AT_ONCE_S)
    assert upstream.requests == []


@pytest.mark.parametrize("size", [1, None], ids=["byte by byte", "at once"])
@pytest.mark.parametrize("name", REFUSED_CHUNKS)
def test_bad_chunks_close_the_connection_and_upstream_sees_no_whole_request(
    upstream: Upstream, live: Live, name: str, size: int | None
) -> None:
    with Client(live.address) as client:
        try:
            received = client.ask(POST + CHUNKED + b"\r\n" + REFUSED_CHUNKS[name] + SMUGGLED, size=size)
        except NoAnswerError:
            pass  # the request was under way already, so a reset is as good as a 400
        else:
            assert received.status == 400
        assert client.closes_within(AT_ONCE_S)
    eventually(lambda: all(connection.closed_at for connection in upstream.connections))
    assert [seen for seen in upstream.requests if seen.complete] == []
    assert not any(b"smuggled" in connection.received for connection in upstream.connections)


def test_the_body_of_a_get_is_not_a_second_request(upstream: Upstream, live: Live) -> None:
    with Client(live.address) as client:
        client.send(request("GET", "/a", body=SMUGGLED) + request("GET", "/b"))
        assert client.receive().complete
        assert client.receive().complete
    assert [(seen.target, bytes(seen.body)) for seen in upstream.requests] == [(b"/a", SMUGGLED), (b"/b", b"")]


# Limits of a head.


def test_a_head_of_more_than_64_kib_is_refused(upstream: Upstream, live: Live) -> None:
    with Client(live.address) as client:
        received = client.ask(request("GET", "/", b"X: " + b"v" * 70_000 + b"\r\n"))
        assert received.status in (400, 431)
        assert client.closes_within(AT_ONCE_S)
    assert upstream.requests == []


def test_an_endless_head_is_refused_before_it_ends(upstream: Upstream, live: Live) -> None:
    with Client(live.address) as client:
        received = client.ask(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"v" * 3_000_000)
        assert received.status in (400, 431)
        assert client.closes_within(AT_ONCE_S)
    assert upstream.requests == []


def test_an_endless_target_is_refused(upstream: Upstream, live: Live) -> None:
    with Client(live.address) as client:
        received = client.ask(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert received.status in (400, 414, 431)
        assert client.closes_within(AT_ONCE_S)
    assert upstream.requests == []


def test_a_head_with_more_than_100_fields_is_refused(upstream: Upstream, live: Live) -> None:
    with Client(live.address) as client:
        received = client.ask(request("GET", "/", b"".join(b"X-%d: 1\r\n" % number for number in range(101))))
        assert received.status in (400, 431)
        assert client.closes_within(AT_ONCE_S)
    assert upstream.requests == []


def test_endless_trailers_are_refused(upstream: Upstream, live: Live) -> None:
    with Client(live.address) as client:
        client.send(POST + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n")
        with suppress(NoAnswerError):  # a reset is as good as an answer
            client.ask(b"X: " + b"v" * 3_000_000)
        assert client.closes_within(AT_ONCE_S)
    assert [seen for seen in upstream.requests if seen.complete] == []


@pytest.mark.slow
def test_a_head_must_arrive_within_ten_seconds(upstream: Upstream, live: Live) -> None:
    silent, dripping, second = (Client(live.address, timeout_s=15) for _ in range(3))
    second.ask(request("GET", "/"))  # the deadline holds for a later head of a kept connection too
    began = time.monotonic()
    for client in (silent, dripping, second):
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    stop = threading.Event()
    drip = threading.Thread(target=drip_into, args=(dripping, stop))
    drip.start()
    try:
        for client in (silent, dripping, second):
            assert client.closes_within(12.5 - (time.monotonic() - began))
    finally:
        stop.set()
        drip.join()
        for client in (silent, dripping, second):
            client.close()
    assert time.monotonic() - began > 9
    assert len(upstream.requests) == 1


def drip_into(client: Client, stop: threading.Event) -> None:
    """Send one byte every half second until told to stop, or until the peer closes."""
    while not stop.wait(0.5):
        try:
            client.send(b"x")
        except OSError:
            return


# Destinations.


@pytest.mark.parametrize(
    ("target", "seen_as"),
    [
        ("http://evil.example/x?y=1", b"/x?y=1"),
        ("HTTP://evil.example:99/x", b"/x"),
        ("https://evil.example/", b"/"),
        ("http://evil.example", b"/"),
        ("http://evil.example?q=1", b"/?q=1"),
        ("http://user:secret@evil.example/x", b"/x"),
        ("http://[::1]:80/x", b"/x"),
    ],
)
def test_the_authority_of_an_absolute_target_is_ignored(
    upstream: Upstream, live: Live, target: str, seen_as: bytes
) -> None:
    assert ask(live.address, request("GET", target)).body == b"ok"
    (seen,) = upstream.requests
    assert seen.target == seen_as
    assert seen.values(b"host") == [b"127.0.0.1:%d" % upstream.port]


@pytest.mark.parametrize("target", ["evil.example:443", "127.0.0.1:80", "/x"])
def test_connect_is_a_405(upstream: Upstream, live: Live, target: str) -> None:
    with Client(live.address) as client:
        received = client.ask(request("CONNECT", target))
        assert received.status == (405 if not target.startswith("/") else received.status)
        assert received.status in (400, 405)
    assert upstream.requests == []


@pytest.mark.parametrize("path", ["/v1/messages", "/anything"])
def test_a_request_that_was_here_before_is_a_508(upstream: Upstream, live: Live, path: str) -> None:
    mark = b"X-Shadow-Hop: " + DEPLOYMENT_ID.encode() + b"\r\n"
    received = ask(live.address, request("POST", path, mark, b"{}"))
    assert received.status == 508
    assert received.header(b"x-shadow-gateway-error")
    assert upstream.requests == []


def test_the_mark_of_another_deployment_travels_beside_ours(upstream: Upstream, live: Live) -> None:
    assert ask(live.address, request("GET", "/", b"x-shadow-hop: another\r\n")).status == 200
    (seen,) = upstream.requests
    assert b", ".join(seen.values(b"x-shadow-hop")) == b"another, " + DEPLOYMENT_ID.encode()


def test_two_gateways_that_point_at_each_other_end_a_request(tmp_path: Path) -> None:
    with bound_socket() as one, bound_socket() as two:
        ports = [listener.getsockname()[1] for listener in (one, two)]
        first, second = (
            settings_for(f"http://127.0.0.1:{port}", tmp_path / f"{port}.db", deployment_id=f"deployment-{port}")
            for port in reversed(ports)
        )
        with running(first, tmp_path, listener=one) as live, running(second, tmp_path, listener=two):
            assert ask(live.address, request("GET", "/")).status == 508


@pytest.fixture(scope="module")
def prefixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Upstream, Live]]:
    """A live process whose upstream has a path prefix."""
    folder = tmp_path_factory.mktemp("prefixed")
    with Upstream() as upstream:
        settings = settings_for(f"{upstream.base_url}/api/anthropic", folder / "shadow.db")
        with running(settings, folder) as live:
            yield upstream, live


@pytest.mark.parametrize(
    "target",
    ["/v1/messages", "/", "//x", "/?q", "/a..b/...", "/a/.b", "/a?x=/../b", "/%2", "/..a", "/a%2eb", "/a?%2e%2e/"],
)
def test_the_prefix_of_the_base_url_comes_before_the_path(prefixed: tuple[Upstream, Live], target: str) -> None:
    upstream, live = prefixed
    upstream.start_over()
    assert ask(live.address, request("GET", target)).body == b"ok"
    (seen,) = upstream.requests
    assert seen.target == b"/api/anthropic" + target.encode()


DOT_SEGMENTS = [
    "/..",
    "/.",
    "/../x",
    "/./x",
    "/a/../../x",
    "/a/..",
    "/a/.",
    "/a/%2e%2e/b",
    "/%2E%2e",
    "/.%2e/x",
    "/a/%2e/b",
    "/a/..%2fb",
    "/a%2f..%2Fb",
    "/a/../b?x",
    "http://a/../x",
]


@pytest.mark.parametrize("target", DOT_SEGMENTS)
def test_dot_segments_are_a_400_where_a_prefix_is_set(prefixed: tuple[Upstream, Live], target: str) -> None:
    upstream, live = prefixed
    upstream.start_over()
    assert ask(live.address, request("GET", target)).status == 400
    assert upstream.requests == []


@pytest.mark.parametrize("kind", ["routes", "auth"])
def test_dot_segments_are_a_400_where_routes_or_gateway_auth_are_set(
    tmp_path: Path, upstream: Upstream, kind: str
) -> None:
    upstream_settings = UpstreamSettings(base_url=upstream.base_url, api_key="sk-upstream")
    choices: dict[str, dict[str, Any]] = {
        "routes": {"routes": {"/openai": upstream_settings}},
        "auth": {"auth": "gateway", "clients": ("sk-client",), "upstream": upstream_settings, "allow_paths": ("/",)},
    }
    with running(settings_for(upstream.base_url, tmp_path / "shadow.db", **choices[kind]), tmp_path) as live:
        for target in DOT_SEGMENTS:
            received = ask(live.address, request("GET", "/openai" + target, b"x-api-key: sk-client\r\n"))
            if not target.startswith("http"):
                assert received.status == 400, target
    assert upstream.requests == []


# Pipelining and what comes while an answer is under way.


def test_pipelined_requests_are_asked_and_answered_one_after_the_other(upstream: Upstream, live: Live) -> None:
    gate = upstream.gate()
    answers = {
        b"/one": Answer(parts=(gate, b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none")),
        b"/two": Answer(parts=(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(b"two", [1]),)),
        b"/three": Answer(parts=(b"HTTP/1.1 200 OK\r\n\r\nthree",), end="fin"),
        b"/four": Answer(parts=(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfour",)),
    }
    upstream.answer(lambda seen: answers[seen.target])
    with Client(live.address) as client:
        client.send(request("GET", "/one") + request("POST", "/two", body=b"x" * 100) + request("GET", "/three")[:20])
        upstream.wait_for_request()
        assert not client.closes_within(0.1)
        assert [seen.target for seen in upstream.requests] == [b"/one"]
        gate.open()
        assert client.receive().body == b"one"
        assert client.receive().body == b"two"
        client.send(request("GET", "/three")[20:] + request("GET", "/four"))
        assert client.receive().body == b"three"
    assert sorted(seen.target for seen in upstream.requests)[-3:] == [b"/one", b"/three", b"/two"]


def test_fifty_pipelined_requests_are_all_answered_in_order(upstream: Upstream, live: Live) -> None:
    def echo(seen: Message) -> Answer:
        body = bytes(seen.target)
        return Answer(parts=(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body),))

    upstream.answer(echo)
    with Client(live.address) as client:
        client.send(b"".join(request("GET", f"/{number}") for number in range(50)))
        assert [client.receive().body for _ in range(50)] == [b"/%d" % number for number in range(50)]


def test_more_than_64_kib_sent_ahead_of_an_answer_close_the_connection(upstream: Upstream, live: Live) -> None:
    upstream.answer(Answer(parts=(), end="stall"))
    with Client(live.address) as client:
        client.send(request("GET", "/"))
        connection, _ = upstream.wait_for_request()
        with suppress(OSError):  # closed while we were still sending: just what is asked for
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 300_000)
        assert client.closes_within(AT_ONCE_S)
    eventually(lambda: connection.closed_at, within_s=AT_ONCE_S)
    assert len(upstream.requests) == 1


def test_requests_ahead_of_answers_that_nobody_reads_close_the_connection(upstream: Upstream, live: Live) -> None:
    before = live.peak_memory_bytes(since_now=True)
    endless = request("GET", "/healthz") * 1_000_000
    with Client(live.address, receive_buffer=4096, timeout_s=20) as client, pytest.raises(ConnectionError):
        client.send(endless)
    assert live.peak_memory_bytes() - before < 8 << 20
    assert upstream.requests == []


def test_a_client_that_asks_for_the_close_gets_it(upstream: Upstream, live: Live) -> None:
    with Client(live.address) as client:
        received = client.ask(request("GET", "/", b"Connection: close\r\n"))
        assert received.body == b"ok"
        assert client.closes_within(AT_ONCE_S)


def test_an_idle_client_is_closed_after_keep_alive(tmp_path: Path, upstream: Upstream) -> None:
    settings = settings_for(upstream.base_url, tmp_path / "shadow.db", keep_alive_s=0.5)
    with running(settings, tmp_path) as live, Client(live.address) as client:
        assert client.ask(request("GET", "/")).body == b"ok"
        assert client.closes_within(AT_ONCE_S)


def test_connections_beyond_the_maximum_are_refused_and_come_back(tmp_path: Path, upstream: Upstream) -> None:
    settings = settings_for(upstream.base_url, tmp_path / "shadow.db", max_connections=3)
    with running(settings, tmp_path) as live:
        clients = [Client(live.address) for _ in range(3)]
        assert [client.ask(request("GET", "/")).status for client in clients] == [200] * 3
        with Client(live.address) as one_too_many, suppress(NoAnswerError):  # a close without a word is as good
            assert one_too_many.ask(request("GET", "/")).status == 503
        for client in clients:
            client.close()
        eventually(lambda: ask(live.address, request("GET", "/")).status == 200)


# Expect and upgrades.


def test_a_refusal_answers_an_expecting_client_without_its_body(upstream: Upstream, live: Live) -> None:
    refusal = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
    upstream.answer(Answer(on_head=(refusal,), read_body=False, end="fin"))
    with Client(live.address) as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        received = client.receive()
    assert received.status == 417
    assert received.interim == []


def test_an_expecting_client_is_told_to_go_on_only_by_upstream(upstream: Upstream, live: Live) -> None:
    gate = upstream.gate()
    upstream.answer(Answer(on_head=(gate, b"HTTP/1.1 100 Continue\r\n\r\n"), parts=(OK,)))
    with Client(live.address, timeout_s=5) as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        _, seen = upstream.wait_for_request()
        assert seen.values(b"expect") == [b"100-continue"]
        assert not client.closes_within(0.1)
        gate.open()
        assert client.receive_head().status == 100
        client.send(b"hello")
        received = client.receive()
    assert [status for status, _ in received.interim] == [100]
    assert received.body == b"ok"
    assert bytes(seen.body) == b"hello"


def test_an_upgrade_to_h2c_is_dropped_and_its_body_travels(upstream: Upstream, live: Live) -> None:
    fields = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    with Client(live.address) as client:
        for _ in range(2):
            assert client.ask(request("POST", "/v1/messages", fields, b"hello")).body == b"ok"
        chunks = chunked(b"hello", [2])
        assert client.ask(POST + fields + CHUNKED + b"\r\n" + chunks).body == b"ok"
    for seen in upstream.requests:
        assert bytes(seen.body) == b"hello"
        assert {b"upgrade", b"http2-settings"} & {name.lower() for name, _ in seen.headers} == set()
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("upgrade", [b"h2c, websocket", b"TLS/1.0", b"foo", b"websocket2"])
def test_any_other_upgrade_is_dropped(upstream: Upstream, live: Live, upgrade: bytes) -> None:
    with Client(live.address) as client:
        fields = b"Connection: upgrade\r\nUpgrade: " + upgrade + b"\r\n"
        assert client.ask(request("GET", "/", fields)).body == b"ok"
        assert client.ask(request("GET", "/")).body == b"ok"
    assert upstream.requests[0].values(b"upgrade") in ([], [b"websocket"])


# Websockets.


@pytest.fixture
def echoing_websocket() -> Iterator[int]:
    """The port of a real websocket server that echoes, and closes with 4321 when asked to."""

    def echo(connection: websockets.sync.server.ServerConnection) -> None:
        try:
            for message in connection:
                if message == "close":
                    connection.close(4321, "as you wish")
                connection.send(message)
        except ConnectionClosed:
            return

    with websockets.sync.server.serve(echo, "127.0.0.1", 0, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


def test_a_websocket_is_a_blind_tunnel_after_101(tmp_path: Path, echoing_websocket: int) -> None:
    settings = settings_for(f"http://127.0.0.1:{echoing_websocket}", tmp_path / "shadow.db")
    with running(settings, tmp_path) as live:
        address = f"ws://127.0.0.1:{live.address[1]}/v1/realtime?model=m"
        with websockets.sync.client.connect(address, max_size=None) as socket:
            for message in ("Grüße 🦊", b"\x00\xff" * 10, "x" * 3_000_000, ""):
                socket.send(message)
                assert socket.recv(5) == message
            socket.ping().wait(5)
            socket.send("close")
            with pytest.raises(ConnectionClosed) as caught:
                socket.recv(5)
        assert caught.value.rcvd
        assert caught.value.rcvd.code == 4321
        (exchange,) = live.exchanges(path="/v1/realtime")
        assert exchange["status"] == 101


def test_a_websocket_that_upstream_refuses_is_an_ordinary_answer(upstream: Upstream, live: Live) -> None:
    upstream.answer(Answer(parts=(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno",)))
    with pytest.raises(InvalidStatus) as caught:
        websockets.sync.client.connect(f"ws://127.0.0.1:{live.address[1]}/v1/realtime")
    assert caught.value.response.status_code == 403
    assert caught.value.response.body == b"no"


def test_bytes_sent_right_behind_a_101_arrive(upstream: Upstream, live: Live) -> None:
    switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    upstream.answer(Answer(parts=(switching + b"from upstream",), end="stall"))
    with Client(live.address) as client:
        client.send(request("GET", "/ws", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"))
        received = client.receive_head()
        assert received.status == 101
        assert [value.lower() for value in received.values(b"upgrade")] == [b"websocket"]
        assert b"upgrade" in b",".join(received.values(b"connection")).lower()
        assert client.receive_tunnelled(13) == b"from upstream"
        connection = upstream.connections[-1]
    eventually(lambda: connection.closed_at, within_s=AT_ONCE_S)


def test_a_tunnel_has_back_pressure_and_bounded_memory(upstream: Upstream, live: Live) -> None:
    switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    endless = itertools.chain((switching,), itertools.repeat(bytes(65536)))
    upstream.answer(Answer(parts=endless, end="stall"))
    before = live.peak_memory_bytes(since_now=True)
    with Client(live.address, receive_buffer=65536) as client:
        client.send(request("GET", "/ws", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"))
        connection, _ = upstream.wait_for_request()
        sent = -1
        while sent != connection.sent:  # until nothing moves any more
            sent = connection.sent
            time.sleep(0.3)
    assert sent < 24 << 20
    assert live.peak_memory_bytes() - before < 12 << 20
    eventually(lambda: connection.closed_at, within_s=AT_ONCE_S)


def test_nothing_of_an_own_error_repeats_what_the_client_sent(upstream: Upstream, live: Live) -> None:
    with Client(live.address) as client:
        received = client.ask(b"GET / HTTP/1.1\r\nHost: a\r\nx-api-key: sk-secret\r\nbad field\r\n\r\n")
    assert not re.search(b"sk-secret|bad field", received.body)
    assert json.loads(received.body)["error"]
