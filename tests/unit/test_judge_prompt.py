"""What a judge is shown, of every dialect; what is left out; and who is related to whom."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from shadow.judge.blind import side_a, winner_of
from shadow.judge.families import family_of, relatives, self_preference_warning
from shadow.judge.prompt import (
    MAX_ANSWER_BYTES,
    answer_of,
    excerpt,
    max_answer_bytes,
    pairwise_prompt,
    request_of,
    rubric_prompt,
    system_prompt,
)
from shadow.records import EvalCase, ToolCall


def shown(request: dict[str, Any], **case: Any) -> Any:
    return request_of(EvalCase(request=request, output="", **case), redact=lambda text: text)


def test_system_and_last_turn_are_found_in_every_dialect() -> None:
    anthropic = {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": [{"type": "text", "text": "three"}]},
        ],
    }
    chat = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ]
    }
    responses = {
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "one"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "two"}]},
            {"role": "user", "content": [{"type": "input_text", "text": "three"}]},
        ],
    }
    for request in (anthropic, chat, responses):
        found = shown(request)
        assert (found.system, found.turn) == ("Be brief.", "three")
    assert shown({"input": "just text"}).turn == "just text"


def test_results_of_tools_come_with_the_question_they_belong_to() -> None:
    anthropic = [
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "w", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "12 degrees"}]},
    ]
    chat = [
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "tool_call_id": "t", "content": "12 degrees"},
    ]
    responses = [
        {"role": "user", "content": "What is the weather?"},
        {"type": "function_call", "name": "w", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "t", "output": "12 degrees"},
    ]
    for request in ({"messages": anthropic}, {"messages": chat}, {"input": responses}):
        assert shown(request).turn == "What is the weather?\n[tool result] 12 degrees"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "image", "source": {}}, {"text": "look"}], "[image that is not shown]\nlook"),
        ([{}], "[something that is not shown]"),
        ([{"type": "tool_result", "content": {"a": 1}}], '[tool result] {"a":1}'),
        ([{"type": "tool_result"}], "[tool result] "),
        (7, ""),
    ],
)
def test_what_is_no_text_is_named(content: Any, text: str) -> None:
    assert shown({"messages": [{"role": "user", "content": content}]}).turn == text


def test_a_request_that_makes_no_sense_is_shown_as_nothing() -> None:
    found = shown({"messages": "x" * 5, "tools": "all", "system": 3, "instructions": [1]})
    assert (found.system, found.turn, found.tools) == ("", "xxxxx", "")
    assert shown({}).turn == ""


def test_a_prefill_is_no_turn() -> None:
    messages = [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "{"}]
    assert shown({"messages": messages}).turn == "ask"


def test_the_names_of_offered_tools_are_shown() -> None:
    tools = [{"name": "a", "input_schema": {}}, {"type": "function", "function": {"name": "b"}}, {"type": "x"}]
    assert shown({"tools": tools}).tools == "a, b"


@pytest.mark.parametrize(
    ("request_", "limit"),
    [
        ({}, MAX_ANSWER_BYTES),
        ({"max_tokens": 300}, 2400),
        ({"max_completion_tokens": 1}, 1000),
        ({"max_output_tokens": 10**9}, MAX_ANSWER_BYTES),
        ({"max_tokens": "many"}, MAX_ANSWER_BYTES),
    ],
)
def test_no_more_of_an_answer_is_shown_than_the_apps_limit_leaves_room_for(
    request_: dict[str, Any], limit: int
) -> None:
    assert max_answer_bytes(request_) == limit


@pytest.mark.parametrize("text", ["a" * 5000, "é" * 5000, "\U0001f600" * 5000, "\ud800" * 5000])
def test_a_shortened_text_keeps_its_beginning_and_its_end_and_fits(text: str) -> None:
    short = excerpt(text, 1000)
    assert len(short.encode()) <= 1000
    assert short.startswith(text[:10].encode("utf-8", "replace").decode())
    assert short.endswith(text[-10:].encode("utf-8", "replace").decode())
    assert "bytes in all, the middle is left out" in short
    assert excerpt("short", 1000) == "short"


def test_texts_are_redacted_before_they_are_shortened() -> None:
    def redact(text: str) -> str:
        return text.replace("secret", "[x]")

    case = EvalCase(
        request={"system": "secret", "messages": [{"role": "user", "content": "secret"}]},
        output="",
        expected="secret",
    )
    found = request_of(case, redact=redact)
    assert (found.system, found.turn, found.expected) == ("[x]", "[x]", "[x]")
    calls = [ToolCall(name="f", arguments='{"a": "secret"}')]
    answer = answer_of("secret", calls, redact=redact, max_bytes=100)
    assert answer.text == '[x]\n[tool call] f {"a": "[x]"}'
    assert answer.chars == len('secret\n[tool call] f {"a": "secret"}')


def test_every_part_stands_between_fences_with_the_nonce() -> None:
    request = shown(
        {"system": "S", "messages": [{"role": "user", "content": "U"}], "tools": [{"name": "T"}]}, expected="E"
    )
    answer = answer_of("ANSWER", (), redact=str, max_bytes=100)
    text = pairwise_prompt(request, answer, answer, nonce="n0")
    for name in ("SYSTEM PROMPT", "TOOLS OFFERED", "REQUEST", "EXPECTED ANSWER", "ANSWER A", "ANSWER B"):
        assert text.count(f"<<<{name} n0>>>") == text.count(f"<<<END {name} n0>>>") == 1
    single = rubric_prompt(shown({}), answer, nonce="n0")
    assert "<<<ANSWER n0>>>\nANSWER\n<<<END ANSWER n0>>>" in single
    assert "SYSTEM PROMPT" not in single
    assert system_prompt("base", None) == "base"


# --- families ---


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("claude-haiku-4-5", "Anthropic"),
        ("us.anthropic.claude-sonnet-4-6-v1:0", None),
        ("anthropic.claude-opus-5", "Anthropic"),
        ("anthropic/claude-opus-5", "Anthropic"),
        ("gpt-4o", "OpenAI"),
        ("o3-mini", "OpenAI"),
        ("o3", "OpenAI"),
        ("olmo-2", None),
        ("models/gemini-2.5-pro", "Google"),
        ("grok-4", "xAI"),
        ("meta-llama/Llama-4", "Meta"),
        ("demo-oak", None),
    ],
)
def test_the_house_of_a_model_is_read_from_its_name(model: str, family: str | None) -> None:
    assert family_of(model) == family


def test_a_judge_is_warned_of_its_relatives() -> None:
    assert relatives("gpt-4.1-mini", ["gpt-4o", "claude-opus-5", "o3"]) == ("gpt-4o", "o3")
    assert relatives("demo", ["demo", "demo-oak"]) == ("demo",)
    assert self_preference_warning("gpt-4.1-mini", ["claude-opus-5"]) is None
    warned = self_preference_warning("gpt-4.1-mini", ["gpt-4o", "gpt-4o"])
    assert warned is not None
    assert warned.startswith("the judge gpt-4.1-mini compares gpt-4o (also of OpenAI): judges tend to prefer")
    assert "(the same model)" in (self_preference_warning("demo", ["demo"]) or "")


# --- blind sides ---


def test_sides_are_shuffled_evenly_and_the_same_way_for_the_same_seed() -> None:
    sides = Counter(side_a(f"x{number}:rival", "seed") for number in range(2000))
    assert sides["primary"] == pytest.approx(1000, abs=120)
    assert [side_a(f"x{number}:r", "seed") for number in range(50)] == [
        side_a(f"x{number}:r", "seed") for number in range(50)
    ]
    assert [side_a(f"x{number}:r", "seed") for number in range(50)] != [
        side_a(f"x{number}:r", "other") for number in range(50)
    ]


@pytest.mark.parametrize(
    ("choice", "shown_as_a", "winner"),
    [
        ("A", "primary", "primary"),
        ("A", "candidate", "candidate"),
        ("B", "primary", "candidate"),
        ("B", "candidate", "primary"),
        ("tie", "primary", "tie"),
        ("candidate", "candidate", "candidate"),
        ("primary", "candidate", "primary"),
    ],
)
def test_a_choice_means_the_answer_that_stood_there(choice: str, shown_as_a: Any, winner: str) -> None:
    assert winner_of(choice, shown_as_a) == winner


def test_what_is_no_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="choice must be one of A, tie, B, primary, candidate, not 'C'"):
        winner_of("C", "primary")
