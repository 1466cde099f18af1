"""Every built-in evaluator as a table of cases, and the set that runs them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from shadow.evaluators import EvaluatorConfigError, build_evaluators
from shadow.evaluators.json_text import embedded
from shadow.records import Dialect, EvalCase, EvaluatorSpec, Score, StoredScore, ToolCall

if TYPE_CHECKING:
    from pathlib import Path

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


async def score_one(spec: EvaluatorSpec, answer: EvalCase) -> Score:
    scores = await build_evaluators((spec,), config_dir=".").score_pair(answer, answer, dialect=Dialect.OPENAI_CHAT)
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
    ("is-json", {}, case(" 3 "), 1.0),
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
]


@pytest.mark.parametrize(("kind", "options", "answer", "expected"), TABLE)
async def test_a_built_in_evaluator_scores_as_the_table_says(
    kind: str, options: dict[str, Any], answer: EvalCase, expected: float | str
) -> None:
    score = await score_one(EvaluatorSpec(type=kind, options=options), answer)
    if isinstance(expected, str):
        assert score.status == expected
        assert score.value is None
        assert score.reason
    else:
        assert (score.status, score.value) == ("scored", expected), score.reason
        assert (score.reason == "") == (expected == 1.0)


@pytest.mark.parametrize(
    ("specs", "sentence"),
    [
        ((), "at least one is needed"),
        ((EvaluatorSpec(type="is-jsn"),), "did you mean 'is-json'"),
        ((EvaluatorSpec(type="zzz"),), "there are: equals"),
        ((EvaluatorSpec(type="regex", options={"pattern": "("}),), "is not RE2 syntax"),
        ((EvaluatorSpec(type="regex"),), "pattern"),
        ((EvaluatorSpec(type="is-json", options={"strict": True}),), "unknown field `strict`"),
        ((EvaluatorSpec(type="json-schema", options={"schema": {"type": "nope"}}),), "the schema cannot be used"),
        (
            (EvaluatorSpec(type="json-schema", options={"schema": {"$ref": "http://127.0.0.1:9/x"}}),),
            "references another document (http://127.0.0.1:9/x), which is never fetched",
        ),
        ((EvaluatorSpec(type="equals", options={"value": 3}),), "Expected `str"),
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
