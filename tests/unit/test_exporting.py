"""Exported lines: the same columns in both formats, redacted, and no cell that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings import RedactionRule
from shadow.exporting import COLUMNS, CONTENT, Lines
from shadow.redaction import Redactor

ROW = {
    "exchange_id": "x1",
    "candidate": "rival",
    "exchange_started_at": datetime(2026, 11, 23, 12, tzinfo=UTC),
    "task": "default",
    "first_turn": True,
    "latency_ms": -3.5,
    "quality_diff": None,
    "error": "ask bob@example.com",
    "prompt": '{"messages": []}',
    "candidate_output": "=cmd|' /C calc'!A0",
    "scores": [{"evaluator": "is-json", "reason": "bob@example.com", "value": 1.0}],
}


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_both_formats_hold_the_same_columns_in_the_same_order() -> None:
    jsonl, table = Lines("pairs", "jsonl", redactor=None), Lines("pairs", "csv", redactor=None)

    assert jsonl.head() == ""
    assert table.head() == ",".join(COLUMNS["pairs"]) + "\r\n"
    assert list(json.loads(jsonl.line(ROW))) == list(COLUMNS["pairs"])
    [row] = read_csv(table.head() + table.line(ROW))
    assert (row["id"], row["exchange_started_at"]) == ("x1:rival", "2026-11-23T12:00:00+00:00")
    assert (row["first_turn"], row["latency_ms"], row["quality_diff"]) == ("true", "-3.5", "")
    assert json.loads(row["scores"]) == ROW["scores"]


def test_what_people_and_models_wrote_is_redacted_and_can_be_left_out() -> None:
    redactor = Redactor([RedactionRule(name="email")])
    line = json.loads(Lines("pairs", "jsonl", redactor=redactor).line(ROW))
    bare = json.loads(Lines("pairs", "jsonl", redactor=redactor, with_content=False).line(ROW))

    assert "bob" not in json.dumps(line)
    assert (line["error"], line["scores"][0]["reason"], line["task"]) == ("ask [email]", "[email]", "default")
    assert bare.keys() == set(COLUMNS["pairs"]) - CONTENT
    assert json.loads(Lines("pairs", "jsonl", redactor=redactor).line({**ROW, "scores": None}))["scores"] is None


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "  =", "\uff1d"])
def test_a_text_that_a_spreadsheet_would_run_becomes_a_text_there(begin: str) -> None:
    lines = Lines("exchanges", "csv", redactor=None)
    [row] = read_csv(lines.head() + lines.line({"id": "x", "model": begin + "1+1", "latency_ms": 1}))

    assert row["model"] == "'" + begin + "1+1"


@given(st.text())
def test_any_text_comes_back_from_csv_but_for_its_mark_and_for_nul(text: str) -> None:
    lines = Lines("exchanges", "csv", redactor=None)
    [row] = read_csv(lines.head() + lines.line({"id": "x", "model": text}))

    assert row["model"].removeprefix("'") in {
        text.replace("\0", "\ufffd"),
        text.replace("\0", "\ufffd").removeprefix("'"),
    }
    assert not row["model"].lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


def test_in_what_is_no_request_nothing_is_exempt_from_redaction_and_a_request_keeps_its_form() -> None:
    redactor = Redactor([RedactionRule(name="email")], secrets={"sk-of-ours-0123456789"})
    written = '{"name": "bob@example.com", "id": [1, "bob@example.com"], "bob@example.com": "sk-of-ours-0123456789"}'
    row = {
        **ROW,
        "prompt": f'{{"model": "m", "tools": [{{"name": "t"}}], "a": {written}}}',
        "candidate_output": written,
    }
    line = json.loads(Lines("pairs", "jsonl", redactor=redactor).line(row))

    assert json.loads(line["candidate_output"]) == {"name": "[email]", "id": [1, "[email]"], "[email]": "[secret]"}
    assert json.loads(line["prompt"])["tools"] == [{"name": "t"}]
    assert "sk-of-ours" not in line["prompt"]
