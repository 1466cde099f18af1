"""What bounds the price of a request, in every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shadow.dialects import Spending, UnreadableError, limit_name, spending, with_output_limit
from shadow.dialects.untrusted import MAX_COUNT
from shadow.records import Dialect

CHAT, MESSAGES, RESPONSES = Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_RESPONSES


def asked(dialect: Dialect, **members: Any) -> Spending:
    return spending(dialect, json.dumps({"model": "m", **members}).encode())


@pytest.mark.parametrize(
    ("dialect", "members", "limit"),
    [
        (MESSAGES, {"max_tokens": 7}, 7),
        (MESSAGES, {"max_tokens": 0}, 0),
        (CHAT, {"max_tokens": 7}, 7),
        (CHAT, {"max_completion_tokens": 8}, 8),
        (CHAT, {"max_tokens": 9, "max_completion_tokens": 8}, 9),
        (CHAT, {"max_tokens": None}, None),
        (CHAT, {"max_output_tokens": 5}, None),
        (RESPONSES, {"max_output_tokens": 5}, 5),
        (RESPONSES, {}, None),
    ],
)
def test_the_output_limit_is_the_largest_that_any_server_may_read(
    dialect: Dialect, members: dict[str, Any], limit: int | None
) -> None:
    assert asked(dialect, **members).output_limit == limit


@pytest.mark.parametrize(
    ("members", "answers"), [({}, 1), ({"n": 4}, 4), ({"n": None}, 1), ({"n": 2, "best_of": 5}, 5)]
)
def test_every_answer_that_is_paid_is_counted(members: dict[str, Any], answers: int) -> None:
    assert asked(CHAT, **members).answers == answers


@pytest.mark.parametrize(
    ("dialect", "members"),
    [
        (CHAT, {"max_tokens": 0}),
        (CHAT, {"max_tokens": -1}),
        (CHAT, {"max_tokens": 100.0}),
        (CHAT, {"max_tokens": "100"}),
        (CHAT, {"max_tokens": 10**10}),
        (CHAT, {"max_tokens": True}),
        (CHAT, {"n": 0}),
        (CHAT, {"n": 1.5}),
        (CHAT, {"n": 10**30}),
        (MESSAGES, {"max_tokens": -1}),
    ],
)
def test_a_bound_that_cannot_be_understood_is_no_bound(dialect: Dialect, members: dict[str, Any]) -> None:
    with pytest.raises(UnreadableError):
        asked(dialect, **members)


@pytest.mark.parametrize(
    "members",
    [
        {"service_tier": "priority"},
        {"service_tier": "a tier of next year"},
        {"service_tier": ["default"]},
        {"speed": "fast"},
        {"inference_geo": "us"},
        {"fallbacks": [{"model": "dearer"}]},
        {"models": ["one", "two"]},
        {"plugins": [{"id": "web"}]},
        {"modalities": ["text", "audio"]},
        {"audio": {"voice": "alloy"}},
        {"prediction": {"type": "content", "content": "long"}},
        {"compaction": {"type": "enabled"}},
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}, {"type": "compact_20260112"}]}},
        {"context_management": [{"type": "compaction", "compact_threshold": 1000}]},
    ],
)
def test_what_changes_the_price_is_named(members: dict[str, Any]) -> None:
    for dialect in Dialect:
        assert asked(dialect, **members).unlisted == next(iter(members))


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"service_tier": None, "speed": None, "inference_geo": None, "fallbacks": None, "modalities": None},
        {"service_tier": "auto", "speed": "standard", "inference_geo": "global", "modalities": ["text"]},
        {"service_tier": "flex", "fallbacks": [], "models": [], "plugins": []},
        {"service_tier": "standard_only", "context_management": {"edits": [{"type": "clear_thinking_20251015"}]}},
        {"context_management": None},
        {"context_management": {"edits": None}},
        {"context_management": "strange"},
    ],
)
def test_what_never_costs_more_than_the_list_says_is_let_pass(members: dict[str, Any]) -> None:
    for dialect in Dialect:
        assert asked(dialect, **members).unlisted is None


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_limit_is_set_beside_untouched_values(dialect: Dialect) -> None:
    body = with_output_limit(dialect, b'{"model":"m","temperature":1.0e0}', 12)

    assert body == b'{"model":"m","temperature":1.0e0,"%s":12}' % limit_name(dialect).encode()
    assert spending(dialect, body).output_limit == 12


def test_what_is_no_json_object_has_no_bound() -> None:
    for broken in (b"", b"[]", b"{", b'{"n": }'):
        with pytest.raises(UnreadableError):
            spending(CHAT, broken)


def test_the_largest_count_that_is_believed_fits_the_store_many_times_over() -> None:
    assert MAX_COUNT * 1_000_000 < 2**63
