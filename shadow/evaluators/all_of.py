"""`all-of`: several evaluators as one, weighted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shadow.evaluators.base import CaseEvaluator, Check, Measures, failed, not_applicable, scored

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from shadow.records import EvalCase, Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of them with its weight and the version its own scores would carry."""

    name: str
    weight: float
    version: str
    measures: Measures
    evaluator: Check | CaseEvaluator


class AllOf:
    """The weighted mean of the parts that apply; 1 only when all of these give 1.

    Not applicable when no part applies; `failed` when one of them failed, for its share is not known. It measures
    content when a part does. Parts are evaluators of one answer, `not-` and `all-of` among them.
    """

    absolute = True

    def __init__(
        self, parts: Sequence[Part], *, evaluate: Callable[[Check | CaseEvaluator, EvalCase], Awaitable[Score]]
    ) -> None:
        self.parts = tuple(parts)
        self._evaluate = evaluate
        self.version = "1 of " + ", ".join(f"{part.weight:g} {part.name} {part.version}" for part in self.parts)
        self.measures: Measures = "content" if any(part.measures == "content" for part in self.parts) else "format"

    async def evaluate(self, case: EvalCase) -> Score:
        """Score with every part, then join."""
        scores = await asyncio.gather(*(self._evaluate(part.evaluator, case) for part in self.parts))
        joined = _joined(list(zip(self.parts, scores, strict=True)))
        return replace(joined, cost_usd=sum(score.cost_usd for score in scores))


def _joined(found: Sequence[tuple[Part, Score]]) -> Score:
    broken = next(((part, score) for part, score in found if score.status == "failed"), None)
    if broken is not None:
        return failed(f"{broken[0].name}: {broken[1].reason}")
    applicable = [(part, score.value) for part, score in found if score.value is not None]
    if not applicable:
        return not_applicable("; ".join(f"{part.name}: {score.reason}" for part, score in found))
    weights = sum(part.weight for part, _ in applicable)
    value = min(1.0, sum(part.weight * value for part, value in applicable) / weights)
    why = [f"{part.name}: {score.reason or score.value}" for part, score in found if score.value not in {None, 1.0}]
    return scored(value, "; ".join(why))
