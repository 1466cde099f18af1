"""The cases of the byte identity test: requests as exact bytes, answers as exact bytes, and how both are sliced."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass, field

import brotli
import zstandard

from tests.support.http1 import chunked, slices
from tests.support.upstream import OK, Answer, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One exchange; the same bytes are sent direct and through the gateway."""

    name: str
    request: bytes = b"GET /v1/models HTTP/1.1\r\nHost: api.example\r\n\r\n"
    request_size: int | None = None
    """Bytes per write of the client; None: all at once."""
    answer: Answer = field(default_factory=Answer)


def request(
    method: str = "POST",
    target: str = "/v1/messages",
    headers: bytes = b"",
    body: bytes | None = None,
    *,
    version: str = "1.1",
) -> bytes:
    """A request with a content-length when it has a body; `headers` are whole field lines."""
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    line = f"{method} {target} HTTP/{version}\r\nHost: api.example\r\n".encode()
    return line + headers + length + b"\r\n" + (body or b"")


def upload(body: bytes, sizes: list[int], *, trailers: bytes = b"", headers: bytes = b"") -> bytes:
    """A chunked POST."""
    head = b"POST /v1/messages HTTP/1.1\r\nHost: api.example\r\n" + headers + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + chunked(body, sizes, trailers=trailers)


def answer(
    status: str = "200 OK",
    headers: bytes = b"content-type: application/json\r\n",
    body: bytes = b"{}",
    *,
    size: int = 65536,
    before: tuple[Part, ...] = (),
) -> Answer:
    """An answer with a content-length, sent in slices of `size` bytes."""
    head = f"HTTP/1.1 {status}\r\n".encode("latin-1") + headers + b"content-length: %d\r\n\r\n" % len(body)
    return Answer(parts=(*before, *slices(head + body, size)))


def chunked_answer(
    body: bytes,
    sizes: list[int],
    *,
    size: int = 65536,
    headers: bytes = b"",
    trailers: bytes = b"",
) -> Answer:
    """A chunked answer, sent in slices of `size` bytes."""
    head = b"HTTP/1.1 200 OK\r\n" + headers + b"transfer-encoding: chunked\r\n\r\n"
    return Answer(parts=slices(head + chunked(body, sizes, trailers=trailers), size))


def closing_answer(body: bytes, *, size: int = 65536, headers: bytes = b"", version: str = "1.1") -> Answer:
    """An answer that ends where the connection ends."""
    return Answer(parts=slices(f"HTTP/{version} 200 OK\r\n".encode() + headers + b"\r\n" + body, size), end="fin")


def head_only(status: str, headers: bytes = b"", *, version: str = "1.1") -> bytes:
    """The head of an answer; `headers` are whole field lines."""
    return f"HTTP/{version} {status}\r\n".encode() + headers + b"\r\n"


# Bodies.

UTF8 = "Grüße, 世界! 🦊 ".encode() * 40
JSON = json.dumps(
    {"id": "msg_1", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "Grüße 🦊" * 30}]},
    ensure_ascii=False,
).encode()
HTML = b"<!DOCTYPE html><html><title>error</title><body>cloudflare \xe9\xff</body></html>\r\n"
BINARY = random.Random(7).randbytes(4000)
PROMPT = json.dumps(
    {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Grüße 🦊" * 50}]}
).encode()


def events(line_end: bytes) -> bytes:
    """An event stream as EzAI sends it, with comments, several data lines and split-prone UTF-8."""
    lines = [b": comment", b""]
    for number in range(25):
        text = json.dumps({"type": "content_block_delta", "text": f"Größe {number} 🦊"}, ensure_ascii=False).encode()
        lines += [b"event: content_block_delta", b"data: " + text, b"data:second line", b"id: %d" % number, b""]
    lines += [b"event: message_stop", b"data: {}", b"", b"data: [DONE]", b"", b""]
    return line_end.join(lines)


SSE = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
BODIES: dict[str, tuple[bytes, bytes]] = {
    "json": (b"Content-Type: application/json\r\n", JSON),
    "html": (b"content-type: text/html\r\n", HTML),
    "binary": (b"content-type: application/octet-stream\r\n", BINARY),
    "utf8": (b"content-type: text/plain; charset=utf-8\r\n", UTF8),
    "sse-lf": (SSE, events(b"\n")),
    "sse-crlf": (SSE, events(b"\r\n")),
    "sse-cr": (SSE, events(b"\r")),
    "gzip": (b"content-type: application/json\r\nContent-Encoding: gzip\r\n", gzip.compress(JSON * 4, mtime=0)),
    "gzip-sse": (SSE + b"content-encoding: gzip\r\nvary: accept-encoding\r\n", gzip.compress(events(b"\n"), mtime=0)),
    "br": (b"content-type: application/json\r\ncontent-encoding: br\r\n", brotli.compress(JSON * 4)),
    "zstd": (b"content-type: application/json\r\ncontent-encoding: zstd\r\n", zstandard.compress(JSON * 4)),
    "unknown-coding": (b"content-encoding: x-mystery\r\n", BINARY),
    "lying-coding": (b"content-encoding: gzip\r\ncontent-type: application/json\r\n", b"not gzip at all"),
    "empty": (b"content-type: text/plain\r\n", b""),
}

METHODS = [
    "GET",
    "get",
    "BREW",
    "M-SEARCH",
    "!#$%&'*+-.^_`|~",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "PROPFIND",
    "REPORT",
    "MKCOL",
    "SEARCH",
    "PURGE",
    "COPY",
]

TARGETS = [
    "/",
    "//",
    "//v1//messages",
    "/v1/messages?beta=true",
    "/v1/messages?",
    "/?",
    "/v1/models?limit=1000&after_id=",
    "/a;b=c/d;e?f;g=h",
    "/%2Fv1%2fmessages",
    "/caf%C3%A9/%7Euser/%7euser",
    "/%zz/%",
    "/a%00b",
    "/a+b%20c?d+e=%20",
    "/a/../b/./c/..",
    "/a/%2e%2e/b",
    "/a?x=/../../y",
    "/a?url=http://other.example/path",
    "/http://other.example/",
    "/*",
    "/a:b@c!$&'()*+,=-._~",
    '/a"<>^`{|}\\b',
    "/größe/\xff",
    "/openai/v1/chat/completions?api-version=2024-10-21",
    "/v1/responses",
    "/v1/messages/",
    "/healthz/x",
    "/" + "long/" * 800 + "end?" + "q=1&" * 800,
]

REQUEST_HEADERS: dict[str, bytes] = {
    "anthropic sdk": (
        b"Accept: application/json\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\n"
        b"User-Agent: Anthropic/Python 2.12.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Retry-Count: 0\r\n"
        b"anthropic-version: 2026-10-21\r\nanthropic-beta: a-2025-01-01,b-2025-01-01\r\nAuthorization: Bearer sk-1\r\n"
    ),
    "both credentials": b"x-api-key: sk-1\r\nAuthorization: Bearer sk-2\r\nProxy-Connection: keep-alive\r\n",
    "repeats": b"X-One: 1\r\nx-two: 2\r\nX-ONE: 3\r\nx-one: 1\r\nCookie: a=1\r\nCookie: b=2\r\n",
    "odd names": b"x_under: 1\r\nX-UPPER: 2\r\n!#$%&'*+.^`|~: 3\r\n0: 4\r\n",
    "odd values": b'x-empty:\r\nx-blank:   \r\nx-tab: a\tb\r\nx-quote: "a, b", c\r\nx-colon: a:b: c\r\n',
    "latin-1 and utf-8": b"x-latin: caf\xe9\r\nx-utf: \xf0\x9f\xa6\x8a\r\n",
    "no blank after the colon": b"x-a:1\r\nx-b:    2   \r\n",
    "range and conditions": b'Range: bytes=0-3\r\nIf-None-Match: "x", W/"y"\r\nIf-Modified-Since: yesterday\r\n',
    "forwarded": b"X-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nVia: 1.1 front\r\nX-Request-Id: r\r\n",
    "traces": b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\n",
    "idempotency": b"Idempotency-Key: 1\r\nX-App: cli\r\nX-Claude-Code-Session-Id: s\r\nPriority: u=1, i\r\n",
    "ninety fields": b"".join(b"X-Field-%d: %d\r\n" % (number, number) for number in range(90)),
    "a large head": b"".join(b"X-Large-%d: %s\r\n" % (number, b"v" * 1500) for number in range(40)),
    "one large field": b"X-Large: " + b"v" * 60_000 + b"\r\n",
}

STATUSES = [
    "200 OK",
    "200 ",
    "200",
    "201 Created",
    "202 Accepted",
    "203 Non-Authoritative Information",
    "206 Partial Content",
    "226 IM Used",
    "299 Whatever",
    "301 Moved Permanently",
    "302 Found",
    "307 Temporary Redirect",
    "308 Permanent Redirect",
    "400 Bad Request",
    "401 Unauthorized",
    "402 Payment Required",
    "403 Forbidden",
    "404 Not Found",
    "408 Request Timeout",
    "409 Conflict",
    "413 Payload Too Large",
    "418 I'm a teapot!",
    "422 ",
    "429 Too Many Requests",
    "431 Request Header Fields Too Large",
    "451 Caf\xe9 closed; see: x",
    "499 Client Closed",
    "500 Internal Server Error",
    "501 nope",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "504 Gateway Timeout",
    "520 Web Server Returned an Unknown Error",
    "521 Web Server Is Down",
    "522 Connection Timed Out",
    "523 Origin Is Unreachable",
    "524 A Timeout Occurred",
    "529 Site is overloaded",
    "599 \todd  reason ",
    "999 Unknown",
]

ANSWER_HEADERS: dict[str, bytes] = {
    "anthropic": (
        b"Date: Mon, 23 Nov 2026 10:00:00 GMT\r\nServer: cloudflare\r\nVia: 1.1 google\r\nCF-RAY: 1-FRA\r\n"
        b"request-id: req_1\r\nanthropic-ratelimit-tokens-reset: 2026-11-23T10:00:00Z\r\nx-should-retry: true\r\n"
        b"retry-after: 3\r\nretry-after-ms: 2500\r\nanthropic-organization-id: o\r\n"
    ),
    "openai": b"x-ratelimit-remaining-requests: 1\r\nx-request-id: req_2\r\nopenai-processing-ms: 5\r\nalt-svc: h3\r\n",
    "two cookies": b"Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2; Expires=Mon, 23 Nov 2026\r\nset-cookie: c=3\r\n",
    "repeats": b"X-One: 1\r\nx-two: 2\r\nX-ONE: 3\r\nvary: a\r\nVary: b\r\nLink: <a>\r\nlink: <b>\r\n",
    "odd names": b"x_under: 1\r\nX-UPPER: 2\r\n!#$%&'*+.^`|~: 3\r\n",
    "odd values": b"x-empty:\r\nx-blank:   \r\nx-tab: a\tb\r\nx-colon: a:b\r\nx-latin: caf\xe9\r\nx-utf: \xc3\xa9\r\n",
    "redirect": b"Location: http://other.example/\r\nRefresh: 0; url=x\r\n",
    "security": b"Strict-Transport-Security: max-age=1\r\nContent-Security-Policy: default-src 'none'\r\n",
    "auth": b'WWW-Authenticate: Bearer realm="a"\r\nwww-authenticate: Basic realm="b"\r\n',
    "sixty kilobytes": b"".join(b"X-Large-%d: %s\r\n" % (number, b"v" * 1000) for number in range(60)),
    "one large field": b"X-Large: " + b"v" * 60_000 + b"\r\n",
    "ninety fields": b"".join(b"X-Field-%d: %d\r\n" % (number, number) for number in range(90)),
}


def targets_and_methods() -> list[Case]:
    """Every method, and every odd target."""
    found = [Case(name=f"method {method}", request=request(method, "/some/path")) for method in METHODS]
    found += [Case(name=f"method {method} with a body", request=request(method, body=b"x")) for method in METHODS]
    found += [
        Case(name=f"target {number} {target[:30]}", request=request("GET", target))
        for number, target in enumerate(TARGETS)
    ]
    return [*found, Case(name="OPTIONS *", request=request("OPTIONS", "*"))]


def request_heads() -> list[Case]:
    """Header order, repeats, case, odd values, sizes; at once and in small slices."""
    return [
        Case(
            name=f"request headers: {name}, slices of {size}",
            request=request("GET", headers=headers),
            request_size=size,
        )
        for name, headers in REQUEST_HEADERS.items()
        for size in ((1, None) if len(headers) < 1500 else (999, None))
    ]


def uploads() -> list[Case]:
    """Bodies up: with a length and chunked, in many sizes and slices."""
    with_length = [(body, size) for body in (b"", b"x", PROMPT, BINARY, BINARY * 40) for size in (1, 7, 1000, 65536)]
    in_chunks = [
        (body, sizes, size)
        for body, sizes in (
            (b"", [1]),
            (PROMPT, [1]),
            (PROMPT, [1, 2, 3, 5, 8, 13, 21, 34]),
            (BINARY, [4000]),
            (BINARY * 40, [65536]),
            (BINARY * 40, [1, 65535, 17]),
        )
        for size in (1, 13, 65536)
    ]
    kinds: dict[str, bytes] = {
        "with trailers": upload(PROMPT, [100], trailers=b"X-Sum: 1\r\nx-sum: 2\r\n"),
        "compressed": request(headers=b"Content-Encoding: gzip\r\n", body=gzip.compress(PROMPT)),
        "compressed and chunked": upload(brotli.compress(PROMPT), [9], headers=b"content-encoding: br\r\n"),
        "to an unknown path": request("POST", "/v1/files", b"content-type: multipart/x\r\n", BINARY),
        "of broken JSON": request(body=b'{"model": "m", '),
    }
    return [
        *(
            Case(
                name=f"upload of {len(body)} with a length, slices of {size}",
                request=request(body=body),
                request_size=size,
            )
            for body, size in with_length
            if len(body) < 5000 or size >= 1000
        ),
        *(
            Case(
                name=f"upload of {len(body)} in chunks of {sizes}, slices of {size}",
                request=upload(body, sizes),
                request_size=size,
            )
            for body, sizes, size in in_chunks
            if len(body) < 5000 or size >= 1000
        ),
        *(Case(name=f"upload {name}", request=asked) for name, asked in kinds.items()),
    ]


def statuses() -> list[Case]:
    """Every status with its reason, retry hints and an HTML or JSON body."""
    hints = b"Retry-After: 7\r\nX-Should-Retry: false\r\n"
    return [
        Case(
            name=f"status {status}",
            request=request(body=PROMPT),
            answer=answer(status, b"content-type: text/html\r\n" + hints, HTML if status[0] == "5" else JSON),
        )
        for status in STATUSES
    ]


def answer_heads() -> list[Case]:
    """Order, repeats, case and size of answer heads; at once and in small slices."""
    return [
        Case(name=f"answer headers: {name}, slices of {size}", answer=answer(headers=headers, size=size))
        for name, headers in ANSWER_HEADERS.items()
        for size in ((1, 65536) if len(headers) < 1500 else (1234, 65536))
    ]


def answer_bodies() -> list[Case]:
    """Every kind of body with a length, chunked and close-delimited, in many slices."""
    shapes: list[tuple[str, Answer]] = []
    for name, (headers, body) in BODIES.items():
        shapes += [
            (f"{name} with a length, slices of {size}", answer("200 OK", headers, body, size=size))
            for size in (1, 65536)
        ]
        shapes += [
            (f"{name} in chunks of {sizes}, slices of {size}", chunked_answer(body, sizes, size=size, headers=headers))
            for sizes, size in (([1], 65536), ([1, 3, 8, 40], 5), ([65536], 65536), ([7], 1))
        ]
        shapes += [
            (f"{name} up to the close, slices of {size}", closing_answer(body, size=size, headers=headers))
            for size in (2, 65536)
        ]
    return [Case(name=name, request=request(body=PROMPT), answer=sent) for name, sent in shapes]


def bodiless() -> list[Case]:
    """HEAD, 204, 304, empty answers: a length may be named that never comes."""
    named = head_only("200 OK", b'Content-Length: 1234\r\nETag: "x"\r\n')
    to_head: dict[str, Answer] = {
        "a length": Answer(parts=(named,)),
        "a length, byte by byte": Answer(parts=slices(named, 1)),
        "nothing": Answer(parts=(head_only("200 OK", b"x: y\r\n"),)),
        "a coding": Answer(parts=(head_only("200 OK", b"transfer-encoding: chunked\r\n"),)),
        "a close": Answer(parts=(head_only("404 Not Found", b"connection: close\r\n"),), end="fin"),
    }
    to_get: dict[str, Answer] = {
        "204": Answer(parts=(head_only("204 No Content", b"x: y\r\n"),)),
        "304 with a length": Answer(parts=(head_only("304 Not Modified", b"content-length: 77\r\n"),)),
        "304 without a length": Answer(parts=(head_only("304 Not Modified", b'etag: "x"\r\n'),)),
        "200 with length 0": answer(body=b""),
        "200, empty and chunked": chunked_answer(b"", [1]),
        "200, empty up to the close": closing_answer(b""),
        "205 with length 0": answer("205 Reset Content", body=b""),
    }
    return [
        *(Case(name=f"HEAD with {name}", request=request("HEAD"), answer=sent) for name, sent in to_head.items()),
        Case(name="HEAD with a body up", request=request("HEAD", body=b"abc"), answer=Answer(parts=(named,))),
        *(Case(name=name, answer=sent) for name, sent in to_get.items()),
        *(Case(name=f"{name}, to a POST", request=request(body=PROMPT), answer=sent) for name, sent in to_get.items()),
    ]


def interim() -> list[Case]:
    """1xx answers, asked for and not, in one slice with the answer and in many."""
    hints = head_only("103 Early Hints", b"Link: </a>; rel=preload\r\nlink: </b>\r\n")
    go_on = head_only("100 Continue")
    processing = head_only("102 Processing")
    expecting = request(headers=b"Expect: 100-continue\r\n", body=PROMPT)
    bare = head_only("200 OK", b"content-length: 5\r\n")
    return [
        Case(name="100", request=expecting, answer=Answer(on_head=(go_on,), parts=(OK,))),
        Case(name="100 byte by byte", request=expecting, answer=Answer(on_head=slices(go_on, 1), parts=(OK,))),
        Case(name="100 nobody asked for", request=request(body=PROMPT), answer=Answer(parts=(go_on + OK,))),
        Case(name="103", answer=Answer(parts=(hints, OK))),
        Case(name="103 in one slice with the answer", answer=Answer(parts=(hints + OK,))),
        Case(name="103, 102, 103 byte by byte", answer=Answer(parts=slices(hints + processing + hints + OK, 1))),
        Case(name="100 and 103", request=expecting, answer=Answer(on_head=(go_on, hints), parts=(hints, OK))),
        Case(name="103 before HEAD", request=request("HEAD"), answer=Answer(parts=(hints, bare))),
        Case(name="Expect without 100", request=expecting, answer=Answer(parts=(OK,))),
    ]


def framings() -> list[Case]:
    """Trailers, chunk extensions, HTTP/1.0 upstreams, announced closes, sizes."""
    sums = b"X-Sum: abc\r\nx-sum: def\r\nServer-Timing: a;dur=1\r\n"
    length = b"Content-Length: 3\r\n"
    closing = b"Connection: close\r\n"
    coded = b"Transfer-Encoding: Chunked\r\n"
    zeros = b"00A\r\n0123456789\r\n000\r\n\r\n"
    extended = chunked(JSON, [64], extension=b";a=b")
    kept = head_only("200 OK", b"Connection: keep-alive\r\n" + length, version="1.0")
    answers: dict[str, Answer] = {
        "trailers": chunked_answer(JSON, [100], trailers=sums, headers=b"trailer: x-sum\r\n"),
        "trailers byte by byte": chunked_answer(JSON, [100], trailers=sums, size=1),
        "trailers after nothing": chunked_answer(b"", [100], trailers=sums),
        "chunk extensions": Answer(parts=(head_only("200 OK", coded) + extended,)),
        "chunk sizes in capitals with zeros": Answer(parts=(head_only("200 OK", coded) + zeros,)),
        "HTTP/1.0 up to the close": closing_answer(JSON, version="1.0"),
        "HTTP/1.0 with a length": Answer(parts=(head_only("200 OK", length, version="1.0") + b"abc",), end="fin"),
        "HTTP/1.0 with keep-alive": Answer(parts=(kept + b"abc",)),
        "close announced": Answer(parts=(head_only("200 OK", closing + length) + b"abc",), end="fin"),
        "close announced, chunked": Answer(parts=(head_only("200 OK", closing + coded) + zeros,), end="fin"),
        "a large answer": answer(headers=b"x: y\r\n", body=BINARY * 500),
        "a large chunked answer": chunked_answer(BINARY * 500, [65536, 1, 30000]),
    }
    return [Case(name=name, request=request(body=PROMPT), answer=sent) for name, sent in answers.items()]


def old_clients() -> list[Case]:
    """HTTP/1.0 clients, with and without Host, get plain bytes."""
    plain = b"GET /old HTTP/1.0\r\nx-a: b\r\n\r\n"
    with_host = request("GET", "/old", version="1.0")
    posting = request(body=PROMPT, version="1.0")
    return [
        Case(name=f"HTTP/1.0 client, {who}, {what}", request=asked, answer=answered)
        for who, asked in (("no Host", plain), ("Host", with_host), ("POST", posting))
        for what, answered in (
            ("length", answer(body=JSON)),
            ("up to the close", closing_answer(JSON)),
        )
    ]


def random_exchange(seed: int) -> Case:
    """Everything mixed, the same for the same seed."""
    chance = random.Random(seed)
    headers = b"".join(
        b"%s: %s\r\n"
        % (name, bytes(chance.choices(b"abcdefghij ,;=\"'\t\xe9", k=chance.randrange(60))).strip() or b"x")
        for name in chance.choices(
            (b"X-A", b"x-a", b"X-b", b"Cookie", b"accept", b"X_c", b"Authorization"), k=chance.randrange(12)
        )
    )
    body = chance.randbytes(chance.choice((0, 1, 50, 3000)))
    sizes = [chance.choice((1, 2, 17, 300, 65536)) for _ in range(5)]
    target = "/" + "".join(chance.choices(["a", "B", "/", "%20", "%c3%a9", ";", "=", "~", "..", "?", "&"], k=20))
    asked = chance.choice(
        (
            request("GET", target, headers),
            request("POST", target, headers, body),
            upload(body, sizes, headers=headers),
        ),
    )
    _, (body_headers, answered) = chance.choice(list(BODIES.items()))
    answer_headers = body_headers + headers.replace(b"Cookie", b"Set-Cookie")
    slice_size = chance.choice((1, 2, 50, 65536))
    return Case(
        name=f"seed {seed}",
        request=asked,
        request_size=chance.choice((1, 5, 100, None)),
        answer=chance.choice(
            (
                answer(chance.choice(STATUSES), answer_headers, answered, size=slice_size),
                chunked_answer(answered, sizes, headers=answer_headers, size=slice_size, trailers=b"x-t: 1\r\n"),
                closing_answer(answered, size=slice_size, headers=answer_headers),
            ),
        ),
    )


CASES: list[Case] = [
    *targets_and_methods(),
    *request_heads(),
    *uploads(),
    *statuses(),
    *answer_heads(),
    *answer_bodies(),
    *bodiless(),
    *interim(),
    *framings(),
    *old_clients(),
    *(random_exchange(seed) for seed in range(60)),
]
