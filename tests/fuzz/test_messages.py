"""Messages on the wire, built from sound and odd parts: what is forwarded has one meaning, to every reader."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway import heads
from tests.fuzz.checks import framing
from tests.fuzz.checks import heads as head_checks
from tests.fuzz.examples import FIXED

NAMES = st.sampled_from(
    [
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Connection",
        b"connection",
        b"Keep-Alive",
        b"TE",
        b"Upgrade",
        b"Trailer",
        b"Expect",
        b"X-Foo",
        b"x-foo",
        b"X-Shadow",
        b"X-Shadow-Hop",
        b"x-shadow-request-id",
        b"Cookie",
        b"Authorization",
        b"x-api-key",
        b"Proxy-Connection",
        b"Content-Encoding",
        b"X_Foo",
        b"Set-Cookie",
        b"X-Foo ",
        b"",
    ]
)
VALUES = st.sampled_from(
    [
        b"a.example",
        b"3",
        b"0",
        b"03",
        b"+3",
        b"3, 3",
        b"0x3",
        b"chunked",
        b"Chunked",
        b"chunked, chunked",
        b"identity",
        b"gzip, chunked",
        b"close",
        b"keep-alive, X-Foo",
        b"upgrade",
        b"websocket",
        b"trailers",
        b"100-continue",
        b"host",
        b"content-length, transfer-encoding",
        b"a\tb",
        b"\xe9",
        b"",
        b"x, x-shadow-hop",
        b"d1",
        b'"a, b"',
        b"99999999999999999999",
    ]
)
BLANKS = st.sampled_from([b"", b" ", b" ", b"\t", b"  "])
LINE_ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\n "])
LINES = st.builds(
    lambda name, before, value, after, end: name + b":" + before + value + after + end,
    NAMES,
    BLANKS,
    VALUES,
    BLANKS,
    LINE_ENDS,
)
SOUND_LINES = st.sampled_from(
    [
        b"X-Foo: 1\r\n",
        b"Connection: x-foo\r\n",
        b"Cookie: a\r\n",
        b"X-Shadow-Hop: d1\r\n",
        b"Expect: 100-continue\r\n",
        b"x-api-key: theirs\r\n",
        b"X-Odd:\t\xe9 \r\n",
        b"Connection: host, content-length, transfer-encoding\r\n",
    ]
)
FRAMINGS = st.sampled_from([b"", b"Content-Length: 3\r\n", b"content-length:0\r\n", b"Transfer-Encoding: chunked\r\n"])
REQUEST_LINES = st.sampled_from(
    [
        b"POST /v1/messages HTTP/1.1\r\n",
        b"GET /a?b=c HTTP/1.1\r\n",
        b"GET http://x/a HTTP/1.1\r\n",
        b"HEAD / HTTP/1.0\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"X-ODD / HTTP/1.1\r\n",
        b"GET /\xe9 HTTP/1.1\r\n",
        b"GET  / HTTP/1.1\r\n",
        b"get / HTTP/1.1\r\n",
    ]
)
STATUS_LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 204 \r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 529\r\n",
        b"HTTP/1.1 404 N\xe4\r\n",
        b"HTTP/1.1 100 Continue\r\n",
        b"HTTP/1.1 2000 OK\r\n",
    ]
)
OPTIONS = st.binary(min_size=3, max_size=3)


@FIXED
@given(options=OPTIONS, first=REQUEST_LINES, lines=st.lists(LINES, max_size=6))
def test_a_request_that_is_forwarded_is_one_request_to_two_other_readers(
    options: bytes, first: bytes, lines: list[bytes]
) -> None:
    head_checks.request(options[:1] + first + b"".join(lines))
    head_checks.request(options[:1] + first + b"Host: a\r\n" + b"".join(lines))


@FIXED
@given(
    options=OPTIONS, first=REQUEST_LINES, framed=FRAMINGS, lines=st.lists(SOUND_LINES, max_size=6), at=st.integers(0, 6)
)
def test_a_sound_request_is_forwarded_with_its_framing(
    options: bytes, first: bytes, framed: bytes, lines: list[bytes], at: int
) -> None:
    lines.insert(at, b"Host: a\r\n" + framed)
    head_checks.request(options[:1] + first + b"".join(lines))


@FIXED
@given(options=OPTIONS, first=STATUS_LINES, lines=st.lists(LINES, max_size=6))
def test_an_answer_that_is_passed_on_ends_where_another_reader_sees_its_end(
    options: bytes, first: bytes, lines: list[bytes]
) -> None:
    head_checks.answer(options + first + b"".join(lines))


@FIXED
@given(options=OPTIONS, first=STATUS_LINES, framed=FRAMINGS, lines=st.lists(SOUND_LINES, max_size=6))
def test_a_sound_answer_is_passed_on_with_its_framing(
    options: bytes, first: bytes, framed: bytes, lines: list[bytes]
) -> None:
    head_checks.answer(options + first + framed + b"".join(lines))


CHUNKS = st.lists(
    st.builds(
        lambda size, extension, end, plain: size(len(plain)) + extension + end + plain + b"\r\n",
        st.sampled_from([lambda n: b"%x" % n, lambda n: b"%04X" % n, lambda n: b"%x" % (n + 1), lambda n: b" %x" % n]),
        st.sampled_from([b"", b"", b";a=b", b'; a="\r\n"', b" ", b";"]),
        st.sampled_from([b"\r\n"] * 6 + [b"\n", b"\r"]),
        st.binary(min_size=1, max_size=9) | st.just(b"0\r\n\r\n"),
    ),
    max_size=4,
)
ENDS = st.sampled_from(
    [b"0\r\n\r\n", b"0\r\nX-A: 1\r\nhost: b\r\n\r\n", b"000\r\n\r\n", b"0;x\r\n\r\n", b"0\n\n", b"0\r\n X\r\n\r\n", b""]
)


@FIXED
@given(
    seed=st.binary(min_size=1, max_size=1),
    chunks=CHUNKS,
    end=ENDS,
    after=st.sampled_from([b"", b"GET / HTTP/1.1\r\n\r\n"]),
)
def test_a_chunked_body_ends_at_the_same_byte_for_every_slicing_and_reader(
    seed: bytes, chunks: list[bytes], end: bytes, after: bytes
) -> None:
    framing.chunked(seed + b"".join(chunks) + end + after)


@FIXED
@given(st.binary(max_size=300))
def test_an_unfinished_head_is_given_up_no_later_than_the_finished_one(block: bytes) -> None:
    """Whatever a part is refused for, the whole is refused for too."""
    whole = block + b"\r\n"
    if heads.has_bare_lf(block):
        try:
            heads.read_request(whole)
        except heads.BadHeadError:
            return
        raise AssertionError(whole)
