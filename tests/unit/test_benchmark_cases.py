"""Case files: what a line may say, and what is told of one that says something else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shadow.benchmark.cases import MAX_CASES, MAX_FAULTS, MAX_LINE_BYTES, CaseErrors, read_cases
from shadow.records import Dialect


def line(**members: Any) -> str:
    return json.dumps(members)


def request(text: str, **named: Any) -> dict[str, Any]:
    [case] = read_cases(text, **named)
    told: dict[str, Any] = json.loads(case.request)
    return told


def test_a_prompt_becomes_a_streamed_request_with_a_limit() -> None:
    assert request(line(prompt="hi")) == {
        "max_tokens": 2048,
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
    }


def test_a_conversation_and_parameters_of_the_api_travel_as_they_are() -> None:
    turns = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    told = request(line(messages=turns, system="Be brief.", temperature=0, tools=[{"name": "t"}], max_tokens=7))
    assert told == {
        "max_tokens": 7,
        "messages": turns,
        "stream": True,
        "temperature": 0,
        "tools": [{"name": "t"}],
        "system": "Be brief.",
    }
    assert request(line(prompt="hi", stream=False))["stream"] is False


def test_the_other_api_has_its_system_turn_and_its_name_of_the_limit() -> None:
    told = request(line(prompt="hi", system="Be brief.", max_tokens=7), api="openai")
    assert told["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert told["max_completion_tokens"] == 7
    own = request(line(prompt="hi", max_completion_tokens=9), api="openai")
    assert (own["max_completion_tokens"], len(own["messages"])) == (9, 1)


def test_what_a_case_says_of_itself_is_kept() -> None:
    text = "\n".join(
        [
            line(prompt="a", id="first", expected="x", task="support", cluster="talk"),
            "  ",
            line(prompt="b", id=7, expected=42),
            line(prompt="c", expected={"a": 1}),
            line(prompt="d", expected=""),
        ]
    )
    cases = read_cases(text, name="faq.jsonl")
    assert [(case.id, case.expected, case.task, case.cluster, case.source) for case in cases] == [
        ("first", "x", "support", "talk", "faq.jsonl:1"),
        ("7", "42", "default", None, "faq.jsonl:3"),
        ("line 4", '{"a":1}', "default", None, "faq.jsonl:4"),
        ("line 5", None, "default", None, "faq.jsonl:5"),
    ]
    assert {case.dialect for case in cases} == {Dialect.ANTHROPIC_MESSAGES}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not readable as JSON"),
        ("[1]", "is a list, not a JSON object"),
        ("null", "is null, not a JSON object"),
        ('"a"', "is a text, not a JSON object"),
        ("3", "is a number, not a JSON object"),
        (line(id="x"), "needs exactly one of"),
        (line(prompt="a", messages=[]), "needs exactly one of"),
        (line(prompt=""), "prompt is an empty text, not a text with something in it"),
        (line(prompt=["a"]), "prompt is a list"),
        (line(messages="a"), "messages is a text, not a list of turns"),
        (line(messages=[]), "messages is empty, not a list of turns"),
        (line(messages=[{"role": "user"}]), "messages[0] must be"),
        (line(prompt="a", model="gpt-4o"), "the models are chosen by --models"),
        (line(prompt="a", system=3), "system is a number, not a text"),
        (line(prompt="a", max_tokens=0), "max_tokens is 0, not a whole number above 0"),
        (line(prompt="a", max_tokens=True), "max_tokens is True"),
        (line(prompt="a", max_tokens="9"), "max_tokens is '9'"),
        (line(prompt="a", id=True), "id is true or false"),
        (line(prompt="a", id=" "), "id is a text, not a text or whole number"),
        (line(prompt="a", task=3), "task is a number, not a text"),
        (line(prompt="a", cluster=""), "cluster is an empty text"),
        ("x" * (MAX_LINE_BYTES + 1), "is longer than"),
        ("[" * 100_000, "not readable as JSON"),
        (line(prompt="a", id="x") + "\n" + line(prompt="b", id="x"), "id 'x' is the one of line 1 already"),
        ("\n \n", "holds no case"),
    ],
)
def test_a_line_that_is_no_case_is_told_with_its_place(text: str, words: str) -> None:
    with pytest.raises(CaseErrors) as faults:
        read_cases(text, name="faq.jsonl")
    [told] = faults.value.lines
    assert told.startswith("faq.jsonl")
    assert words in told
    assert len(told) < 400


def test_every_fault_is_told_up_to_a_number() -> None:
    with pytest.raises(CaseErrors) as faults:
        read_cases("\n".join(["{}"] * 50))
    assert len(faults.value.lines) == MAX_FAULTS + 1
    assert faults.value.lines[-1] == "cases: and 30 more lines like these"


def test_a_file_of_too_many_cases_is_refused() -> None:
    with pytest.raises(CaseErrors, match="split the file"):
        read_cases(f"{line(prompt='a')}\n" * (MAX_CASES + 1))
