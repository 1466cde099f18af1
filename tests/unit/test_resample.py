"""Which prompts a weekly run asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shadow.records import Dialect
from shadow.resample import conversations_of, shares
from shadow.runs import StoredPrompt

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def prompt(number: int, *, conversation: str | None = None, task: str = "default") -> StoredPrompt:
    return StoredPrompt(
        exchange_id=f"x{number}",
        started_at=NOW + timedelta(minutes=number),
        task=task,
        dialect=Dialect.ANTHROPIC_MESSAGES,
        model="m",
        conversation=conversation,
        path="/v1/messages",
        first_turn=True,
    )


def test_half_of_the_places_go_to_tasks_equally_and_half_by_traffic() -> None:
    assert shares({"large": 900, "small": 100}, 100) == {"large": 70, "small": 30}
    assert shares({"large": 900, "tiny": 3}, 100) == {"large": 97, "tiny": 3}
    assert shares({"a": 5, "b": 5}, 100) == {"a": 5, "b": 5}
    assert shares({"a": 5, "none": 0}, 3) == {"a": 3}
    assert shares({}, 3) == {}


def test_a_place_that_cannot_be_divided_goes_to_one_task() -> None:
    assert shares({"a": 5, "b": 6, "c": 5}, 1) == {"a": 0, "b": 1, "c": 0}


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 50), max_size=8), st.integers(0, 200))
def test_all_places_are_given_and_no_task_has_more_than_it_has(traffic: dict[str, int], total: int) -> None:
    given_out = shares(traffic, total)
    assert sum(given_out.values()) == min(total, sum(traffic.values()))
    assert all(0 <= count <= traffic[task] for task, count in given_out.items())


def test_conversations_stay_whole_and_their_order_depends_on_the_seed_not_on_time() -> None:
    prompts = [prompt(number, conversation=f"c{number // 2}") for number in range(100)]
    order = conversations_of(prompts, seed="a")["default"]
    assert all([turn.exchange_id for turn in turns] == sorted(turn.exchange_id for turn in turns) for turns in order)
    assert {len(turns) for turns in order} == {2}
    assert order == conversations_of(reversed(prompts), seed="a")["default"]
    assert order != conversations_of(prompts, seed="b")["default"]
    first_half = [int(turns[0].exchange_id[1:]) for turns in order[:25]]
    assert min(first_half) < 30
    assert max(first_half) > 70


def test_a_prompt_without_a_conversation_is_one_of_its_own_and_tasks_are_apart() -> None:
    found = conversations_of([prompt(1), prompt(2), prompt(3, task="other")], seed="")
    assert {task: len(turns) for task, turns in found.items()} == {"default": 2, "other": 1}
