"""Header rules as tables of cases, and against httptools: what we accept, the other reader accepts the same way."""

from __future__ import annotations

from dataclasses import dataclass

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import heads
from gateway.heads import BadHeadError, answer_head, read_answer, read_request, request_head, trailer_lines

GET = b"GET / HTTP/1.1\r\n"
HOST = b"Host: a\r\n"


def refused(block: bytes) -> int:
    with pytest.raises(BadHeadError) as caught:
        read_request(block)
    return caught.value.status


def sent_up(block: bytes, **changes: object) -> list[bytes]:
    """The lines that go up for a head, without the request line, the hop mark and the empty line."""
    arguments = {
        "target": b"/",
        "authority": b"up:1",
        "drop": frozenset(),
        "credentials": (),
        "deployment_id": b"me",
    } | changes
    head = request_head(read_request(block), **arguments)  # type: ignore[arg-type]
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


@pytest.mark.parametrize(
    ("name", "block", "status"),
    [
        ("no request line", b"\r\n", 400),
        ("no target", b"GET HTTP/1.1\r\nHost: a\r\n", 400),
        ("two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n", 400),
        ("a space in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n", 400),
        ("a tab in the target", b"GET /a\tb HTTP/1.1\r\nHost: a\r\n", 400),
        ("a control character in the method", b"G\x01T / HTTP/1.1\r\nHost: a\r\n", 400),
        ("HTTP/0.9", b"GET /\r\nHost: a\r\n", 400),
        ("HTTP/2", b"GET / HTTP/2.0\r\nHost: a\r\n", 505),
        ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n", 505),
        ("lower-case protocol", b"GET / http/1.1\r\nHost: a\r\n", 400),
        ("bare LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n", 400),
        ("bare LF after a field", GET + b"A: b\nHost: a\r\n", 400),
        ("bare CR in a value", GET + HOST + b"A: b\rc\r\n", 400),
        ("NUL in a value", GET + HOST + b"A: b\0c\r\n", 400),
        ("DEL in a value", GET + HOST + b"A: b\x7f\r\n", 400),
        ("NUL in a name", GET + HOST + b"A\0: b\r\n", 400),
        ("obs-fold", GET + HOST + b"A: b\r\n c\r\n", 400),
        ("a tab that folds", GET + HOST + b"A: b\r\n\tc\r\n", 400),
        ("a field that starts with a space", GET + b" A: b\r\n" + HOST, 400),
        ("a space before the colon", GET + HOST + b"A : b\r\n", 400),
        ("no colon", GET + HOST + b"nonsense\r\n", 400),
        ("an empty name", GET + HOST + b": b\r\n", 400),
        ("a name that is no token", GET + HOST + b"A(b): c\r\n", 400),
        ("no Host", GET, 400),
        ("two Hosts", GET + HOST + HOST, 400),
        ("two Hosts on 1.0", b"GET / HTTP/1.0\r\n" + HOST + HOST, 400),
        ("a list of Hosts", GET + b"Host: a, b\r\n", 400),
        ("a Host with a user", GET + b"Host: u@a\r\n", 400),
        ("a Host with a path", GET + b"Host: a/b\r\n", 400),
        ("a Host with a blank", GET + b"Host: a b\r\n", 400),
        ("a Host that is not ASCII", GET + b"Host: \xe4\r\n", 400),
        ("two equal lengths", GET + HOST + b"Content-Length: 1\r\n" * 2, 400),
        ("two lengths", GET + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n", 400),
        ("a list of lengths", GET + HOST + b"Content-Length: 1, 1\r\n", 400),
        ("a signed length", GET + HOST + b"Content-Length: +1\r\n", 400),
        ("a negative length", GET + HOST + b"Content-Length: -1\r\n", 400),
        ("a hexadecimal length", GET + HOST + b"Content-Length: 0x1\r\n", 400),
        ("an empty length", GET + HOST + b"Content-Length:\r\n", 400),
        ("an absurd length", GET + HOST + b"Content-Length: " + b"9" * 19 + b"\r\n", 400),
        ("length and coding", GET + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
        ("another coding", GET + HOST + b"Transfer-Encoding: gzip\r\n", 400),
        ("codings", GET + HOST + b"Transfer-Encoding: gzip, chunked\r\n", 400),
        ("chunked twice", GET + HOST + b"Transfer-Encoding: chunked\r\n" * 2, 400),
        ("a blank behind the coding", GET + HOST + b"Transfer-Encoding: chunked \r\n", 400),
        ("chunked with a parameter", GET + HOST + b"Transfer-Encoding: chunked;q=1\r\n", 400),
        ("identity", GET + HOST + b"Transfer-Encoding: identity\r\n", 400),
        ("a coding with a vertical tab", GET + HOST + b"Transfer-Encoding: \x0bchunked\r\n", 400),
        ("chunked on 1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", 400),
        ("101 fields", GET + HOST + b"A: b\r\n" * 100, 431),
        ("more than 64 KiB", GET + HOST + b"A: " + b"b" * 65_536 + b"\r\n", 431),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_head_that_two_readers_could_read_differently_is_refused(name: str, block: bytes, status: int) -> None:
    assert refused(block) == status


@dataclass
class Framed:
    block: bytes
    length: int | None = None
    chunked: bool = False
    keep_alive: bool = True


@pytest.mark.parametrize(
    "case",
    [
        Framed(GET + HOST),
        Framed(GET + b"host:a\r\n"),
        Framed(GET + b"Host:\r\n"),
        Framed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n", length=0),
        Framed(b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length:\t12 \r\n", length=12),
        Framed(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tChunked\r\n", chunked=True),
        Framed(GET + b"Host: [::1%25eth0]:8080 \r\n"),
        Framed(GET + b"Host: my_service.local:8080\r\n"),
        Framed(b"GET / HTTP/1.0\r\n", keep_alive=False),
        Framed(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", keep_alive=False),
        Framed(GET + HOST + b"Connection: keep-alive\r\n"),
        Framed(GET + HOST + b"Connection: a, Close\r\n", keep_alive=False),
        Framed(b"BREW /pot?x=%00&y[]=\xc3\xa9 HTTP/1.1\r\n" + HOST),
        Framed(GET + HOST + b"A: b\r\n" * 99),
    ],
)
def test_a_sound_head_is_framed(case: Framed) -> None:
    head = read_request(case.block)
    assert (head.length, head.chunked, head.keep_alive) == (case.length, case.chunked, case.keep_alive)


def test_an_unfinished_head_with_a_bare_line_end_is_seen_early() -> None:
    assert heads.has_bare_lf(b"GET / HTTP/1.1\nHost")
    assert heads.has_bare_lf(b"\n")
    assert not heads.has_bare_lf(b"GET / HTTP/1.1\r\nHost")


@pytest.mark.parametrize(
    ("part", "may"),
    [
        (b"", True),
        (b"H", True),
        (b"HTTP/1.1 200 O", True),
        (b"SSH-2.0", False),
        (b"HTTP/2", False),
        (b"HTTP/1.1 200 OK\n", False),
    ],
)
def test_another_protocol_is_told_at_its_first_bytes(part: bytes, *, may: bool) -> None:
    assert heads.may_become_answer(part) is may


@pytest.mark.parametrize(
    ("fields", "method", "websocket"),
    [
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"GET", True),
        (b"connection: keep-alive, upgrade\r\nupgrade: WebSocket\r\n", b"GET", True),
        (b"Upgrade: websocket\r\n", b"GET", False),
        (b"Connection: Upgrade\r\n", b"GET", False),
        (b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"GET", False),
        (b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", b"GET", False),
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"POST", False),
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n", b"GET", False),
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n", b"GET", False),
    ],
)
def test_only_a_plain_websocket_upgrade_travels(fields: bytes, method: bytes, *, websocket: bool) -> None:
    block = method + b" / HTTP/1.1\r\nHost: a\r\n" + fields
    assert read_request(block).websocket is websocket
    lines = sent_up(block)
    assert (b"upgrade: websocket" in lines) is websocket
    assert (b"connection: Upgrade" in lines) is websocket
    assert not any(line.lower().startswith(b"upgrade: h2c") for line in lines)


@pytest.mark.parametrize(
    ("block", "expects"),
    [
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n", True),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: other\r\n", False),
        (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n", False),
        (b"POST / HTTP/1.1\r\nHost: a\r\n", False),
    ],
)
def test_leave_to_send_is_expected_by_http_1_1_clients_that_say_so(block: bytes, *, expects: bool) -> None:
    assert read_request(block).expects_continue is expects


def test_lines_go_up_as_they_came_and_host_is_replaced_in_place() -> None:
    block = b"POST /x HTTP/1.1\r\nB:1\r\nhOST: a\r\nb:  2 \r\nCookie: c\r\nContent-Length: 3\r\nAuthorization: k\r\n"
    assert sent_up(block, target=b"/p/x?q") == [
        b"POST /p/x?q HTTP/1.1",
        b"B:1",
        b"hOST: up:1",
        b"b:  2 ",
        b"Cookie: c",
        b"Content-Length: 3",
        b"Authorization: k",
        b"x-shadow-hop: me",
    ]


def test_a_request_without_host_gets_one() -> None:
    assert sent_up(b"GET / HTTP/1.0\r\n") == [b"GET / HTTP/1.1", b"host: up:1", b"x-shadow-hop: me"]


@pytest.mark.parametrize(
    "field",
    [
        b"Connection: close",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: x",
        b"Proxy-Authorization: x",
        b"Proxy-Authenticate: x",
        b"TE: trailers",
        b"HTTP2-Settings: x",
        b"Upgrade: h2c",
        b"X-Shadow: off",
        b"X-Shadow-Conversation: c",
    ],
)
def test_what_speaks_of_this_connection_or_to_us_stays_here(field: bytes) -> None:
    lines = sent_up(GET + HOST + field + b"\r\nX-Shadows: kept\r\n")
    assert lines[1:] == [b"Host: up:1", b"X-Shadows: kept", b"x-shadow-hop: me"]


def test_named_fields_stay_here_but_what_frames_and_routes_cannot_be_named_away() -> None:
    block = (
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: x-a, host, content-length, transfer-encoding,\r\n"
        b"Connection: X-B\r\nX-A: 1\r\nx-b: 2\r\nX-C: 3\r\nContent-Length: 4\r\n"
    )
    assert sent_up(block)[1:] == [b"Host: up:1", b"X-C: 3", b"Content-Length: 4", b"x-shadow-hop: me"]


def test_foreign_hop_marks_are_kept_and_ours_is_added() -> None:
    block = GET + HOST + b"Connection: x-shadow-hop\r\nX-Shadow-Hop: one, two\r\nx-shadow-hop: three \r\n"
    assert sent_up(block)[-1] == b"x-shadow-hop: one, two, three, me"


def test_credentials_are_dropped_and_replaced_when_asked() -> None:
    block = GET + HOST + b"X-Api-Key: mine\r\nAuthorization: Bearer mine\r\nauthorization: again\r\n"
    lines = sent_up(block, drop=heads.CREDENTIALS, credentials=(b"x-api-key: theirs",))
    assert lines[1:] == [b"Host: up:1", b"x-api-key: theirs", b"x-shadow-hop: me"]


def test_a_new_length_replaces_the_old_one_in_place() -> None:
    block = b"POST / HTTP/1.1\r\nCONTENT-LENGTH:  3\r\nHost: a\r\n"
    assert sent_up(block, length=42)[1:3] == [b"CONTENT-LENGTH: 42", b"Host: up:1"]


@pytest.mark.parametrize(
    "block",
    [
        b"\r\n",
        b"HTTP/2 200 OK\r\n",
        b"HTTP/1.1 20 OK\r\n",
        b"HTTP/1.1 099 OK\r\n",
        b"HTTP/1.1 2000 OK\r\n",
        b"HTTP/1.1 abc OK\r\n",
        b"HTTP/1.1 200 O\0K\r\n",
        b"GET / HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_an_answer_that_cannot_be_trusted_is_refused(block: bytes) -> None:
    with pytest.raises(BadHeadError):
        read_answer(block)


@pytest.mark.parametrize(
    ("block", "first"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK"),
        (b"HTTP/1.1 529 \r\n", b"HTTP/1.1 529 "),
        (b"HTTP/1.1 200\r\n", b"HTTP/1.1 200"),
        (b"HTTP/1.0 404 Nicht  da \xfc\r\n", b"HTTP/1.1 404 Nicht  da \xfc"),
    ],
)
def test_the_status_line_keeps_upstreams_reason(block: bytes, first: bytes) -> None:
    assert (
        answer_head(read_answer(block), request_id=b"i", close=False) == first + b"\r\nx-shadow-request-id: i\r\n\r\n"
    )


def test_an_answers_lines_come_down_as_they_came() -> None:
    fields = b"Date: now\r\nSET-Cookie:a\r\nset-cookie: b \r\nServer: s\r\nVia: v\r\nContent-Length: 2\r\n"
    down = answer_head(read_answer(b"HTTP/1.1 200 OK\r\n" + fields), request_id=b"i", close=False)
    assert down == b"HTTP/1.1 200 OK\r\n" + fields + b"x-shadow-request-id: i\r\n\r\n"


def test_an_answers_hop_by_hop_and_named_fields_stay_here() -> None:
    block = (
        b"HTTP/1.1 200 OK\r\nConnection: close, x-a\r\nKeep-Alive: 5\r\nX-A: 1\r\nX-B: 2\r\n"
        b"X-Shadow-Request-Id: of another gateway\r\nx-shadow-gateway-error: kept\r\n"
    )
    head = read_answer(block)
    assert not head.keep_alive
    down = answer_head(head, request_id=b"i", close=True)
    assert down == (
        b"HTTP/1.1 200 OK\r\nX-B: 2\r\nx-shadow-gateway-error: kept\r\nconnection: close\r\n"
        b"x-shadow-request-id: i\r\n\r\n"
    )


def test_a_chunked_answer_for_an_old_client_loses_its_framing_fields() -> None:
    head = read_answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\nA: b\r\n")
    down = answer_head(head, request_id=None, close=True, dechunked=True)
    assert down == b"HTTP/1.1 200 OK\r\nA: b\r\nconnection: close\r\n\r\n"


def test_a_switch_keeps_its_upgrade_and_an_interim_answer_gets_nothing_of_ours() -> None:
    switch = read_answer(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nA: b\r\n")
    assert answer_head(switch, request_id=b"i", close=False, upgraded=True) == (
        b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
        b"x-shadow-request-id: i\r\n\r\n"
    )
    hints = read_answer(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n")
    assert answer_head(hints, request_id=None, close=False) == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "status", "none"),
    [(b"HEAD", 200, True), (b"GET", 204, True), (b"GET", 304, True), (b"GET", 200, False), (b"POST", 205, False)],
)
def test_some_answers_end_with_their_head(method: bytes, status: int, *, none: bool) -> None:
    assert heads.has_no_body(method, status) is none


@pytest.mark.parametrize(
    "name",
    [b"Content-Length", b"Host", b"Authorization", b"x-api-key", b"Cookie", b"TE", b"X-Shadow-Hop", b"Trailer"],
)
def test_trailers_may_not_frame_route_or_identify(name: bytes) -> None:
    assert trailer_lines([(b"X-Sum", b"1"), (name, b"x"), (b"X-Sum", b"2")]) == b"X-Sum: 1\r\nX-Sum: 2\r\n"


def test_chunks_are_written_and_an_empty_one_is_not_the_last() -> None:
    assert heads.chunk(b"hello world!!!!!") == b"10\r\nhello world!!!!!\r\n"
    assert heads.chunk(b"") == b""
    assert heads.last_chunk([]) == b"0\r\n\r\n"
    assert heads.last_chunk([(b"A", b"b")]) == b"0\r\nA: b\r\n\r\n"
    assert heads.last_chunk([(b"A", b"b"), (b"C", b"d")], {b"a"}) == b"0\r\nC: d\r\n\r\n"


class Seen:
    """What httptools makes of a head."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.url = b""
        self.messages = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_message_complete(self) -> None:
        self.messages += 1


SOUND = [b"Host: a", b"host:b", b"Content-Length: 3", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"A: b"]
ODD = [
    b" x",
    b"Connection: close",
    b"A:b\tc",
    b"A : b",
    b"\tA: b",
    b"X: \xff",
    b"A:",
    b"",
    b"A: b\rc",
    b"A: \x00",
    b":",
]
pieces = st.sampled_from(SOUND + ODD)


@given(lines=st.lists(pieces, max_size=6), ends=st.lists(st.sampled_from([b"\r\n", b"\r\n", b"\n"]), max_size=6))
def test_what_we_accept_the_other_reader_accepts_the_same_way(lines: list[bytes], ends: list[bytes]) -> None:
    ends += [b"\r\n"] * (len(lines) - len(ends))
    block = b"POST /p HTTP/1.1\r\n" + b"".join(line + end for line, end in zip(lines, ends, strict=False))
    try:
        head = read_request(block)
    except BadHeadError:
        return
    seen = Seen()
    parser = httptools.HttpRequestParser(seen)
    parser.feed_data(block + b"\r\n")
    assert seen.url == b"/p"
    assert seen.fields == [(name, value.rstrip(b" \t")) for name, value in head.fields.pairs]
    body = b"0\r\n\r\n" if head.chunked else b"x" * (head.length or 0)
    assert seen.messages == (0 if body else 1)
    parser.feed_data(body)
    assert seen.messages == 1
