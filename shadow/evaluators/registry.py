"""Which evaluators there are, and the set a task runs: built once from the configuration, asked for every pair."""

from __future__ import annotations

import asyncio
import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from shadow.evaluators import python
from shadow.evaluators.auto import RequestChecks
from shadow.evaluators.base import (
    MAX_OUTPUT_CHARS,
    CaseEvaluator,
    Check,
    EvaluatorConfigError,
    Paid,
    PairEvaluator,
    failed,
    off_loop,
)
from shadow.evaluators.contains_json import ContainsJson
from shadow.evaluators.equals import Equals
from shadow.evaluators.finish_reason import FinishReason
from shadow.evaluators.icontains import IContains
from shadow.evaluators.is_json import IsJson
from shadow.evaluators.is_valid_tool_call import IsValidToolCall
from shadow.evaluators.json_schema import JsonSchema
from shadow.evaluators.llm_judges import LlmJudges
from shadow.evaluators.llm_pairwise import PairwiseOptions
from shadow.evaluators.llm_rubric import JudgeOptions
from shadow.evaluators.regex import Regex
from shadow.evaluators.services import Services
from shadow.records import EvaluatorSpec, StoredScore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.records import Dialect, EvalCase, Score

EVALUATOR_TYPES: Mapping[str, type[Any]] = {
    "equals": Equals,
    "icontains": IContains,
    "is-json": IsJson,
    "contains-json": ContainsJson,
    "json-schema": JsonSchema,
    "is-valid-tool-call": IsValidToolCall,
    "regex": Regex,
    "finish-reason": FinishReason,
    "llm-pairwise": PairwiseOptions,
    "llm-rubric": JudgeOptions,
    "request-checks": RequestChecks,
    "python": python.ScoreAdapter,
}
"""Every configurable type. `python` is built by `shadow.evaluators.python.load`, those that ask a model by
`Services.judges`, the others from their options."""

AUTO: tuple[EvaluatorSpec, ...] = (EvaluatorSpec(type="request-checks", quality=True),)
"""What `evaluators: auto` stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One evaluator of a set, with the name and version its scores are stored under."""

    name: str
    version: str
    quality: bool
    measures: Literal["content", "format"]
    absolute: bool
    evaluator: Check | CaseEvaluator | PairEvaluator


class EvaluatorSet:
    """The evaluators of one task. Exactly one decides (`quality`)."""

    def __init__(self, members: tuple[Named, ...]) -> None:
        self.members = members
        self.quality_name = next(member.name for member in members if member.quality)
        self._paid = [member.evaluator for member in members if isinstance(member.evaluator, Paid)]

    @property
    def costs_money(self) -> bool:
        """True when scoring a pair asks a model."""
        return bool(self._paid)

    @property
    def unusable(self) -> Mapping[str, str]:
        """Name the evaluators that can score nothing, with the reason: a judge without key or price."""
        reasons = {member.name: getattr(member.evaluator, "unusable", None) for member in self.members}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def worst_case_usd(self, primary: EvalCase, *, candidate: str) -> float:
        """Say what scoring this live answer and a candidate's may cost at most; 0 where no model is asked."""
        return sum(evaluator.worst_case_usd(primary, candidate=candidate) for evaluator in self._paid)

    async def score_pair(
        self,
        primary: EvalCase,
        candidate: EvalCase,
        *,
        dialect: Dialect,  # noqa: ARG002  (part of the contract: evaluators to come read it)
    ) -> tuple[StoredScore, ...]:
        """Score both answers with every evaluator; never raises, what cannot be judged says so."""
        groups = await asyncio.gather(*(_both(member, primary, candidate) for member in self.members))
        return tuple(score for group in groups for score in group)

    async def score_primary(self, primary: EvalCase) -> tuple[StoredScore, ...]:
        """Score the primary's answer alone, where the candidate gave none: what was lost by that is to be known.

        Evaluators that compare two answers say nothing. Never raises.
        """
        alone = [member for member in self.members if not isinstance(member.evaluator, PairEvaluator)]
        found = await asyncio.gather(*(_one(member, primary) for member in alone))
        return tuple(_stored(member, "primary", score) for member, score in zip(alone, found, strict=True))


def build_evaluators(
    specs: tuple[EvaluatorSpec, ...] | None, *, config_dir: str, services: Services | None = None
) -> EvaluatorSet:
    """Build a task's evaluators; None means `auto`. Raises EvaluatorConfigError with a sentence.

    Without `services` options are checked as always, and what asks a model can score nothing.
    """
    given = services or Services()
    chosen = AUTO if specs is None else specs
    if not chosen:
        raise EvaluatorConfigError("evaluators: at least one is needed (or leave the key out, for `auto`)")
    if len(chosen) > 1 and sum(spec.quality for spec in chosen) != 1:
        raise EvaluatorConfigError("evaluators: exactly one must have `quality: true`, the one that decides")
    members = tuple(_named(spec, alone=len(chosen) == 1, config_dir=config_dir, services=given) for spec in chosen)
    names = [member.name for member in members]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise EvaluatorConfigError(f"evaluators: {twice!r} appears twice; give one of them a `name`")
    return EvaluatorSet(members)


def _named(spec: EvaluatorSpec, *, alone: bool, config_dir: str, services: Services) -> Named:
    evaluator = _build(spec, config_dir=config_dir, services=services)
    return Named(
        name=spec.name or spec.type,
        version=str(getattr(evaluator, "version", "1")),
        quality=spec.quality or alone,
        measures=getattr(evaluator, "measures", "content"),
        absolute=getattr(evaluator, "absolute", not isinstance(evaluator, PairEvaluator)),
        evaluator=evaluator,
    )


def _build(spec: EvaluatorSpec, *, config_dir: str, services: Services) -> Check | CaseEvaluator | PairEvaluator:
    kind = EVALUATOR_TYPES.get(spec.type)
    if kind is None:
        close = difflib.get_close_matches(spec.type, EVALUATOR_TYPES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(EVALUATOR_TYPES)}"
        raise EvaluatorConfigError(f"evaluators: unknown type {spec.type!r}; {hint}")
    if spec.type == "python":
        return _python(spec, config_dir=config_dir)
    if spec.type in {"llm-pairwise", "llm-rubric"}:
        judges = services.judges or LlmJudges(None, missing=services.judges_missing)
        return judges.pairwise(spec.options) if spec.type == "llm-pairwise" else judges.rubric(spec.options)
    try:
        built: Check = msgspec.convert(dict(spec.options), kind)
    except msgspec.ValidationError as error:
        raise EvaluatorConfigError(f"{spec.type}: {error}") from error
    return built


def _python(spec: EvaluatorSpec, *, config_dir: str) -> CaseEvaluator | PairEvaluator:
    options = {name: value for name, value in spec.options.items() if name != "target"}
    return python.load(python.target_of(spec.options), config_dir=config_dir, arguments=options)


async def _both(member: Named, primary: EvalCase, candidate: EvalCase) -> list[StoredScore]:
    evaluator = member.evaluator
    if isinstance(evaluator, PairEvaluator):
        return [_stored(member, "pair", await evaluator.compare(primary, candidate))]
    first, second = await asyncio.gather(_one(member, primary), _one(member, candidate))
    return [_stored(member, "primary", first), _stored(member, "candidate", second)]


async def _one(member: Named, case: EvalCase) -> Score:
    if len(case.output) > MAX_OUTPUT_CHARS:
        return failed(f"the answer has more than {MAX_OUTPUT_CHARS} characters")
    evaluator = member.evaluator
    if isinstance(evaluator, CaseEvaluator):
        return await evaluator.evaluate(case)
    check: Check = evaluator  # type: ignore[assignment]  # what is no pair or case evaluator is a built-in check
    return await off_loop(lambda: check.check(case))


def _stored(member: Named, role: Literal["primary", "candidate", "pair"], score: Score) -> StoredScore:
    return StoredScore(evaluator=member.name, version=member.version, quality=member.quality, role=role, score=score)
