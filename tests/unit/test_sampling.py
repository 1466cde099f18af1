"""Sampling is stable, nested and per conversation; tasks are chosen by their first match."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow.records import RequestFacts, Task, TaskMatch
from shadow.sampling import conversation_hash, conversation_key, is_asked_again, is_sampled, task_of

FACTS = RequestFacts(model="m", conversation="prompt:you\x00hi")
HEADERS = {"X-Shadow-Conversation": "c-1", "x-claude-code-session-id": "s-1"}


def test_the_hash_is_the_same_in_another_process_with_another_hash_seed() -> None:
    code = "from shadow.sampling import conversation_hash; print(conversation_hash('c-1', seed='s'))"
    other = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "77"}, capture_output=True, text=True, check=True
    )

    assert other.stdout.strip() == conversation_hash("c-1", seed="s") == "4616a52677531721eecd4a318ef0fed9"


def test_another_seed_samples_other_conversations() -> None:
    keys = [f"c{n}" for n in range(200)]

    chosen = [{key for key in keys if is_sampled(conversation_hash(key, seed=seed), 0.3)} for seed in ("a", "b")]

    assert chosen[0] != chosen[1]


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_what_one_rate_samples_every_higher_rate_samples_too(key: str, one: float, other: float) -> None:
    conversation = conversation_hash(key, seed="")
    low, high = sorted((one, other))

    assert is_sampled(conversation, high) or not is_sampled(conversation, low)


@given(st.text(alphabet=st.characters()))
def test_rate_one_samples_all_and_rate_zero_nothing(key: str) -> None:
    conversation = conversation_hash(key, seed="x")

    assert is_sampled(conversation, 1.0)
    assert not is_sampled(conversation, 0.0)


def test_the_share_of_sampled_conversations_is_the_rate() -> None:
    sampled = sum(is_sampled(conversation_hash(str(n), seed=""), 0.05) for n in range(20_000))

    assert 850 < sampled < 1_150


def test_a_key_with_a_lone_surrogate_can_be_hashed() -> None:
    assert len(conversation_hash("\ud800", seed="\udfff")) == 32


@pytest.mark.parametrize(
    ("headers", "facts", "mode", "key"),
    [
        (HEADERS, FACTS, "auto", "header:c-1"),
        ({"X-Claude-Code-Session-Id": "s-1"}, FACTS, "auto", "session:s-1"),
        ({}, FACTS, "auto", "prompt:you\x00hi"),
        ({}, RequestFacts(model="m"), "auto", "request:x-7"),
        ({}, None, "auto", "request:x-7"),
        (HEADERS, FACTS, "header", "header:c-1"),
        ({"x-claude-code-session-id": "s-1"}, FACTS, "header", "request:x-7"),
        ({"x-shadow-conversation": ""}, FACTS, "auto", "prompt:you\x00hi"),
        (HEADERS, FACTS, "request", "request:x-7"),
    ],
)
def test_the_conversation_key_follows_the_order_of_the_design(headers, facts, mode, key) -> None:  # noqa: ANN001  (a table)
    assert conversation_key(facts, headers, mode=mode, exchange_id="x-7") == key


def test_the_session_in_a_header_and_in_the_body_is_one_conversation() -> None:
    by_body = conversation_key(RequestFacts(model="m", conversation="session:s-1"), {}, mode="auto", exchange_id="1")
    by_header = conversation_key(FACTS, {"x-claude-code-session-id": "s-1"}, mode="auto", exchange_id="2")

    assert by_body == by_header


TASKS = (
    Task(name="support", match=TaskMatch(header={"X-App": "support"})),
    Task(name="big", match=TaskMatch(path="/v1/*", model="claude-opus-*")),
    Task(name="json", match=TaskMatch(system_contains="JSON", path="/v1/chat/completions")),
    Task(name="nothing given matches all", match=TaskMatch()),
)


@pytest.mark.parametrize(
    ("headers", "path", "model", "system", "task"),
    [
        ({"x-app": "support"}, "/v1/messages", "claude-opus-5", "", "support"),
        ({"x-app": "Support"}, "/v1/messages", "claude-opus-5", "", "big"),
        ({}, "/v1/chat/completions", None, "answer in JSON", "json"),
        ({}, "/v1/chat/completions", "gpt-4o", "answer in prose", "nothing given matches all"),
    ],
)
def test_the_first_task_whose_every_part_holds_is_chosen(headers, path, model, system, task) -> None:  # noqa: ANN001
    assert task_of(TASKS, headers=headers, path=path, model=model, system=system) == task


def test_an_exchange_no_task_matches_belongs_to_default() -> None:
    assert task_of(TASKS[:3], headers={}, path="/x", model=None, system="") == "default"


def test_the_share_that_is_asked_again_is_drawn_apart_from_what_is_sampled() -> None:
    hashes = [conversation_hash(f"c{number}", seed="") for number in range(4000)]
    sampled = [one for one in hashes if is_sampled(one, 0.25)]
    again = [one for one in sampled if is_asked_again(one, 0.2)]
    assert 0.15 < len(again) / len(sampled) < 0.25
    assert [one for one in hashes if is_asked_again(one, 0.0)] == []
    assert all(is_asked_again(one, 1.0) for one in hashes)
