"""Every fuzz target holds for its seeds, for what fuzzing found before, and for seeds with a few bytes astray."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.examples import FEW
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    import random

FOUND = {
    "config": [
        b'a: "\\UFFFFFFFF"',
        b'listen: "\\ud800:1"',
        b'"\\ud800": 1',
        b'store: "sqlite:///\\ud800"',
        b'upstream: {ca_file: "\\0"}',
        b'tls: {cert: "\\0", key: "a"}',
        b"%YAML 1." + b"9" * 5000 + b"\n---\na: 1",
        b"x0: &a0 [1,1]\n" + b"".join(b"x%d: &a%d [*a%d,*a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 40)),
        b"x0: &a0 [1]\n" + b"".join(b"x%d: &a%d [*a%d]\n" % (n, n, n - 1) for n in range(1, 900)),
        b"\r\x04",
        b"[" * 400 + b"]" * 400,
    ],
    "decoding": [b"\2\3\1\x0b\x02\x80hello\x03xyz", b"\1\3\1KL\xa4\x10\0\0"],
    "framing-chunked": [b"\0" + b"0" * 22 + b"\r\n\r\n"],
    "policy": [b"\0\1\1http://f?"],
    "connection": [
        b"\0\0\0{x\n\r\n\r\n",
        b"\0\0\0POST / HTTP/0.1\r\n\n\r\n\r\n",
        b"\0\0\0POST / HTTP/1.1\r\nHost:\r\nContent-Length:3\r\n\r\nabcPOST s HTTP/1.1\r\nHost:\r\n\r\n",
    ],
    "heads-request": [b"~POSTz / HTTP/1.0\r\nz:"],
    "json-text": [b"```" + b"a" * 100_000, b"```" + b" " * 100_000],
    "redaction-json": [b"a@b.te4111111111111111", b'{"\\udd80":"","+49123456":"a@b.om","":0}'],
    "redaction-text": [b"a@b.co4111111111111111"],
    "retry-after": [
        b"\0Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        b"\0Mon, 01 Jan 2020 00:00:00 +99999999999999999999",
    ],
    "record": [b"\0\0\0\5" + b"9" * 5000],
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_for_its_seeds(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].check(seed)


@pytest.mark.parametrize("name", FOUND)
def test_what_fuzzing_found_before_holds_now(name: str) -> None:
    for finding in FOUND[name]:
        TARGETS[name].check(finding)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_for_seeds_that_went_astray(name: str) -> None:
    target = TARGETS[name]

    @FEW
    @given(number=st.integers(0, len(target.seeds) - 1), chance=st.randoms(use_true_random=False))
    def check(number: int, chance: random.Random) -> None:
        target.check(astray(target.seeds[number], target.words, chance))

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds_for_any_bytes(name: str) -> None:
    @FEW
    @given(st.binary(max_size=200))
    def check(data: bytes) -> None:
        TARGETS[name].check(data)

    check()


def astray(seed: bytes, words: object, chance: random.Random) -> bytes:
    """A seed after one to four accidents: bytes changed, cut out, said twice, or a word in their place."""
    spellings = [str(word).encode("utf-8", "surrogatepass") for word in words] if isinstance(words, tuple) else []
    data = seed
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(data))
        end = min(len(data), start + chance.choice([0, 1, 1, 2, 4, 16, 200]))
        part = data[start:end]
        instead = [
            b"",
            bytes([chance.randrange(256)]),
            part * 2,
            part[::-1],
            *([chance.choice(spellings)] * 3 if spellings else []),
        ]
        data = data[:start] + chance.choice(instead) + data[end:]
    return data
