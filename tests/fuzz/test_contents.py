"""What messages hold, built from sound and odd parts: bodies, streams, codings, personal data, configuration."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import brotli
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.checks import bodies, dialects, texts
from tests.fuzz.examples import FEW, FIXED
from tests.fuzz.targets import TARGETS

NAMES = st.sampled_from(
    ["model", "model", "mod\\u0065l", "Model", "messages", "x", '\\"model\\"', "", "\\ud800", "modelmodel"]
)
STRINGS = st.sampled_from(
    ['""', '"a"', '"model"', '"\\\\"', '"\\"model\\": \\"y\\""', '"\\u00e9"', '"}"', '"{"', '"é"', '"\\ud83d"']
)
SCALARS = STRINGS | st.sampled_from(["1", "-0.0", "1e400", "true", "null", "12345678901234567890123", "NaN"])
BLANKS = st.sampled_from(["", "", " ", "\n\t"])


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.builds(
        lambda a, name, b, c, value, d: f'{a}"{name}"{b}:{c}{value}{d}', BLANKS, NAMES, BLANKS, BLANKS, values, BLANKS
    )
    return st.lists(member, max_size=4).map(lambda members: "{" + ",".join(members) + "}")


JSON_TEXTS = st.recursive(
    SCALARS,
    lambda inner: objects(inner) | st.lists(inner, max_size=3).map(lambda entries: f"[{','.join(entries)}]"),
    max_leaves=8,
)


@FIXED
@given(objects(JSON_TEXTS), st.sampled_from(["", "", "", " ", "x", "}"]))
def test_the_splice_changes_the_one_model_or_nothing(text: str, after: str) -> None:
    bodies.splice((text + after).encode())


HOSTILE = [
    b'{"model":"a","x":[' + b'"model",' * 90_000 + b"1]}",
    b'{"model":"a"' + b',"model":"a"' * 90_000 + b"}",
    b'{"x":"' + b"\\\\" * 500_000 + b'","model":"a","model":"b"}',
    b'{"model"' + b" " * 1_000_000 + b':"a","y":"model"}',
    b'{"x":' + b"[" * 400 + b"]" * 400 + b',"model":"a","mod\\u0065l":"b"}',
    b'{"model":"' + b"a" * 1_000_000 + b'","y":"\\u0041"}',
    b'{"' + b"\\u006d" * 200_000 + b'":1,"model":"a"}',
    b'"model"' * 100_000,
]


def test_the_splice_of_a_hostile_body_comes_to_an_end() -> None:
    """No timing is asserted; work that grew with the square of the length would not end within the test's limit."""
    for body in HOSTILE:
        bodies.splice_model(body, "b")


PERSONAL = st.sampled_from(
    [
        "a@b.co",
        "4111111111111111",
        "4111 1111 1111 1111",
        "+4915112345678",
        "555-123-4567",
        "sk-abcdefghijklmnop1234",
        "AKIAIOSFODNN7EXAMPLE",
        "secret-key-1234",
        "token=abc123def456",
        "Bearer 0123456789abcdef",
        "(030) 123 45 67",
        " ",
        "x",
        "1",
        ".",
        "-",
        "_",
        "é",
        "[",
        "=",
        "\n",
        '"',
        "\\",
        "{",
        "\ud83d",
        "AIza" + "b" * 35,
        "password: ",
    ]
)
TEXTS = st.lists(PERSONAL, max_size=8).map("".join)


@FIXED
@given(TEXTS)
def test_redaction_of_a_text_finds_at_once_what_it_would_find_later(text: str) -> None:
    bodies.redact_text(text.encode("utf-8", "replace"))


MEMBERS = st.sampled_from(
    ["content", "text", "arguments", "input", "id", "name", "model", "type", "data", "metadata", "a@b.co", "\ud83d"]
)
VALUES = st.recursive(
    TEXTS
    | st.none()
    | st.booleans()
    | st.integers()
    | st.just(4111111111111111)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=3) | inner.map(json.dumps),
    max_leaves=8,
)


@FIXED
@given(VALUES)
def test_redaction_of_json_stays_json_and_finds_everything_at_once(value: Any) -> None:
    bodies.redact(json.dumps(value).encode())


def _deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


ENCODERS = [(0, gzip.compress), (1, zlib.compress), (1, _deflate), (2, brotli.compress), (3, zstandard.compress)]


@FIXED
@given(
    coder=st.sampled_from(ENCODERS),
    cap=st.integers(0, 3),
    seed=st.integers(0, 255),
    plain=st.binary(max_size=60).flatmap(lambda part: st.integers(0, 60).map(lambda times: part * times)),
    cut=st.integers(0, 40),
    after=st.sampled_from(
        [b"", b"", b"x", b"\0\0\0\0", b"\x1f\x8b", gzip.compress(b"more"), zstandard.compress(b"more")]
    ),
)
def test_a_coded_body_cut_short_or_followed_by_more_decodes_alike_however_sliced(
    *, coder: tuple[int, Any], cap: int, seed: int, plain: bytes, cut: int, after: bytes
) -> None:
    coded = coder[1](plain)
    bodies.decode(bytes([coder[0], cap, seed]) + coded[: len(coded) - cut] + after)
    bodies.decode(bytes([coder[0], cap, seed]) + coded + after)
    assert bodies.in_small_steps(coded, bodies.CODINGS[coder[0]], cap=10_000, seed=seed) == [plain] * 3


STREAMS = [seed for seed in TARGETS["dialect-reply"].seeds if seed[1] == 1]
COUNTS = [
    "0",
    "-1",
    "1.5",
    "1e999",
    "null",
    '"7"',
    "true",
    "18446744073709551615",
    "18446744073709551616",
    "9" * 400,
    "{}",
]


@FIXED
@given(
    stream=st.sampled_from(STREAMS),
    order=st.lists(st.integers(0, 12), min_size=1, max_size=14),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    count=st.sampled_from(COUNTS),
    name=st.sampled_from(
        [b'input_tokens": ', b'output_tokens": ', b'completion_tokens": ', b'index": ', b'cached_tokens": ']
    ),
    cut=st.integers(0, 30),
)
def test_a_stream_in_any_order_with_any_counts_is_read_alike_in_both_ways(
    *, stream: bytes, order: list[int], line_end: bytes, count: str, name: bytes, cut: int
) -> None:
    events = stream[3:].replace(b"\r\n", b"\n").split(b"\n\n")
    body = b"\n\n".join(events[at % len(events)] for at in order) + b"\n\n"
    head, found, tail = body.partition(name)
    if found:
        body = head + found + count.encode() + tail.lstrip(b"0123456789")
    body = body.replace(b"\n", line_end)
    dialects.reply(stream[:3] + body)
    dialects.reply(stream[:3] + body[: len(body) - cut])
    dialects.sse(stream[:1] + body)


@FIXED
@given(text=objects(JSON_TEXTS), dialect=st.integers(0, 2), drop=st.integers(0, 1), history=JSON_TEXTS)
def test_a_copy_of_any_request_changes_only_what_it_must(text: str, dialect: int, drop: int, history: str) -> None:
    options = bytes([dialect, drop])
    dialects.request(options + text.encode())
    for name in ("messages", "input", "metadata", "tools", "max_tokens", "stream_options"):
        dialects.request(options + f'{{"model": "a", "stream": true, "{name}": {history}, "x": [1.0]}}'.encode())


SECTIONS = st.sampled_from(
    [
        "listen",
        "tls",
        "workers",
        "clients",
        "admin",
        "upstream",
        "primary",
        "shadow",
        "tasks",
        "evaluators",
        "prices",
        "store",
        "x",
    ]
)
KEYS = st.sampled_from(
    [
        "token",
        "base_url",
        "routes",
        "ca_file",
        "auth",
        "api_key",
        "candidates",
        "sample_rate",
        "conversation",
        "redact",
        "model",
        "match",
        "header",
        "name",
        "input",
        "output",
        "type",
        "cert",
        "key",
        "pattern",
        "evaluators",
        "idle_s",
        "/b",
    ]
)
SCALAR_TEXTS = st.sampled_from(
    [
        "",
        "1",
        "-1",
        "1e999",
        ".nan",
        "x",
        "true",
        "127.0.0.1:80",
        "http://a",
        "https://a:99999/",
        '"\\0"',
        '"\\ud800"',
        "${SOME}",
        "${NOT:-x}",
        "${",
        "*a",
        "&a 1",
        "!!int 1",
        "sqlite:///a",
        "unix:/a",
        "'(' ",
        "[",
        "is-json",
        "9999999999999999999",
        "é",
    ]
)
YAML_VALUES = st.recursive(
    SCALAR_TEXTS,
    lambda inner: (
        st.dictionaries(KEYS, inner, max_size=3).map(
            lambda members: "{" + ", ".join(f"{key}: {value}" for key, value in members.items()) + "}"
        )
        | st.lists(inner, max_size=3).map(lambda entries: f"[{', '.join(entries)}]")
    ),
    max_leaves=6,
)


@FEW
@given(st.lists(st.tuples(SECTIONS, YAML_VALUES, st.sampled_from(["\n", "\n", "\r\n", "\r", "\u2028"])), max_size=4))
def test_any_configuration_is_a_value_or_sentences_with_places_in_the_file(lines: list[tuple[str, str, str]]) -> None:
    texts.config("".join(f"{section}: {value}{end}" for section, value, end in lines).encode())
