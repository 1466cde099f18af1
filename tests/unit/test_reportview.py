"""The report in its forms: what is said, and that a name chosen by a stranger is never more than text."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from gateway.reportview import report_text
from tests.unit.test_tables import COMPARISON, MODEL

HOSTILE = '=HYPERLINK("http://evil")|<b>`x`</b>\x1b[31m'


def stats(name: str = "demo-summit") -> dict[str, Any]:
    model = {**MODEL, "model": name}
    comparison = {
        **COMPARISON,
        "candidate": name,
        "primary": "demo-atlas",
        "epoch": {"number": 2},
        "projected_saving_usd_per_month": {"value": None},
        "more_needed": {"conversations": {"low": 5, "high": 9}},
    }
    task = {"task": "calculator", "models": [model], "comparisons": [comparison]}
    return {"since": "2026-11-20T00:00:00Z", "until": "2026-11-27T00:00:00Z", "tasks": [task]}


def test_the_table_says_of_which_time_it_speaks_and_gives_each_verdict_its_sentence() -> None:
    shown = report_text(stats(), form="table", width=120)
    assert shown.startswith("Models and coverage from 2026-11-20T00:00:00Z to 2026-11-27T00:00:00Z; verdicts of each")
    assert "calculator, demo-summit: It is not known yet." in shown
    assert "+0.05 [-0.02, +0.15]" in shown


def test_csv_has_both_tables_and_an_empty_cell_for_what_is_not_known() -> None:
    rows = list(csv.reader(io.StringIO(report_text(stats(), form="csv", width=80))))
    models, verdicts = rows[: rows.index([])], rows[rows.index([]) + 1 :]
    assert dict(zip(*models, strict=True))["p95 ms"] == "892.0"
    assert dict(zip(*models, strict=True))["USD per quality point"] == ""
    found = dict(zip(*verdicts, strict=True))
    assert (found["verdict"], found["low"], found["high"], found["needed at most"]) == (
        "undecided",
        "-0.02",
        "0.15",
        "9",
    )
    assert found["cost ratio low"] == ""


@pytest.mark.parametrize("form", ["table", "csv", "md"])
def test_a_hostile_name_is_text_and_nothing_else(form: Any) -> None:
    shown = report_text(stats(HOSTILE), form=form, width=200)
    assert "\x1b" not in shown
    if form == "csv":
        assert all(not cell.startswith("=") for row in csv.reader(io.StringIO(shown)) for cell in row)
    if form == "md":
        assert "<b>" not in shown
        assert "\\|" in shown


def test_markdown_says_na_where_there_is_nothing() -> None:
    shown = report_text(stats(), form="md", width=80)
    assert "| calculator | demo-atlas | demo-summit | 2 | undecided | 114 | 0.05 | -0.02 | 0.15 | n/a |" in shown
    assert "- calculator, demo-summit: It is not known yet." in shown
