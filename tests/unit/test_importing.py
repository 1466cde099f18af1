"""Cases of other tools: read as they are written, told by line what is wrong, and nothing of a faulty file is taken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadow import importing
from shadow.importing import ImportFaults, Source, import_cases, source_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def cases(text: str, source: Source, **files: str) -> list[dict[str, Any]]:
    return [dict(case) for case in import_cases(text, source=source, name="f", read=reader(files)).cases]


def faults(text: str, source: Source, **files: str) -> list[str]:
    with pytest.raises(ImportFaults) as told:
        import_cases(text, source=source, name="f", read=reader(files))
    return list(told.value.lines)


def reader(files: dict[str, str]) -> Any:
    def read(name: str) -> str:
        if name not in files:
            raise FileNotFoundError(2, "No such file")
        return files[name]

    return read


# --- plain lines ---


def test_plain_lines_are_taken_with_every_parameter_they_have() -> None:
    text = '\ufeff{"prompt": "2+2?", "expected": 4, "temperature": 0}\n\n{"id": 7, "prompt": "hi", "expected": ""}\n'

    assert cases(text, "plain") == [
        {"id": "line 1", "prompt": "2+2?", "expected": "4", "temperature": 0},
        {"id": "7", "prompt": "hi"},
    ]


def test_a_list_of_objects_is_as_good_as_lines() -> None:
    assert cases('[{"prompt": "a"}, {"prompt": "b", "expected": ["x"]}]', "plain") == [
        {"id": "line 1", "prompt": "a"},
        {"id": "line 2", "prompt": "b", "expected": '["x"]'},
    ]


def test_turns_of_a_system_become_the_system_prompt() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]

    assert cases(json.dumps({"messages": turns}), "plain") == [
        {"id": "line 1", "system": "Be brief.", "messages": [{"role": "user", "content": "hi"}]}
    ]


def test_every_fault_is_told_by_its_line_and_then_nothing_is_taken() -> None:
    lines = [
        '{"prompt": "fine"}', "{", "[1]", '"text"', '{"expected": "4"}', '{"prompt": "x", "id": true}',
        '{"messages": [{"role": "user"}]}', '{"prompt": 5}', '{"prompt": "x", "n": NaN}',
        '{"prompt": "x", "id": "line 1"}', '{"messages": [{"role": "system", "content": "s"}]}',
        '{"prompt": "x", "prompt": "y"}',
    ]  # fmt: skip
    text = "\n".join(lines)

    assert faults(text, "plain") == [
        "f:2: is no JSON: Expecting property name enclosed in double quotes",
        "f:3: is a list, not a JSON object",
        "f:4: is a text, not a JSON object",
        "f:5: has no question: needs one of prompt, messages; it holds expected",
        "f:6: id is true or false, not a text or whole number",
        'f:7: turn 1 of its question must be {"role": …, "content": …}',
        "f:8: its question is a number, neither a text nor a list of turns",
        "f:9: is no JSON: NaN is no JSON value",
        "f:10: id 'line 1' is the one of line 1",
        "f:11: its question has a system prompt and no turn of a user",
        "f:12: is no JSON: 'prompt' is there twice",
    ]


def test_a_file_of_another_kind_is_told_shortly() -> None:
    told = faults("no json\n" * 500, "plain")

    assert len(told) == importing.MAX_FAULTS + 1
    assert told[-1] == "f: and 480 more like these"
    assert faults("", "plain") == ["f: holds no case"]
    assert faults("[1, {", "plain") == ["f:1: is no JSON: Expecting property name enclosed in double quotes"]
    assert faults("[1]", "plain") == ["f:1: entry 1 is a number, no object"]
    assert "is longer than" in faults('{"prompt": "' + "x" * importing.MAX_LINE_CHARS + '"}', "plain")[0]


def test_a_file_with_too_many_cases_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_CASES", 3)

    assert faults('{"prompt": "a"}\n' * 9, "plain") == ["f: more than 3 cases; split the file"]
    assert len(cases('{"prompt": "a"}\n' * 3, "plain")) == 3


# --- OpenAI Evals ---

OPEN_LIBRARY = {"input": [{"role": "system", "content": "Add."}, {"role": "user", "content": "2+2"}], "ideal": "4"}
HOSTED_DATA = {"item": {"question": "Capital of France?", "ground_truth": "Paris", "difficulty": 1}}
OUTPUT_ITEM = {
    "object": "eval.run.output_item",
    "id": "outputitem_1",
    "datasource_item_id": 5,
    "datasource_item": {"ticket_text": "My screen is black", "correct_label": "Hardware"},
    "sample": {
        "input": [{"role": "developer", "content": "Classify."}, {"role": "user", "content": "My screen is black"}],
        "output": [{"role": "assistant", "content": "Hardware"}],
    },
}


def test_all_three_forms_of_openai_evals_are_read() -> None:
    text = "\n".join(json.dumps(each) for each in (OPEN_LIBRARY, HOSTED_DATA, OUTPUT_ITEM))

    assert cases(text, "openai-evals") == [
        {"id": "line 1", "system": "Add.", "messages": [{"role": "user", "content": "2+2"}], "expected": "4"},
        {"id": "line 2", "prompt": "Capital of France?", "expected": "Paris"},
        {
            "id": "outputitem_1",
            "system": "Classify.",
            "messages": [{"role": "user", "content": "My screen is black"}],
            "expected": "Hardware",
        },
    ]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_page_of_the_api_is_read_in_one_line_or_indented(indent: int | None) -> None:
    page = json.dumps({"object": "list", "data": [OUTPUT_ITEM, {**OUTPUT_ITEM, "id": "outputitem_2"}]}, indent=indent)

    assert [case["id"] for case in cases(page, "openai-evals")] == ["outputitem_1", "outputitem_2"]


def test_what_a_case_cannot_hold_is_told_as_a_note() -> None:
    text = "\n".join(
        json.dumps(each)
        for each in ({"input": "a", "ideal": ["x", "y"]}, {"input": "b", "ideal": []}, {"input": "c"}, {"input": "d"})
    )
    found = import_cases(text, source="openai-evals", name="f")

    assert [case.get("expected") for case in found.cases] == ["x", None, None, None]
    assert found.notes == (
        "of several accepted answers in 'ideal' only the first is taken",
        "a case without an expected answer (3 times)",
    )


def test_columns_we_do_not_know_are_named() -> None:
    assert faults('{"item": {"ticket": "black", "label": "x"}}', "openai-evals") == [
        "f:1: has no question: needs one of input, messages, prompt, question, query; it holds label, ticket"
    ]
    assert faults("nonsense", "openai-evals") == ["f:1: is no JSON: Expecting value"]
    assert faults('{\n "data": 5\n}', "openai-evals")[0].startswith("f:1: is no JSON")
    assert faults("{\n", "openai-evals") == ["f:1: is no JSON: Expecting property name enclosed in double quotes"]


# --- promptfoo ---

PROMPTFOO = """
description: greetings
prompts:
  - "Say {{ greeting }} to {{name}}."
  - file://chat.json
providers: [openai:gpt-4o]
defaultTest:
  vars: {greeting: hello}
tests:
  - description: first
    vars: {name: Ada}
    assert:
      - {type: equals, value: "hello {{name}}"}
      - {type: javascript, value: "output.length > 3"}
  - vars: {name: [Bob, Cy], greeting: hi}
"""
CHAT = '[{"role": "system", "content": "Polite."}, {"role": "user", "content": "{{greeting}}, {{name}}"}]'


def test_promptfoo_prompts_times_tests_times_values_are_cases() -> None:
    found = import_cases(PROMPTFOO, source="promptfoo", name="f", read=reader({"chat.json": CHAT}))

    assert [dict(case) for case in found.cases] == [
        {"id": "test 1 prompt 1: first", "prompt": "Say hello to Ada.", "expected": "hello Ada"},
        {
            "id": "test 1 prompt 2: first",
            "system": "Polite.",
            "messages": [{"role": "user", "content": "hello, Ada"}],
            "expected": "hello Ada",
        },
        {"id": "test 2 prompt 1", "prompt": "Say hi to Bob."},
        {"id": "test 2 prompt 1 2", "prompt": "Say hi to Cy."},
        {"id": "test 2 prompt 2", "system": "Polite.", "messages": [{"role": "user", "content": "hi, Bob"}]},
        {"id": "test 2 prompt 2 2", "system": "Polite.", "messages": [{"role": "user", "content": "hi, Cy"}]},
    ]
    assert found.notes == (
        "assertion 'equals' gives `expected`: run with an evaluator of that name (2 times)",
        "assertion 'javascript' is left out: a case holds one expected text (2 times)",
    )


def test_promptfoo_in_json_is_read_too_and_values_of_any_kind_are_filled_in() -> None:
    config = {
        "prompts": "Sum {{list}} for {{who.name}}",
        "tests": [
            {
                "vars": {"list": [[1, 2]], "who": {"name": "Ada"}, "deep": {"a": 1}},
                "assert": [{"type": "contains-json", "value": {"a": 3}}],
            }
        ],
    }

    assert cases(json.dumps(config), "promptfoo") == [
        {"id": "test 1", "prompt": "Sum [1, 2] for Ada", "expected": '{"a": 3}'}
    ]
    deep = {"prompts": [{"raw": "{{deep}}"}], "tests": [{"vars": {"deep": {"a": 1}}}]}
    assert cases(json.dumps(deep), "promptfoo") == [{"id": "test 1", "prompt": '{"a": 1}'}]
    broken = {"prompts": ["[not json {{a}}"], "tests": [{"vars": {"a": 1}}]}
    assert cases(json.dumps(broken), "promptfoo") == [{"id": "test 1", "prompt": "[not json 1"}]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("prompts: [a]\ntests: file://tests.csv", "f:1: tests must be a list with something in it; a list in a file"),
        ("prompts: []\ntests: [{}]", "f:1: prompts must be a list with something in it"),
        ("prompts: [3]\ntests: [{}]", "f:1: a prompt is a number, not a text"),
        ("prompts: [file://gone.txt]\ntests: [{}]", "f:1: file://gone.txt: No such file"),
        ("prompts: [file://prompt.py]\ntests: [{}]", "f:1: file://prompt.py cannot be read here"),
        ("prompts: [a]\ntests: [{}]\ndefaultTest: 5", "f:1: defaultTest is a number, not a mapping"),
        ("- a\n- b", "f:1: is not a mapping with `prompts` and `tests`"),
        ("prompts: [a\ntests: ]x", "f:2: is no YAML"),
        ("prompts: [\x00]", "f:1: is no YAML: ReaderError"),
        ("a: &x [1]\nprompts: [a]\ntests: *x", "f:3: aliases (*name) are not read"),
        ("prompts: ['{{x}}']\ntests:\n  - vars: {y: 1}", "f:3: has no variable 'x', which the prompt needs"),
        ("prompts: ['{{x.z}}']\ntests:\n  - vars: {x: 1}", "f:3: has no variable 'x.z'"),
        ("prompts: ['{{x}}']\ntests:\n  - vars: {x: 'file://a.txt'}", "f:3: variable 'x' names a file"),
        ("prompts: ['{% if x %}a{% endif %}']\ntests:\n  - {}", "f:3: the prompt uses more of the template language"),
        ("prompts: ['{{ x | upper }}']\ntests:\n  - {}", "f:3: the prompt uses more of the template language"),
        ("prompts: ['{{x}}']\ntests:\n  - vars: {x: ' '}", "f:3: the prompt is empty"),
        ("prompts: [a]\ntests: [5]", "f:1: test 1 is a number, not a mapping"),
    ],
)
def test_what_is_wrong_with_a_promptfoo_file_is_told_by_line(text: str, sentence: str) -> None:
    assert faults(text, "promptfoo")[0].startswith(sentence)


def test_a_promptfoo_file_that_names_files_needs_someone_who_reads_them() -> None:
    with pytest.raises(ImportFaults, match="cannot be read here"):
        import_cases("prompts: [file://a.txt]\ntests: [{}]", source="promptfoo", name="f")


def test_a_huge_file_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_YAML_CHARS", 10)

    assert faults("prompts: [abcdefg]", "promptfoo") == ["f:1: is longer than 10 characters"]


# --- which tool ---


@pytest.mark.parametrize(
    ("name", "text", "source"),
    [
        ("promptfooconfig.yaml", "", "promptfoo"),
        ("x.json", '{"prompts": ["a"], "tests": []}', "promptfoo"),
        ("x.jsonl", json.dumps(OPEN_LIBRARY) + "\n" + json.dumps(OPEN_LIBRARY), "openai-evals"),
        ("x.jsonl", json.dumps(HOSTED_DATA), "openai-evals"),
        ("x.json", json.dumps({"data": [OUTPUT_ITEM]}, indent=1), "openai-evals"),
        ("x.jsonl", '{"prompt": "a"}', "plain"),
        ("x.jsonl", '{"prompt": "a"}\n{"prompt": "b"}', "plain"),
        ("x.json", '[{"prompt": "a"}]', "plain"),
        ("x.txt", "words", "plain"),
    ],
)
def test_the_tool_is_seen_from_the_file(name: str, text: str, source: str) -> None:
    assert source_of(text, name=name) == source


@given(text=st.text(), source=st.sampled_from(["plain", "promptfoo", "openai-evals"]))
def test_any_text_gives_cases_or_faults_and_never_an_exception_of_another_kind(text: str, source: Source) -> None:
    try:
        outcome: Sequence[object] = import_cases(text, source=source, name="f").cases
    except ImportFaults as told:
        outcome = told.lines

    assert outcome


def test_what_a_promptfoo_file_says_is_taken_as_it_stands() -> None:
    text = """
prompts:
  - "Summarise {{ user }}"
tests:
  - vars:
      user: {name: Ann, address: {city: Rome}, pets: [{kind: "c\tat"}]}
    assert:
      - {type: contains-json, value: {a: {b: 1}}}
"""
    [case] = import_cases(text, source="promptfoo", name="x").cases
    assert json.loads(case["prompt"].removeprefix("Summarise ")) == {
        "name": "Ann",
        "address": {"city": "Rome"},
        "pets": [{"kind": "c\tat"}],
    }
    assert json.loads(case["expected"]) == {"a": {"b": 1}}
