"""What the configuration says about verdicts, as the ledger takes it: who is compared, judged how, at which prices."""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from shadow.ledger import Facts, Judging, Plan
from shadow.verdict import Rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.settings import MeasuringSettings
    from shadow.evaluators import EvaluatorSet
    from shadow.pricing import KnownPrice, PriceBook
    from shadow.records import Candidate, EvaluatorSpec

_FINGERPRINT_BYTES = 8


def verdict_plan(settings: MeasuringSettings, evaluators: Mapping[str, EvaluatorSet]) -> Plan:
    """Build the plan. `evaluators` are the sets by task, `default` among them."""
    verdict = settings.verdict
    specs = {task.name: task.evaluators for task in settings.tasks}
    return Plan(
        alpha=verdict.alpha,
        rules=Rules(
            margin=verdict.margin,
            min_saving=verdict.min_saving,
            min_conversations=verdict.min_conversations,
            max_conversations=verdict.max_conversations,
            max_missing=verdict.max_missing,
            failure_margin=verdict.failure_margin,
        ),
        judging={
            task: _judging(found, specs.get(task) or settings.evaluators, slo_ms=verdict.slo_ms)
            for task, found in evaluators.items()
        },
        candidates={candidate.model: _definition(candidate) for candidate in settings.candidates},
    )


def _judging(found: EvaluatorSet, specs: Sequence[EvaluatorSpec] | None, *, slo_ms: float | None) -> Judging:
    by_name = {spec.name or spec.type: spec for spec in specs or ()}
    deciding = next(member for member in found.members if member.quality)
    spec = by_name.get(deciding.name)
    versions = {member.name: member.version for member in found.members}
    # `auto` is what we chose, not the user: its options are in its version.
    definition = [[asdict(spec) for spec in by_name.values()], versions, slo_ms]
    return Judging(
        quality=deciding.name,
        versions=versions,
        definition=_fingerprint(definition),
        pairwise=not deciding.absolute,
        format_only=deciding.measures == "format" and not (spec is not None and spec.decides),
        guards={name: spec.guard_margin for name, spec in by_name.items() if spec.guard_margin is not None},
        slo_ms=slo_ms,
    )


def _definition(candidate: Candidate) -> str:
    """What makes it the same candidate: where and how it is asked; not its key, and not how often."""
    known = asdict(candidate)
    return _fingerprint({name: known[name] for name in ("model", "base_url", "dialects", "drop_params")})


class PriceFacts:
    """`shadow.bookkeeper.FactsSource` out of the price book."""

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices

    async def facts(self, *, task: str, primary: str, candidate: str) -> Facts:  # noqa: ARG002  (the protocol's)
        """Give both models' prices, and what they say about the most that a call may cost."""
        known = {model: self._prices.price_of(model) for model in (primary, candidate)}
        unknown = [model for model, price in known.items() if price is None]
        if unknown:
            lines = " and ".join(self._prices.missing_line(model) for model in unknown)
            return Facts(withheld=(f"the price of {' and '.join(unknown)} is unknown, add {lines}",))
        of_primary, of_candidate = known[primary], known[candidate]
        assert of_primary is not None  # noqa: S101  (none is unknown)
        assert of_candidate is not None  # noqa: S101
        return Facts(
            prices=_fingerprint([_rates(of_primary), _rates(of_candidate)]),
            primary_factor=_factor(of_primary, of_candidate),
        )


def _rates(price: KnownPrice) -> Any:
    return [asdict(rate) for rate in (price.input_rate, price.output_rate)]


def _factor(primary: KnownPrice, candidate: KnownPrice) -> float:
    """How many times the candidate's cost the primary's may be, for the same tokens."""
    buckets = [(primary.input, candidate.input), (primary.output, candidate.output)]
    return max([1.0, *(one / other for one, other in buckets if other > 0)])


def _fingerprint(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return blake2b(text.encode(), digest_size=_FINGERPRINT_BYTES).hexdigest()
