"""Bodies that are changed or undone: the model splice, redaction, content codings."""

# ruff: noqa: PT017  (checks also run where there is no pytest, and both outcomes of a call are looked at)

from __future__ import annotations

import json
from typing import Any

from gateway.splice import splice_model
from shadow import decoding
from shadow.decoding import UndecodableError, decode_slices
from shadow.redaction import BUILT_IN_REDACTIONS, Redactor, clean_query
from tests.fuzz.support import (
    NotJsonError,
    Number,
    Options,
    has_half_characters,
    is_json,
    json_pairs,
    slicings,
)

MODEL = 'new "model" \u00e9'
CODINGS = ["gzip", "deflate", "br", "zstd", "identity", "gzip, br", "zstd, gzip", "x-gzip", "compress", ","]


class _Rule:
    def __init__(self, name: str, pattern: str | None = None) -> None:
        self.name, self.pattern = name, pattern


REDACTOR = Redactor([_Rule(name) for name in BUILT_IN_REDACTIONS], secrets=["secret-key-1234"])


def splice(body: bytes) -> None:
    spliced = splice_model(body, MODEL)
    new = json.dumps(MODEL).encode()
    try:
        asked = json_pairs(body)
    except NotJsonError:
        asked = None
    models = [value for name, value in asked if name == "model"] if _is_object(body, asked) else []
    if spliced is None:
        # A body that both readers understand is never left alone without reason.
        named = len(models) == 1 and isinstance(models[0], str) and not isinstance(models[0], Number)
        assert not named or has_half_characters(asked)
        return
    if asked is not None:
        assert len(models) == 1
        assert json_pairs(spliced) == tuple((name, MODEL if name == "model" else value) for name, value in asked)
    # The bytes before and after one string are untouched.
    assert any(
        body.startswith(spliced[:at]) and body.endswith(spliced[at + len(new) :])
        for at in _places(spliced, new)
        if len(spliced) - len(new) <= len(body)
    )


def _is_object(body: bytes, asked: Any) -> bool:
    return isinstance(asked, tuple) and body.lstrip().startswith(b"{")


def _places(text: bytes, part: bytes) -> list[int]:
    return [at for at in range(len(text)) if text.startswith(part, at)]


def redact(data: bytes) -> None:
    kept, changed = REDACTOR.redact_json(data)
    assert changed == (kept != data)
    again, changed_again = REDACTOR.redact_json(kept)
    assert not changed_again, (kept, again)
    if is_json(data):
        assert is_json(kept)
        assert has_half_characters(json_pairs(data)) or _shape(json_pairs(data)) == _shape(json_pairs(kept))


def _shape(value: Any) -> Any:
    """Keys and nesting, without texts and numbers; of members that share a name the last counts."""
    if isinstance(value, tuple):
        return {name: _shape(member) for name, member in value}
    if isinstance(value, list):
        return [_shape(entry) for entry in value]
    return None


def redact_text(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    kept, changed = REDACTOR.redact_text(text)
    assert changed == (kept != text)
    assert REDACTOR.redact_text(kept) == (kept, False), kept
    clean = clean_query(text)
    assert clean_query(clean) == clean


def decode(data: bytes) -> None:
    options = Options(data)
    encoding, cap = options.one_of(CODINGS), options.one_of([0, 10, 1000, 20_000])
    seed, coded = options.number(256), options.rest()
    results = in_small_steps(coded, encoding, cap=cap, seed=seed)
    if "zstd" in encoding and None not in results:
        # What a cut frame holds back depends on the slices; whole ones are looked at in `test_contents.py`.
        longest = max(results, key=len)
        assert all(longest.startswith(result) for result in results), results
    else:
        assert results[0] == results[1] == results[2], results


def in_small_steps(coded: bytes, encoding: str, *, cap: int, seed: int) -> list[Any]:
    """What each way of slicing decodes to; in steps of 64 bytes, so that small inputs reach what lies between steps."""
    step, decoding._STEP_BYTES = decoding._STEP_BYTES, 64
    try:
        return [_decoded(slices, encoding, cap) for slices in slicings(coded, seed)]
    finally:
        decoding._STEP_BYTES = step


def _decoded(slices: list[bytes], encoding: str, cap: int) -> bytes | None:
    try:
        decoded = decode_slices(slices, encoding, cap=cap)
    except UndecodableError as error:
        assert error.reason in ("unknown_coding", "over_cap", "broken")
        return None
    assert len(decoded.body) <= cap
    assert len(decoded.ends) == len(slices)
    assert decoded.ends == sorted(decoded.ends)
    assert decoded.ends[-1:] in ([], [len(decoded.body)])
    return decoded.body
