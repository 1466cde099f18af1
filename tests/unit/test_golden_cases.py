"""The golden set as cases of a weekly run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gateway.weekly import golden_cases
from shadow.records import Dialect

if TYPE_CHECKING:
    from pathlib import Path


def test_every_form_of_a_golden_case_becomes_one_that_can_be_asked(tmp_path: Path) -> None:
    lines = [
        {"prompt": "What is 2 + 2?", "expected": "4", "task": "sums"},
        {"messages": [{"role": "user", "content": "Hello"}], "system": "Be brief.", "expected": "Hi"},
        {"request": {"input": "x"}, "expected": "y"},
        {"request": {"messages": [{"role": "system", "content": "s"}]}, "expected": "y"},
        {"request": {"messages": [{"role": "user", "content": "u"}], "tools": [{"function": {}}]}, "expected": "y"},
        {"request": {"messages": [{"role": "user", "content": "u"}], "max_tokens": 9}, "expected": "y"},
    ]
    file = tmp_path / "golden.jsonl"
    file.write_text("\ufeff" + "\n\n".join(map(json.dumps, lines)), encoding="utf-8")
    cases = golden_cases(str(file))
    assert [case.dialect for case in cases] == [
        Dialect.ANTHROPIC_MESSAGES, Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_RESPONSES, Dialect.OPENAI_CHAT,
        Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES,
    ]  # fmt: skip
    assert json.loads(cases[0].request)["messages"] == [{"role": "user", "content": "What is 2 + 2?"}]
    assert json.loads(cases[1].request)["system"] == "Be brief."
    assert [case.task for case in cases][:2] == ["sums", "default"]
    assert (cases[0].expected, cases[0].source) == ("4", "golden")
    assert len({case.id for case in cases}) == 6
    assert golden_cases(str(file)) == cases  # the same ids from run to run


def test_without_a_file_there_is_none_and_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    assert golden_cases(None) == ()
    with pytest.raises(OSError, match=r"gone.jsonl"):
        golden_cases(str(tmp_path / "gone.jsonl"))
