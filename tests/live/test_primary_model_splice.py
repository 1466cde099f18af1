"""`primary.model`: the value of the top-level "model" is replaced, and not one other byte of the request."""

from __future__ import annotations

import gzip
import json
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.live.identity_cases import request, upload
from tests.support.client import Client, ask
from tests.support.http1 import chunked
from tests.support.live import Live, running, settings_for
from tests.support.upstream import OK, Answer, Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL = "claude-new-1"
REPLACED = b'"claude-new-1"'


@pytest.fixture(scope="module")
def spliced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Upstream, Live]]:
    """A live process with `primary.model`."""
    folder = tmp_path_factory.mktemp("spliced")
    with Upstream() as upstream:
        settings = settings_for(upstream.base_url, folder / "shadow.db", primary_model=MODEL)
        with running(settings, folder) as live:
            yield upstream, live


SPACES = ("", " ", "\n", "\r\n\t ", "    ")
STRINGS = ("", "model", '"', "\\", '\\"model": "x"', "Grüße 🦊", "\u0000\u001f", "}{][,:", "a" * 300, "\u2028")
KEYS = ("messages", "system", "Model", "model ", "models", "mode", "metadata", 'mod\\"el', "ключ", "")


def random_json(chance: random.Random, depth: int) -> str:
    """A JSON value in an odd spelling, with many a nested "model"."""
    space = chance.choice(SPACES)
    kind = chance.randrange(7 if depth else 5)
    if kind == 0:
        return chance.choice(("0", "-1.5e+10", "1E400", "123456789012345678901234567890", "0.10"))
    if kind == 1:
        return chance.choice(("true", "false", "null"))
    if kind < 5:
        return json.dumps(chance.choice(STRINGS), ensure_ascii=chance.random() < 0.5)
    if kind == 5:
        return "[" + f"{space},{space}".join(random_json(chance, depth - 1) for _ in range(chance.randrange(4))) + "]"
    keys = [chance.choice((*KEYS, "model", "model")) for _ in range(chance.randrange(5))]
    return "{" + space + ",".join(member(chance, key, random_json(chance, depth - 1)) for key in keys) + space + "}"


def member(chance: random.Random, key: str, value: str) -> str:
    """One member of an object, with blanks wherever they are allowed."""
    name = json.dumps(key, ensure_ascii=chance.random() < 0.5)
    return f"{chance.choice(SPACES)}{name}{chance.choice(SPACES)}:{chance.choice(SPACES)}{value}{chance.choice(SPACES)}"


def random_body(seed: int) -> tuple[bytes, bytes]:
    """A request body with exactly one top-level "model", and the same with the model replaced."""
    chance = random.Random(seed)
    model = chance.choice(('"gpt-4o"', '"a\\"b"', '"\\u0067pt"', '""', '"🦊 ☃"', '"' + "x" * 200 + '"'))
    before, after = (
        [member(chance, chance.choice(KEYS), random_json(chance, 3)) for _ in range(chance.randrange(4))]
        for _ in range(2)
    )
    space, colon = chance.choice(SPACES), chance.choice(SPACES)
    name = chance.choice(('"model"', '"model"', '"\\u006dodel"'))

    def whole(value: str) -> bytes:
        members = [*before, f"{space}{name}{colon}:{space}{value}{space}", *after]
        return f"{space}{{{','.join(members)}}}{colon}".encode()

    return whole(model), whole(REPLACED.decode())


@pytest.mark.parametrize("seed", range(80))
def test_only_the_value_of_the_top_level_model_changes(spliced: tuple[Upstream, Live], seed: int) -> None:
    upstream, live = spliced
    upstream.start_over()
    body, expected = random_body(seed)
    sizes = [random.Random(seed).choice((1, 7, 1000))]
    fields = b"X-A: 1\r\nx-a: 2\r\nContent-Type: application/json\r\n"
    with Client(live.address) as client:
        assert client.ask(request(headers=fields, body=body), size=random.Random(seed).choice((None, 11))).status == 200
        assert client.ask(upload(body, sizes, headers=fields)).status == 200
        assert client.ask(request("POST", "/openai/v1/chat/completions?x=1", fields, body)).status == 200
        assert client.ask(request("POST", "/v1/responses", fields, body)).status == 200
    assert [bytes(seen.body) for seen in upstream.requests] == [expected] * 4
    assert [seen.framing for seen in upstream.requests] == ["length", "chunked", "length", "length"]
    for seen in upstream.requests:
        assert seen.complete
        assert [value for name, value in seen.headers if name.lower() == b"x-a"] == [b"1", b"2"]


UNCHANGED: dict[str, bytes] = {
    "no model": b'{"messages": [{"model": "x"}]}',
    "a duplicate model": b'{"model": "a", "max_tokens": 1, "model": "b"}',
    "a duplicate model, once escaped": b'{"model": "a", "\\u006dodel": "b"}',
    "a model that is no string": b'{"model": {"name": "a"}}',
    "a list": b'[{"model": "a"}]',
    "a string": b'"model"',
    "cut off": b'{"model": "a", "messages": [',
    "cut off in the model": b'{"model": "a',
    "bytes after the end": b'{"model": "a"} trailing',
    "no JSON": b"model=a&model=b",
    "a byte order mark": b'\xef\xbb\xbf{"model": "a"}',
    "deeply nested": b'{"model": "a", "x": ' + b"[" * 100_000,
    "UTF-16": '{"model": "a"}'.encode("utf-16"),
    "a string that is not UTF-8 but escapes something": b'{"model": "a", "x": "\xff\\n", "y": "model"}',
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_a_body_that_cannot_be_spliced_surely_goes_up_unchanged(spliced: tuple[Upstream, Live], name: str) -> None:
    upstream, live = spliced
    upstream.start_over()
    assert ask(live.address, request(body=UNCHANGED[name])).status == 200
    assert ask(live.address, upload(UNCHANGED[name], [9])).status == 200
    assert [bytes(seen.body) for seen in upstream.requests] == [UNCHANGED[name]] * 2


@pytest.mark.parametrize(
    "asked",
    [
        request("POST", "/v1/embeddings", body=b'{"model": "a"}'),
        request("POST", "/v1/messages/count_tokens", body=b'{"model": "a"}'),
        request("POST", "/v1/files", body=b'{"model": "a"}'),
        request(headers=b"Content-Encoding: gzip\r\n", body=gzip.compress(b'{"model": "a"}', mtime=0)),
    ],
    ids=["embeddings", "count_tokens", "files", "an encoded body"],
)
def test_other_paths_and_encoded_bodies_go_up_unchanged(spliced: tuple[Upstream, Live], asked: bytes) -> None:
    upstream, live = spliced
    upstream.start_over()
    assert ask(live.address, asked).status == 200
    (seen,) = upstream.requests
    assert asked.endswith(bytes(seen.body))
    assert seen.body


def test_a_request_that_keeps_its_model_is_told_with_the_reason_the_first_time_and_then_ever_more_seldom(
    tmp_path: Path,
) -> None:
    gzipped = gzip.compress(b'{"model": "a"}', mtime=0)
    with Upstream() as upstream:
        settings = settings_for(upstream.base_url, tmp_path / "shadow.db", primary_model=MODEL)
        with running(settings, tmp_path) as live, Client(live.address) as client:
            assert client.ask(request(body=b'{"model": "a"}')).status == 200
            assert "primary.model" not in live.log
            for _ in range(11):
                assert client.ask(request(headers=b"Content-Encoding: gzip\r\n", body=gzipped)).status == 200
            assert client.ask(request(body=b'{"no": "model"}')).status == 200
            assert client.ask(request(headers=b"Content-Length: 0\r\n")).status == 200
        told = [json.loads(line) for line in live.log.splitlines() if "primary.model" in line]
    assert [(line["level"], line["reason"], line["splice_skipped"]) for line in told] == [
        ("warning", "encoded", 1),
        ("warning", "encoded", 10),
        ("warning", "not_one_model", 1),
        ("warning", "no_body", 1),
    ]
    assert told[0]["message"].endswith("went up as it came: its body is encoded (content-encoding)")


def test_a_large_body_is_spliced_and_one_beyond_40_mb_goes_up_unchanged(spliced: tuple[Upstream, Live]) -> None:
    upstream, live = spliced
    upstream.start_over()
    large = b'{"messages": "%s", "model": "a"}'
    padding = b"x" * 10_000_000
    assert ask(live.address, request(body=large % padding)).status == 200
    assert ask(live.address, request(body=large % (padding * 5))).status == 200
    assert ask(live.address, upload(large % (padding * 5), [1_000_000])).status == 200
    first, second, third = upstream.requests
    assert bytes(first.body) == (large % padding).replace(b'"a"', REPLACED)
    assert bytes(second.body) == large % (padding * 5)
    assert bytes(third.body) == large % (padding * 5)


def test_a_body_beyond_40_mb_that_upstream_does_not_read_is_held_back(tmp_path: Path) -> None:
    with Upstream() as upstream:
        settings = settings_for(upstream.base_url, tmp_path / "shadow.db", primary_model=MODEL)
        with running(settings, tmp_path) as live, Client(live.address, timeout_s=2) as client:
            gate = upstream.gate()
            upstream.answer(Answer(read_after=gate, parts=(OK,)))
            client.send(request(headers=b"Transfer-Encoding: chunked\r\n"))
            piece = chunked(bytes(1 << 19), [1 << 19]).removesuffix(b"0\r\n\r\n")
            sent = 0
            with suppress(TimeoutError):
                while sent < 200 << 20:
                    client.send(piece)
                    sent += len(piece)
            assert sent < 80 << 20
            client.reset()
            gate.open()


def test_an_expecting_client_is_spliced_too(spliced: tuple[Upstream, Live]) -> None:
    upstream, live = spliced
    upstream.start_over()
    upstream.answer(Answer(on_head=(b"HTTP/1.1 100 Continue\r\n\r\n",), parts=(OK,)))
    body = b'{"model": "a"}'
    with Client(live.address, timeout_s=5) as client:
        client.send(request(headers=b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(body)))
        assert client.receive_head().status == 100
        client.send(body)
        received = client.receive()
    assert received.body == b"ok"
    assert [status for status, _ in received.interim] == [100]
    (seen,) = upstream.requests
    assert bytes(seen.body) == b'{"model": "claude-new-1"}'


def test_the_record_names_the_model_that_was_asked_and_what_the_gateway_added(spliced: tuple[Upstream, Live]) -> None:
    upstream, live = spliced
    upstream.start_over()
    body = b'{"model": "a", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}'
    received = ask(live.address, request(body=body))
    exchange = live.exchange(request_id=received.request_id)
    assert exchange["model"] == MODEL
    assert 0 < exchange["overhead_us"] < 1000 * exchange["latency_ms"] + 10_000_000
