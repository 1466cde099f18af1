"""The answer is upstream's answer, and upstream is asked what the app asked: direct against through the gateway."""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.live.identity_cases import CASES, JSON, Case, chunked_answer, events, request
from tests.support.client import Client, Received, ask
from tests.support.http1 import HOP_BY_HOP, Headers, Message, chunked
from tests.support.live import DEPLOYMENT_ID
from tests.support.upstream import Answer, Upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.live import Live


def end_to_end(headers: Headers, *, without: frozenset[bytes]) -> Headers:
    """The fields that must come through, in order and with their case."""
    return [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP | without]


def as_asked(message: Message) -> dict[str, object]:
    """A request as the upstream saw it, without the documented differences."""
    return {
        "line": message.start.rsplit(b" ", 1)[0],
        "headers": end_to_end(message.headers, without=frozenset({b"host", b"x-shadow-hop"})),
        "framing": message.framing,
        "body": bytes(message.body),
        "trailers": message.trailers,
        "complete": message.complete,
    }


def as_answered(received: Received) -> dict[str, object]:
    """An answer as the client saw it, without the documented differences."""
    return {
        "status": received.status,
        "reason": received.reason,
        "headers": end_to_end(received.headers, without=frozenset({b"x-shadow-request-id"})),
        "body": received.body,
        "trailers": received.trailers,
        "interim": received.interim,
        "complete": received.complete,
    }


def test_there_are_at_least_200_cases_and_no_name_is_used_twice() -> None:
    names = Counter(case.name for case in CASES)
    assert len(names) >= 200
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_exchange_is_the_same_direct_and_through_the_gateway(upstream: Upstream, live: Live, case: Case) -> None:
    upstream.answer(case.answer)
    direct = ask(upstream.address, case.request, size=case.request_size)
    (asked_directly,) = upstream.requests
    upstream.answer(case.answer)
    through = ask(live.address, case.request, size=case.request_size)
    (asked_through,) = upstream.requests
    assert as_answered(through) == as_answered(direct)
    assert as_asked(asked_through) == as_asked(asked_directly)
    assert direct.complete
    assert direct.ended in ("kept", "fin")
    assert through.ended in ("kept", "fin")
    assert through.request_id
    assert asked_through.values(b"x-shadow-hop") == [DEPLOYMENT_ID.encode()]
    assert asked_through.values(b"host") == [f"127.0.0.1:{upstream.port}".encode()]


def test_one_connection_carries_many_exchanges_of_every_kind(upstream: Upstream, live: Live) -> None:
    kept = [case for case in CASES if b"HTTP/1.0" not in case.request and case.answer.end == "keep"][::5]
    with Client(live.address) as client:
        for case in kept:
            upstream.answer(case.answer)
            client.send(case.request)
            received = client.receive(method=case.request.split(b" ")[0])
            assert received.complete, case.name
            assert received.ended == "kept", case.name
            upstream.answer(case.answer)
            assert as_answered(received) == as_answered(ask(upstream.address, case.request)), case.name


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("delimited", ["chunks", "close", "length"])
def test_each_event_reaches_the_client_before_the_next_one_is_sent(
    upstream: Upstream,
    live: Live,
    line_end: bytes,
    delimited: str,
) -> None:
    text = [b"data: one" + line_end * 2, b"data: two" + line_end * 2, b"data: three" + line_end * 2]
    gates = [upstream.gate(), upstream.gate()]
    head = {
        "chunks": b"transfer-encoding: chunked\r\n",
        "length": b"content-length: %d\r\n" % sum(map(len, text)),
        "close": b"",
    }[delimited]
    one, two, three = (b"%x\r\n%s\r\n" % (len(event), event) if delimited == "chunks" else event for event in text)
    last = b"0\r\n\r\n" if delimited == "chunks" else b""
    upstream.answer(
        Answer(
            parts=(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + one, gates[0], two, gates[1], three + last),
            end="fin" if delimited == "close" else "keep",
        ),
    )
    with Client(live.address) as client:
        client.send(request(body=b'{"model": "m", "stream": true}'))
        assert client.receive_until(text[0]) == text[0]
        gates[0].open()
        assert client.receive_until(text[1]) == text[0] + text[1]
        gates[1].open()
        received = client.receive()
    assert received.body == b"".join(text)
    assert received.complete


def test_the_head_of_an_answer_does_not_wait_for_its_body(upstream: Upstream, live: Live) -> None:
    gate = upstream.gate()
    upstream.answer(Answer(parts=(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", gate, b"ok")))
    with Client(live.address) as client:
        client.send(request(body=b"{}"))
        assert client.receive_head().status == 200
        gate.open()
        assert client.receive().body == b"ok"


def test_each_slice_of_an_upload_travels_before_the_next_one_is_sent(upstream: Upstream, live: Live) -> None:
    with Client(live.address) as client:
        client.send(b"POST /v1/files HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection, seen = upstream.wait_for_request()
        for number in range(3):
            client.send(chunked(b"slice %d" % number, [100])[:-5])
            eventually(functools.partial(seen.body.endswith, b"slice %d" % number))
        client.send(b"0\r\n\r\n")
        assert client.receive().body == b"ok"
    assert seen.complete
    assert connection.error is None


def test_an_old_client_gets_plain_bytes_of_a_chunked_answer(upstream: Upstream, live: Live) -> None:
    upstream.answer(chunked_answer(events(b"\n"), [10, 20], trailers=b"x-sum: 1\r\n"))
    received = ask(live.address, b"GET /old HTTP/1.0\r\n\r\n")
    assert received.header(b"transfer-encoding") is None
    assert received.body == events(b"\n")
    assert received.ended == "fin"


def test_an_old_client_is_spared_interim_answers(upstream: Upstream, live: Live) -> None:
    upstream.answer(
        Answer(parts=(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",))
    )
    received = ask(live.address, b"GET /old HTTP/1.0\r\n\r\n")
    assert received.interim == []
    assert received.body == b"ok"


def test_an_old_client_may_keep_its_connection(upstream: Upstream, live: Live) -> None:
    with Client(live.address) as client:
        for _ in range(2):
            received = client.ask(b"GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert received.body == b"ok"
            if received.ended == "fin":
                break


def test_fields_of_one_connection_stay_on_it_both_ways(upstream: Upstream, live: Live) -> None:
    upstream.answer(
        Answer(
            parts=(
                (
                    b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nKeep-Alive: timeout=99\r\nX-Mine: 1\r\n"
                    b"Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Yours: 2\r\ncontent-length: 2\r\n\r\nok"
                ),
            ),
        ),
    )
    received = ask(
        live.address,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-Private ,TE\r\nTE: trailers\r\nX-PRIVATE: 1\r\n"
        b"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nX-Public: 2\r\n\r\n",
    )
    names = {name.lower() for name, _ in received.headers}
    assert b"x-yours" in names
    assert not names & {b"x-mine", b"keep-alive", b"proxy-connection", b"upgrade"}
    (asked,) = upstream.requests
    names = {name.lower() for name, _ in asked.headers}
    assert b"x-public" in names
    assert not names & {b"x-private", b"te", b"keep-alive", b"proxy-connection"}


def test_a_connection_field_cannot_take_away_the_length_or_the_host(upstream: Upstream, live: Live) -> None:
    received = ask(
        live.address,
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length, host, authorization\r\n"
        b"Content-Length: 5\r\n\r\nhello",
    )
    assert received.complete
    if received.status == 200:
        (asked,) = upstream.requests
        assert bytes(asked.body) == b"hello"
        assert asked.values(b"host") == [f"127.0.0.1:{upstream.port}".encode()]
    else:
        assert received.status == 400
        assert upstream.requests == []


def test_our_own_request_fields_do_not_travel_on(upstream: Upstream, live: Live) -> None:
    ask(
        live.address,
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Shadow: off\r\nx-shadow-conversation: c\r\nX-Shadow-Version: 2\r\n"
        b"x-app: y\r\n\r\n",
    )
    (asked,) = upstream.requests
    own = [name.lower() for name, _ in asked.headers if name.lower().startswith(b"x-shadow")]
    assert own == [b"x-shadow-hop"]
    assert asked.values(b"x-app") == [b"y"]


def test_every_exchange_has_a_request_id_of_its_own(upstream: Upstream, live: Live) -> None:
    with Client(live.address) as client:
        ids = {client.ask(request(body=JSON)).request_id for _ in range(20)}
    assert len(ids) == 20


def test_health_is_answered_here_and_recorded_nowhere(upstream: Upstream, live: Live) -> None:
    assert ask(live.address, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
    assert ask(live.address, b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
    assert upstream.requests == []
