"""The table of the fault suite's wire half: what the upstream does, what the client sees, what is recorded."""

from __future__ import annotations

import gzip
import json
import random
import re
from dataclasses import dataclass
from typing import Literal

import brotli
import zstandard

from tests.live.identity_cases import answer, chunked_answer, closing_answer, head_only
from tests.support.faultserver import Fault
from tests.support.http1 import MessageReader, chunked, slices
from tests.support.recordings import ANSWER, STREAM
from tests.support.upstream import Answer, Gate, Part

Told = Literal["same", "cut", "502", "504"]
"""What the gateway's client sees: what a direct client sees; its beginning and then a RST; or an answer of our own."""
Fate = Literal["asked", "primary_error", "unreadable", "too_large", "no job"]
"""What becomes of the shadow job: the candidate is asked, it is skipped for this reason, or there is none."""

JSON_TYPE = b"Content-Type: application/json\r\n"
SSE_TYPE = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
CODED = b"transfer-encoding: chunked\r\n"
WHOLE = json.dumps(ANSWER, ensure_ascii=False).encode()
EVENTS = b"".join(STREAM)
PROMPT = json.dumps(
    {"model": "primary", "max_tokens": 9, "messages": [{"role": "user", "content": "Grüße 🦊" * 20}]},
    ensure_ascii=False,
).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One fault of the matrix."""

    row: int
    name: str
    fault: Fault
    method: str = "POST"
    tail: str = "/v1/messages"
    headers: bytes = JSON_TYPE
    body: bytes | None = PROMPT
    """None: a request without a body."""
    chunks: list[int] | None = None
    """Sizes of the chunks the body is sent in; None: with a length."""
    told: Told = "same"
    delivered: int | None = None
    """Body bytes that come through before the fault; None: no head comes at all."""
    stalls: bool = False
    """A direct client would wait for ever."""
    status: int = 200
    outcome: str = "ok"
    fate: Fate = "asked"
    below: str = ""
    """The path prefix of a route to another upstream; the fault server is then never asked."""

    @property
    def slug(self) -> str:
        """Its name in a path."""
        return f"{self.row}-" + re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    def target(self, lane: str) -> str:
        """The path of its visit in one lane."""
        return f"{self.below}/{self.slug}/{lane}{self.tail}"

    def request(self, lane: str) -> bytes:
        """Its request in one lane."""
        line = f"{self.method} {self.target(lane)} HTTP/1.1\r\nHost: api.example\r\n".encode()
        if self.body is None:
            return line + self.headers + b"\r\n"
        if self.chunks:
            return line + self.headers + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(self.body, self.chunks)
        return line + self.headers + b"Content-Length: %d\r\n\r\n" % len(self.body) + self.body


def always(what: Answer) -> Fault:
    """The same answer, whoever asks."""
    return lambda _gate: what


def body_of(wire: bytes) -> int | None:
    """How many body bytes a client has when it was sent so much of an answer; None: not even the head."""
    reader = MessageReader("answer")
    reader.feed(wire)
    return len(reader.messages[0].body) if reader.messages else None


def broken(row: int, name: str, wire: bytes, end: Literal["fin", "reset", "stall"], *, size: int = 65536) -> Case:
    """An answer that comes so far and no further; when the client has its head, upstream waits for the test."""
    delivered = body_of(wire)

    def fault(gate: Gate) -> Answer:
        parts: list[Part] = [*slices(wire, size)]
        return Answer(parts=parts if delivered is None or end == "stall" else [*parts, gate], end=end)

    stalls = end == "stall"
    if delivered is not None:
        told: Told = "cut"
        status, outcome = 200, "timeout" if stalls else "error_stream"
    else:
        told = "504" if stalls else "502"
        status, outcome = int(told), "timeout" if stalls else "error_connect"
    return Case(
        row=row,
        name=name,
        fault=fault,
        told=told,
        delivered=delivered,
        stalls=stalls,
        status=status,
        outcome=outcome,
        fate="primary_error",
    )


OF_LENGTH = head_only("200 OK", JSON_TYPE + b"content-length: %d\r\n" % len(WHOLE))
OF_CHUNKS = head_only("200 OK", SSE_TYPE + CODED)
OF_CLOSE = head_only("200 OK", SSE_TYPE)
CHUNKS = chunked(EVENTS, [90])


def cut_short() -> list[Case]:
    """Rows 1, 2, 5 and 6: a RST, a FIN or silence at every kind of place."""
    before = {"nothing": b"", "half a status line": b"HTTP/1.1 20", "half a head": b"HTTP/1.1 200 OK\r\ncontent-le"}
    after = {
        "the head of a length": OF_LENGTH,
        "half of a length": OF_LENGTH + WHOLE[: len(WHOLE) // 2],
        "all but the last byte of a length": OF_LENGTH + WHOLE[:-1],
        "the head of chunks": OF_CHUNKS,
        "half a chunk size": OF_CHUNKS + CHUNKS[:1],
        "half a chunk": OF_CHUNKS + CHUNKS[:50],
        "a whole chunk": OF_CHUNKS + CHUNKS[:96],
        "all but the last chunk": OF_CHUNKS + CHUNKS[:-5],
        "all but the last line end": OF_CHUNKS + CHUNKS[:-2],
    }
    # A FIN would be the good end of such an answer.
    open_ended = {"the head of a close": OF_CLOSE, "half an open-ended stream": OF_CLOSE + EVENTS[: len(EVENTS) // 2]}
    mid_stream = OF_CHUNKS + CHUNKS[:150]
    return [
        *(broken(1, f"RST after {name}", wire, "reset") for name, wire in (before | after | open_ended).items()),
        *(broken(2, f"FIN after {name}", wire, "fin") for name, wire in (before | after).items()),
        *(broken(5, f"silence after {name}", wire, "stall") for name, wire in before.items()),
        *(broken(6, f"silence after {name}", wire, "stall") for name, wire in (after | open_ended).items()),
        broken(1, "RST mid-stream, sent byte by byte", mid_stream, "reset", size=1),
        broken(2, "FIN mid-stream, sent byte by byte", mid_stream, "fin", size=1),
        broken(6, "silence mid-stream, sent byte by byte", mid_stream, "stall", size=1),
    ]


def unreachable() -> list[Case]:
    """Rows 3 and 4: no connection, or none that can be trusted."""
    places = {"refused": 3, "no-such-name": 3, "no-answer": 3, "expired": 4, "wrong-name": 4, "self-signed": 4}
    return [
        Case(
            row=row,
            name=place.replace("-", " "),
            fault=always(Answer()),
            below=f"/{place}",
            told="502",
            status=502,
            outcome="error_connect",
            fate="primary_error",
        )
        for place, row in places.items()
    ]


def slow() -> list[Case]:
    """Rows 5 and 6: what takes its time, but within the limits, is waited for."""
    whole = b"".join(part for part in answer(headers=JSON_TYPE, body=WHOLE).parts if isinstance(part, bytes))
    third = len(CHUNKS) // 3
    events: tuple[Part, ...] = (CHUNKS[:third], 1.2, CHUNKS[third : 2 * third], 1.2, CHUNKS[2 * third :])
    return [
        Case(row=5, name="a first byte after a second", fault=always(Answer(parts=(1.0, whole)))),
        Case(row=5, name="a head in two halves", fault=always(Answer(parts=(whole[:30], 0.5, whole[30:])))),
        Case(row=6, name="silences shorter than the limit", fault=always(Answer(parts=(OF_CHUNKS, 1.2, *events)))),
    ]


ERROR = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "Überlastet"}}).encode()
STATUSES = [
    "400 Bad Request",
    "401 Unauthorized",
    "403 Forbidden",
    "404 Not Found",
    "408 Request Timeout",
    "409 Conflict",
    "413 Payload Too Large",
    "422 ",
    "429 Too Many Requests",
    "500 Internal Server Error",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "504 Gateway Timeout",
    "520",
    "529 Site is overloaded",
]


def refused() -> list[Case]:
    """Row 7: errors of the upstream, with all they say about trying again."""
    hints = (
        b"Retry-After: 7\r\nretry-after-ms: 7100\r\nX-Should-Retry: true\r\nanthropic-ratelimit-tokens-reset: now\r\n"
    )
    return [
        Case(
            row=7,
            name=status,
            fault=always(answer(status, JSON_TYPE + hints, ERROR, size=50)),
            status=int(status[:3]),
            outcome="error_http",
            fate="primary_error",
        )
        for status in STATUSES
    ] + [
        Case(
            row=7,
            name=name,
            fault=always(sent),
            status=status,
            outcome="error_http",
            fate="primary_error",
        )
        for name, status, sent in (
            (
                "an HTML page of a 502",
                502,
                answer("502 Bad Gateway", b"content-type: text/html\r\n", b"<html>\xff</html>"),
            ),
            ("a 529 in chunks", 529, Answer(parts=(head_only("529 ", SSE_TYPE + CODED) + chunked(ERROR, [7]),))),
            ("a 503 up to the close", 503, Answer(parts=(head_only("503 Busy") + ERROR,), end="fin")),
            ("a 429 without a body", 429, answer("429 Too Many Requests", b"retry-after: 1\r\n", b"")),
        )
    ]


def failing_streams() -> list[Case]:
    """Row 8: an error event after the 200."""
    error = b"event: error\ndata: " + ERROR + b"\n\n"
    chat_error = b'data: {"error": {"message": "overloaded", "type": "server_error"}}\n\n'
    bodies = {
        "an error event alone": (error, "/v1/messages"),
        "an error event mid-stream": (b"".join(STREAM[:2]) + error, "/v1/messages"),
        "an error event before the stop": (b"".join(STREAM[:3]) + error + STREAM[3], "/v1/messages"),
        "an error in a chat stream": (chat_error, "/v1/chat/completions"),
        "an error in a chat stream, then DONE": (chat_error + b"data: [DONE]\n\n", "/v1/chat/completions"),
    }
    return [
        Case(
            row=8,
            name=f"{name}, slices of {size}",
            tail=tail,
            fault=always(chunked_answer(body, [33], headers=SSE_TYPE, size=size)),
            outcome="error_stream",
            fate="primary_error",
        )
        for name, (body, tail) in bodies.items()
        for size in (9, 65536)
    ]


MALFORMED: dict[str, tuple[bytes, str]] = {
    "CRLF": (EVENTS.replace(b"\n", b"\r\n"), "ok"),
    "CR": (EVENTS.replace(b"\n", b"\r"), "ok"),
    "a byte order mark": (b"\xef\xbb\xbf" + EVENTS, "ok"),
    "comments between": (EVENTS.replace(b"\n\n", b"\n\n: ping\n\n"), "ok"),
    "no blank line at the end": (EVENTS.rstrip(b"\n"), "ok"),
    "invalid UTF-8": (EVENTS.replace(b"ur", b"\xff\xfe"), "ok"),
    "half a character": (EVENTS.replace(b"ur", b"\xf0\x9f"), "ok"),
    "a NUL": (EVENTS.replace(b"Fo", b"F\0"), "ok"),
    "unknown events": (b"event: surprise\ndata: {}\n\n" + EVENTS, "ok"),
    "no stop": (b"".join(STREAM[:3]), "error_stream"),
    "nothing": (b"", "error_stream"),
    "DONE alone": (b"data: [DONE]\n\n", "error_stream"),
    "half an event": (EVENTS[: len(EVENTS) // 2], "error_stream"),
    "no JSON": (b"event: message_start\ndata: {{{{\n\n" + EVENTS, "ok"),
    "an array": (b"event: message_start\ndata: []\n\n", "error_stream"),
    "no colons": (b"data\nevent\nid\n\n\n\n" * 20, "error_stream"),
    "deep JSON": (b"data: " + b"[" * 100_000 + b"\n\n", "error_stream"),
    "only line ends": (b"\r\n\r\r\n\n" * 50, "error_stream"),
    "HTML": (b"<html>\xe9</html>", "error_stream"),
    "random bytes": (random.Random(3).randbytes(2000), "error_stream"),
}


def malformed_streams() -> list[Case]:
    """Row 9: streams that are no good events, in chunks of one byte and whole."""
    return [
        Case(
            row=9,
            name=f"{name}, {how}",
            fault=always(sent),
            outcome=outcome,
            fate="asked" if outcome == "ok" else "primary_error",
        )
        for name, (body, outcome) in MALFORMED.items()
        for how, sent in (
            ("chunks of 1", chunked_answer(body, [1 if len(body) < 5000 else 4999], headers=SSE_TYPE)),
            ("slices of 11", chunked_answer(body, [65536], headers=SSE_TYPE, size=11 if len(body) < 5000 else 4999)),
            ("up to the close", closing_answer(body, headers=SSE_TYPE)),
        )
    ]


GIANT = b"event: content_block_delta\ndata: " + b"x" * (6 << 20)


def giant_events() -> list[Case]:
    """Row 10: an event larger than the copy may be."""
    return [
        Case(row=10, name=name, fault=always(sent), fate="too_large")
        for name, sent in (
            ("6 MB without a line end, in chunks", chunked_answer(GIANT, [100_000], headers=SSE_TYPE)),
            ("6 MB without a line end, up to the close", closing_answer(GIANT, headers=SSE_TYPE)),
            ("6 MB in a length", answer(headers=JSON_TYPE, body=GIANT)),
        )
    ]


def coded() -> list[Case]:
    """Rows 11 and 12: encoded answers, those nobody can decode, and those nobody should."""
    cut = gzip.compress(WHOLE, mtime=0)[:-20]
    zeros = bytes(10 << 20)
    found: list[tuple[int, str, bytes, bytes, Fate]] = [
        (11, "gzip", b"gzip", gzip.compress(WHOLE, mtime=0), "asked"),
        (11, "two gzip members", b"gzip", gzip.compress(WHOLE[:50]) + gzip.compress(WHOLE[50:]), "asked"),
        (11, "br", b"br", brotli.compress(WHOLE), "asked"),
        (11, "zstd", b"zstd", zstandard.compress(WHOLE), "asked"),
        (11, "gzip under its old name", b"X-GZIP", gzip.compress(WHOLE, mtime=0), "asked"),
        (11, "an unknown coding", b"x-mystery", WHOLE, "unreadable"),
        (11, "a coding that is none", b"gzip", WHOLE, "primary_error"),
        (11, "a gzip that is cut", b"gzip", cut, "primary_error"),
        (12, "200 MB of zeros in gzip", b"gzip", gzip.compress(zeros, mtime=0) * 20, "too_large"),
        (12, "200 MB of zeros in br", b"br", brotli.compress(zeros * 20, quality=1), "too_large"),
        (12, "200 MB of zeros in zstd", b"zstd", zstandard.compress(zeros) * 20, "too_large"),
    ]
    whole = [
        Case(
            row=row,
            name=f"{name}, {how}",
            fault=always(sent),
            fate=fate,
            outcome="error_stream" if fate == "primary_error" else "ok",
        )
        for row, name, coding, body, fate in found
        for how, sent in (
            ("in a length", answer(headers=JSON_TYPE + b"Content-Encoding: %s\r\n" % coding, body=body)),
            ("in chunks", chunked_answer(body, [999], headers=JSON_TYPE + b"content-encoding: %s\r\n" % coding)),
        )
    ]
    streamed = SSE_TYPE + b"content-encoding: gzip\r\nvary: accept-encoding\r\n"
    stream = chunked_answer(gzip.compress(EVENTS, mtime=0), [5], headers=streamed, size=3)
    return [*whole, Case(row=11, name="a gzip stream", fault=always(stream))]


def bodiless() -> list[Case]:
    """Row 13: interim answers, answers that have no body, and requests that ask for leave."""
    early = head_only("103 Early Hints", b"Link: </a>; rel=preload\r\nlink: </b>\r\n")
    go_on = head_only("100 Continue")
    sound = head_only("200 OK", JSON_TYPE + b"content-length: %d\r\n" % len(WHOLE)) + WHOLE
    named = head_only("200 OK", b'Content-Length: 1234\r\nETag: "x"\r\n')
    expecting = JSON_TYPE + b"Expect: 100-continue\r\n"
    posts: dict[str, tuple[bytes, Answer]] = {
        "Expect and 100": (expecting, Answer(on_head=(go_on,), parts=(sound,))),
        "Expect and 100 byte by byte": (expecting, Answer(on_head=slices(go_on, 1), parts=(sound,))),
        "Expect without 100": (expecting, Answer(parts=(sound,))),
        "Expect, 100 and 103": (expecting, Answer(on_head=(go_on, early), parts=(early, sound))),
        "100 nobody asked for": (JSON_TYPE, Answer(parts=(go_on + sound,))),
        "103": (JSON_TYPE, Answer(parts=(early, sound))),
        "103, 102 and 103 in one slice": (
            JSON_TYPE,
            Answer(parts=(early + head_only("102 Processing") + early + sound,)),
        ),
    }
    bare: dict[str, tuple[str, int, Answer]] = {
        "204": ("DELETE", 204, Answer(parts=(head_only("204 No Content", b"x: y\r\n"),))),
        "304": ("GET", 304, Answer(parts=(head_only("304 Not Modified", b'etag: "x"\r\n'),))),
        "304 with a length": ("GET", 304, Answer(parts=(head_only("304 Not Modified", b"content-length: 77\r\n"),))),
        "HEAD with a length": ("HEAD", 200, Answer(parts=(named,))),
        "HEAD byte by byte": ("HEAD", 200, Answer(parts=slices(named, 1))),
        "HEAD in chunks": ("HEAD", 200, Answer(parts=(head_only("200 OK", CODED),))),
        "HEAD after a 103": ("HEAD", 200, Answer(parts=(early, named))),
        "a length of 0": ("GET", 200, answer(body=b"")),
        "no chunk but the last": ("GET", 200, chunked_answer(b"", [1])),
    }
    return [
        *(Case(row=13, name=name, headers=headers, fault=always(sent)) for name, (headers, sent) in posts.items()),
        *(
            Case(
                row=13,
                name=name,
                method=method,
                headers=b"",
                body=None,
                fault=always(sent),
                status=status,
                fate="no job",
            )
            for name, (method, status, sent) in bare.items()
        ),
    ]


def uploads() -> list[Case]:
    """Row 16 in small: bodies beyond what is copied, with a length and chunked."""
    sound = answer(headers=JSON_TYPE, body=WHOLE)
    large = PROMPT[:-2] + b'", "x": "' + b"y" * (5 << 20) + b'"}'
    return [
        Case(row=16, name="5 MB with a length", body=large, fault=always(sound), fate="too_large"),
        Case(row=16, name="5 MB in chunks", body=large, chunks=[1, 70_000], fault=always(sound), fate="too_large"),
        Case(row=16, name="a prompt in chunks of 1", chunks=[1], fault=always(sound)),
        Case(row=16, name="nothing", body=b"", fault=always(sound), fate="unreadable"),
    ]


FIELDS: dict[str, bytes] = {
    "hop-by-hop": (
        b"Connection: keep-alive, X-Mine\r\nKeep-Alive: timeout=99\r\nX-Mine: 1\r\nProxy-Connection: keep-alive\r\n"
        b"Upgrade: h2c\r\nX-Yours: 2\r\n"
    ),
    "Connection: x-foo, twice": (
        b"connection: x-foo\r\nX-Foo: 1\r\nx-foo: 2\r\nCONNECTION: X-Bar\r\nx-bar: 3\r\nx: 4\r\n"
    ),
    "two Set-Cookie": (
        b"Set-Cookie: a=1; Path=/\r\nDate: now\r\nSet-Cookie: b=2; Expires=Mon, 23 Nov 2026\r\nset-cookie: c=3\r\n"
    ),
    "64 kB of fields": b"".join(b"X-Large-%d: %s\r\n" % (number, b"v" * 1000) for number in range(64)),
    "64 kB in one field": b"X-Large: " + b"v" * 65_536 + b"\r\n",
    "ninety fields": b"".join(b"X-Field-%d: %d\r\n" % (number, number) for number in range(90)),
    "repeats in any case": b"X-One: 1\r\nx-two: 2\r\nX-ONE: 3\r\nvary: a\r\nVary: b\r\nLink: <a>\r\nlink: <b>\r\n",
    "odd names": b"x_under: 1\r\nX-UPPER: 2\r\n!#$%&'*+.^`|~: 3\r\n",
    "odd values": b"x-empty:\r\nx-blank:   \r\nx-tab: a\tb\r\nx-colon: a:b\r\nx-latin: caf\xe9\r\nx-utf: \xc3\xa9\r\n",
    "a redirect": b"Location: http://other.example/\r\nRefresh: 0; url=x\r\n",
    "what others added": b"Via: 1.1 google\r\nServer: cloudflare\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nAge: 3\r\n",
}


def odd_heads() -> list[Case]:
    """Row 35: fields of one connection, repeats, and heads of 64 kB; at once and in slices."""
    return [
        Case(
            row=35,
            name=f"{name}, slices of {size}",
            fault=always(answer("299 Fine, thanks", JSON_TYPE + fields, WHOLE, size=size)),
            status=299,
        )
        for name, fields in FIELDS.items()
        for size in (65536, 13 if len(fields) < 1500 else 777)
    ]


CASES: list[Case] = [
    *cut_short(),
    *unreachable(),
    *slow(),
    *refused(),
    *failing_streams(),
    *malformed_streams(),
    *giant_events(),
    *coded(),
    *bodiless(),
    *uploads(),
    *odd_heads(),
]
