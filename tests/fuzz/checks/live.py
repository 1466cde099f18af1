"""Decisions of the live process: where a request may go, how long an origin rests, and what becomes of a record."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

from gateway import heads
from gateway.heads import BadHeadError
from gateway.policy import Health, Passage, Policy, has_dot_segments
from gateway.reading import ExchangeReader
from gateway.refusal import Refusal, own_answer
from gateway.settings import LiveSettings, Upstream
from shadow.dialects import dialect_of
from shadow.records import Dialect
from shadow.retry_after import MAX_REST_S, rest_s
from tests.fuzz.checks.dialects import storable
from tests.fuzz.support import Options
from tests.support.recordings import recording, settings

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
_KEY = "client-key-1"
_ALLOWED = b"/files"
_POLICIES = [
    Policy(LiveSettings(deployment_id="d1", upstream=Upstream(base_url="https://a.example")), dialect_of=dialect_of),
    Policy(
        LiveSettings(
            deployment_id="d1",
            upstream=Upstream(base_url="https://a.example/prefix", api_key="ours-a"),
            routes={"/b": Upstream(base_url="https://b.example", api_key="ours-b")},
            auth="gateway",
            clients=(_KEY,),
            allow_paths=(_ALLOWED.decode(),),
        ),
        dialect_of=dialect_of,
    ),
]
_SEPARATORS = re.compile(rb"[/\\]")


def policy(data: bytes) -> None:
    options = Options(data)
    number = options.number(2)
    chosen, method = _POLICIES[number], options.one_of([b"GET", b"POST", b"OPTIONS", b"CONNECT", b"HEAD"])
    known = options.flag()
    target = re.sub(rb"[\x00-\x20\x7f]", b"", options.rest())
    key = _KEY.encode() if known else b"another"
    try:
        head = heads.read_request(b"%s %s HTTP/1.1\r\nhost: x\r\nx-api-key: %s\r\n" % (method, target, key))
    except BadHeadError:
        return
    decision = chosen.decide(head)
    assert chosen.decide(head) == decision  # remembered or not
    if isinstance(decision, Refusal):
        own_answer(decision, head=head, request_id="1", close=True)
        return
    if isinstance(decision, Health):
        assert target.partition(b"?")[0].endswith((b"/healthz", b"/readyz"))
        return
    _check_passage(decision, head.target, guarded=number == 1, known=known)


def _check_passage(passage: Passage, asked: bytes, *, guarded: bool, known: bool) -> None:
    sent = passage.target
    assert re.fullmatch(rb"[\x21-\x7e\x80-\xff]+", sent)
    assert asked.endswith(sent.removeprefix(passage.destination.prefix).removeprefix(b"/"))
    if not guarded:
        assert sent.startswith(b"/") or sent == b"*"
        assert passage.destination.credentials == ()
        return
    assert known
    path = sent.partition(b"?")[0]
    asked_path = path.removeprefix(passage.destination.prefix)
    assert not has_dot_segments(asked_path)
    # An upstream that decodes, and reads either separator as one, finds no segment that climbs out of the prefix.
    assert not {b".", b".."} & set(_SEPARATORS.split(unquote_to_bytes(path))), path
    to_b = passage.destination.label.startswith("https://b.")
    assert to_b == (asked_path == b"/b" or asked_path.startswith(b"/b/"))
    recognised = passage.dialect is not None or asked_path.endswith(b"/count_tokens") or b"/models" in asked_path
    assert recognised or asked_path == _ALLOWED or asked_path.startswith(_ALLOWED + b"/")


def retry_after(data: bytes) -> None:
    options = Options(data)
    name = options.one_of(["retry-after", "retry-after-ms"])
    rest = rest_s({name: options.rest().decode("latin-1")}, now=NOW)
    assert 0 <= rest <= MAX_REST_S


_READER = ExchangeReader(settings())
_HEADER_NAMES = [
    "retry-after",
    "retry-after-ms",
    "x-shadow",
    "x-shadow-conversation",
    "x-shadow-version",
    "x-stainless-retry-count",
    "content-encoding",
    "content-type",
    "authorization",
    "user-agent",
    "x-claude-code-session-id",
]


def record(data: bytes) -> None:
    """An ended exchange, whatever its bytes were, gives a record that can be stored; nothing raises."""
    options = Options(data)
    dialect = options.one_of([*Dialect, None])
    status = options.one_of([200, 200, 429, 529, 500, None])
    streamed, name = options.flag(), options.one_of(_HEADER_NAMES)
    value, query, asked, answered = options.lines(4)
    header = re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", "", value.decode("latin-1"))
    read = _READER.read(
        recording(
            dialect=dialect,
            status=status,
            request=asked,
            slices=[answered[:7], answered[7:]],
            query=query.decode("utf-8", "replace"),
            headers={name: header},
            response_headers={"content-type": "text/event-stream" if streamed else "application/json", name: header},
        )
    )
    storable(read.record)
    assert read.record.latency_ms >= 0
    for job in read.jobs:
        storable(job)
