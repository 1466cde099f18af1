"""What the configuration says about verdicts, as the ledger takes it: who is compared, judged how, at which prices."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from shadow.judge.figures import JudgeBook
from shadow.ledger import Facts, Judging, Plan
from shadow.stats.noise import self_differences
from shadow.stats.rolled_besides import judging_rows, self_difference_sums
from shadow.store.base import ROW_BY_ROW
from shadow.verdict import Rules

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gateway.settings import MeasuringSettings
    from shadow.evaluators import EvaluatorSet
    from shadow.pricing import KnownPrice, PriceBook
    from shadow.records import Candidate, EvaluatorSpec
    from shadow.store.base import Reader

JUDGED_SINCE = timedelta(days=30)
"""How far back a judge's rulings tell whether it may be trusted."""

JUDGED_MAX_AGE_S = 60.0
_FINGERPRINT_BYTES = 8

Differences = Callable[..., Mapping[tuple[str, str | None], Mapping[float, int]]]
"""Histograms of what an evaluator in one version says of two answers of a primary, by task and primary."""


def _none(*, evaluator: str, version: str) -> Mapping[tuple[str, str | None], Mapping[float, int]]:  # noqa: ARG001
    return {}


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
        primary=settings.primary_model,
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


class OutsideFacts:
    """`shadow.bookkeeper.FactsSource`: prices out of the price book, and whether the judge may be trusted."""

    def __init__(
        self,
        prices: PriceBook,
        reader: Reader,
        *,
        plan: Plan,
        judged: bool,
        unusable: Mapping[str, str],
        now: Callable[[], datetime],
    ) -> None:
        """`judged`: some evaluator asks a model. `unusable` says by task why its judge cannot be asked."""
        self._prices = prices
        self._reader = reader
        self._plan = plan
        self._judged = judged
        self._unusable = unusable
        self._now = now
        self._book = JudgeBook((), unusable=unusable)
        self._differences_of: Differences = _none
        self._read_s = float("-inf")

    async def refresh(self) -> None:
        """Read what judges did anew where it is older than a minute. Raises StoreError."""
        if not self._judged or time.monotonic() - self._read_s < JUDGED_MAX_AGE_S:
            return
        until = self._now()
        since = until - JUDGED_SINCE
        many = await self._reader.holds_more_than(ROW_BY_ROW, since=since, until=until)
        # What the deciding judge did is the same either way, but that sums begin with a whole minute, hour or day.
        if many and await self._reader.rollups.due() is None:
            tallies = await self._read_sums(since, until)
        else:
            tallies = await self._reader.judge_tallies(since=since, until=until)
            again = await self._reader.noise_floor(since=since, until=until)
            self._differences_of = partial(self_differences, again)
        self._book = JudgeBook(tallies, max_missing=self._plan.rules.max_missing, unusable=self._unusable)
        self._read_s = time.monotonic()

    async def _read_sums(self, since: datetime, until: datetime) -> Sequence[Mapping[str, Any]]:
        rollups = self._reader.rollups
        found = await rollups.window(since=since, until=until)
        totals = await asyncio.to_thread(found.totals)
        self._differences_of = partial(self_difference_sums, totals)
        return judging_rows(totals, await rollups.newest_judges(found))

    def facts(self, *, task: str, primary: str, candidate: str) -> Facts:
        """Give both models' prices, or say which is unknown and how to add it; and what is wrong with the judge."""
        judging = self._plan.judging_of(task)
        trust = self._book.trust(
            task,
            primary,
            candidate,
            evaluator=judging.quality,
            version=judging.versions[judging.quality],
            aa_counts=self._differences(task, primary),
        )
        withheld = () if trust is None or trust.trusted else (trust.reason,)
        known = {model: self._prices.price_of(model) for model in (primary, candidate)}
        unknown = [model for model, price in known.items() if price is None]
        if unknown:
            lines = " and ".join(self._prices.missing_line(model) for model in unknown)
            return Facts(withheld=(*withheld, f"the price of {' and '.join(unknown)} is unknown, add {lines}"))
        prices = [_rates(price) for price in known.values() if price is not None]
        return Facts(withheld=withheld, prices=_fingerprint(prices))

    def _differences(self, task: str, primary: str) -> Mapping[float, int] | None:
        """What the deciding evaluator says of two answers of the primary to one question."""
        judging = self._plan.judging_of(task)
        found = self._differences_of(evaluator=judging.quality, version=judging.versions[judging.quality])
        return found.get((task, primary))


def _rates(price: KnownPrice) -> Any:
    return [asdict(rate) for rate in (price.input_rate, price.output_rate)]


def _fingerprint(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return blake2b(text.encode(), digest_size=_FINGERPRINT_BYTES).hexdigest()
