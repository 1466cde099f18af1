"""Hostile requests and answers as exact bytes, each with the only things that may come of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tests.support.http1 import chunked
from tests.support.live import DEPLOYMENT_ID
from tests.support.upstream import Answer

Fate = Literal["open", "closed", "cut"]
"""open: another request is taken. closed: FIN after the answers. cut: a reset, or FIN, without a (further) answer."""

AFTER = b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n"
"""Sent right behind every case: answered where the connection stays open, never seen by anyone where it does not."""
HOST = b"Host: UPSTREAM\r\n"
"""Stands for the Host line that upstream gets, whatever the client sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as upstream must have received it."""

    line: bytes
    fields: bytes = HOST
    body: bytes = b""
    trailers: bytes = b""

    def head(self, authority: bytes) -> bytes:
        """Every byte of the head."""
        fields = self.fields.replace(b"UPSTREAM", authority)
        return self.line + b" HTTP/1.1\r\n" + fields + b"x-shadow-hop: " + DEPLOYMENT_ID.encode() + b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One hostile thing a client sends, and all that may come of it."""

    sent: bytes
    answers: tuple[int, ...]
    """Status of each answer before that to AFTER."""
    fate: Fate
    seen: tuple[Seen, ...] = ()
    """What upstream gets, AFTER's request left out."""
    begun: Seen | None = None
    """A request that upstream may have begun to get, and never gets whole."""
    upstream: Answer | None = None
    """None: `200 ok`."""
    narrow: tuple[str, ...] = ()
    """Readers (`h11`, `llhttp`) that refuse what upstream gets: narrower than the RFC, they read no other request."""


def refused(sent: bytes, status: int = 400) -> Sent:
    """Answered here, closed, unseen by upstream."""
    return Sent(sent=sent, answers=(status,), fate="closed")


def passes(sent: bytes, *seen: Seen, fate: Fate = "open", narrow: tuple[str, ...] = ()) -> Sent:
    """Relayed as exactly these requests."""
    return Sent(sent=sent, answers=(200,) * len(seen), fate=fate, seen=seen, narrow=narrow)


def breaks(chunks: bytes, plain: bytes = b"hello") -> Sent:
    """A chunked body that turns out bad: 400 or a cut, and upstream gets no whole request."""
    fields = HOST + b"Transfer-Encoding: chunked\r\n"
    return Sent(
        sent=POST + CHUNKED + b"\r\n" + chunks,
        answers=(400,),
        fate="closed",
        begun=Seen(line=b"POST /p", fields=fields, body=plain),
    )


GET = b"GET /g HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: 5\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
INNER = b"GET /inner HTTP/1.1\r\nHost: a\r\n\r\n"
"""A request hidden in a body."""


def get(fields: bytes = b"", line: bytes = b"GET /g") -> Seen:
    """The GET of this file at upstream."""
    return Seen(line=line, fields=HOST + fields)


def post(body: bytes = b"hello", fields: bytes | None = None) -> Seen:
    """The POST of this file at upstream, with a length unless other fields are given."""
    return Seen(line=b"POST /p", fields=HOST + (LENGTH if fields is None else fields), body=body)


LLHTTP = ("llhttp",)
"""It knows a list of methods, and no other."""


def target(text: bytes) -> bytes:
    """A GET of any target."""
    return b"GET " + text + b" HTTP/1.1\r\nHost: a\r\n\r\n"


def field(line: bytes) -> bytes:
    """A GET with one more field line."""
    return GET + line + b"\r\n\r\n"


CONTENT_LENGTHS: dict[str, Sent] = {
    "two different lengths": refused(POST + LENGTH + b"Content-Length: 6\r\n\r\nhello"),
    "a short length, then a long one": refused(POST + b"Content-Length: 0\r\n" + LENGTH + b"\r\nhello"),
    "two equal lengths": refused(POST + LENGTH + LENGTH + b"\r\nhello"),
    "two equal lengths in other case": refused(POST + LENGTH + b"content-lenGTH: 5\r\n\r\nhello"),
    "a list of equal lengths": refused(POST + b"Content-Length: 5, 5\r\n\r\nhello"),
    "a list of lengths": refused(POST + b"Content-Length: 5,6\r\n\r\nhello"),
    "a negative length": refused(POST + b"Content-Length: -5\r\n\r\nhello"),
    "minus nothing": refused(POST + b"Content-Length: -0\r\n\r\n"),
    "a length with a plus": refused(POST + b"Content-Length: +5\r\n\r\nhello"),
    "a hexadecimal length": refused(POST + b"Content-Length: 0x5\r\n\r\nhello"),
    "a length in letters": refused(POST + b"Content-Length: five\r\n\r\nhello"),
    "a length with a point": refused(POST + b"Content-Length: 5.0\r\n\r\nhello"),
    "a length with an exponent": refused(POST + b"Content-Length: 5e0\r\n\r\nhello"),
    "a length with an underscore": refused(POST + b"Content-Length: 1_0\r\n\r\nhellohello"),
    "a quoted length": refused(POST + b'Content-Length: "5"\r\n\r\nhello'),
    "a length with a blank in it": refused(POST + b"Content-Length: 5 5\r\n\r\nhello"),
    "a length with a semicolon": refused(POST + b"Content-Length: 5;\r\n\r\nhello"),
    "an empty length": refused(POST + b"Content-Length:\r\n\r\nhello"),
    "a length of blanks": refused(POST + b"Content-Length:  \t \r\n\r\nhello"),
    "a length beyond 64 bits": refused(POST + b"Content-Length: 18446744073709551621\r\n\r\nhello"),
    "a length of a hundred digits": refused(POST + b"Content-Length: " + b"9" * 100 + b"\r\n\r\nhello"),
    "a length behind a hundred zeros": refused(POST + b"Content-Length: " + b"0" * 100 + b"5\r\n\r\nhello"),
    "a length in Arabic digits": refused(POST + "Content-Length: \u0665\r\n\r\nhello".encode()),
    "a length behind a vertical tab": refused(POST + b"Content-Length: \x0b5\r\n\r\nhello"),
    "a length behind a form feed": refused(POST + b"Content-Length: \x0c5\r\n\r\nhello"),
    "a blank before a length's colon": refused(POST + b"Content-Length : 5\r\n\r\nhello"),
    "a tab before a length's colon": refused(POST + b"Content-Length\t: 5\r\n\r\nhello"),
    "a folded length": refused(POST + b"Content-Length:\r\n 5\r\n\r\nhello"),
    "leading zeros in a length": passes(
        POST + b"Content-Length: 005\r\n\r\nhello", post(fields=b"Content-Length: 005\r\n")
    ),
    "blanks around a length": passes(
        POST + b"Content-Length: \t 5 \t\r\n\r\nhello", post(fields=b"Content-Length: \t 5 \t\r\n")
    ),
    "a length with an underscore for a dash": passes(
        POST + b"Content_Length: 6\r\n" + LENGTH + b"\r\nhello", post(fields=b"Content_Length: 6\r\n" + LENGTH)
    ),
}

TRANSFER_CODINGS: dict[str, Sent] = {
    "a length and a coding": refused(POST + LENGTH + CHUNKED + b"\r\n0\r\n\r\n"),
    "a coding and a length": refused(POST + CHUNKED + LENGTH + b"\r\n0\r\n\r\n"),
    "a length of nothing and a coding": refused(POST + b"Content-Length: 0\r\n" + CHUNKED + b"\r\n" + HELLO),
    "a length and an unknown coding": refused(POST + LENGTH + b"Transfer-Encoding: identity\r\n\r\nhello"),
    "a length and an empty coding": refused(POST + LENGTH + b"Transfer-Encoding:\r\n\r\nhello"),
    "two codings": refused(POST + CHUNKED + CHUNKED + b"\r\n" + HELLO),
    "two codings, the second unknown": refused(POST + CHUNKED + b"Transfer-Encoding: x\r\n\r\n" + HELLO),
    "two codings, the first unknown": refused(POST + b"Transfer-Encoding: x\r\n" + CHUNKED + b"\r\n" + HELLO),
    "chunked twice": refused(POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + HELLO),
    "chunked and nothing": refused(POST + b"Transfer-Encoding: chunked,\r\n\r\n" + HELLO),
    "nothing and chunked": refused(POST + b"Transfer-Encoding: , chunked\r\n\r\n" + HELLO),
    "an unknown coding": refused(POST + b"Transfer-Encoding: xchunked\r\n\r\n" + HELLO),
    "a coding that begins like chunked": refused(POST + b"Transfer-Encoding: chunkedx\r\n\r\n" + HELLO),
    "half of chunked": refused(POST + b"Transfer-Encoding: chunk\r\n\r\n" + HELLO),
    "identity": refused(POST + b"Transfer-Encoding: identity\r\n\r\n" + HELLO),
    "gzip": refused(POST + b"Transfer-Encoding: gzip\r\n\r\n" + HELLO),
    "chunked not last": refused(POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + HELLO),
    "gzip, then chunked": refused(POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + HELLO),
    "chunked with a parameter": refused(POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n" + HELLO),
    "quoted chunked": refused(POST + b'Transfer-Encoding: "chunked"\r\n\r\n' + HELLO),
    "an empty coding": refused(POST + b"Transfer-Encoding:\r\n\r\n" + HELLO),
    "a coding behind a vertical tab": refused(POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + HELLO),
    "a coding before a vertical tab": refused(POST + b"Transfer-Encoding: chunked\x0b\r\n\r\n" + HELLO),
    "a coding behind a no-break space": refused(POST + b"Transfer-Encoding: \xa0chunked\r\n\r\n" + HELLO),
    "a coding with a NUL": refused(POST + b"Transfer-Encoding: chunked\0\r\n\r\n" + HELLO),
    "a coding with a Kelvin sign": refused(POST + "Transfer-Encoding: chun\u212aed\r\n\r\n".encode() + HELLO),
    "a blank before a coding's colon": refused(POST + b"Transfer-Encoding : chunked\r\n\r\n" + HELLO),
    "a tab before a coding's colon": refused(POST + b"Transfer-Encoding\t: chunked\r\n\r\n" + HELLO),
    "a coding's name with a blank before it": refused(POST + b" Transfer-Encoding: chunked\r\n\r\n" + HELLO),
    "a folded coding": refused(POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + HELLO),
    "a coding in a folded line": refused(POST + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n" + HELLO),
    "a coding behind a bare LF": refused(POST + b"X: y\nTransfer-Encoding: chunked\r\n\r\n" + HELLO),
    "a coding behind a bare CR": refused(POST + b"X: y\rTransfer-Encoding: chunked\r\n\r\n" + HELLO),
    "a coding on HTTP/1.0": refused(b"POST /p HTTP/1.0\r\nHost: a\r\n" + CHUNKED + b"\r\n" + HELLO),
    "CHUNKED in capitals": passes(
        POST + b"Transfer-Encoding: CHUNKED\r\n\r\n" + HELLO, post(fields=b"Transfer-Encoding: CHUNKED\r\n")
    ),
    "a blank after chunked": refused(POST + b"Transfer-Encoding: chunked \r\n\r\n" + HELLO),
    "a tab after chunked": refused(POST + b"Transfer-Encoding: chunked\t\r\n\r\n" + HELLO),
    "blanks before chunked": passes(
        POST + b"Transfer-Encoding: \t chunked\r\n\r\n" + HELLO, post(fields=b"Transfer-Encoding: \t chunked\r\n")
    ),
    "a coding with an underscore for a dash": passes(
        POST + b"Transfer_Encoding: chunked\r\n" + LENGTH + b"\r\nhello",
        post(fields=b"Transfer_Encoding: chunked\r\n" + LENGTH),
    ),
    "TE is not Transfer-Encoding": passes(
        POST + b"TE: trailers, chunked\r\nConnection: TE\r\n" + LENGTH + b"\r\nhello", post()
    ),
}

LINES: dict[str, Sent] = {
    "bare LF everywhere": refused(b"GET /g HTTP/1.1\nHost: a\n\n"),
    "bare LF after the request line": refused(b"GET /g HTTP/1.1\nHost: a\r\n\r\n"),
    "bare LF after a field": refused(GET + b"X: b\n\r\n"),
    "bare LF as the empty line": refused(GET + b"\n"),
    "LF CR": refused(b"GET /g HTTP/1.1\n\rHost: a\n\r\n\r"),
    "bare CR after the request line": refused(b"GET /g HTTP/1.1\rHost: a\r\n\r\n"),
    "bare CR in a value": refused(field(b"X: a\rb")),
    "bare CR at a value's end": refused(field(b"X: a\r")),
    "bare CR before a name": refused(field(b"\rX: a")),
    "bare CR as a name": refused(GET + b"\r: x\r\n\r\n"),
    "a folded field": refused(field(b"X: b\r\n folded")),
    "a field folded with a tab": refused(field(b"X: b\r\n\tfolded")),
    "a folded first field": refused(b"GET /g HTTP/1.1\r\n Host: a\r\n\r\n"),
    "a folded Host": refused(b"GET /g HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
    "a line of one blank": refused(field(b" ")),
    "a blank before the colon": refused(field(b"X : b")),
    "no colon": refused(field(b"nonsense")),
    "an empty name": refused(field(b": b")),
    "a blank in a name": refused(field(b"X Y: b")),
    "a slash in a name": refused(field(b"X/Y: b")),
    "brackets in a name": refused(field(b"X[]: b")),
    "a quoted name": refused(field(b'"X": b')),
    "a name that is not ASCII": refused(field("Ü: b".encode())),
    "a NUL in a name": refused(field(b"X\0: b")),
    "a control character in a name": refused(field(b"X\x01: b")),
    "a NUL in a value": refused(field(b"X: a\0b")),
    "a NUL at a value's end": refused(field(b"X: a\0")),
    "a bell in a value": refused(field(b"X: a\x07b")),
    "a DEL in a value": refused(field(b"X: a\x7fb")),
    "an escape in a value": refused(field(b"X: \x1b[31m")),
    "an empty line before the request": passes(b"\r\n" + GET + b"\r\n", get()),
    "three empty lines before the request": passes(b"\r\n\r\n\r\n" + GET + b"\r\n", get()),
    "a CR before the request": refused(b"\r" + GET + b"\r\n"),
    "an LF before the request": refused(b"\n" + GET + b"\r\n"),
    "a blank before the request": refused(b" " + GET + b"\r\n"),
    "a tab in a value": passes(field(b"X: a\tb"), get(b"X: a\tb\r\n")),
    "a value that is not ASCII": passes(field("X: Grüße".encode()), get("X: Grüße\r\n".encode())),
    "a value in Latin-1": passes(field(b"X: gr\xfc\xdfe"), get(b"X: gr\xfc\xdfe\r\n")),
    "an empty value": passes(field(b"X:"), get(b"X:\r\n")),
    "a line end in percent code": passes(field(b"X: a%0d%0aSet-Cookie: b=c"), get(b"X: a%0d%0aSet-Cookie: b=c\r\n")),
}

REQUEST_LINES: dict[str, Sent] = {
    "no version": refused(b"GET /g\r\nHost: a\r\n\r\n"),
    "no version but a blank": refused(b"GET /g \r\nHost: a\r\n\r\n"),
    "HTTP/0.9": refused(b"GET /g HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "HTTP/1.2": refused(b"GET /g HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "HTTP/2.0": refused(b"GET /g HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "HTTP/9.9": refused(b"GET /g HTTP/9.9\r\nHost: a\r\n\r\n", 505),
    "HTTP/1.10": refused(b"GET /g HTTP/1.10\r\nHost: a\r\n\r\n"),
    "HTTP/01.1": refused(b"GET /g HTTP/01.1\r\nHost: a\r\n\r\n"),
    "HTTP/1": refused(b"GET /g HTTP/1\r\nHost: a\r\n\r\n"),
    "HTTP/11": refused(b"GET /g HTTP/11\r\nHost: a\r\n\r\n"),
    "HTTP/1.1 and a blank": refused(b"GET /g HTTP/1.1 \r\nHost: a\r\n\r\n"),
    "HTTP/1.1 and a word": refused(b"GET /g HTTP/1.1 x\r\nHost: a\r\n\r\n"),
    "http/1.1": refused(b"GET /g http/1.1\r\nHost: a\r\n\r\n"),
    "HTTPS/1.1": refused(b"GET /g HTTPS/1.1\r\nHost: a\r\n\r\n"),
    "RTSP/1.1": refused(b"GET /g RTSP/1.1\r\nHost: a\r\n\r\n"),
    "a version with a NUL": refused(b"GET /g HTTP/1.1\0\r\nHost: a\r\n\r\n"),
    "two blanks before the target": refused(b"GET  /g HTTP/1.1\r\nHost: a\r\n\r\n"),
    "two blanks before the version": refused(b"GET /g  HTTP/1.1\r\nHost: a\r\n\r\n"),
    "tabs for blanks": refused(b"GET\t/g\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    "a second version in the target": refused(b"GET /g HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "no target": refused(b"GET HTTP/1.1\r\nHost: a\r\n\r\n"),
    "no method": refused(b" /g HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a method with a colon": refused(b"GET: /g HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a method with a NUL": refused(b"GE\0T /g HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a method that is not ASCII": refused("GÜT /g HTTP/1.1\r\nHost: a\r\n\r\n".encode()),
    "a word before the method": refused(b"Extra GET /g HTTP/1.1\r\nHost: a\r\n\r\n"),
    "the HTTP/2 preface": refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "PRI in HTTP/1.1": refused(b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a TLS hello": refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "an SSH banner": refused(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "a PROXY line": refused(b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + GET + b"\r\n"),
    "an answer": refused(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "a method in small letters": passes(b"get /g HTTP/1.1\r\nHost: a\r\n\r\n", get(line=b"get /g"), narrow=LLHTTP),
    "a method nobody knows": passes(b"BREW /g HTTP/1.1\r\nHost: a\r\n\r\n", get(line=b"BREW /g"), narrow=LLHTTP),
    "a method of signs": passes(
        b"M-!#$%&'*+.^_`|~ /g HTTP/1.1\r\nHost: a\r\n\r\n", get(line=b"M-!#$%&'*+.^_`|~ /g"), narrow=LLHTTP
    ),
    "a very long method": passes(
        b"M" * 5000 + b" /g HTTP/1.1\r\nHost: a\r\n\r\n", get(line=b"M" * 5000 + b" /g"), narrow=LLHTTP
    ),
    "TRACE": passes(b"TRACE /g HTTP/1.1\r\nHost: a\r\n\r\n", get(line=b"TRACE /g")),
    "CONNECT": refused(b"CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "CONNECT with a path": refused(b"CONNECT /g HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "CONNECT with a body": refused(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n" + LENGTH + b"\r\nhello", 405),
    "connect in small letters": refused(b"connect evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
}

TARGETS: dict[str, Sent] = {
    "a target without a slash": refused(target(b"g")),
    "authority form with GET": refused(target(b"evil.example:443")),
    "asterisk form with GET": refused(target(b"*")),
    "an absolute form of another scheme": refused(target(b"ftp://evil.example/g")),
    "an absolute form without slashes": refused(target(b"http:evil.example/g")),
    "a javascript target": refused(target(b"javascript:alert(1)")),
    "a fragment": refused(target(b"/g#f")),
    "a blank in the target": refused(target(b"/g h")),
    "a tab in the target": refused(target(b"/g\th")),
    "a NUL in the target": refused(target(b"/g\0h")),
    "a control character in the target": refused(target(b"/g\x01h")),
    "a DEL in the target": refused(target(b"/g\x7fh")),
    "a bare CR in the target": refused(target(b"/g\rh")),
    "asterisk form with OPTIONS": passes(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", get(line=b"OPTIONS *")),
    "absolute form": passes(target(b"http://evil.example/g?q"), get(line=b"GET /g?q")),
    "absolute form with a user": passes(target(b"http://u:p@evil.example:99/g"), get(line=b"GET /g")),
    "absolute form in capitals": passes(target(b"HTTP://EVIL.EXAMPLE"), get(line=b"GET /")),
    "absolute form that hides another": passes(
        target(b"http://a/http://evil.example/g"), get(line=b"GET /http://evil.example/g")
    ),
    "a double slash": passes(target(b"//evil.example/g"), get(line=b"GET //evil.example/g")),
    "three slashes": passes(target(b"///g"), get(line=b"GET ///g")),
    "dot segments": passes(target(b"/a/../g/./h"), get(line=b"GET /a/../g/./h")),
    "encoded dot segments": passes(target(b"/a/%2e%2e/g"), get(line=b"GET /a/%2e%2e/g")),
    "backslashes": passes(target(b"/a\\..\\g"), get(line=b"GET /a\\..\\g")),
    "a NUL in percent code": passes(target(b"/g%00h"), get(line=b"GET /g%00h")),
    "a line end in percent code": passes(target(b"/g%0d%0aX:%20y"), get(line=b"GET /g%0d%0aX:%20y")),
    "percent codes that are none": passes(target(b"/%zz%2"), get(line=b"GET /%zz%2")),
    "a target that is not ASCII": passes(
        target("/Grüße".encode()), get(line="GET /Grüße".encode()), narrow=("h11", "llhttp")
    ),
    "a query of question marks": passes(target(b"/g???"), get(line=b"GET /g???")),
    "a semicolon": passes(target(b"/g;x=/../h"), get(line=b"GET /g;x=/../h")),
    "angle brackets and quotes": passes(target(b'/<g>"{h}|^`'), get(line=b'GET /<g>"{h}|^`')),
}

HOSTS: dict[str, Sent] = {
    "no Host": refused(b"GET /g HTTP/1.1\r\nX: y\r\n\r\n"),
    "no field at all": refused(b"GET /g HTTP/1.1\r\n\r\n"),
    "no Host with an absolute form": refused(b"GET http://a/g HTTP/1.1\r\nX: y\r\n\r\n"),
    "two Hosts": refused(GET + b"Host: b\r\n\r\n"),
    "two equal Hosts": refused(GET + b"Host: a\r\n\r\n"),
    "two Hosts in other case": refused(GET + b"hOST: a\r\n\r\n"),
    "two Hosts on HTTP/1.0": refused(b"GET /g HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    "two names in one Host": refused(b"GET /g HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    "a blank in the Host": refused(b"GET /g HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "a user in the Host": refused(b"GET /g HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    "a path in the Host": refused(b"GET /g HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "a query in the Host": refused(b"GET /g HTTP/1.1\r\nHost: a?b\r\n\r\n"),
    "a fragment in the Host": refused(b"GET /g HTTP/1.1\r\nHost: a#b\r\n\r\n"),
    "a backslash in the Host": refused(b"GET /g HTTP/1.1\r\nHost: a\\b\r\n\r\n"),
    "a Host that is not ASCII": refused("GET /g HTTP/1.1\r\nHost: ä\r\n\r\n".encode()),
    "a blank before the Host's colon": refused(b"GET /g HTTP/1.1\r\nHost : a\r\n\r\n"),
    "a NUL in the Host": refused(b"GET /g HTTP/1.1\r\nHost: a\0b\r\n\r\n"),
    "an empty Host": passes(b"GET /g HTTP/1.1\r\nHost:\r\n\r\n", get()),
    "a Host with an odd port": passes(b"GET /g HTTP/1.1\r\nHost: a:99999\r\n\r\n", get()),
    "a Host of an IPv6 address": passes(b"GET /g HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", get()),
    "a Host with underscores": passes(b"GET /g HTTP/1.1\r\nHost: my_service:80\r\n\r\n", get()),
    "a Host of a socket's path": passes(b"GET /g HTTP/1.1\r\nHost: %2Frun%2Fs.sock\r\n\r\n", get()),
    "a Host other than the absolute form's": passes(b"GET http://b/g HTTP/1.1\r\nHost: a\r\n\r\n", get()),
    "hosts in other fields": passes(
        field(b"X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\nX-Host: e"),
        get(b"X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\nX-Host: e\r\n"),
    ),
    "HTTP/1.0 without a Host": passes(
        b"GET /g HTTP/1.0\r\nX: y\r\n\r\n", Seen(line=b"GET /g", fields=b"host: UPSTREAM\r\nX: y\r\n"), fate="closed"
    ),
    "HTTP/1.0 that asks to be kept": passes(
        b"GET /g HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", get(), fate="closed"
    ),
}

_TE = b"Transfer-Encoding: chunked\r\n"
_AS_CHUNKED = post(fields=_TE)

CHUNKS: dict[str, Sent] = {
    "a chunk extension": passes(POST + CHUNKED + b"\r\n5;a=b\r\nhello\r\n0;c\r\n\r\n", _AS_CHUNKED),
    "a quoted chunk extension": passes(POST + CHUNKED + b'\r\n5;a="b;c, d"\r\nhello\r\n0\r\n\r\n', _AS_CHUNKED),
    "a chunk extension of 20 kB": passes(
        POST + CHUNKED + b"\r\n5;" + b"a" * 20_000 + b"\r\nhello\r\n0\r\n\r\n", _AS_CHUNKED
    ),
    "a chunk size in capitals": passes(POST + CHUNKED + b"\r\nA\r\nhellohello\r\n0\r\n\r\n", post(b"hellohello", _TE)),
    "leading zeros in a chunk size": passes(POST + CHUNKED + b"\r\n00005\r\nhello\r\n000\r\n\r\n", _AS_CHUNKED),
    "one byte a chunk": passes(POST + CHUNKED + b"\r\n" + chunked(b"hello", [1]), _AS_CHUNKED),
    "a body that looks like chunks": passes(
        POST + b"Content-Length: 15\r\n\r\n" + HELLO, post(HELLO, b"Content-Length: 15\r\n")
    ),
    "a body that looks like a request": passes(POST + CHUNKED + b"\r\n" + chunked(INNER, [7]), post(INNER, _TE)),
    "a body with empty lines in it": passes(
        POST + CHUNKED + b"\r\n" + chunked(b"\r\n\r\n0\r\n\r\n" + INNER, [100]), post(b"\r\n\r\n0\r\n\r\n" + INNER, _TE)
    ),
    "a chunk size of letters": breaks(b"zz\r\nhello\r\n0\r\n\r\n"),
    "a negative chunk size": breaks(b"-5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with a plus": breaks(b"+5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size in 0x": breaks(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with an underscore": breaks(b"0_5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size beyond 64 bits": breaks(b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "a chunk size of 64 bits and five": breaks(b"FFFFFFFFFFFFFFFF5\r\nhello\r\n0\r\n\r\n"),
    "an empty chunk size": breaks(b"\r\nhello\r\n0\r\n\r\n"),
    "an extension without a size": breaks(b";a=b\r\nhello\r\n0\r\n\r\n"),
    "a blank before a chunk size": breaks(b" 5\r\nhello\r\n0\r\n\r\n"),
    "a blank after a chunk size": breaks(b"5 \r\nhello\r\n0\r\n\r\n"),
    "a tab after a chunk size": breaks(b"5\t\r\nhello\r\n0\r\n\r\n"),
    "a NUL after a chunk size": breaks(b"5\0\r\nhello\r\n0\r\n\r\n"),
    "a bare LF after a chunk size": breaks(b"5\nhello\r\n0\r\n\r\n"),
    "a bare CR after a chunk size": breaks(b"5\rhello\r\n0\r\n\r\n"),
    "a bare LF after an extension": breaks(b"5;a\nhello\r\n0\r\n\r\n"),
    "a bare CR in an extension": breaks(b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "a NUL in an extension": breaks(b"5;a\0b\r\nhello\r\n0\r\n\r\n"),
    "a chunk longer than it says": breaks(b"3\r\nhello\r\n0\r\n\r\n", b"hel"),
    "a chunk shorter than it says": breaks(b"6\r\nhello\r\n0\r\n\r\n", b"hello\r"),
    "no CRLF after a chunk": breaks(b"5\r\nhello0\r\n\r\n"),
    "a bare LF after a chunk": breaks(b"5\r\nhello\n0\r\n\r\n"),
    "a bare CR after a chunk": breaks(b"5\r\nhello\r0\r\n\r\n"),
    "a bare LF after the last chunk": breaks(b"5\r\nhello\r\n0\n\n"),
    "a bare LF as the last line": breaks(b"5\r\nhello\r\n0\r\n\n"),
    "chunks after the last one": Sent(
        sent=POST + CHUNKED + b"\r\n" + HELLO + b"5\r\nhello\r\n0\r\n\r\n",
        answers=(200, 400),
        fate="closed",
        seen=(_AS_CHUNKED,),
    ),
    "an extension of 400 kB": breaks(b"5;" + b"a" * 400_000 + b"\r\nhello\r\n0\r\n\r\n"),
}


def trailers(lines: bytes, left: bytes = b"") -> Sent:
    """A chunked POST whose trailers arrive as `left`."""
    sent = POST + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n" + lines + b"\r\n"
    return passes(sent, Seen(line=b"POST /p", fields=HOST + _TE, body=b"hello", trailers=left))


TRAILERS: dict[str, Sent] = {
    "a trailer": trailers(b"X-Sum: 1\r\n", b"X-Sum: 1\r\n"),
    "a credential in a trailer": trailers(b"x-api-key: k\r\nX: y\r\n", b"X: y\r\n"),
    "a bearer in a trailer": trailers(b"Authorization: Bearer k\r\n"),
    "a cookie in a trailer": trailers(b"Cookie: k\r\n"),
    "a Host in a trailer": trailers(b"Host: evil.example\r\n"),
    "hop-by-hop fields in trailers": trailers(b"Connection: close\r\nKeep-Alive: 1\r\nTE: x\r\nUpgrade: h2c\r\n"),
    "an upgrade in trailers": trailers(b"Connection: upgrade\r\nUpgrade: websocket\r\n"),
    "our own fields in trailers": trailers(b"X-Shadow-Hop: x\r\nx-shadow: off\r\n"),
    "Expect in a trailer": trailers(b"Expect: 100-continue\r\n"),
    "a field that Connection names, in a trailer": passes(
        POST + b"Connection: x-named\r\n" + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nX-Named: y\r\n\r\n", _AS_CHUNKED
    ),
    "a trailer without a colon": breaks(b"5\r\nhello\r\n0\r\nno colon\r\n\r\n"),
    "a folded trailer": breaks(b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n"),
    "a NUL in a trailer": breaks(b"5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n"),
    "a bare LF after a trailer": breaks(b"5\r\nhello\r\n0\r\nX: a\n\r\n"),
    "a bare CR in a trailer": breaks(b"5\r\nhello\r\n0\r\nX: a\rb\r\n\r\n"),
    "a blank before a trailer's colon": breaks(b"5\r\nhello\r\n0\r\nX : a\r\n\r\n"),
    "trailers of 400 kB": breaks(b"5\r\nhello\r\n0\r\nX: " + b"a" * 400_000 + b"\r\n\r\n"),
}

_MANY = b"".join(b"X-%d: y\r\n" % number for number in range(99))
_GIANT = b"X: " + b"v" * 70_000 + b"\r\n"

SIZES: dict[str, Sent] = {
    "a giant field": refused(GET + _GIANT + b"\r\n", 431),
    "a giant name": refused(GET + b"X" * 70_000 + b": y\r\n\r\n", 431),
    "a giant target": refused(target(b"/" + b"g" * 70_000), 431),
    "a giant method": refused(b"M" * 70_000 + b" /g HTTP/1.1\r\nHost: a\r\n\r\n", 431),
    "101 fields": refused(GET + _MANY + b"One: more\r\n\r\n", 431),
    "20,000 empty fields": refused(GET + b"X:\r\n" * 20_000 + b"\r\n", 431),
    "100 fields": passes(GET + _MANY + b"\r\n", get(_MANY)),
    "a head of nearly 64 KiB": passes(
        GET + b"X: " + b"v" * 65_000 + b"\r\n\r\n", get(b"X: " + b"v" * 65_000 + b"\r\n")
    ),
}

HOP_BY_HOP: dict[str, Sent] = {
    "Connection names the length": passes(POST + b"Connection: content-length\r\n" + LENGTH + b"\r\nhello", post()),
    "Connection names the coding": passes(
        POST + b"Connection: Transfer-Encoding\r\n" + CHUNKED + b"\r\n" + HELLO, _AS_CHUNKED
    ),
    "Connection names the Host": passes(field(b"Connection: host"), get()),
    "Connection names our mark": passes(field(b"Connection: x-shadow-hop"), get()),
    "Connection names the credentials": passes(
        field(b"Connection: authorization, x-api-key\r\nAuthorization: Bearer k\r\nX-Api-Key: k"), get()
    ),
    "Connection names everything": passes(
        POST + b"Connection: x, content-length, host, y\r\nX: 1\r\nY: 2\r\nZ: 3\r\n" + LENGTH + b"\r\nhello",
        post(fields=b"Z: 3\r\n" + LENGTH),
    ),
    "two Connection fields": passes(field(b"Connection: x\r\nX: 1\r\nconnection: y\r\nY: 2"), get()),
    "Connection of odd tokens": passes(field(b"Connection: ,, ;, =, \tx\t,\r\nX: 1"), get()),
    "Proxy-Connection": passes(field(b"Proxy-Connection: close"), get()),
    "Keep-Alive": passes(field(b"Keep-Alive: timeout=1, max=1"), get()),
    "Proxy-Authorization": passes(field(b"Proxy-Authorization: Basic eDp5"), get()),
    "Connection: close": passes(field(b"Connection: close"), get(), fate="closed"),
    "Connection: keep-alive, CLOSE": passes(field(b"Connection: keep-alive, CLOSE"), get(), fate="closed"),
    "an upgrade to h2c": passes(
        POST
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"
        + LENGTH
        + b"\r\nhello",
        post(),
    ),
    "an upgrade to h2c with chunks": passes(
        POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + CHUNKED + b"\r\n" + HELLO, _AS_CHUNKED
    ),
    "an upgrade to TLS": passes(field(b"Connection: upgrade\r\nUpgrade: TLS/1.3, HTTP/1.1"), get()),
    "an upgrade to websocket among others": passes(field(b"Connection: upgrade\r\nUpgrade: websocket, h2c"), get()),
    "an upgrade to websocket with a body": passes(
        POST + b"Connection: upgrade\r\nUpgrade: websocket\r\n" + LENGTH + b"\r\nhello", post()
    ),
    "an upgrade that Connection does not name": passes(field(b"Upgrade: websocket"), get()),
    "a websocket that upstream refuses": passes(
        field(b"Connection: upgrade\r\nUpgrade: websocket"), get(b"connection: Upgrade\r\nupgrade: websocket\r\n")
    ),
    "a request that was here before": refused(field(b"X-Shadow-Hop: " + DEPLOYMENT_ID.encode()), 508),
    "a request that was here before, in a list": refused(
        field(b"x-SHADOW-hop: other ,\t" + DEPLOYMENT_ID.encode() + b" , x"), 508
    ),
}

_EXPECT = b"Expect: 100-continue\r\n"

EXPECTATIONS: dict[str, Sent] = {
    "Expect and a body at once": passes(POST + _EXPECT + LENGTH + b"\r\nhello", post(fields=_EXPECT + LENGTH)),
    "Expect and chunks at once": passes(POST + _EXPECT + CHUNKED + b"\r\n" + HELLO, post(fields=_EXPECT + _TE)),
    "Expect without a body": passes(field(b"Expect: 100-continue"), get(_EXPECT)),
    "Expect in other case": passes(
        POST + b"EXPECT: 100-Continue\r\n" + LENGTH + b"\r\nhello", post(fields=b"EXPECT: 100-Continue\r\n" + LENGTH)
    ),
    "an unknown expectation": passes(
        POST + b"Expect: 200-ok\r\n" + LENGTH + b"\r\nhello", post(fields=b"Expect: 200-ok\r\n" + LENGTH)
    ),
    "two expectations": passes(
        POST + _EXPECT + _EXPECT + LENGTH + b"\r\nhello", post(fields=_EXPECT + _EXPECT + LENGTH)
    ),
    "Expect on HTTP/1.0": passes(
        b"POST /p HTTP/1.0\r\nHost: a\r\n" + _EXPECT + LENGTH + b"\r\nhello",
        post(fields=_EXPECT + LENGTH),
        fate="closed",
    ),
    "Expect and a request hidden in the body": passes(
        POST + _EXPECT + b"Content-Length: %d\r\n\r\n" % len(INNER) + INNER,
        post(INNER, _EXPECT + b"Content-Length: %d\r\n" % len(INNER)),
    ),
}

_NO = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"

PIPELINES: dict[str, Sent] = {
    "two good requests": passes(GET + b"\r\n" + POST + LENGTH + b"\r\nhello", get(), post()),
    "a good request, then a bad one": Sent(
        sent=GET + b"\r\n" + POST + LENGTH + LENGTH + b"\r\nhello", answers=(200, 400), fate="closed", seen=(get(),)
    ),
    "a good request with a body, then a bad one": Sent(
        sent=POST + LENGTH + b"\r\nhelloX" + GET.replace(b"Host: a\r\n", b"") + b"\r\n",
        answers=(200, 400),
        fate="closed",
        seen=(post(),),
    ),
    "a bad request, then good ones": refused(GET + LENGTH + CHUNKED + b"\r\n" + GET + b"\r\n"),
    "a GET with a body that hides a request": passes(
        GET + b"Content-Length: %d\r\n\r\n" % len(INNER) + INNER,
        Seen(line=b"GET /g", fields=HOST + b"Content-Length: %d\r\n" % len(INNER), body=INNER),
    ),
    "a GET with chunks that hide a request": passes(
        GET + CHUNKED + b"\r\n" + chunked(INNER, [100]),
        Seen(line=b"GET /g", fields=HOST + _TE, body=INNER),
    ),
    "a HEAD with a body that hides a request": passes(
        b"HEAD /g HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(INNER) + INNER,
        Seen(line=b"HEAD /g", fields=HOST + b"Content-Length: %d\r\n" % len(INNER), body=INNER),
    ),
    "an OPTIONS with a body that hides a request": passes(
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(INNER) + INNER,
        Seen(line=b"OPTIONS *", fields=HOST + b"Content-Length: %d\r\n" % len(INNER), body=INNER),
    ),
    "a health check with a body that hides a request": Sent(
        sent=b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(INNER) + INNER,
        answers=(200,),
        fate="closed",
    ),
    "a health check with chunks": Sent(
        sent=b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + CHUNKED + b"\r\n" + HELLO, answers=(200,), fate="closed"
    ),
    "a refused request with a body that hides a request": refused(
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(INNER) + INNER, 405
    ),
    "a body nobody announced": Sent(
        sent=POST + b"\r\nhello\r\n", answers=(200, 400), fate="closed", seen=(post(b"", b""),)
    ),
    "an early refusal while the body is under way": Sent(
        sent=POST + b"Content-Length: 600\r\n\r\n" + INNER,
        answers=(413,),
        fate="closed",
        begun=post(INNER + AFTER, b"Content-Length: 600\r\n"),
        upstream=Answer(on_head=(_NO,), read_body=False, end="stall"),
    ),
}


_MOST_PLACES = 40


GROUPS: dict[str, dict[str, Sent]] = {
    "content length": CONTENT_LENGTHS,
    "transfer coding": TRANSFER_CODINGS,
    "lines": LINES,
    "request line": REQUEST_LINES,
    "target": TARGETS,
    "host": HOSTS,
    "chunks": CHUNKS,
    "trailers": TRAILERS,
    "sizes": SIZES,
    "hop by hop": HOP_BY_HOP,
    "expect": EXPECTATIONS,
    "pipeline": PIPELINES,
}
REQUESTS: dict[str, Sent] = {
    f"{group}: {name}": case for group, cases in GROUPS.items() for name, case in cases.items()
}


def places(sent: bytes) -> list[int]:
    """Where a cut may make a difference: before, in and after each line end, after each colon, and near both ends."""
    found = {1, len(sent) - 1}
    for match in re.finditer(rb"\r\n|[\r\n:]", sent):
        found.update(range(match.start() + match[0].startswith(b":"), match.end() + 1))
    marks = sorted(at for at in found if 0 < at < len(sent))
    return marks if len(marks) <= _MOST_PLACES else marks[: _MOST_PLACES // 2] + marks[-_MOST_PLACES // 2 :]


# The other side: what an upstream answers to GET /g.


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One hostile answer, and what the client gets of it."""

    parts: tuple[bytes, ...]
    status: int
    """502: nothing of it reached the client. 0: it was cut off without a word."""
    body: bytes = b""
    whole: bool = True
    """False: the client is cut off with a reset, so that it cannot take what it has for a whole answer."""
    reused: bool = False
    """Whether the connection to upstream may serve another request."""
    method: bytes = b"GET"
    end: Literal["fin", "stall", "keep"] = "stall"


SMUGGLED = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\nset-cookie: evil=1\r\n\r\nsmuggled"
"""A second answer, which no client may see."""


def bad(*parts: bytes) -> Answered:
    """Refused at its head."""
    return Answered(parts=parts, status=502)


def past(part: bytes, body: bytes = b"", method: bytes = b"GET") -> Answered:
    """More than an answer in one slice: none of it is believed."""
    return Answered(parts=(part,), status=0, body=body, whole=False, method=method)


def fine(*parts: bytes, body: bytes = b"ok", status: int = 200, end: Literal["fin", "keep"] = "keep") -> Answered:
    """Relayed whole."""
    return Answered(parts=parts, status=status, body=body, reused=end == "keep", end=end)


def cut(*parts: bytes, body: bytes = b"") -> Answered:
    """Begun, then broken off."""
    return Answered(parts=parts, status=200, body=body, whole=False)


def answer_with(fields: bytes, body: bytes = b"ok") -> bytes:
    """A 200 with these field lines."""
    return b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n" + body


_CL = b"content-length: 2\r\n"
_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_EARLY = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"

ANSWERS: dict[str, Answered] = {
    "two equal lengths": bad(answer_with(_CL + _CL)),
    "two different lengths": bad(answer_with(_CL + b"content-length: 100\r\n")),
    "a list of lengths": bad(answer_with(b"content-length: 2, 2\r\n")),
    "a negative length": bad(answer_with(b"content-length: -2\r\n")),
    "a length with a plus": bad(answer_with(b"content-length: +2\r\n")),
    "a hexadecimal length": bad(answer_with(b"content-length: 0x2\r\n")),
    "a length beyond 64 bits": bad(answer_with(b"content-length: 18446744073709551618\r\n")),
    "an empty length": bad(answer_with(b"content-length:\r\n")),
    "a length and a coding": bad(answer_with(_CL + b"transfer-encoding: chunked\r\n", b"0\r\n\r\n")),
    "a coding and a length": bad(answer_with(b"transfer-encoding: chunked\r\n" + _CL, b"0\r\n\r\n")),
    "two codings": bad(answer_with(b"transfer-encoding: chunked\r\n" * 2, b"0\r\n\r\n")),
    "gzip, then chunked": bad(answer_with(b"transfer-encoding: gzip, chunked\r\n", b"0\r\n\r\n")),
    "identity": bad(answer_with(b"transfer-encoding: identity\r\n")),
    "an unknown coding": bad(answer_with(b"transfer-encoding: xchunked\r\n", b"0\r\n\r\n")),
    "a coding on HTTP/1.0": bad(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a blank before the colon": bad(answer_with(b"content-length : 2\r\n")),
    "bare LF everywhere": bad(b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok"),
    "a bare LF in the head": bad(answer_with(b"x: y\n" + _CL)),
    "a bare CR in a value": bad(answer_with(b"x: y\rset-cookie: evil=1\r\n" + _CL)),
    "a folded field": bad(answer_with(b"x: y\r\n z\r\n" + _CL)),
    "a folded first field": bad(answer_with(b" x: y\r\n" + _CL)),
    "a NUL in a value": bad(answer_with(b"x: a\0b\r\n" + _CL)),
    "a NUL in a name": bad(answer_with(b"x\0: b\r\n" + _CL)),
    "a control character in a value": bad(answer_with(b"x: \x08\r\n" + _CL)),
    "an escape in a value": bad(answer_with(b"x: \x1b[2J\r\n" + _CL)),
    "a field without a colon": bad(answer_with(b"nonsense\r\n" + _CL)),
    "an empty name": bad(answer_with(b": b\r\n" + _CL)),
    "a blank in a name": bad(answer_with(b"x y: b\r\n" + _CL)),
    "a status of four digits": bad(b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok"),
    "a status of two digits": bad(b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nok"),
    "a status below 100": bad(b"HTTP/1.1 099 OK\r\ncontent-length: 2\r\n\r\nok"),
    "a negative status": bad(b"HTTP/1.1 -200 OK\r\ncontent-length: 2\r\n\r\nok"),
    "a status of letters": bad(b"HTTP/1.1 abc OK\r\ncontent-length: 2\r\n\r\nok"),
    "no status": bad(b"HTTP/1.1\r\ncontent-length: 2\r\n\r\nok"),
    "two blanks before the status": bad(b"HTTP/1.1  200 OK\r\ncontent-length: 2\r\n\r\nok"),
    "a tab before the status": bad(b"HTTP/1.1\t200 OK\r\ncontent-length: 2\r\n\r\nok"),
    "a NUL in the reason": bad(b"HTTP/1.1 200 O\0K\r\ncontent-length: 2\r\n\r\nok"),
    "a bare CR in the reason": bad(b"HTTP/1.1 200 O\rK\r\ncontent-length: 2\r\n\r\nok"),
    "HTTP/1.2": bad(b"HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    "HTTP/2.0": bad(b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    "http/1.1": bad(b"http/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    "HTTP/0.9": bad(b"<html>ok</html>"),
    "JSON": bad(b'{"error": "no"}\r\n\r\n'),
    "an SSH banner": bad(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "ICY": bad(b"ICY 200 OK\r\n\r\n"),
    "a request": bad(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    "an empty line first": bad(b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    "the rest of an earlier answer first": bad(b"ok" + answer_with(_CL)),
    "an endless field": bad(b"HTTP/1.1 200 OK\r\nx: " + b"v" * 300_000),
    "an endless status line": bad(b"HTTP/1.1 200 " + b"v" * 300_000),
    "endless fields": bad(b"HTTP/1.1 200 OK\r\n" + b"x: v\r\n" * 60_000),
    "101 unasked": bad(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n" + SMUGGLED),
    "bytes past a length": past(answer_with(_CL) + SMUGGLED, b"ok"),
    "bytes past a length, later": cut(answer_with(_CL, b"o"), b"k" + SMUGGLED, body=b"o"),
    "bytes past the last chunk": past(_CHUNKED_HEAD + b"2\r\nok\r\n0\r\n\r\n" + SMUGGLED, b"ok"),
    "bytes past the last chunk, later": cut(_CHUNKED_HEAD + b"2\r\nok\r\n", b"0\r\n\r\n" + SMUGGLED, body=b"ok"),
    "bytes past a 204": past(b"HTTP/1.1 204 No Content\r\n\r\n" + SMUGGLED),
    "bytes past a 304": past(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n" + SMUGGLED),
    "a 204 that says it has a body, and has": past(b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok"),
    "a 204 that says it has a body": Answered(
        parts=(b"HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n",), status=204, end="keep"
    ),
    "a 204 that says it has chunks": Answered(
        parts=(b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",), status=204, end="keep"
    ),
    "the body of an answer to HEAD": past(answer_with(_CL), method=b"HEAD"),
    "a second answer to HEAD": past(answer_with(_CL, b"") + SMUGGLED, method=b"HEAD"),
    "a chunk size of letters": cut(_CHUNKED_HEAD + b"2\r\nok\r\n", b"zz\r\nok\r\n0\r\n\r\n", body=b"ok"),
    "a negative chunk size": cut(_CHUNKED_HEAD + b"2\r\nok\r\n", b"-2\r\nok\r\n0\r\n\r\n", body=b"ok"),
    "a chunk size beyond 64 bits": cut(
        _CHUNKED_HEAD + b"2\r\nok\r\n", b"10000000000000002\r\nok\r\n0\r\n\r\n", body=b"ok"
    ),
    "a chunk size in 0x": cut(_CHUNKED_HEAD + b"2\r\nok\r\n", b"0x2\r\nok\r\n0\r\n\r\n", body=b"ok"),
    "a blank after a chunk size": cut(_CHUNKED_HEAD + b"2\r\nok\r\n", b"2 \r\nok\r\n0\r\n\r\n", body=b"ok"),
    "a bare LF after a chunk size": cut(_CHUNKED_HEAD + b"2\r\nok\r\n", b"2\nok\r\n0\r\n\r\n", body=b"ok"),
    "a chunk longer than it says": cut(_CHUNKED_HEAD + b"2\r\nok\r\n", b"1\r\nok\r\n0\r\n\r\n", body=b"ok"),
    "no CRLF after a chunk": cut(_CHUNKED_HEAD + b"2\r\nok\r\n", b"2\r\nok0\r\n\r\n", body=b"ok"),
    "a chunk head without end": cut(_CHUNKED_HEAD + b"2\r\nok\r\n", b"2;" + b"a" * 600_000, body=b"ok"),
    "trailers without end": cut(_CHUNKED_HEAD + b"2\r\nok\r\n", b"0\r\nx: " + b"a" * 600_000, body=b"ok"),
    "a NUL in a trailer": cut(_CHUNKED_HEAD + b"2\r\nok\r\n", b"0\r\nx: a\0b\r\n\r\n", body=b"ok"),
    "a folded trailer": cut(_CHUNKED_HEAD + b"2\r\nok\r\n", b"0\r\nx: a\r\n b\r\n\r\n", body=b"ok"),
    "an end before the length": Answered(
        parts=(answer_with(b"content-length: 5\r\n"),), status=200, body=b"ok", whole=False, end="fin"
    ),
    "an end before the last chunk": Answered(
        parts=(_CHUNKED_HEAD + b"2\r\nok\r\n",), status=200, body=b"ok", whole=False, end="fin"
    ),
    "an end in the head": Answered(parts=(b"HTTP/1.1 200 OK\r\ncontent-le",), status=502, end="fin"),
    "a bad answer behind a 103": bad(_EARLY + b"HTTP/1.1 2000 OK\r\n\r\n"),
    "a thousand 103s": fine(_EARLY * 1000 + answer_with(_CL)),
    "a 103 with a length": fine(b"HTTP/1.1 103 Early Hints\r\ncontent-length: 60\r\n\r\n" + answer_with(_CL)),
    "a 100 nobody asked for": fine(b"HTTP/1.1 100 Continue\r\n\r\n" + answer_with(_CL)),
    "no reason": fine(b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok"),
    "an empty reason": fine(b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok"),
    "a reason that is not ASCII": fine(b"HTTP/1.1 200 Gr\xfc\xdfe\r\ncontent-length: 2\r\n\r\nok"),
    "a status nobody knows": fine(b"HTTP/1.1 799 Odd\r\ncontent-length: 2\r\n\r\nok", status=799),
    "a line end in percent code": fine(answer_with(b"location: /a%0d%0aset-cookie:%20b\r\n" + _CL)),
    "chunks with extensions": fine(_CHUNKED_HEAD + b'1;a="b;c"\r\no\r\n1;x\r\nk\r\n0;y\r\nx: y\r\n\r\n'),
    "an answer in the body": fine(answer_with(b"content-length: %d\r\n" % len(SMUGGLED), SMUGGLED), body=SMUGGLED),
    "an answer in a chunk": fine(_CHUNKED_HEAD + chunked(SMUGGLED, [9]), body=SMUGGLED),
    "no length": fine(answer_with(b"", b"ok"), end="fin"),
    "HTTP/1.0 with a length": fine(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", end="fin"),
}
