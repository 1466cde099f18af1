"""Which evaluators there are, and the set a task runs: built once from the configuration, asked for every pair."""

from __future__ import annotations

import asyncio
import difflib
import functools
import math
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from shadow.evaluators import all_of, python
from shadow.evaluators.agreement import Agreement
from shadow.evaluators.auto import JudgedChecks, RequestChecks
from shadow.evaluators.base import (
    AgainstPrimary,
    CaseEvaluator,
    Check,
    EvaluatorConfigError,
    Measures,
    Paid,
    PairEvaluator,
)
from shadow.evaluators.contains_json import ContainsJson
from shadow.evaluators.cost import Cost
from shadow.evaluators.equals import Equals
from shadow.evaluators.finish_reason import FinishReason
from shadow.evaluators.icontains import IContains
from shadow.evaluators.icontains_all import IContainsAll
from shadow.evaluators.icontains_any import IContainsAny
from shadow.evaluators.is_json import IsJson
from shadow.evaluators.is_refusal import IsRefusal
from shadow.evaluators.is_valid_tool_call import IsValidToolCall
from shadow.evaluators.json_diff import JsonDiff
from shadow.evaluators.json_schema import JsonSchema
from shadow.evaluators.latency import Latency
from shadow.evaluators.levenshtein import Levenshtein
from shadow.evaluators.llm_pairwise import LlmPairwise
from shadow.evaluators.llm_rubric import LlmRubric
from shadow.evaluators.negated import NegatedCase, NegatedCheck
from shadow.evaluators.numeric_diff import NumericDiff
from shadow.evaluators.regex import Regex
from shadow.evaluators.running import evaluate, evaluate_against
from shadow.evaluators.services import Services
from shadow.evaluators.starts_with import StartsWith
from shadow.evaluators.word_count import WordCount
from shadow.records import EvaluatorSpec, StoredScore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shadow.records import Dialect, EvalCase, Score

    Built = Check | CaseEvaluator | PairEvaluator | AgainstPrimary

EVALUATOR_TYPES: Mapping[str, type[Any]] = {
    "equals": Equals,
    "icontains": IContains,
    "icontains-any": IContainsAny,
    "icontains-all": IContainsAll,
    "starts-with": StartsWith,
    "regex": Regex,
    "word-count": WordCount,
    "levenshtein": Levenshtein,
    "numeric-diff": NumericDiff,
    "json-diff": JsonDiff,
    "is-json": IsJson,
    "contains-json": ContainsJson,
    "json-schema": JsonSchema,
    "is-valid-tool-call": IsValidToolCall,
    "is-refusal": IsRefusal,
    "finish-reason": FinishReason,
    "latency": Latency,
    "cost": Cost,
    "request-checks": RequestChecks,
    "llm-pairwise": LlmPairwise,
    "llm-rubric": LlmRubric,
    "agreement": Agreement,
    "all-of": all_of.AllOf,
    "python": python.ScoreAdapter,
}
"""Every configurable type. `all-of` and `python` have builders of their own below, the others their options as fields.

A type with a class method `from_options(options, services)` is built by that: so are those that need a service.
"""

ENTRY_POINTS = "shadow_gateway.evaluators"
"""The group in which an installed distribution offers evaluators: `name = "module:attr"`."""

NEGATION = "not-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One evaluator of a set, with the name and version its scores are stored under."""

    name: str
    version: str
    quality: bool
    measures: Measures
    absolute: bool
    evaluator: Check | CaseEvaluator | PairEvaluator | AgainstPrimary


class EvaluatorSet:
    """The evaluators of one task. Exactly one decides (`quality`)."""

    def __init__(self, members: tuple[Named, ...], *, services: Services) -> None:
        self.members = members
        self.quality = next(member for member in members if member.quality)
        self.quality_name = self.quality.name
        self._services = services
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

    def worst_case_alone_usd(self, told: EvalCase) -> float:
        """Say what `score_primary` may cost at most: no more than scoring both sides."""
        paid = [each for each in self._paid if not isinstance(each, PairEvaluator)]
        return sum(evaluator.worst_case_usd(told, candidate=told.model or "") for evaluator in paid)

    def worst_case_beside_usd(self, primary: EvalCase, *, candidate: str) -> float:
        """Say what `score_beside` may cost at most."""
        paid = [each for each in self._paid if isinstance(each, PairEvaluator)]
        return sum(evaluator.worst_case_usd(primary, candidate=candidate) for evaluator in paid)

    async def score_pair(
        self,
        primary: EvalCase,
        candidate: EvalCase,
        *,
        dialect: Dialect,  # noqa: ARG002  (part of the contract: evaluators to come read it)
    ) -> tuple[StoredScore, ...]:
        """Score both answers with every evaluator; never raises, what cannot be judged says so."""
        return await self._pair(self.members, primary, candidate)

    async def score_primary(self, primary: EvalCase) -> tuple[StoredScore, ...]:
        """Score the primary's answer alone, where the candidate gave none: what was lost by that is to be known.

        Evaluators that compare two answers say nothing. Never raises.
        """
        return await self._alone(self.members, primary)

    async def score_free(self, primary: EvalCase, candidate: EvalCase | None) -> tuple[StoredScore, ...]:
        """Score as the two above do, but only by what costs nothing to ask."""
        free = [member for member in self.members if not isinstance(member.evaluator, Paid)]
        if candidate is None:
            return await self._alone(free, primary)
        return await self._pair(free, primary, candidate)

    async def _pair(self, members: Sequence[Named], primary: EvalCase, candidate: EvalCase) -> tuple[StoredScore, ...]:
        groups = await asyncio.gather(*(self._both(member, primary, candidate) for member in members))
        return tuple(score for group in groups for score in group)

    async def _alone(self, members: Sequence[Named], primary: EvalCase) -> tuple[StoredScore, ...]:
        alone = [member for member in members if not isinstance(member.evaluator, PairEvaluator | AgainstPrimary)]
        found = await asyncio.gather(*(self._one(member, primary) for member in alone))
        return tuple(_stored(member, "primary", score) for member, score in zip(alone, found, strict=True))

    @property
    def compares(self) -> bool:
        """True when an evaluator sets two answers side by side."""
        return any(isinstance(member.evaluator, PairEvaluator | AgainstPrimary) for member in self.members)

    async def score_beside(self, primary: EvalCase, candidate: EvalCase) -> tuple[StoredScore, ...]:
        """Score by those evaluators alone that set two answers side by side. Never raises."""
        members = [member for member in self.members if isinstance(member.evaluator, PairEvaluator | AgainstPrimary)]
        groups = await asyncio.gather(*(self._both(member, primary, candidate) for member in members))
        return tuple(score for group in groups for score in group)

    async def _both(self, member: Named, primary: EvalCase, candidate: EvalCase) -> list[StoredScore]:
        evaluator = member.evaluator
        if isinstance(evaluator, PairEvaluator):
            return [_stored(member, "pair", await evaluator.compare(primary, candidate))]
        if isinstance(evaluator, AgainstPrimary):
            score = await evaluate_against(evaluator, primary, candidate, cells=self._services.cells)
            return [_stored(member, "candidate", score)]
        first, second = await asyncio.gather(self._one(member, primary), self._one(member, candidate))
        return [_stored(member, "primary", first), _stored(member, "candidate", second)]

    async def _one(self, member: Named, case: EvalCase) -> Score:
        return await evaluate(cast("Check | CaseEvaluator", member.evaluator), case, cells=self._services.cells)


def known_types() -> tuple[str, ...]:
    """List the name of every type that can be configured, those of installed distributions last."""
    installed = sorted(point.name for point in entry_points(group=ENTRY_POINTS) if point.name not in EVALUATOR_TYPES)
    return (*EVALUATOR_TYPES, *installed)


def build_evaluators(
    specs: tuple[EvaluatorSpec, ...] | None, *, config_dir: str, services: Services | None = None
) -> EvaluatorSet:
    """Build a task's evaluators; None means `auto`. Raises EvaluatorConfigError with a sentence."""
    services = Services() if services is None else services
    builder = _Builder(config_dir=config_dir, services=services)
    if specs is None:
        return EvaluatorSet(builder.auto(), services=services)
    if not specs:
        raise EvaluatorConfigError("evaluators: at least one is needed (or leave the key out, for `auto`)")
    if len(specs) > 1 and sum(spec.quality for spec in specs) != 1:
        raise EvaluatorConfigError("evaluators: exactly one must have `quality: true`, the one that decides")
    members = tuple(builder.named(spec, quality=spec.quality or len(specs) == 1) for spec in specs)
    names = [member.name for member in members]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise EvaluatorConfigError(f"evaluators: {twice!r} appears twice; give one of them a `name`")
    return EvaluatorSet(members, services=services)


def check_spec(spec: EvaluatorSpec, *, config_dir: str) -> None:
    """Build one evaluator and throw it away. Raises EvaluatorConfigError; `spec.quality` says whether it decides."""
    _Builder(config_dir=config_dir, services=Services()).named(spec, quality=spec.quality)


def loads_code(spec: EvaluatorSpec) -> bool:
    """Tell whether building it runs the user's code: `python`, one of an installed distribution, or what holds one."""
    kind = spec.type.removeprefix(NEGATION) if spec.type not in EVALUATOR_TYPES else spec.type
    if kind == "all-of":
        checks = spec.options.get("checks")
        parts = [entry for entry in checks if isinstance(entry, dict)] if isinstance(checks, list) else []
        return any(loads_code(EvaluatorSpec(type=str(part.get("type")), options=part)) for part in parts)
    return kind == "python" or kind not in EVALUATOR_TYPES


class _Builder:
    """Makes evaluators of specs."""

    def __init__(self, *, config_dir: str, services: Services) -> None:
        self._config_dir = config_dir
        self._services = services

    def auto(self) -> tuple[Named, ...]:
        """The request's own checks decide; with a judge they decide where one fails, and it decides the rest."""
        judge = None if self._services.judges is None else self._services.judges.pairwise({})
        if judge is None or getattr(judge, "unusable", None) is not None:
            return (self.named(EvaluatorSpec(type="request-checks"), quality=True),)
        checks = functools.partial(evaluate, RequestChecks(), cells=self._services.cells)
        judged = JudgedChecks(checks=checks, judge=judge)
        shown = self.named(EvaluatorSpec(type="request-checks"), quality=False)
        return (_named(judged, name="auto", quality=True), shown)

    def named(self, spec: EvaluatorSpec, *, quality: bool) -> Named:
        built = self.build(spec)
        if quality and isinstance(built, AgainstPrimary):
            raise EvaluatorConfigError(
                f"{spec.type}: compares with the primary's answer, which is then right by definition; it cannot have "
                "`quality: true` (leave it for display, and let another evaluator decide)"
            )
        return _named(built, name=spec.name or spec.type, quality=quality)

    def build(self, spec: EvaluatorSpec) -> Built:
        if spec.type.startswith(NEGATION) and spec.type not in known_types():
            return self._negated(spec)
        if spec.type == "python":
            return self._python(spec)
        if spec.type == "all-of":
            return self._all_of(spec)
        kind = EVALUATOR_TYPES.get(spec.type)
        if kind is None:
            return self._installed(spec)
        if hasattr(kind, "from_options"):
            built: Check = kind.from_options(spec.options, self._services)
            return built
        return _from_options(spec, kind)

    def _negated(self, spec: EvaluatorSpec) -> Check | CaseEvaluator:
        inner_type = spec.type.removeprefix(NEGATION)
        inner = self.build(EvaluatorSpec(type=inner_type, options=spec.options))
        return _opposite_of(inner, spec.type, inner_type)

    def _python(self, spec: EvaluatorSpec) -> CaseEvaluator | PairEvaluator:
        options = {name: value for name, value in spec.options.items() if name != "target"}
        return python.load(python.target_of(spec.options), config_dir=self._config_dir, arguments=options)

    def _installed(self, spec: EvaluatorSpec) -> CaseEvaluator | PairEvaluator:
        point = next(iter(entry_points(group=ENTRY_POINTS, name=spec.type)), None)
        if point is None:
            raise EvaluatorConfigError(f"evaluators: unknown type {spec.type!r}; {closest_type(spec.type)}")
        try:
            found = point.load()
        except Exception as error:
            raise EvaluatorConfigError(
                f"{spec.type}: {point.value} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        distribution = point.dist
        return python.adapted(
            found,
            target=spec.type,
            arguments=spec.options,
            version="1" if distribution is None else f"{distribution.name} {distribution.version}",
        )

    def _all_of(self, spec: EvaluatorSpec) -> CaseEvaluator:
        try:
            options = msgspec.convert(dict(spec.options), _AllOfOptions)
        except msgspec.ValidationError as error:
            raise EvaluatorConfigError(f"all-of: {error} (it needs `checks`, a list of evaluators)") from error
        if not options.checks:
            raise EvaluatorConfigError("all-of: checks must not be empty")
        parts = [self._part(entry) for entry in options.checks]
        return all_of.AllOf(parts, evaluate=functools.partial(evaluate, cells=self._services.cells))

    def _part(self, entry: Mapping[str, Any]) -> all_of.Part:
        options = dict(entry)
        kind, name, weight = options.pop("type", None), options.pop("name", None), options.pop("weight", 1.0)
        if not isinstance(kind, str):
            raise EvaluatorConfigError("all-of: each of checks needs a `type`")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise EvaluatorConfigError(f"all-of: the weight of {kind} must be a number above 0, not {weight!r}")
        built = self.build(EvaluatorSpec(type=kind, options=options))
        if isinstance(built, PairEvaluator | AgainstPrimary):
            raise EvaluatorConfigError(f"all-of: {kind} compares two answers; its parts are about one")
        found = _named(built, name=str(name or kind), quality=False)
        return all_of.Part(
            name=found.name, weight=float(weight), version=found.version, measures=found.measures, evaluator=built
        )


class _AllOfOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    checks: list[dict[str, Any]]


def closest_type(name: str) -> str:
    """Say which type may have been meant, else which there are."""
    known, base = known_types(), name.removeprefix(NEGATION)
    close = difflib.get_close_matches(base, known, n=1)
    prefix = name.removesuffix(base)
    return f"did you mean '{prefix}{close[0]}'?" if close else f"there are: {', '.join(known)}"


def _from_options(spec: EvaluatorSpec, kind: type[Any]) -> Check:
    known = [field.name for field in msgspec.structs.fields(kind)]
    unknown = next((name for name in spec.options if name not in known), None)
    if unknown is not None:
        close = difflib.get_close_matches(str(unknown), known, n=1)
        hint = (
            f"did you mean `{close[0]}`?" if close else f"its options: {', '.join(known)}" if known else "it has none"
        )
        raise EvaluatorConfigError(f"{spec.type}: unknown option `{unknown}`; {hint}")
    try:
        built: Check = msgspec.convert(dict(spec.options), kind)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$.")
        option = f"option `{place.rstrip('`')}`: " if place else ""
        raise EvaluatorConfigError(f"{spec.type}: {option}{what[0].lower()}{what[1:]}") from error
    return built


def _opposite_of(inner: Built, name: str, inner_type: str) -> Check | CaseEvaluator:
    if isinstance(inner, PairEvaluator | AgainstPrimary):
        raise EvaluatorConfigError(f"{name}: {inner_type} compares two answers; `not-` stands before those about one")
    return NegatedCase(inner) if isinstance(inner, CaseEvaluator) else NegatedCheck(inner=inner)


def _named(built: Built, *, name: str, quality: bool) -> Named:
    return Named(
        name=name,
        version=str(getattr(built, "version", "1")),
        quality=quality,
        measures=getattr(built, "measures", "content"),
        absolute=bool(getattr(built, "absolute", not isinstance(built, PairEvaluator))),
        evaluator=built,
    )


def _stored(member: Named, role: Literal["primary", "candidate", "pair"], score: Score) -> StoredScore:
    return StoredScore(
        evaluator=member.name,
        version=member.version,
        quality=member.quality,
        role=role,
        score=score,
        measures=member.measures,
        absolute=member.absolute,
    )
