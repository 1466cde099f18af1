"""The model splice changes the model's value and nothing else, or nothing at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.splice import splice_model

NEW = 'new "model"\n\u00e9'


@pytest.mark.parametrize(
    ("body", "spliced"),
    [
        (b'{"model":"a"}', b'{"model":"b"}'),
        (b' {\r\n\t"model" \n:\t"a" , "x": 1 }\n', b' {\r\n\t"model" \n:\t"b" , "x": 1 }\n'),
        (b'{"x": {"model": "a"}, "model": "a"}', b'{"x": {"model": "a"}, "model": "b"}'),
        (b'{"x": ["model", {"model": 1}], "model": "a"}', b'{"x": ["model", {"model": 1}], "model": "b"}'),
        (b'{"x": "model", "model": "a"}', b'{"x": "model", "model": "b"}'),
        (b'{"x": "\\"model\\": \\"y\\"", "model": "a"}', b'{"x": "\\"model\\": \\"y\\"", "model": "b"}'),
        (b'{"x": "}\\\\", "model": "a\\"b\\\\"}', b'{"x": "}\\\\", "model": "b"}'),
        (b'{"mod\\u0065l": "a"}', b'{"mod\\u0065l": "b"}'),
        (b'{"model": ""}', b'{"model": "b"}'),
        (b'{"Model": "a", "model": "a"}', b'{"Model": "a", "model": "b"}'),
        (b'{"x": 1.50, "y": 1e400, "model": "a"}', b'{"x": 1.50, "y": 1e400, "model": "b"}'),
    ],
)
def test_the_top_level_model_is_replaced_in_place(body: bytes, spliced: bytes) -> None:
    assert splice_model(body, "b") == spliced


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b'["model"]',
        b'"model"',
        b"{}",
        b'{"x": {"model": "a"}}',
        b'{"model": null}',
        b'{"model": 1}',
        b'{"model": ["a"]}',
        b'{"model": {"model": "a"}}',
        b'{"model": "a", "model": "a"}',
        b'{"model": "a", "mod\\u0065l": "c"}',
        b'{"model": "a", "model": 1}',
        b'{"model": "a"} x',
        b'{"model": "a"',
        b'{"model": "a",}',
        b"{'model': 'a'}",
        b'\xef\xbb\xbf{"model": "a"}',
        '{"model": "a"}'.encode("utf-16"),
        b'{"x": ' + b"[" * 100_000,
        b'{"\\ud8": 1, "model": "a"}',
        b'{"model": "a", "x": "\xff\\n", "y": "model"}',
        b'{"x": [' + b"[]," * 100_000 + b'"model"], "model": "a"}',
    ],
)
def test_a_body_without_exactly_one_model_string_is_left_alone(body: bytes) -> None:
    assert splice_model(body, "b") is None


names = st.one_of(st.sampled_from(["model", "Model", "mod", "messages", 'model"', "model\\"]), st.text(max_size=8))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@given(
    request=st.dictionaries(names, values, max_size=6),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
    separators=st.sampled_from([(",", ":"), (" , ", " : ")]),
)
def test_nothing_but_the_models_value_changes(
    request: dict[str, Any], *, ascii_only: bool, indent: int | None, separators: tuple[str, str]
) -> None:
    text = json.dumps(request, ensure_ascii=ascii_only, indent=indent, separators=separators)
    try:
        body = text.encode()
    except UnicodeEncodeError:  # a lone surrogate; no JSON body holds one unescaped
        return
    spliced = splice_model(body, NEW)
    if not isinstance(request.get("model"), str):
        assert spliced is None
        return
    assert spliced is not None
    assert json.loads(spliced) == request | {"model": NEW}
    old = json.dumps(request["model"], ensure_ascii=ascii_only).encode()
    new = json.dumps(NEW).encode()
    at = next(i for i in range(len(body) + 1) if i == len(body) or body[i : i + 1] != spliced[i : i + 1])
    start = at - next(n for n in range(len(new) + 1) if body[: at - n] + new + body[at - n + len(old) :] == spliced)
    assert body[start : start + len(old)] == old
