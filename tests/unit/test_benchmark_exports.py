"""A run written down: every format, and hostile answers in each of them."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from shadow.benchmark import exports
from shadow.benchmark.gates import decide, read_gate
from shadow.benchmark.summary import summarize
from shadow.records import Outcome, Usage
from tests.unit.test_benchmark_figures import answer, case, result, score

HOSTILE = (
    '=HYPERLINK("http://evil")',
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "  =1",
    "＝1",  # noqa: RUF001  (a spreadsheet takes it)
    'a,b"c\nd',
    "\x00\x1b[31mred",
    "</testsuite><script>alert(1)</script>",
    "]]>",
    "\ud800",
    "| `x` | <b>",
    "\u202eevil",
)


def told(output: str = "fine", **changes: Any) -> Any:
    return result(
        answer(1, output=output, tool_calls="[]", **changes),
        answer(2, outcome=Outcome.ERROR_HTTP, output="", cost_usd=0.0),
        answer(3, quality=0.0, output=output, repeat=1, scores=(score(0.0, reason=output),)),
    )


def written(ending: str, run: Any) -> str:
    summary = summarize(run)
    return exports.FORMATS[ending](run, summary, decide([read_gate("quality>=0.9")], summary, result=run))


@pytest.mark.parametrize("output", HOSTILE)
def test_no_cell_of_the_csv_is_a_formula(output: str) -> None:
    rows = list(csv.reader(io.StringIO(written(".csv", told(output)), newline="")))
    assert len(rows) == 4
    assert {len(row) for row in rows} == {len(rows[0])}
    for cell in (cell for row in rows for cell in row):
        try:
            float(cell)
        except ValueError:
            assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "＝")), cell  # noqa: RUF001
    kept = rows[1][exports.COLUMNS.index("output")]
    assert kept.removeprefix("'").replace("\ufffd", "") in output.replace("\x00", "").replace("\x1b", "").replace(
        "\ud800", ""
    )


def test_numbers_stay_numbers() -> None:
    assert exports.defused(-1.5) == -1.5
    assert exports.defused(None) is None
    assert exports.defused("plain") == "plain"


@pytest.mark.parametrize("output", HOSTILE)
def test_junit_is_well_formed_whatever_was_said(output: str) -> None:
    suites = ET.fromstring(written(".junit.xml", told(output)))
    gates, model = suites
    assert (gates.get("name"), gates.get("failures")) == ("gates", "1")
    assert (model.get("name"), model.get("tests"), model.get("failures"), model.get("errors")) == ("a", "3", "1", "1")
    assert [test.get("name") for test in model] == ["c1", "c2", "c3 (repeat 1)"]


def test_junit_without_gates_has_no_suite_of_them_and_a_passed_gate_is_a_passed_test() -> None:
    run = told()
    suites = ET.fromstring(exports.as_junit(run, summarize(run), ()))
    assert [suite.get("name") for suite in suites] == ["a"]
    summary = summarize(run)
    passed = decide([read_gate("total_cost<=1")], summary, result=run)
    [test] = ET.fromstring(exports.as_junit(run, summary, passed))[0]
    assert list(test) == []


@pytest.mark.parametrize("output", HOSTILE)
def test_json_and_json_lines_hold_every_answer(output: str) -> None:
    output = output.replace("\ud800", "")
    whole = json.loads(written(".json", told(output)))
    lines = [json.loads(line) for line in written(".jsonl", told(output)).splitlines() if line]
    assert whole["answers"] == lines
    assert [row["case_id"] for row in lines] == ["c1", "c2", "c3"]
    assert lines[0]["output"] == output
    assert whole["gates"][0]["state"] in {"fail", "inconclusive"}


def test_markdown_is_a_table_a_model_and_sentences() -> None:
    text = written(".md", told())
    assert "### Benchmark faq.jsonl" in text
    assert "| a | 0.500 [" in text
    assert "| 33.3% |" in text
    assert "**Gates**" in text
    bare = result(answer(1, quality=None, cost_usd=None), cases=[case(1)], name="")
    assert "### Benchmark r1" in exports.as_markdown(bare, summarize(bare), ())
    nothing = result(cases=[case(1)])
    assert "| n/a | n/a |" in exports.as_markdown(nothing, summarize(nothing), ())


def test_rows_without_scores_or_token_counts_are_rows_all_the_same() -> None:
    [row] = exports.answer_rows(result(answer(1, scores=())))
    assert (row["quality"], row["input_tokens"]) == (None, Usage(input=10, output=5).total_input)


def test_foreign_text_is_one_line_on_a_terminal() -> None:
    assert exports.one_line("a\x1b[31mb\nc\u202ed") == "a [31mb c d"


def test_numbers_are_shown_with_their_interval_and_never_as_minus_zero() -> None:
    assert exports.with_interval(None, None, 2) == "n/a"
    assert exports.with_interval(1.0, None, 2) == "1.00"
    assert exports.with_interval(-0.001, (None, 1234.5), 1) == "0.0 [?, 1,234.5]"
