from __future__ import annotations

from typing import Any

import pytest

from shadow.spreadsheet import defused


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1"])  # noqa: RUF001
def test_a_text_that_would_be_a_formula_gets_a_quote_in_front(text: str) -> None:
    assert defused(text) == f"'{text}"


@pytest.mark.parametrize("value", ["", "a = b", "gpt-4o", -1, 0.5, None, True])
def test_what_is_no_formula_stays_as_it_is(value: Any) -> None:
    assert defused(value) is value
