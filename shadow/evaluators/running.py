"""Runs one evaluator over one answer: a built-in off the event loop, in a process apart when it may be long."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from shadow.evaluators.base import CaseEvaluator, Check, chars_of, off_loop, too_long
from shadow.evaluators.cells import SMALL_CHARS

if TYPE_CHECKING:
    from shadow.evaluators.base import AgainstPrimary
    from shadow.evaluators.cells import Cells
    from shadow.records import EvalCase, Score


async def evaluate(evaluator: Check | CaseEvaluator, case: EvalCase, *, cells: Cells) -> Score:
    """Score one answer; never raises."""
    refused = too_long(case)
    if refused is not None:
        return refused
    if isinstance(evaluator, CaseEvaluator):
        return await evaluator.evaluate(case)
    if not _may_be_long(evaluator, case):
        return await off_loop(lambda: evaluator.check(case))
    needed = case if getattr(evaluator, "needs_request", False) else dataclasses.replace(case, request={})
    return await cells.run(evaluator.check, needed)


async def evaluate_against(evaluator: AgainstPrimary, primary: EvalCase, candidate: EvalCase, *, cells: Cells) -> Score:
    """Score the candidate's answer with the primary's as the reference; never raises."""
    refused = too_long(primary, candidate)
    if refused is not None:
        return refused
    if chars_of(primary) + chars_of(candidate) <= SMALL_CHARS:
        return await off_loop(lambda: evaluator.check_against(primary, candidate))
    without = (dataclasses.replace(case, request={}) for case in (primary, candidate))
    return await cells.run(evaluator.check_against, *without)


def _may_be_long(check: Check, case: EvalCase) -> bool:
    heavy = getattr(check, "is_heavy", None)
    return chars_of(case) > SMALL_CHARS or (heavy is not None and bool(heavy(case)))
