"""A run written down: JSON, JSON lines, CSV, Markdown and JUnit XML. Pure: a run in, text out.

What models said is hostile: a cell that a spreadsheet would take for a formula is defused, XML gets no character that
it cannot hold, Markdown no character that would break its table.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

import msgspec

from shadow.benchmark.summary import deciding
from shadow.spreadsheet import defused as cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from shadow.benchmark.gates import Decision
    from shadow.runs import Case, RunAnswer, RunResult

GOOD_ENOUGH = 0.5
"""In JUnit, an answer whose quality is below this is a failure."""

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")

Row = dict[str, Any]

COLUMNS = (
    "case_id", "task", "model", "repeat", "outcome", "quality", "latency_ms", "ttft_ms", "input_tokens",
    "output_tokens", "cost_usd", "price_source", "attempts", "status", "stop_reason", "model_answered", "error",
    "expected", "output", "tool_calls", "prompt_hash", "source",
)  # fmt: skip
"""Of the CSV; one more for each evaluator, named `score <evaluator>`, follows."""


def answer_row(case: Case, answer: RunAnswer) -> Row:
    """Give one answer with all that is known of it, as JSON values."""
    told, usage, score = answer.answer, answer.answer.usage, deciding(answer)
    return {
        "case_id": case.id,
        "task": case.task,
        "model": told.candidate,
        "repeat": answer.repeat,
        "outcome": told.outcome.value,
        "quality": None if score is None else score.score.value,
        "latency_ms": told.latency_ms,
        "ttft_ms": told.ttft_ms,
        "input_tokens": None if usage is None else usage.total_input,
        "output_tokens": None if usage is None else usage.output,
        "cost_usd": answer.cost.billed_usd,
        "price_source": answer.cost.source,
        "attempts": answer.attempts,
        "status": told.status,
        "stop_reason": told.stop_reason,
        "model_answered": told.model_answered,
        "error": told.error,
        "expected": case.expected,
        "output": answer.output,
        "tool_calls": answer.tool_calls,
        "prompt_hash": case.prompt_hash,
        "source": case.source,
        "scores": [
            {
                "evaluator": stored.evaluator,
                "version": stored.version,
                "role": stored.role,
                "quality": stored.quality,
                "status": stored.score.status,
                "value": stored.score.value,
                "reason": stored.score.reason,
                "cost_usd": stored.score.cost_usd,
            }
            for stored in answer.scores
        ],
    }


def answer_rows(result: RunResult) -> Iterator[Row]:
    """Give every answer's row, in the order of the cases."""
    cases = {case.id: case for case in result.cases}
    order = {case.id: at for at, case in enumerate(result.cases)}
    for answer in sorted(result.answers, key=lambda each: (order[each.cell.case_id], each.cell.model, each.repeat)):
        yield answer_row(cases[answer.cell.case_id], answer)


def as_json(result: RunResult, summary: Row, decisions: Sequence[Decision]) -> str:
    """Write the summary, the gates and every answer as one JSON object."""
    whole = {**summary, "gates": [gate_row(each) for each in decisions], "answers": list(answer_rows(result))}
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n"


def as_jsonl(result: RunResult, _summary: Row, _decisions: Sequence[Decision]) -> str:
    """Write one answer a line."""
    return "".join(msgspec.json.encode(row).decode() + "\n" for row in answer_rows(result))


def as_csv(result: RunResult, _summary: Row, _decisions: Sequence[Decision]) -> str:
    """Write one answer a row, under a header."""
    rows = list(answer_rows(result))
    names = sorted({score["evaluator"] for row in rows for score in row["scores"]})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([*COLUMNS, *(defused(f"score {name}") for name in names)])
    for row in rows:
        scores = {score["evaluator"]: score["value"] for score in row["scores"]}
        writer.writerow([*(defused(row[name]) for name in COLUMNS), *(scores.get(name) for name in names)])
    return out.getvalue()


def as_markdown(result: RunResult, summary: Row, decisions: Sequence[Decision]) -> str:
    """Write the tables, for a pull request's comment."""
    run = result.run
    lines = [f"### Benchmark {_plain(run.name) or run.id}", ""]
    lines.append(f"Run `{run.id}`, {run.state}: {run.answered} of {run.cells} answers, ${run.spent_usd:.4f}.")
    for task in summary["tasks"]:
        lines += ["", f"**Task {_plain(task['task'])}**, {task['cases']} cases", ""]
        lines += _markdown_table(
            ["model", "quality", "errors", "p50 ms", "p95 ms", "$ per request", "$ per quality point"],
            [
                [
                    row["model"],
                    with_interval(row["quality"]["avg"], row["quality"]["ci"], 3),
                    "n/a" if row["error_rate"] is None else f"{row['error_rate']:.1%}",
                    with_interval(row["latency_ms"]["p50"], row["latency_ms"]["p50_ci"], 0),
                    shown(row["latency_ms"]["p95"], 0),
                    shown(row["cost_usd"]["per_request"], 6),
                    with_interval(
                        row["cost_per_quality_point_usd"]["value"], row["cost_per_quality_point_usd"]["ci"], 6
                    ),
                ]
                for row in task["models"]
            ],
        )
        lines += ["", *(f"- {_plain(each['text'])}" for each in task["insights"])]
    if decisions:
        lines += ["", "**Gates**", "", *(f"- {_plain(each.sentence)}" for each in decisions)]
    level = f"{summary['level']:.0%}"
    return "\n".join([*lines, "", f"Intervals hold at {level} each, however often a run is looked at.", ""])


def as_junit(result: RunResult, _summary: Row, decisions: Sequence[Decision]) -> str:
    """Write a suite of gates and one suite a model; errors are errors, low quality is a failure."""
    suites = [_gate_suite(decisions)] if decisions else []
    rows = list(answer_rows(result))
    suites += [_model_suite(model, [row for row in rows if row["model"] == model]) for model in result.run.models]
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name={_attribute(result.run.id)}>'
    return "\n".join([head, *suites, "</testsuites>\n"])


FORMATS: Mapping[str, Callable[[RunResult, Row, Sequence[Decision]], str]] = {
    ".json": as_json,
    ".jsonl": as_jsonl,
    ".csv": as_csv,
    ".md": as_markdown,
    ".junit.xml": as_junit,
}
"""By the end of the file's name."""


def gate_row(decision: Decision) -> Row:
    """Give one gate's outcome as JSON values."""
    return {
        "gate": decision.gate,
        "model": decision.model,
        "state": decision.state,
        "value": decision.value,
        "ci": decision.ci,
        "sentence": decision.sentence,
    }


def defused(value: Any) -> Any:
    """Keep a text from being a spreadsheet's formula, and XML's forbidden characters out of it."""
    return cell(_NOT_XML.sub("\ufffd", value) if isinstance(value, str) else value)


def one_line(text: str) -> str:
    """Take control and direction characters out of a foreign text, so that it can be shown on a terminal."""
    return _CONTROLS.sub(" ", text)


def shown(value: float | None, digits: int) -> str:
    """Write a number; n/a for none."""
    return "n/a" if value is None else _number(value, digits)


def with_interval(value: float | None, interval: Sequence[float | None] | None, digits: int) -> str:
    """Write a number with its interval; an end that is not known is `?`."""
    if value is None or interval is None:
        return shown(value, digits)
    low, high = ("?" if end is None else _number(end, digits) for end in interval)
    return f"{_number(value, digits)} [{low}, {high}]"


def _number(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:,.{digits}f}"  # adding 0.0 makes of -0.0 a plain 0


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#!])", r"\\\1", one_line(text))


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *([_plain(row[0]), *row[1:]] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _gate_suite(decisions: Sequence[Decision]) -> str:
    cases = [
        _test(
            name=f"{each.gate} ({each.model})",
            group="gates",
            seconds=0.0,
            inner=""
            if each.state == "pass"
            else f"<failure type={_attribute(each.state)} message={_attribute(each.sentence)}/>",
        )
        for each in decisions
    ]
    failures = sum(each.state != "pass" for each in decisions)
    return _suite("gates", cases, failures=failures, errors=0)


def _model_suite(model: str, rows: Sequence[Row]) -> str:
    cases, failures, errors = [], 0, 0
    for row in rows:
        inner = ""
        if row["outcome"] not in {"ok", "refusal", "truncated"}:
            errors += 1
            inner = f"<error type={_attribute(row['outcome'])} message={_attribute(row['error'] or row['outcome'])}/>"
        elif row["quality"] is not None and row["quality"] < GOOD_ENOUGH:
            failures += 1
            reasons = "; ".join(score["reason"] for score in row["scores"] if score["quality"] and score["reason"])
            message = _attribute(f"quality {row['quality']:.3g}")
            inner = f"<failure message={message}>{escape(_xml(reasons))}</failure>"
        name = row["case_id"] if not row["repeat"] else f"{row['case_id']} (repeat {row['repeat']})"
        cases.append(_test(name=name, group=model, seconds=row["latency_ms"] / 1000, inner=inner))
    return _suite(model, cases, failures=failures, errors=errors)


def _suite(name: str, cases: Sequence[str], *, failures: int, errors: int) -> str:
    counts = f'tests="{len(cases)}" failures="{failures}" errors="{errors}"'
    body = "\n".join(cases)
    return f"  <testsuite name={_attribute(name)} {counts}>\n{body}\n  </testsuite>"


def _test(*, name: str, group: str, seconds: float, inner: str) -> str:
    head = f'    <testcase name={_attribute(name)} classname={_attribute(group)} time="{seconds:.3f}"'
    return f"{head}>{inner}</testcase>" if inner else f"{head}/>"


def _attribute(text: str) -> str:
    return quoteattr(_xml(text))


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
