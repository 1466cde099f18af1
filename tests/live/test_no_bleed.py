"""What one client sends reaches no other client's exchange, and nothing is made up on the way."""

from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.live.identity_cases import request, upload
from tests.support.client import Client, ask
from tests.support.http1 import chunked
from tests.support.upstream import Answer, Upstream
from tests.support.waiting import AT_ONCE_S, eventually

if TYPE_CHECKING:
    from tests.support.http1 import Message
    from tests.support.live import Live

MARK = re.compile(rb"client-\d+-")


def echo_with_cookies(seen: Message) -> Answer:
    """Answers with what the client sent, sets two cookies of its own, and takes a moment."""
    mark = MARK.search(seen.target)
    assert mark
    body = bytes(seen.body) or b"empty"
    head = (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: session=" + mark[0] + b"\r\nset-cookie: other=" + mark[0] + b"\r\n"
        b"ETag: " + mark[0] + b"\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    return Answer(parts=(head, 0.002, chunked(body, [7])))


def one_client(live: Live, number: int) -> None:
    """Fifteen exchanges over one kept connection, with key, cookie and body of its own; some without any."""
    chance = random.Random(number)
    mark = b"client-%d-" % number
    with Client(live.address, timeout_s=30) as client:
        for turn in range(15):
            secrets = b"x-api-key: sk-%s\r\nAuthorization: Bearer %s\r\nCookie: session=%s\r\n" % (mark, mark, mark)
            headers = secrets if chance.random() < 0.7 else b""
            body = b'{"model": "m", "user": "%s", "turn": %d}' % (mark, turn) * chance.randrange(1, 60)
            target = f"/{mark.decode()}/v1/messages?turn={turn}"
            received = client.ask(
                chance.choice(
                    (
                        request("GET", target, headers),
                        request("POST", target, headers, body),
                        upload(body, [9], headers=headers).replace(b"/v1/messages", target.encode(), 1),
                    )
                ),
                size=chance.choice((None, 50)),
            )
            assert received.complete
            assert set(MARK.findall(b"".join(value for _, value in received.headers) + received.body)) <= {mark}
            assert received.header(b"etag") == mark


def test_forty_interleaved_clients_never_meet(upstream: Upstream, live: Live) -> None:
    upstream.answer(echo_with_cookies)
    with ThreadPoolExecutor(40) as pool:
        list(pool.map(lambda number: one_client(live, number), range(40)))
    requests = upstream.requests
    assert len(requests) == 40 * 15
    for seen in requests:
        everything = seen.start + b"".join(name + value for name, value in seen.headers) + bytes(seen.body)
        assert len(set(MARK.findall(everything))) == 1
    shared = [connection for connection in upstream.connections if len(clients_of(connection.requests)) > 1]
    assert shared, "no upstream connection was shared, so this proved nothing"


def clients_of(requests: list[Message]) -> set[bytes]:
    """Whose requests these are."""
    return {mark for seen in requests for mark in MARK.findall(seen.target)}


def test_a_cookie_that_was_set_is_not_sent_back_for_the_client(upstream: Upstream, live: Live) -> None:
    upstream.answer(Answer(parts=(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\ncontent-length: 0\r\n\r\n",)))
    for _ in range(3):
        ask(live.address, request("GET", "/"))
    assert [seen.values(b"cookie") for seen in upstream.requests] == [[], [], []]


def test_nothing_is_added_to_a_bare_request(upstream: Upstream, live: Live) -> None:
    ask(live.address, b"GET /bare HTTP/1.1\r\nHost: api.example\r\n\r\n")
    (seen,) = upstream.requests
    assert {name.lower() for name, _ in seen.headers} - {b"connection"} == {b"host", b"x-shadow-hop"}


def test_nothing_is_added_to_a_bare_answer(upstream: Upstream, live: Live) -> None:
    received = ask(live.address, b"GET /bare HTTP/1.1\r\nHost: api.example\r\n\r\n")
    assert {name.lower() for name, _ in received.headers} - {b"connection"} == {
        b"content-length",
        b"x-shadow-request-id",
    }


def test_a_redirect_is_handed_on_and_not_followed(upstream: Upstream, live: Live) -> None:
    upstream.answer(
        Answer(parts=(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\ncontent-length: 0\r\n\r\n",))
    )
    received = ask(live.address, request("GET", "/"))
    assert received.status == 307
    assert received.header(b"location") == b"/elsewhere"
    assert len(upstream.requests) == 1


def test_the_connection_used_last_is_used_first(upstream: Upstream, live: Live) -> None:
    gates = {b"/one": upstream.gate(), b"/two": upstream.gate()}
    ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    upstream.answer(lambda seen: Answer(parts=(gates[seen.target], ok)))
    with Client(live.address) as one, Client(live.address) as two:
        one.send(request("GET", "/one"))
        eventually(lambda: len(upstream.connections) == 1)
        two.send(request("GET", "/two"))
        eventually(lambda: len(upstream.requests) == 2)
        gates[b"/two"].open()
        two.receive()
        gates[b"/one"].open()
        one.receive()
        two.ask(request("GET", "/one"))
    assert [[seen.target for seen in log.requests] for log in upstream.connections] == [[b"/one", b"/one"], [b"/two"]]


def test_a_connection_whose_close_was_announced_is_not_used_again(upstream: Upstream, live: Live) -> None:
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 2\r\n\r\nok"
    old = b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"
    for announced in (closing, old):
        upstream.answer(Answer(parts=(announced,), end="stall"))
        with Client(live.address) as client:
            assert client.ask(request("GET", "/")).body == b"ok"
            assert client.ask(request("GET", "/")).body == b"ok"
        assert [len(log.requests) for log in upstream.connections] == [1, 1]
        eventually(lambda: all(log.closed_at for log in upstream.connections), within_s=AT_ONCE_S)


def test_connections_to_upstream_are_kept_and_shared(upstream: Upstream, live: Live) -> None:
    for _ in range(10):
        assert ask(live.address, request(body=b"{}")).status == 200
    assert [len(connection.requests) for connection in upstream.connections] == [10]
