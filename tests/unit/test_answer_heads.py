"""An answer's head is checked in one match, and little is taken out of it: as good as reading it line by line."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.heads import HOP_BY_HOP, BadHeadError, answer_head, read_answer
from gateway.reading import plain_headers
from shadow.retry_after import rest_s

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_TEXT = frozenset({9, *range(32, 127), *range(128, 256)})
_MEANT = HOP_BY_HOP | {
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"retry-after",
    b"retry-after-ms",
    b"transfer-encoding",
    b"x-shadow-request-id",
}
_NEVER_NAMED = {b"content-length", b"host", b"transfer-encoding", b"close", b"keep-alive", b"upgrade", b""}

ANTHROPIC = (
    b"HTTP/1.1 200 OK\r\nDate: Fri, 27 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2274\r\nConnection: keep-alive\r\nanthropic-ratelimit-requests-limit: 4000\r\n"
    b"anthropic-ratelimit-requests-remaining: 3999\r\nanthropic-ratelimit-requests-reset: 2026-11-27T12:00:00Z\r\n"
    b"request-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\nstrict-transport-security: max-age=31536000; preload\r\n"
    b"via: 1.1 google\r\ncf-cache-status: DYNAMIC\r\nServer: cloudflare\r\nCF-RAY: 9a5c0f0a1b2c3d4e-AMS\r\n"
)
OPENAI = (
    b"HTTP/1.1 200 OK\r\nDate: Fri, 27 Nov 2026 12:00:00 GMT\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\nopenai-processing-ms: 812\r\nx-request-id: req_2f6a1c\r\n"
    b"Set-Cookie: __cf_bm=Yb2a.c3; path=/; HttpOnly\r\nX-Content-Type-Options: nosniff\r\nSet-Cookie: _cfuvid=ab\r\n"
    b'Content-Encoding: gzip\r\nCF-RAY: 9a5c0f0a1b2c3d4e-AMS\r\nalt-svc: h3=":443"; ma=86400\r\n'
)


class RefusedError(Exception):
    """What the plain reader does not accept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A head as the plain reader sees it."""

    minor: int
    status: int
    first: bytes
    lines: list[bytes]
    pairs: list[tuple[bytes, bytes]]
    length: int | None
    chunked: bool
    keep_alive: bool
    named: frozenset[bytes]


def read_plainly(block: bytes) -> Plain:
    """Line by line and byte by byte, as slow as can be."""
    first, *lines, rest = block.split(b"\r\n")
    if rest or any(b"\n" in line for line in (first, *lines)):
        raise RefusedError
    version, status, reason = first[:9], first[9:12], first[12:]
    if version not in (b"HTTP/1.0 ", b"HTTP/1.1 ") or not (len(status) == 3 and status.isdigit()) or status[:1] == b"0":
        raise RefusedError
    if reason and (reason[:1] != b" " or not _TEXT.issuperset(reason)):
        raise RefusedError
    pairs = [pair_of(line) for line in lines]
    old = version == b"HTTP/1.0 "
    length, chunked = framed(pairs, old=old)
    tokens = {part.strip(b" \t").lower() for value in values(pairs, b"connection") for part in value.split(b",")}
    return Plain(
        minor=0 if old else 1,
        status=int(status),
        first=first[9:],
        lines=lines,
        pairs=pairs,
        length=length,
        chunked=chunked,
        keep_alive=not old and b"close" not in tokens,
        named=frozenset(tokens - _NEVER_NAMED),
    )


def pair_of(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not (name and colon and _TOKEN.issuperset(name) and _TEXT.issuperset(value)):
        raise RefusedError
    return name, value.lstrip(b" \t")


def values(pairs: list[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value for name, value in pairs if name.lower() == wanted]


def framed(pairs: list[tuple[bytes, bytes]], *, old: bool) -> tuple[int | None, bool]:
    codings, lengths = values(pairs, b"transfer-encoding"), values(pairs, b"content-length")
    if codings:
        if old or lengths or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise RefusedError
        return None, True
    if not lengths:
        return None, False
    digits = lengths[0].rstrip(b" \t")
    if len(lengths) > 1 or not digits.isdigit() or len(digits) > 18:
        raise RefusedError
    return int(digits), False


def sent_plainly(head: Plain, *, close: bool, dechunked: bool, request_id: bytes | None) -> bytes:
    gone = HOP_BY_HOP | head.named | {b"x-shadow-request-id"}
    if dechunked:
        gone |= {b"trailer", b"transfer-encoding"}
    kept = [line for line, (name, _) in zip(head.lines, head.pairs, strict=True) if name.lower() not in gone]
    kept += [b"connection: close"] * close
    kept += [b"x-shadow-request-id: " + request_id] if request_id is not None else []
    return b"\r\n".join([b"HTTP/1.1 " + head.first, *kept, b"", b""])


def check(block: bytes, *, close: bool = False, dechunked: bool = False, request_id: bytes | None = b"id") -> None:
    try:
        plain = read_plainly(block)
    except RefusedError:
        with pytest.raises(BadHeadError):
            read_answer(block)
        return
    head = read_answer(block)
    assert (head.minor, head.status, head.length, head.chunked) == (
        plain.minor,
        plain.status,
        plain.length,
        plain.chunked,
    )
    assert (head.keep_alive, head.named) == (plain.keep_alive, plain.named)
    assert head.fields.pairs == plain.pairs
    assert head.meant == [pair for pair in plain.pairs if pair[0].lower() in _MEANT]
    down = answer_head(head, request_id=request_id, close=close, dechunked=dechunked)
    assert down == sent_plainly(plain, close=close, dechunked=dechunked, request_id=request_id)


def cased(name: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from([name, name.upper(), name.title()])


NAMES = st.sampled_from(
    [
        *sorted(_MEANT),
        b"x-shadow-gateway-error",
        b"trailer",
        b"set-cookie",
        # alike but for their ends
        b"tea",
        b"t",
        b"connections",
        b"x-connection",
        b"content-length-",
        b"retry-after-m",
        b"upgrade.",
        b"200_ok",
    ]
).flatmap(cased)
SOUND_VALUES = st.sampled_from(
    [b"", b"0", b"3", b"keep-alive", b"close", b"chunked", b"Chunked ", b"\tgzip ", b"tea, 200_OK", b"\xff\t\x80 "]
)
VALUES = st.one_of(SOUND_VALUES, st.binary(max_size=6))
LINES = st.one_of(
    st.tuples(NAMES, st.sampled_from([b":", b": ", b":\t "]), VALUES).map(b"".join),
    st.tuples(NAMES, st.sampled_from([b":", b": "]), st.sampled_from([b"", b"a"])).map(b"".join),
    st.binary(max_size=12),
)
FIRST = st.one_of(
    st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b"HTTP/1.1 429 ", b"HTTP/1.0 200", b"HTTP/1.1 099 OK"]),
    st.binary(max_size=3).map(b"HTTP/1.1 200 ".__add__),
)
ENDS = st.sampled_from([b"\r\n"] * 30 + [b"\n", b"\r", b"", b"\r\n "])
FLAGS = st.tuples(st.booleans(), st.booleans(), st.sampled_from([None, b"id"]))


@given(FIRST, st.lists(st.tuples(LINES, ENDS), max_size=24), FLAGS)
def test_any_lines_are_read_and_sent_as_a_plain_reader_does(
    first: bytes, lines: list[tuple[bytes, bytes]], flags: tuple[bool, bool, bytes | None]
) -> None:
    block = first + b"\r\n" + b"".join([line + end for line, end in lines])
    check(block.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n") + b"\r\n", **asked(flags))


@given(FIRST, st.lists(st.tuples(NAMES, SOUND_VALUES), max_size=24), FLAGS)
def test_sound_lines_in_any_number_are_read_and_sent_as_a_plain_reader_does(
    first: bytes, fields: list[tuple[bytes, bytes]], flags: tuple[bool, bool, bytes | None]
) -> None:
    check(b"".join([first, b"\r\n", *[b"%s: %s\r\n" % field for field in fields]]), **asked(flags))


@pytest.mark.parametrize("block", [ANTHROPIC, OPENAI])
@given(st.data())
def test_a_real_head_with_something_else_in_it_is_read_as_a_plain_reader_does(
    block: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(block)))
    other = data.draw(st.one_of(st.binary(max_size=8), st.tuples(st.just(b"\r\n"), LINES).map(b"".join)))
    changed = block[:at] + other + block[at + data.draw(st.integers(0, 30)) :]
    check(changed.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n") + b"\r\n")


@pytest.mark.parametrize("count", [1, 16, 17, 400])
def test_any_number_of_lines_that_stay_here_stays_here(count: int) -> None:
    lines = [b"%s: %d" % (b"tE" if number % 3 else b"Te", number) for number in range(count)]
    mixed = [line for pair in zip(lines, [b"a: %d" % number for number in range(count)], strict=True) for line in pair]
    check(b"\r\n".join([b"HTTP/1.1 200 OK", *mixed, b"X-Shadow-Request-Id: of another", b""]))


def test_connection_cannot_name_the_status_line_away() -> None:
    block = b"HTTP/1.1 200 OK\r\nConnection: 200 OK, a\r\nA: b\r\nC: d\r\n"
    assert answer_head(read_answer(block), request_id=None, close=False) == b"HTTP/1.1 200 OK\r\nC: d\r\n\r\n"


def test_what_the_recorder_reads_of_an_answer_is_kept_for_it() -> None:
    said = b"content-TYPE: a; b\r\nContent-encoding: gzip\r\nRetry-After: 7\r\nretry-after-MS: 2500 \r\nA: b\r\n"
    headers = plain_headers(read_answer(b"HTTP/1.1 429 x\r\n" + said).meant)
    assert headers == {"content-type": "a; b", "content-encoding": "gzip", "retry-after": "7", "retry-after-ms": "2500"}
    assert rest_s(headers, now=None) == 2.5  # type: ignore[arg-type]  # only a date asks what time it is


def asked(flags: tuple[bool, bool, bytes | None]) -> dict[str, bool | bytes | None]:
    close, dechunked, request_id = flags
    return {"close": close, "dechunked": dechunked, "request_id": request_id}
