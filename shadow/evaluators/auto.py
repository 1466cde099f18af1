"""`auto`: the checks a request itself asks for, then a judge; what a newcomer gets without configuring anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import msgspec

from shadow.evaluators.base import Examinable, Measures, Paid, compared, failed, not_applicable
from shadow.evaluators.is_json import IsJson
from shadow.evaluators.is_valid_tool_call import IsValidToolCall
from shadow.evaluators.json_schema import JsonSchema
from shadow.evaluators.request_checks import wants_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shadow.evaluators.base import PairEvaluator
    from shadow.records import EvalCase, Score


class RequestChecks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The lowest of the checks that apply: the request's schema, its JSON mode, its tools.

    Free text asks for no check; there it is not applicable. `failed` when a schema of the request cannot be used.
    """

    version: ClassVar[str] = "2"
    measures: ClassVar[Measures] = "format"
    absolute: ClassVar[bool] = True
    needs_request: ClassVar[bool] = True

    def is_heavy(self, case: EvalCase) -> bool:
        """Tell whether a schema of the request is to be used."""
        return JsonSchema().is_heavy(case) or IsValidToolCall().is_heavy(case)

    def check(self, case: EvalCase) -> Score:
        """Run what applies; a check that fails to run is reported before one that passes."""
        results = [JsonSchema().check(case), IsValidToolCall().check(case)]
        if wants_json(case.request):
            results.append(IsJson().check(case))
        applicable = [score for score in results if score.status != "not_applicable"]
        if not applicable:
            return not_applicable(
                "the request asks for no check (free text, no schema, no tool call); configure evaluators for it"
            )
        broken = next((score for score in applicable if score.status == "failed"), None)
        return broken or min(applicable, key=lambda score: score.value or 0.0)


class JudgedChecks:
    """One word about a pair: where the request's own checks fail for a side they decide, else the judge does.

    The value is the candidate's quality minus the primary's: 1, 0 or -1 by the checks (0: both fail them), else what
    the judge says. When a check cannot be run nothing is known, and no judge is asked. `judge` is asked at most once a
    pair; what it costs is in the score.
    """

    measures: Measures = "content"
    absolute = False

    def __init__(self, *, checks: Callable[[EvalCase], Awaitable[Score]], judge: PairEvaluator) -> None:
        self._checks = checks
        self.judge = judge
        self.version = f"{RequestChecks.version}+{getattr(judge, 'version', '1')}"

    async def compare(self, primary: EvalCase, candidate: EvalCase) -> Score:
        """Check both answers; ask the judge when that leaves it open."""
        first, second = await asyncio.gather(self._checks(primary), self._checks(candidate))
        broken = next((score for score in (first, second) if score.status == "failed"), None)
        if broken is not None:
            return failed(f"the request's own check: {broken.reason}")
        q_primary, q_candidate = _quality(first), _quality(second)
        if min(q_primary, q_candidate) < 1.0:
            return compared(q_candidate - q_primary, _told(first, second))
        return await self.judge.compare(primary, candidate)

    @property
    def unusable(self) -> str | None:
        """Why the judge cannot be asked; None when it can."""
        reason: str | None = getattr(self.judge, "unusable", None)
        return reason

    @property
    def judge_model(self) -> str | None:
        """Which model judges."""
        model: str | None = getattr(self.judge, "judge_model", None)
        return model

    def worst_case_usd(self, primary: EvalCase, *, candidate: str) -> float:
        """Say what the judge may cost for one pair; the checks cost nothing."""
        return self.judge.worst_case_usd(primary, candidate=candidate) if isinstance(self.judge, Paid) else 0.0

    async def examine(self, primary: EvalCase) -> Score:
        """Put the judge to the test; the checks need none."""
        if isinstance(self.judge, Examinable):
            return await self.judge.examine(primary)
        return not_applicable("this judge has no test")

    def examination_usd(self, primary: EvalCase) -> float:
        """Say what that may cost at most."""
        return self.judge.examination_usd(primary) if isinstance(self.judge, Examinable) else 0.0


def _quality(score: Score) -> float:
    """A check that does not apply has not failed."""
    return 1.0 if score.value is None else score.value


def _told(primary: Score, candidate: Score) -> str:
    said = (("primary", primary), ("candidate", candidate))
    return "the request's own checks decide: " + "; ".join(
        f"{who}: {score.reason}" for who, score in said if score.value not in {None, 1.0}
    )
