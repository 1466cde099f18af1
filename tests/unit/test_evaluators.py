"""Every built-in evaluator as a table of cases, and the set that runs them."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.config import ConfigErrors, load
from shadow.evaluators import EvaluatorConfigError, Services, build_evaluators, known_types, loads_code
from shadow.evaluators.equals import Equals
from shadow.evaluators.json_text import embedded
from shadow.records import Dialect, EvalCase, EvaluatorSpec, Score, StoredScore, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"name": "c", "schema": SCHEMA}}}
RESPONSES_SCHEMA = {"text": {"format": {"type": "json_schema", "name": "c", "schema": SCHEMA}}}
ANTHROPIC_SCHEMA = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
BETA_SCHEMA = {"output_format": {"type": "json_schema", "schema": SCHEMA}}
CHAT_TOOLS = {"tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]}
RESPONSES_TOOLS = {"tools": [{"type": "function", "name": "weather", "parameters": SCHEMA}]}
ANTHROPIC_TOOLS = {"tools": [{"name": "weather", "input_schema": SCHEMA}]}
GOOD_CALL = ToolCall(name="weather", arguments='{"city": "Rome"}')


def case(output: str = "", **fields: Any) -> EvalCase:
    return EvalCase(**{"request": {}, "output": output, **fields})


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    """One set for the whole table, as the measuring side has it: its children are started once."""
    built = Services()
    yield built
    built.close()


async def score_one(spec: EvaluatorSpec, answer: EvalCase, services: Services | None = None) -> Score:
    evaluators = build_evaluators((spec,), config_dir=".", services=services)
    scores = await evaluators.score_pair(answer, answer, dialect=Dialect.OPENAI_CHAT)
    assert [score.role for score in scores] == ["primary", "candidate"]
    assert scores[0].score == scores[1].score
    return scores[0].score


NA = "not_applicable"
FAILED = "failed"
TABLE: list[tuple[str, dict[str, Any], EvalCase, float | str]] = [
    ("equals", {"value": "Rome"}, case(" Rome\n"), 1.0),
    ("equals", {"value": "Rome"}, case("rome"), 0.0),
    ("equals", {}, case("two  words", expected="two words"), 1.0),
    ("equals", {}, case("e\u0301", expected="\u00e9"), 1.0),
    ("equals", {}, case("x"), NA),
    ("equals", {"value": ""}, case(""), 1.0),
    ("icontains", {"value": "rome"}, case("It is ROME."), 1.0),
    ("icontains", {"value": "stra\u00dfe"}, case("STRASSE"), 1.0),
    ("icontains", {}, case("Paris", expected="rome"), 0.0),
    ("icontains", {}, case("Paris", expected=""), NA),
    ("icontains", {}, case("Paris"), NA),
    ("is-json", {}, case('{"a": 1}'), 1.0),
    ("is-json", {}, case(" [3] "), 1.0),
    ("is-json", {}, case(" 3 "), 0.0),
    ("is-json", {"scalars": True}, case(" 3 "), 1.0),
    ("is-json", {}, case('"x"'), 0.0),
    ("is-json", {}, case("true"), 0.0),
    ("is-json", {}, case("[Infinity]"), 0.0),
    ("is-json", {}, case('```json\n{"a": 1}\n```'), 0.0),
    ("is-json", {}, case("NaN"), 0.0),
    ("is-json", {}, case('{"a": 1, "a": 2}'), 0.0),
    ("is-json", {}, case("[" * 100_000), 0.0),
    ("is-json", {}, case("1" * 5_000), 0.0),
    ("is-json", {}, case(""), 0.0),
    ("is-json", {}, case("", tool_calls=(GOOD_CALL,)), NA),
    ("contains-json", {}, case('Here: {"a": [1]} done'), 1.0),
    ("contains-json", {}, case('```json\n{"a": 1}\n```'), 1.0),
    ("contains-json", {}, case("```\nno\n``` [1]"), 1.0),
    ("contains-json", {}, case("[1, 2]"), 1.0),
    ("contains-json", {}, case('"only a string"'), 0.0),
    ("contains-json", {}, case("nothing {here"), 0.0),
    ("contains-json", {}, case("{" * 1_000_000), 0.0),
    ("contains-json", {}, case("", tool_calls=(GOOD_CALL,)), NA),
    ("json-schema", {}, case('{"city": "Rome"}', request=CHAT_SCHEMA), 1.0),
    ("json-schema", {}, case('{"city": 3}', request=CHAT_SCHEMA), 0.0),
    ("json-schema", {}, case('{"city": "Rome"}', request=RESPONSES_SCHEMA), 1.0),
    ("json-schema", {}, case("{}", request=ANTHROPIC_SCHEMA), 0.0),
    ("json-schema", {}, case('{"city": "Rome"}', request=BETA_SCHEMA), 1.0),
    ("json-schema", {"schema": {"type": "array"}}, case("[]", request=CHAT_SCHEMA), 1.0),
    ("json-schema", {"schema": SCHEMA}, case('```json\n{"city": "x"}\n```'), 0.0),
    ("json-schema", {"schema": SCHEMA, "lenient": True}, case('```json\n{"city": "x"}\n```'), 1.0),
    ("json-schema", {"schema": SCHEMA, "lenient": True}, case("none"), 0.0),
    ("json-schema", {}, case("1", request={"output_format": {"schema": {"type": "nope"}}}), FAILED),
    ("json-schema", {}, case("1", request={"output_format": {"schema": {"$ref": "http://127.0.0.1:9/x"}}}), FAILED),
    ("json-schema", {}, case("1"), NA),
    ("json-schema", {}, case("", request=CHAT_SCHEMA, tool_calls=(GOOD_CALL,)), NA),
    ("json-schema", {}, case("1", request={"response_format": "text", "text": 3}), NA),
    ("is-valid-tool-call", {}, case(request=CHAT_TOOLS, tool_calls=(GOOD_CALL,)), 1.0),
    ("is-valid-tool-call", {}, case(request=RESPONSES_TOOLS, tool_calls=(GOOD_CALL,)), 1.0),
    ("is-valid-tool-call", {}, case(request=ANTHROPIC_TOOLS, tool_calls=(GOOD_CALL,)), 1.0),
    ("is-valid-tool-call", {}, case(request=ANTHROPIC_TOOLS, tool_calls=(ToolCall(name="rm", arguments="{}"),)), 0.0),
    ("is-valid-tool-call", {}, case(request=CHAT_TOOLS, tool_calls=(ToolCall(name="weather", arguments="{"),)), 0.0),
    ("is-valid-tool-call", {}, case(request=CHAT_TOOLS, tool_calls=(ToolCall(name="weather", arguments="{}"),)), 0.0),
    (
        "is-valid-tool-call",
        {},
        case(request={"tools": [{"name": "t"}]}, tool_calls=(ToolCall(name="t", arguments=""),)),
        1.0,
    ),
    ("is-valid-tool-call", {}, case("hello", request=CHAT_TOOLS), NA),
    ("is-valid-tool-call", {}, case("hello", request=CHAT_TOOLS | {"tool_choice": "required"}), 0.0),
    ("is-valid-tool-call", {}, case("hello", request=CHAT_TOOLS | {"tool_choice": {"type": "any"}}), 0.0),
    ("is-valid-tool-call", {}, case("hello"), NA),
    ("is-valid-tool-call", {}, case("hello", request={"tools": [3, {"type": "x"}]}), NA),
    (
        "is-valid-tool-call",
        {},
        case(
            request={"tools": [{"name": "t", "parameters": {"type": "nope"}}]},
            tool_calls=(ToolCall(name="t", arguments="{}"),),
        ),
        FAILED,
    ),
    ("regex", {"pattern": r"\b42\b"}, case("it is 42."), 1.0),
    ("regex", {"pattern": r"^42$"}, case("it is 42."), 0.0),
    ("regex", {"pattern": r"(a|a)+$"}, case("a" * 40 + "b"), 0.0),
    ("finish-reason", {}, case(stop_reason="end_turn"), 1.0),
    ("finish-reason", {}, case(stop_reason="length"), 0.0),
    ("finish-reason", {"value": "length"}, case(stop_reason="length"), 1.0),
    ("finish-reason", {"value": ["stop", "length"]}, case(stop_reason="length"), 1.0),
    ("finish-reason", {}, case(), FAILED),
    ("request-checks", {}, case('{"city": "Rome"}', request=CHAT_SCHEMA), 1.0),
    ("request-checks", {}, case("Rome", request=CHAT_SCHEMA), 0.0),
    ("request-checks", {}, case("{", request={"response_format": {"type": "json_object"}}), 0.0),
    ("request-checks", {}, case("{}", request={"text": {"format": {"type": "json_object"}}}), 1.0),
    ("request-checks", {}, case(request=CHAT_SCHEMA | CHAT_TOOLS, tool_calls=(GOOD_CALL,)), 1.0),
    ("request-checks", {}, case("1", request={"output_format": {"schema": {"type": "nope"}}}), FAILED),
    ("request-checks", {}, case("free text"), NA),
    ("request-checks", {}, case("5", request={"response_format": {"type": "json_object"}}), 0.0),
    ("contains-json", {}, case("```json\n5\n```"), 0.0),
    ("icontains-any", {"value": ["rome", "paris"]}, case("PARIS it is"), 1.0),
    ("icontains-any", {"value": ["rome", "paris"]}, case("Madrid"), 0.0),
    ("icontains-all", {"value": ["rome", "paris"]}, case("from Rome to Paris"), 1.0),
    ("icontains-all", {"value": ["rome", "paris"]}, case("Rome"), 0.0),
    ("starts-with", {"value": "Dear"}, case("Dear Ada,"), 1.0),
    ("starts-with", {"value": "Dear"}, case("dear Ada,"), 0.0),
    ("starts-with", {}, case("Rome is", expected="Rome"), 1.0),
    ("starts-with", {}, case("Rome", expected=""), NA),
    ("starts-with", {}, case("Rome"), NA),
    ("word-count", {"value": 2}, case(" two\nwords "), 1.0),
    ("word-count", {"value": 0}, case(""), 1.0),
    ("word-count", {"max": 2}, case("one two three"), 0.0),
    ("word-count", {"min": 2, "max": 3}, case("one two three"), 1.0),
    ("word-count", {"min": 2}, case("one"), 0.0),
    ("word-count", {"min": 2}, case("", tool_calls=(GOOD_CALL,)), NA),
    ("levenshtein", {"value": "kitten"}, case("sitting"), 1 - 3 / 7),
    ("levenshtein", {}, case("same", expected="same"), 1.0),
    ("levenshtein", {}, case("", expected=""), 1.0),
    ("levenshtein", {}, case("abc", expected="xyz"), 0.0),
    ("levenshtein", {"threshold": 3}, case("sitting", expected="kitten"), 1.0),
    ("levenshtein", {"threshold": 2}, case("sitting", expected="kitten"), 0.0),
    ("levenshtein", {}, case("a" * 200_001, expected="b"), FAILED),
    ("levenshtein", {}, case("x"), NA),
    ("numeric-diff", {}, case("so the answer is $1,234.50.", expected="#### 1234.5"), 1.0),
    ("numeric-diff", {}, case("90", expected="100"), 1 - 10 / 190),
    ("numeric-diff", {}, case("-5", expected="5"), 0.0),
    ("numeric-diff", {}, case("0", expected="0.0"), 1.0),
    ("numeric-diff", {}, case("0", expected="3"), 0.0),
    ("numeric-diff", {}, case("between 3-4", expected="4"), 1.0),
    ("numeric-diff", {}, case("\u22127", expected="-7"), 1.0),
    ("numeric-diff", {}, case("1e400", expected="2e400"), 0.0),
    ("numeric-diff", {}, case("1" * 1_001, expected="1"), 0.0),
    ("numeric-diff", {}, case("version v1.2b3", expected="1"), 0.0),
    ("numeric-diff", {"take": "first"}, case("7 of 9", expected="7"), 1.0),
    ("numeric-diff", {"value": 9}, case("7 of 9"), 1.0),
    ("numeric-diff", {"tolerance": 0}, case("8.9", expected="9"), 0.0),
    ("numeric-diff", {"tolerance": 0.2}, case("8.9", expected="9"), 1.0),
    ("numeric-diff", {"relative_tolerance": 0.05}, case("98", expected="100"), 1.0),
    ("numeric-diff", {"relative_tolerance": 0.01}, case("98", expected="100"), 0.0),
    ("numeric-diff", {}, case("no number", expected="1"), 0.0),
    ("numeric-diff", {}, case("1", expected="none"), FAILED),
    ("numeric-diff", {}, case("1"), NA),
    ("json-diff", {}, case('{"a": 1, "b": [true, null]}', expected='{"b": [true, null], "a": 1.0}'), 1.0),
    ("json-diff", {}, case('{"a": 1}', expected='{"a": 1, "b": 2}'), 0.5),
    ("json-diff", {}, case('{"a": "kitten"}', expected='{"a": "sitting"}'), 1 - 3 / 7),
    ("json-diff", {"strings": "equal"}, case('{"a": "kitten"}', expected='{"a": "sitting"}'), 0.0),
    ("json-diff", {}, case("[1, 2, 3, 4]", expected="[1, 2]"), 0.5),
    ("json-diff", {}, case("[1]", expected="[true]"), 0.0),
    ("json-diff", {}, case("[1e999, 1]", expected="[2, 1]"), 0.5),
    ("json-diff", {}, case("[" + "9" * 3_000 + "]", expected="[" + "9" * 2_999 + "]"), 0.0),
    ("json-diff", {}, case("[]", expected="[]"), 1.0),
    ("json-diff", {}, case("{}", expected="{}"), 1.0),
    ("json-diff", {}, case("[]", expected="{}"), 0.0),
    ("json-diff", {"value": {"a": 1}}, case('{"a": 1}'), 1.0),
    ("json-diff", {}, case("```\n[1]\n```", expected="[1]"), 0.0),
    ("json-diff", {"lenient": True}, case("```\n[1]\n```", expected="[1]"), 1.0),
    ("json-diff", {}, case('["' + "a" * 200_001 + '"]', expected='["b"]'), FAILED),
    ("json-diff", {}, case("[1]", expected="not JSON"), FAILED),
    ("json-diff", {}, case("[1]"), NA),
    ("is-refusal", {}, case("I\u2019m sorry, but I can\u2019t help with that."), 1.0),
    ("is-refusal", {}, case("", stop_reason="refusal"), 1.0),
    ("is-refusal", {}, case("Sure. " + "x" * 600 + " I cannot help with"), 0.0),
    ("is-refusal", {}, case("Paris"), 0.0),
    ("is-refusal", {"phrases": ["Das darf ich nicht"]}, case("das darf ich nicht sagen"), 1.0),
    ("latency", {"threshold_ms": 100}, case(latency_ms=100), 1.0),
    ("latency", {"threshold_ms": 100}, case(latency_ms=101), 0.0),
    ("latency", {"threshold_ms": 100}, case(), FAILED),
    ("latency", {"threshold_ms": 100, "of": "ttft"}, case(latency_ms=900, ttft_ms=80), 1.0),
    ("latency", {"threshold_ms": 100, "of": "ttft"}, case(latency_ms=900), NA),
    ("cost", {"threshold_usd": 0.01}, case(cost_usd=0.01), 1.0),
    ("cost", {"threshold_usd": 0.01}, case(cost_usd=0.02), 0.0),
    ("cost", {"threshold_usd": 0.01}, case(), FAILED),
    ("not-icontains", {"value": "as an AI"}, case("Paris"), 1.0),
    ("not-icontains", {"value": "as an AI"}, case("As an AI model"), 0.0),
    ("not-icontains", {}, case("Paris"), NA),
    ("not-cost", {"threshold_usd": 0.01}, case(), FAILED),
    ("not-is-refusal", {}, case("Paris"), 1.0),
    ("not-levenshtein", {"value": "kitten"}, case("sitting"), 3 / 7),
    ("not-json-schema", {}, case('{"city": 3}', request=CHAT_SCHEMA), 1.0),
    ("not-not-is-json", {}, case("[]"), 1.0),
    ("all-of", {"checks": [{"type": "is-json"}, {"type": "icontains", "value": "a"}]}, case('["a"]'), 1.0),
    ("all-of", {"checks": [{"type": "is-json", "weight": 3}, {"type": "icontains", "value": "x"}]}, case("[]"), 0.75),
    ("all-of", {"checks": [{"type": "equals"}, {"type": "not-is-json"}]}, case("x"), 1.0),
    ("all-of", {"checks": [{"type": "equals"}, {"type": "starts-with"}]}, case("x"), NA),
    ("all-of", {"checks": [{"type": "is-json"}, {"type": "cost", "threshold_usd": 1}]}, case("[]"), FAILED),
    ("all-of", {"checks": [{"type": "all-of", "checks": [{"type": "is-json"}]}]}, case("[]"), 1.0),
    ("not-all-of", {"checks": [{"type": "is-json"}]}, case("[]"), 0.0),
]


@pytest.mark.parametrize(("kind", "options", "answer", "expected"), TABLE)
async def test_a_built_in_evaluator_scores_as_the_table_says(
    services: Services, kind: str, options: dict[str, Any], answer: EvalCase, expected: float | str
) -> None:
    score = await score_one(EvaluatorSpec(type=kind, options=options), answer, services)
    if isinstance(expected, str):
        assert score.status == expected
        assert score.value is None
        assert score.reason
    else:
        assert score.status == "scored", score.reason
        assert score.value == pytest.approx(expected, abs=1e-12), score.reason
        assert (score.reason == "") == (expected == 1.0)


@pytest.mark.parametrize(
    ("specs", "sentence"),
    [
        ((), "at least one is needed"),
        ((EvaluatorSpec(type="is-jsn"),), "did you mean 'is-json'"),
        ((EvaluatorSpec(type="zzz"),), "there are: equals"),
        ((EvaluatorSpec(type="regex", options={"pattern": "("}),), "is not RE2 syntax"),
        ((EvaluatorSpec(type="regex"),), "pattern"),
        (
            (EvaluatorSpec(type="is-json", options={"scalar": True}),),
            "unknown option `scalar`; did you mean `scalars`?",
        ),
        ((EvaluatorSpec(type="equals", options={"zzz": 1}),), "equals: unknown option `zzz`; its options: value"),
        ((EvaluatorSpec(type="contains-json", options={"x": 1}),), "unknown option `x`; it has none"),
        ((EvaluatorSpec(type="latency", options={"threshold": 9}),), "did you mean `threshold_ms`?"),
        ((EvaluatorSpec(type="latency", options={"threshold_ms": 0}),), "threshold_ms must be above 0, not 0"),
        ((EvaluatorSpec(type="cost", options={"threshold_usd": -1}),), "threshold_usd must not be below 0"),
        ((EvaluatorSpec(type="word-count"),), "needs either `value`, or `min` and/or `max`"),
        ((EvaluatorSpec(type="word-count", options={"value": 1, "max": 2}),), "needs either"),
        ((EvaluatorSpec(type="word-count", options={"min": 3, "max": 2}),), "min (3) must not be above max (2)"),
        ((EvaluatorSpec(type="word-count", options={"min": -3}),), "not negative"),
        ((EvaluatorSpec(type="icontains-any", options={"value": []}),), "none of them empty"),
        ((EvaluatorSpec(type="icontains-all", options={"value": [""]}),), "none of them empty"),
        ((EvaluatorSpec(type="levenshtein", options={"threshold": -1}),), "a number of edits, not -1"),
        ((EvaluatorSpec(type="numeric-diff", options={"tolerance": 1, "relative_tolerance": 1}),), "give one of"),
        ((EvaluatorSpec(type="numeric-diff", options={"tolerance": -1}),), "0 or more"),
        ((EvaluatorSpec(type="is-refusal", options={"phrases": [""]}),), "an empty phrase"),
        ((EvaluatorSpec(type="agreement"),), "agreement: compares with the primary's answer"),
        ((EvaluatorSpec(type="not-agreement"),), "`not-` stands before those about one"),
        ((EvaluatorSpec(type="not-is-jsn"),), "did you mean 'is-json'"),
        ((EvaluatorSpec(type="all-of"),), "it needs `checks`"),
        ((EvaluatorSpec(type="all-of", options={"checks": []}),), "checks must not be empty"),
        ((EvaluatorSpec(type="all-of", options={"checks": [{"type": 3}]}),), "each of checks needs a `type`"),
        (
            (EvaluatorSpec(type="all-of", options={"checks": [{"type": "is-json", "weight": 0}]}),),
            "the weight of is-json must be a number above 0, not 0",
        ),
        ((EvaluatorSpec(type="all-of", options={"checks": [{"type": "agreement"}]}),), "its parts are about one"),
        ((EvaluatorSpec(type="json-schema", options={"schema": {"type": "nope"}}),), "the schema cannot be used"),
        (
            (EvaluatorSpec(type="json-schema", options={"schema": {"$ref": "http://127.0.0.1:9/x"}}),),
            "references another document (http://127.0.0.1:9/x), which is never fetched",
        ),
        ((EvaluatorSpec(type="equals", options={"value": 3}),), "equals: option `value`: expected `str"),
        ((EvaluatorSpec(type="is-json"), EvaluatorSpec(type="regex", options={"pattern": "a"})), "exactly one"),
        ((EvaluatorSpec(type="is-json", quality=True), EvaluatorSpec(type="is-json")), "appears twice"),
        ((EvaluatorSpec(type="python"),), "needs `target"),
        ((EvaluatorSpec(type="python", options={"target": "nocolon"}),), '"module:attr"'),
        ((EvaluatorSpec(type="python", options={"target": "no_such_module_here:x"}),), "no module"),
        ((EvaluatorSpec(type="python", options={"target": "json:nope"}),), "has no 'nope'"),
        ((EvaluatorSpec(type="python", options={"target": "json:decoder"}),), "must be a function"),
        ((EvaluatorSpec(type="python", options={"target": "json:dumps", "k": 1}),), "takes no options (k)"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(specs: tuple[EvaluatorSpec, ...], sentence: str) -> None:
    with pytest.raises(EvaluatorConfigError) as raised:
        build_evaluators(specs, config_dir=".")
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


PAGE = (Path(__file__).parents[2] / "docs" / "evaluators.md").read_text("utf-8")


def page_block(language: str, containing: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in found if containing in block]
    return str(block)


async def test_the_evaluators_of_the_docs_page_score_as_it_says(tmp_path: Path) -> None:
    (tmp_path / "my_evaluators.py").write_text(page_block("python", "class Polite"), encoding="utf-8")
    (tmp_path / "c.yaml").write_text(page_block("yaml", "my_evaluators:Polite"), encoding="utf-8")
    evaluators = build_evaluators(load(tmp_path / "c.yaml", {}).measuring.evaluators, config_dir=str(tmp_path))
    primary, candidate = case("Danke! Paris", expected="Paris"), case("Paris. " + "x" * 600, expected="Paris")
    scores = await evaluators.score_pair(primary, candidate, dialect=Dialect.OPENAI_CHAT)
    assert {(score.evaluator, score.role): score.score.value for score in scores} == {
        ("polite", "primary"): 1.0,
        ("polite", "candidate"): 0.5,
        ("short", "primary"): 1.0,
        ("short", "candidate"): 0.0,
        ("long", "primary"): 0.0,
        ("long", "candidate"): 1.0,
        ("longer", "pair"): 1.0,
    }
    assert {score.evaluator for score in scores if not score.absolute} == {"longer"}


async def test_the_combined_evaluators_of_the_docs_page_can_be_configured(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(page_block("yaml", "all-of"), encoding="utf-8")
    evaluators = build_evaluators(load(tmp_path / "c.yaml", {}).measuring.evaluators, config_dir=str(tmp_path))
    assert evaluators.quality_name == "answer"
    assert evaluators.quality.measures == "content"
    assert [(member.name, member.measures, member.absolute) for member in evaluators.members] == [
        ("answer", "content", True),
        ("agreement", "content", False),
        ("not-is-refusal", "format", True),
        ("latency", "format", True),
    ]


async def test_an_installed_distribution_brings_an_evaluator_by_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real one as far as Python can tell: a module and its dist-info in a folder on the path."""
    (tmp_path / "dummy_evaluators.py").write_text(page_block("python", "class Polite").replace('    version = "1"', ""))
    info = tmp_path / "dummy_dist-3.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dummy-dist\nVersion: 3.1\n")
    (info / "entry_points.txt").write_text(
        "[shadow_gateway.evaluators]\npolite = dummy_evaluators:Polite\nbroken = dummy_evaluators:nothing\n"
        "equals = dummy_evaluators:Polite\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    assert known_types()[-2:] == ("broken", "polite")

    spec = EvaluatorSpec(type="polite", options={"words": ["gern"]})
    evaluators = build_evaluators((spec, EvaluatorSpec(type="not-polite", quality=True)), config_dir=".")
    scores = await evaluators.score_pair(case("Gern: Rome", expected="Rome"), case("Rome"), dialect=Dialect.OPENAI_CHAT)
    assert [(score.evaluator, score.score.value) for score in scores if score.role == "primary"] == [
        ("polite", 1.0),
        ("not-polite", 0.5),
    ]
    assert {score.version for score in scores} == {"dummy-dist 3.1"}
    assert {score.score.status for score in scores if score.role == "candidate"} == {"not_applicable"}
    assert isinstance(build_evaluators((EvaluatorSpec(type="equals"),), config_dir=".").quality.evaluator, Equals)

    (tmp_path / "c.yaml").write_text("evaluators: [{type: polite, words: [a]}]")
    assert load(tmp_path / "c.yaml", {}).measuring.evaluators is not None
    with pytest.raises(EvaluatorConfigError, match=r"broken: .* cannot be loaded: AttributeError"):
        build_evaluators((EvaluatorSpec(type="broken"),), config_dir=".")
    with pytest.raises(EvaluatorConfigError, match=r"polite could not be built: TypeError"):
        build_evaluators((EvaluatorSpec(type="polite", options={"wrds": []}),), config_dir=".")


@pytest.mark.parametrize(
    ("spec", "runs_code"),
    [
        (EvaluatorSpec(type="is-json"), False),
        (EvaluatorSpec(type="not-is-json"), False),
        (EvaluatorSpec(type="python", options={"target": "a:b"}), True),
        (EvaluatorSpec(type="not-python", options={"target": "a:b"}), True),
        (EvaluatorSpec(type="of-a-distribution"), True),
        (EvaluatorSpec(type="all-of", options={"checks": [{"type": "is-json"}, {"type": "regex"}]}), False),
        (EvaluatorSpec(type="all-of", options={"checks": [{"type": "is-json"}, {"type": "python"}]}), True),
        (EvaluatorSpec(type="all-of", options={"checks": "none"}), False),
    ],
)
def test_code_of_the_users_is_known_before_it_is_loaded(spec: EvaluatorSpec, runs_code: bool) -> None:  # noqa: FBT001
    assert loads_code(spec) is runs_code


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[{type: not-is-jsn}]", "'not-is-jsn' is no evaluator; did you mean 'not-is-json'?"),
        ("[{type: agreement}]", "agreement: compares with the primary's answer"),
        ("[{type: agreement, quality: true}, {type: is-json}]", "agreement: compares with the primary's answer"),
        ("[{type: not-python}]", "needs `target"),
        ("[{type: all-of, checks: [{type: is-json, scalar: true}]}]", "is-json: unknown option `scalar`; did you mean"),
    ],
)
def test_a_wrong_evaluator_is_told_with_its_place_in_the_file(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "c.yaml").write_text(f"evaluators: {text}\n")
    with pytest.raises(ConfigErrors) as raised:
        load(tmp_path / "c.yaml", {})
    assert "c.yaml:1:" in raised.value.lines[0]
    assert line in raised.value.lines[0]


async def test_agreement_is_about_the_candidate_only_and_against_the_primary() -> None:
    specs = (EvaluatorSpec(type="agreement"), EvaluatorSpec(type="is-json", quality=True))
    evaluators = build_evaluators(specs, config_dir=".")

    async def agreement(primary: EvalCase, candidate: EvalCase) -> float | None:
        scores = await evaluators.score_pair(primary, candidate, dialect=Dialect.OPENAI_CHAT)
        (found,) = [score for score in scores if score.evaluator == "agreement"]
        assert (found.role, found.quality, found.absolute) == ("candidate", False, False)
        return found.score.value

    assert await agreement(case("the  same"), case("the same ")) == 1.0
    assert await agreement(case("kitten"), case("sitting")) == pytest.approx(1 - 3 / 7)
    assert await agreement(case("a" * 200_001), case("b")) is None
    call = ToolCall(name="weather", arguments='{ "city":"Rome" }', id="other")
    assert await agreement(case(tool_calls=(GOOD_CALL,)), case("words", tool_calls=(call,))) == 1.0
    assert await agreement(case(tool_calls=(GOOD_CALL,)), case("words")) == 0.0
    assert await agreement(case("x" * 2_000_001), case("b")) is None
    alone = await evaluators.score_primary(case("[]"))
    assert [score.evaluator for score in alone] == ["is-json"]


class Judge:
    """A judge handed in: prefers the longer answer, and counts how often it is asked."""

    version = "7"

    def __init__(self, unusable: str | None = None) -> None:
        self.asked = 0
        self.unusable = unusable

    async def compare(self, primary: EvalCase, candidate: EvalCase) -> Score:
        self.asked += 1
        better = (len(candidate.output) > len(primary.output)) - (len(candidate.output) < len(primary.output))
        return Score(status="scored", value=float(better), reason="longer", cost_usd=0.25)

    def worst_case_usd(self, primary: EvalCase, *, candidate: str) -> float:
        return 0.5 if primary.output != candidate else 0.0


class OneJudge:
    """The service that builds judges, with one judge for all."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    def pairwise(self, options: Mapping[str, Any]) -> Judge:
        assert options == {}
        return self.judge

    def rubric(self, options: Mapping[str, Any]) -> Any:
        raise AssertionError(options)


JSON_MODE = {"response_format": {"type": "json_object"}}
BROKEN = {"output_format": {"schema": {"type": "nope"}}}


@pytest.mark.parametrize(
    ("request_body", "primary", "candidate", "difference", "asked"),
    [
        ({}, case("short"), case("much longer"), 1.0, 1),
        ({}, case("much longer"), case("short"), -1.0, 1),
        (JSON_MODE, case("{}"), case('{"a": 1}'), 1.0, 1),
        (JSON_MODE, case("{}"), case("much longer, no JSON"), -1.0, 0),
        (JSON_MODE, case("much longer, no JSON"), case("{}"), 1.0, 0),
        (JSON_MODE, case("no JSON"), case("no JSON either"), 0.0, 0),
        (JSON_MODE, case("", tool_calls=(GOOD_CALL,)), case("no JSON"), -1.0, 0),
        (BROKEN, case("1"), case("22"), None, 0),
    ],
)
async def test_auto_lets_a_failed_check_of_the_request_decide_and_else_the_judge(
    request_body: dict[str, Any], primary: EvalCase, candidate: EvalCase, difference: float | None, asked: int
) -> None:
    judge = Judge()
    evaluators = build_evaluators(None, config_dir=".", services=Services(judges=OneJudge(judge)))
    pair = (replace(primary, request=request_body), replace(candidate, request=request_body))
    scores = await evaluators.score_pair(*pair, dialect=Dialect.OPENAI_CHAT)
    (quality,) = [score for score in scores if score.quality]
    assert (quality.evaluator, quality.role, quality.version) == ("auto", "pair", "2+7")
    assert (quality.measures, quality.absolute) == ("content", False)
    assert quality.score.value == difference
    assert quality.score.cost_usd == 0.25 * asked
    assert judge.asked == asked
    assert {(score.evaluator, score.role) for score in scores if not score.quality} == {
        ("request-checks", "primary"),
        ("request-checks", "candidate"),
    }
    assert evaluators.costs_money
    assert evaluators.worst_case_usd(primary, candidate="x") == 0.5
    if asked == 0 and difference is not None:
        assert quality.score.reason.startswith("the request's own checks decide: ")


@pytest.mark.parametrize("without", [Services(), Services(judges=OneJudge(Judge(unusable="price unknown")))])
def test_auto_without_a_judge_that_can_be_asked_is_the_checks_of_the_request(without: Services) -> None:
    evaluators = build_evaluators(None, config_dir=".", services=without)
    assert [(member.name, member.quality) for member in evaluators.members] == [("request-checks", True)]
    assert (evaluators.costs_money, evaluators.worst_case_usd(case(), candidate="x")) == (False, 0)


def test_auto_is_the_checks_of_the_request() -> None:
    assert build_evaluators(None, config_dir=".").quality_name == "request-checks"


def test_a_single_evaluator_decides_without_being_told_to() -> None:
    spec = EvaluatorSpec(type="is-json", name="valid")
    assert build_evaluators((spec,), config_dir=".").quality_name == "valid"


@pytest.mark.parametrize("text", ["```" + "a" * 1_000_000, "```" + " " * 1_000_000, "`" * 500_000])
def test_a_fence_that_is_never_closed_takes_linear_time(text: str) -> None:
    """No timing is asserted; a pattern that starts over at each character would not come to an end within the limit."""
    assert embedded(text).error == "holds no JSON object or array"


async def test_an_endless_answer_is_failed_not_scored() -> None:
    score = await score_one(EvaluatorSpec(type="is-json"), case("1" * 2_000_001))
    assert (score.status, score.value) == ("failed", None)


OWN = """
import asyncio, time
from shadow import Score

def of_case(case): return 1.0 if "4" in case.output else 0.0
def of_output(output, expected): return 0.5
async def awaited(case): return 0.25
def too_much(case): return 5
def not_a_number(case): return float("nan")
def text(case): return "good"
def yes(case): return True
def nothing(case): return None
def broken(case): raise KeyError("secret prompt")
async def broken_later(case): raise KeyError("secret prompt")
class Simple:
    def score(self, output, expected): return 1.0 if output == expected else 0.0
class Whole:
    version = "7"
    measures = "format"
    def __init__(self, limit=3): self.limit = limit
    def evaluate(self, case): return Score(status="scored", value=1.0 if len(case.output) <= self.limit else 0.0)
class Skips:
    async def evaluate(self, case): return Score(status="not_applicable", reason="not mine")
class Cheats:
    def evaluate(self, case): return Score(status="scored", value=1.5)
class Longer:
    def compare(self, primary, candidate): return 1.0 if len(candidate.output) > len(primary.output) else -1.0
class Needs:
    def __init__(self, word): self.word = word
def three(a, b, c): return 1
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


async def score_own(
    folder: Path, target: str, answer: EvalCase, other: EvalCase | None = None, **options: Any
) -> tuple[StoredScore, ...]:
    spec = EvaluatorSpec(type="python", options={"target": f"own:{target}", **options})
    evaluators = build_evaluators((spec,), config_dir=str(folder))
    return await evaluators.score_pair(answer, other or answer, dialect=Dialect.ANTHROPIC_MESSAGES)


@pytest.mark.parametrize(
    ("target", "answer", "status", "value"),
    [
        ("of_case", case("4"), "scored", 1.0),
        ("of_output", case("x"), "scored", 0.5),
        ("awaited", case("x"), "scored", 0.25),
        ("yes", case("x"), "scored", 1.0),
        ("too_much", case("x"), "failed", None),
        ("not_a_number", case("x"), "failed", None),
        ("text", case("x"), "failed", None),
        ("nothing", case("x"), "not_applicable", None),
        ("broken", case("x"), "failed", None),
        ("broken_later", case("x"), "failed", None),
        ("Simple", case("x", expected="x"), "scored", 1.0),
        ("Simple", case("x"), "not_applicable", None),
        ("Whole", case("abcd"), "scored", 0.0),
        ("Skips", case("x"), "not_applicable", None),
        ("Cheats", case("x"), "failed", None),
    ],
)
async def test_an_evaluator_of_your_own_gives_a_score_or_a_reason(
    own: Path, target: str, answer: EvalCase, status: str, value: float | None
) -> None:
    stored = (await score_own(own, target, answer))[0]
    assert (stored.score.status, stored.score.value) == (status, value)
    assert "secret prompt" not in stored.score.reason


async def test_options_reach_the_class_and_its_version_is_stored(own: Path) -> None:
    stored = (await score_own(own, "Whole", case("abcd"), limit=4))[0]
    assert (stored.score.value, stored.version) == (1.0, "7")


async def test_an_edited_evaluator_is_another_version(own: Path) -> None:
    before = (await score_own(own, "of_case", case("4")))[0].version
    (own / "own.py").write_text(OWN + "\n# edited\n")
    assert (await score_own(own, "of_case", case("4")))[0].version != before


async def test_a_pair_evaluator_sees_both_answers(own: Path) -> None:
    (stored,) = await score_own(own, "Longer", case("a"), case("bb"))
    assert (stored.role, stored.score.value) == ("pair", 1.0)


@pytest.mark.parametrize("target", ["Needs", "three"])
def test_an_evaluator_that_cannot_be_built_is_refused(own: Path, target: str) -> None:
    spec = EvaluatorSpec(type="python", options={"target": f"own:{target}"})
    with pytest.raises(EvaluatorConfigError):
        build_evaluators((spec,), config_dir=str(own))


def test_a_file_with_an_error_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("1/0")
    spec = EvaluatorSpec(type="python", options={"target": "bad:x"})
    with pytest.raises(EvaluatorConfigError, match=r"bad\.py cannot be imported: ZeroDivisionError"):
        build_evaluators((spec,), config_dir=str(tmp_path))


async def test_a_file_beside_the_configuration_replaces_no_module(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("def always(case): return 1.0")
    spec = EvaluatorSpec(type="python", options={"target": "json:always"})
    evaluators = build_evaluators((spec,), config_dir=str(tmp_path))
    scores = await evaluators.score_pair(case("x"), case("x"), dialect=Dialect.OPENAI_CHAT)
    assert scores[0].score.value == 1.0
    assert json.loads("[1]") == [1]


async def test_a_slow_evaluator_does_not_hold_up_the_event_loop(own: Path) -> None:
    (own / "slow.py").write_text("import time\ndef slow(case):\n    time.sleep(0.3)\n    return 1.0\n")
    spec = EvaluatorSpec(type="python", options={"target": "slow:slow"})
    evaluators = build_evaluators((spec,), config_dir=str(own))
    ticks = 0
    scoring = asyncio.ensure_future(evaluators.score_pair(case("x"), case("x"), dialect=Dialect.OPENAI_CHAT))
    deadline = time.monotonic() + 5
    while not scoring.done() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
        ticks += 1
    assert (await scoring)[0].score.value == 1.0
    assert ticks >= 5


def test_a_score_without_its_value_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="exactly when it is scored"):
        Score(status="scored")
    with pytest.raises(ValueError, match="exactly when it is scored"):
        Score(status="failed", value=0.5)
