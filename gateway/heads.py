"""Header rules as pure functions: how a head is read, what is forwarded, what never is.

A head is read once, by the code below, and what travels on is built from the lines it accepted; so no second reader
can see another request in the same bytes. Lines are forwarded as they came (order, repeats, case and spacing).
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

MAX_REQUEST_HEAD_BYTES = 64 << 10
MAX_ANSWER_HEAD_BYTES = 256 << 10
"""An answer's head comes from a server we were told to trust, and must pass; it only may not grow without end."""
MAX_REQUEST_FIELDS = 100

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])\r\n")
# Multi-line `^`: every line must match from its start, or the count of lines and of fields differs. A line that starts
# with a space (obs-fold), holds a control character or ends with a bare LF does not match.
_FIELD = re.compile(rb"^(" + _TOKEN + rb"):[ \t]*(" + _VALUE + rb")\r\n", re.MULTILINE)
_STATUS_LINE = rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: " + _VALUE + rb")?\r\n"
_STATUS = re.compile(_STATUS_LINE)
# An answer's whole head in one match: the same lines, but nothing is taken out of them. Possessive (`++`), so that no
# byte is looked at twice.
_ANSWER = re.compile(_STATUS_LINE + rb"(?:" + _TOKEN + rb"+:" + _VALUE + rb"+\r\n)*+")
_ANSWER_START = b"HTTP/1."
_LENGTH = re.compile(rb"[0-9]{1,18}")
# RFC 9112 3.2: an invalid Host is a 400. What a host and a port may hold (RFC 3986 3.2.2), but for a list's comma.
_HOST = re.compile(rb"[0-9A-Za-z\-._~%!$&'()*+;=:\[\]]*[ \t]*")
_BARE_LF = re.compile(rb"(?<!\r)\n")

# RFC 9110 7.6.1: fields that speak about one connection only. Transfer-Encoding is among them, but travels again
# because chunked bodies stay chunked; Trailer stays, because trailers pass.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"upgrade",
    }
)
CREDENTIALS = frozenset({b"authorization", b"x-api-key"})
_SHADOW = b"x-shadow"
HOP_FIELD = b"x-shadow-hop"
REQUEST_ID_FIELD = b"x-shadow-request-id"
# A Connection field may not take these away: they decide where a message goes and where it ends.
_NEVER_NAMED = frozenset({b"content-length", b"host", b"transfer-encoding", b"close", b"keep-alive", b"upgrade", b""})
# RFC 9110 6.5.1: what may not arrive after the body: framing, routing, credentials, and what says how to read the body.
_NEVER_TRAILER = (
    HOP_BY_HOP
    | CREDENTIALS
    | {
        b"api-key",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"host",
        b"max-forwards",
        b"set-cookie",
        b"trailer",
        b"transfer-encoding",
    }
)
# Names that mean something here in a request; what a head holds of them is looked up once.
_MEANT = HOP_BY_HOP | CREDENTIALS | {b"content-encoding", b"content-length", b"expect", b"host", b"transfer-encoding"}
# Of an answer: what frames it, what stays here, and what the recorder reads (the body's type and coding, and how long
# an origin wants to be left alone). Real providers send two dozen fields more, which are only checked and passed on.
_NEVER_DOWN = HOP_BY_HOP | {REQUEST_ID_FIELD}
_MEANT_OF_ANSWER = _NEVER_DOWN | {
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"retry-after",
    b"retry-after-ms",
    b"transfer-encoding",
}
_READ = (b"connection", b"content-length", b"transfer-encoding")
_NO_NAMES: frozenset[bytes] = frozenset()
_FEW = 16
"""So many lines are taken out of a head one by one; each time all of it is copied."""
_SAYS_NOTHING = frozenset({b"", b"keep-alive", b"Keep-Alive"})
"""Values of Connection that most answers have, and that name no field."""
_CHUNKS_ONLY = frozenset({b"trailer", b"transfer-encoding"})
_CONTINUE = frozenset({b"100-continue"})
_WEBSOCKET = frozenset({b"websocket"})


def _lines_named(names: Collection[bytes]) -> re.Pattern[bytes]:
    """Find the lines with these names in lines known to be sound: name and value of each.

    Few lines begin with a letter that one of the names begins with; a glance at it saves most of the time.
    """
    initials = bytes(sorted({name[0] for name in names}))
    grouped = [
        b"[%c%c](?i:%s)" % (initial, initial - 32, b"|".join(re.escape(name[1:]) for name in same))
        for initial, same in groupby(sorted(names), key=lambda name: name[0])
    ]
    return re.compile(rb"\n(?=[%s%s])(%s):[ \t]*([^\r]*)" % (initials, initials.upper(), b"|".join(grouped)))


_MEANT_LINES = _lines_named(_MEANT_OF_ANSWER)


class BadHeadError(Exception):
    """A head we do not accept; `status` is what a client is told, the message says why without quoting it."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Fields(msgspec.Struct, gc=False):
    """The header fields of one head, in order."""

    block: bytes
    """The head they stand in, with every line's CRLF."""
    start: int
    """Where in it the first of them begins."""
    names: list[bytes]
    """In lower case."""
    pairs: list[tuple[bytes, bytes]]
    """Name as it came, value without leading whitespace."""
    present: frozenset[bytes]
    """Those names that mean something here."""
    ours: bool
    """Whether a name may begin with `x-shadow`."""

    @property
    def lines(self) -> list[bytes]:
        """As they came, without CRLF; a new list each time."""
        return self.block[self.start : -2].split(b"\r\n") if self.names else []

    def values(self, name: bytes) -> list[bytes]:
        """All values of one field (lower-case name), trimmed, in order."""
        return [
            value.rstrip(b" \t") for lowered, (_, value) in zip(self.names, self.pairs, strict=True) if lowered == name
        ]

    def tokens(self, name: bytes) -> frozenset[bytes]:
        """The comma-separated values of a field that means something here, in lower case."""
        return _tokens(self.joined(name) or b"")

    def joined(self, name: bytes) -> bytes | None:
        """All values of a field that means something here as one list, untrimmed; None when there is none."""
        return _joined(name, self.pairs) if name in self.present else None

    def without(self, refused: Collection[bytes], lines: list[bytes] | None = None) -> list[bytes]:
        """The lines (or what stands for them in `lines`) whose names are not refused and not ours."""
        kept = self.lines if lines is None else lines
        if self.ours:
            return [
                line for line, name in zip(kept, self.names, strict=True) if name not in refused and not is_ours(name)
            ]
        return [line for line, name in zip(kept, self.names, strict=True) if name not in refused]


class RequestHead(msgspec.Struct, gc=False):
    """A request's head, read and found sound. `length` and `chunked` frame its body: neither means there is none."""

    method: bytes
    target: bytes
    minor: int
    """HTTP/1.minor, 0 or 1."""
    fields: Fields
    length: int | None
    chunked: bool
    keep_alive: bool
    """The client may send another request on this connection."""
    named: frozenset[bytes]
    """Fields the client's Connection field takes away."""
    websocket: bool
    """An upgrade to websocket that may travel."""

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for leave to send its body."""
        return b"expect" in self.fields.present and self.minor == 1 and self.fields.tokens(b"expect") == _CONTINUE


class AnswerHead(msgspec.Struct, gc=False):
    """An answer's head. `length` and `chunked` are what it says; neither means that it ends with the connection."""

    minor: int
    status: int
    block: bytes
    """The head from the status code to the last line's CRLF, as it came."""
    meant: list[tuple[bytes, bytes]]
    """The fields that mean something to the relay or to the recorder, in order: name and value as in `Fields.pairs`."""
    length: int | None
    chunked: bool
    keep_alive: bool
    named: frozenset[bytes]

    @property
    def fields(self) -> Fields:
        """All fields; read when asked for, which few answers need."""
        return _fields(self.block, self.block.index(b"\n") + 1)


def is_ours(name: bytes) -> bool:
    """Whether a field (lower-case name) speaks to the gateway: `x-shadow` itself, or `x-shadow-*`."""
    return name.startswith(_SHADOW) and name[len(_SHADOW) : len(_SHADOW) + 1] in (b"", b"-")


def has_bare_lf(part: bytes) -> bool:
    """Whether an unfinished head already holds a line end we never accept."""
    return _BARE_LF.search(part) is not None


def may_become_answer(part: bytes) -> bool:
    """Whether an unfinished head may still become an answer's; another protocol is told at its first bytes."""
    return part.startswith(_ANSWER_START[: len(part)]) and not has_bare_lf(part)


def read_request(block: bytes) -> RequestHead:
    """Read a head up to and including the CRLF of its last line (without the empty line). Raises BadHeadError."""
    if len(block) > MAX_REQUEST_HEAD_BYTES:
        raise BadHeadError(431, "the request head is larger than 64 KiB")
    line = _REQUEST_LINE.match(block)
    if line is None:
        raise BadHeadError(400, "the request line is malformed")
    method, target, major, minor = line.groups()
    if major != b"1" or minor not in b"01":
        raise BadHeadError(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    fields = _fields(block, line.end())
    if len(fields.names) > MAX_REQUEST_FIELDS:
        raise BadHeadError(431, f"the request has more than {MAX_REQUEST_FIELDS} header fields")
    old = minor == b"0"
    _check_host(fields, old=old)
    length, chunked = _framing(fields.joined(b"content-length"), fields.joined(b"transfer-encoding"), old=old)
    tokens = fields.tokens(b"connection") if b"connection" in fields.present else _NO_NAMES
    return RequestHead(
        method=method,
        target=target,
        minor=0 if old else 1,
        fields=fields,
        length=length,
        chunked=chunked,
        keep_alive=not old and b"close" not in tokens,
        named=tokens - _NEVER_NAMED if tokens else _NO_NAMES,
        websocket=b"upgrade" in tokens
        and not (length or chunked or old)
        and method == b"GET"
        and fields.tokens(b"upgrade") == _WEBSOCKET,
    )


def with_length(head: RequestHead, at: int, digits: bytes, block: bytes) -> RequestHead:
    """The same head with other digits in its Content-Length, which is its field number `at`; `block` holds them."""
    fields = head.fields
    pairs = fields.pairs.copy()
    pairs[at] = (pairs[at][0], digits)
    return RequestHead(
        head.method,
        head.target,
        head.minor,
        Fields(block, fields.start, fields.names, pairs, fields.present, fields.ours),
        int(digits),
        head.chunked,
        head.keep_alive,
        head.named,
        head.websocket,
    )


def read_answer(block: bytes) -> AnswerHead:
    """Read an answer's head, cut like a request's. Raises BadHeadError (502) for what cannot be trusted.

    Its lines are only checked, for they travel as they came; what is taken out of them is what means something here.
    """
    line = _ANSWER.fullmatch(block)
    if line is None:
        if _STATUS.match(block) is None:
            raise BadHeadError(502, "the upstream's status line is malformed")
        raise BadHeadError(400, "a header line is malformed")
    meant = _MEANT_LINES.findall(block)
    said = {name.lower(): value for name, value in meant}
    if len(said) < len(meant):
        said.update({name: _joined(name, meant) for name in _READ if name in said})
    old = line[1] == b"0"
    length, chunked = _framing(said.get(b"content-length"), said.get(b"transfer-encoding"), old=old)
    connection = said.get(b"connection", b"")
    tokens = _NO_NAMES if connection in _SAYS_NOTHING else _tokens(connection)
    return AnswerHead(
        minor=0 if old else 1,
        status=int(line[2]),
        block=block[9:],
        meant=meant,
        length=length,
        chunked=chunked,
        keep_alive=not old and b"close" not in tokens,
        named=tokens - _NEVER_NAMED if tokens else _NO_NAMES,
    )


def _fields(block: bytes, start: int) -> Fields:
    """All field lines from `start` on, or a BadHeadError when one of them is not a sound line."""
    pairs = _FIELD.findall(block, start)
    if len(pairs) != block.count(b"\n") - 1:
        raise BadHeadError(400, "a header line is malformed")
    names = [name.lower() for name, _ in pairs]
    return Fields(block, start, names, pairs, _MEANT.intersection(names), b"\nx-shadow" in block.lower())


def _check_host(fields: Fields, *, old: bool) -> None:
    # RFC 9112 3.2: a 1.1 request without Host, or any request with two, gets 400.
    count = fields.names.count(b"host")
    if count != 1 and not (old and count == 0):
        raise BadHeadError(400, "a request has exactly one Host field")
    if count and not _HOST.fullmatch(fields.pairs[fields.names.index(b"host")][1]):
        raise BadHeadError(400, "the Host field is malformed")


def _framing(length: bytes | None, coding: bytes | None, *, old: bool) -> tuple[int | None, bool]:
    """Length and chunkedness; RFC 9112 6.3 read strictly: anything two readers could read differently is refused.

    Both are what their fields say, None without one; of a repeated field all values (`_joined`), which is no number and
    no coding.
    """
    if coding is not None:
        # Not trimmed: a blank behind the coding is read by some and makes it unknown to others.
        if old or length is not None or coding.lower() != b"chunked":
            raise BadHeadError(400, "Transfer-Encoding may only be chunked, once, on HTTP/1.1, without Content-Length")
        return None, True
    if length is None:
        return None, False
    length = length.rstrip(b" \t")
    if not _LENGTH.fullmatch(length):
        raise BadHeadError(400, "Content-Length must be one number")
    return int(length), False


def _joined(wanted: bytes, pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """All values of a field as one list (RFC 9110 5.3)."""
    return b", ".join([value for name, value in pairs if name.lower() == wanted])


def _tokens(value: bytes) -> frozenset[bytes]:
    """What a comma-separated value lists, in lower case."""
    return frozenset([token.strip(b" \t") for token in value.lower().split(b",")])


def request_head(
    head: RequestHead,
    *,
    target: bytes,
    authority: bytes,
    drop: Collection[bytes],
    credentials: Sequence[bytes],
    deployment_id: bytes,
    length: int | None = None,
) -> bytes:
    """The head that goes up: the client's lines without hop-by-hop, named, `x-shadow-*` and `drop` fields.

    `authority` replaces Host's value in place, `credentials` (whole lines) and our hop mark are appended; `length`
    replaces Content-Length's value (after a splice).
    """
    fields = head.fields
    lines = fields.lines
    names = fields.names
    if b"host" in fields.present:
        at = names.index(b"host")
        lines[at] = b"%s: %s" % (lines[at][:4], authority)
    if length is not None:
        at = names.index(b"content-length")
        lines[at] = b"%s: %d" % (lines[at][:14], length)
    lines = fields.without(HOP_BY_HOP.union(drop, head.named) if drop or head.named else HOP_BY_HOP, lines)
    if b"host" not in fields.present:
        lines.insert(0, b"host: " + authority)
    if head.websocket:
        lines += (b"connection: Upgrade", b"upgrade: websocket")
    lines += credentials
    hops = [*fields.values(HOP_FIELD), deployment_id] if fields.ours else [deployment_id]
    lines.append(b"%s: %s\r\n\r\n" % (HOP_FIELD, b", ".join(hops)))
    return b"%s %s HTTP/1.1\r\n%s" % (head.method, target, b"\r\n".join(lines))


def answer_head(
    head: AnswerHead, *, request_id: bytes | None, close: bool, dechunked: bool = False, upgraded: bool = False
) -> bytes:
    """The head that goes down: upstream's lines without hop-by-hop and named ones, plus our request id.

    `close` says that this connection ends after the answer; `dechunked`: the client speaks HTTP/1.0 and gets plain
    bytes; `upgraded`: a 101 keeps its Upgrade field. `request_id` None: an interim answer, which gets nothing of ours.
    """
    block = head.block
    if dechunked or head.named or len(head.meant) > _FEW:
        refused = _NEVER_DOWN | head.named
        if dechunked:
            refused |= _CHUNKS_ONLY
        first, *lines = block.split(b"\r\n")
        kept = [line for line in lines if line.partition(b":")[0].lower() not in refused]
        block = b"\r\n".join([first, *kept])
    else:
        for name, _ in head.meant:
            if name.lower() in _NEVER_DOWN:
                at = block.index(b"\n%s:" % name) + 1  # the first that is left: those before are gone already
                block = block[:at] + block[block.index(b"\n", at) + 1 :]
    ours = b"connection: close\r\n" if close else b""
    if upgraded:
        ours = b"connection: Upgrade\r\nupgrade: websocket\r\n"
    if request_id is not None:
        ours += b"%s: %s\r\n" % (REQUEST_ID_FIELD, request_id)
    return b"HTTP/1.1 %s%s\r\n" % (block, ours)


def has_no_body(method: bytes, status: int) -> bool:
    """RFC 9112 6.3: answers that end with their head, whatever their length says."""
    return method == b"HEAD" or status in (204, 304)


def trailer_lines(trailers: Iterable[tuple[bytes, bytes]], named: Collection[bytes] = ()) -> bytes:
    """Request trailers that may travel, as lines; framing, routing, credentials and `x-shadow-*` stay here.

    `named` are the fields that Connection takes away, which it does in trailers too.
    """
    return b"".join(
        b"%s: %s\r\n" % (name, value)
        for name, value in trailers
        if name.lower() not in _NEVER_TRAILER and name.lower() not in named and not is_ours(name.lower())
    )


def chunk(plain: bytes) -> bytes:
    """One chunk on the wire; nothing for nothing, because an empty chunk would be the last one."""
    return b"%x\r\n%s\r\n" % (len(plain), plain) if plain else b""


def last_chunk(trailers: Iterable[tuple[bytes, bytes]], named: Collection[bytes] = ()) -> bytes:
    """The end of a chunked body."""
    return b"0\r\n%s\r\n" % trailer_lines(trailers, named)
