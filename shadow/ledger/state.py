"""All that is kept of one candidate's conversations in one epoch: small, and the same in whatever pieces it came."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from shadow.ledger.outcome import Outcome, Totals
from shadow.verdict import CostTest, Differences, FailureShares, Latch, Rules, Sums, Watch, rounded_down


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlineState:
    """What cost per quality point and its interval need: sums over conversations, and both sides' quality."""

    sums: Sums = field(default_factory=Sums)
    unknown: int = 0
    """Conversations left out: a cost is not known, or no pair has qualities."""
    candidate_quality: Mapping[float, int] = field(default_factory=dict)
    """Mean quality of a conversation, rounded down to 0.01 -> how often."""
    primary_quality: Mapping[float, int] = field(default_factory=dict)

    def add(self, totals: Totals | None) -> HeadlineState:
        """Give it with one more conversation."""
        if totals is None:
            return replace(self, unknown=self.unknown + 1)
        names = ("candidate_usd", "candidate_quality", "primary_usd", "primary_quality")
        qualities = [rounded_down(totals.candidate_quality / totals.pairs)]
        qualities.append(rounded_down(totals.primary_quality / totals.pairs))
        return HeadlineState(
            sums=self.sums.add(**{name: getattr(totals, name) for name in names}),
            unknown=self.unknown,
            candidate_quality=_counted(self.candidate_quality, qualities[0]),
            primary_quality=_counted(self.primary_quality, qualities[1]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CostState:
    """The cost test of the present cost epoch: since when, and at which prices."""

    test: CostTest
    prices: str
    """Fingerprint of both models' prices and of the saving asked for; with another one the test begins anew."""
    since: datetime


COST_AFTER = 10
"""Conversations whose reserves tell the scale of the cost test; their own costs are not part of it."""

HEADROOM = 1.5
"""How many times the largest of those reserves a later one may be."""

RESCALE_AFTER, MOST_RESCALES = 50, 3
"""Where too many reserves lie above the scale after so many conversations, the test begins anew, so often at most."""

FIRST_SHARE = 0.8
"""Of the candidate's alpha, for the first cost test at one price; those that begin anew share what is left of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerState:
    """What is known about one candidate: histograms, running sums and latches; it does not grow with traffic."""

    quality: Differences = field(default_factory=Differences)
    first_turns: Differences = field(default_factory=Differences)
    """The same over first turns alone: shown beside, part of no decision."""
    missing: float = 0.0
    unscored: int = 0
    guards: Mapping[str, Differences] = field(default_factory=dict)
    failures: FailureShares = field(default_factory=FailureShares)
    cost: CostState | None = None
    largest_reserve_usd: float = 0.0
    """The most that was set aside for one call so far."""
    rescales: int = 0
    """How often the cost test began anew because reserves grew, at the present prices."""
    headline: HeadlineState = field(default_factory=HeadlineState)
    faster: Differences = field(default_factory=Differences)
    """Share of turns the candidate was faster in less the share it was slower in; shown, part of no decision."""
    faster_ttft: Differences = field(default_factory=Differences)
    watch: Watch | None = None
    latched: Mapping[str, Latch] = field(default_factory=dict)
    turns: int = 0
    pairs: int = 0
    scored: int = 0
    spent_usd: float = 0.0
    """What asking and scoring was billed."""
    late: int = 0
    """Conversations that became known after one that began later had entered: shown, never counted."""
    duplicates: int = 0
    """Conversations that entered with a first prompt another one had entered with: counted, though they teach less."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Turns that do not count, by reason."""

    def asked(self, *, again: bool) -> LedgerState:
        """Give the state with one more first prompt, which another conversation had or had not."""
        return replace(self, duplicates=self.duplicates + again)

    def enter(self, outcome: Outcome, *, started_at: datetime) -> LedgerState:
        """Give the state with one more conversation, which is settled."""
        difference = outcome.difference
        known = difference is not None
        return replace(
            self,
            quality=self.quality if difference is None else self.quality.add(difference),
            first_turns=self.first_turns if outcome.first_turn is None else self.first_turns.add(outcome.first_turn),
            missing=self.missing + outcome.missing,
            unscored=self.unscored + (outcome.missing > 0 and not known),
            guards=_with_guards(self.guards, outcome.guards),
            failures=_with_failures(self.failures, outcome),
            cost=self._with_cost(outcome, started_at),
            largest_reserve_usd=max(self.largest_reserve_usd, outcome.reserve_usd),
            headline=self.headline.add(outcome.totals),
            faster=self.faster if outcome.faster is None else self.faster.add(outcome.faster),
            faster_ttft=self.faster_ttft if outcome.faster_ttft is None else self.faster_ttft.add(outcome.faster_ttft),
            watch=self.watch if self.watch is None or difference is None else self.watch.add(difference),
            turns=self.turns + outcome.turns,
            pairs=self.pairs + outcome.pairs,
            scored=self.scored + outcome.scored,
            spent_usd=self.spent_usd + outcome.spent_usd,
            left_out=_added(self.left_out, outcome.left_out),
        )

    def pass_over(self, outcome: Outcome) -> LedgerState:
        """Give the state after a conversation of which nothing counts; the primary's own failures still do."""
        return replace(
            self,
            failures=_with_failures(self.failures, outcome),
            turns=self.turns + outcome.turns,
            spent_usd=self.spent_usd + outcome.spent_usd,
            left_out=_added(self.left_out, outcome.left_out),
        )

    def _with_cost(self, outcome: Outcome, started_at: datetime) -> CostState | None:
        if self.cost is None:
            return None
        of_these_prices = started_at >= self.cost.since
        test = self.cost.test.add(
            candidate_usd=outcome.candidate_usd if of_these_prices else None,
            primary_usd=outcome.primary_usd if of_these_prices else None,
            reserve_usd=outcome.reserve_usd,
        )
        return replace(self.cost, test=test)

    def priced(self, *, prices: str, rules: Rules, first: datetime, now: datetime) -> LedgerState:
        """Give the state with its cost test at these prices: as it is, or begun, or begun anew.

        `first` is when the epoch began, `now` when another price was noticed. The scale of the test, W, is set by
        reserves alone, which are known before any cost is: nothing that a call really cost has a say in it.
        """
        cost = self.cost
        if not self.largest_reserve_usd or self.quality.conversations + self.unscored < COST_AFTER:
            return self
        if cost is None:
            return self._with_test(prices, rules, since=first)
        if cost.prices != prices:
            return replace(self._with_test(prices, rules, since=now), rescales=0)
        if self._has_outgrown(cost.test, rules):
            share = (1 - FIRST_SHARE) / MOST_RESCALES
            begun = self._with_test(prices, rules, since=cost.since, share=share)
            return replace(begun, rescales=self.rescales + 1)
        return self

    def _with_test(self, prices: str, rules: Rules, *, since: datetime, share: float = FIRST_SHARE) -> LedgerState:
        number = 1 if self.cost is None else self.cost.test.number + 1
        w_usd = HEADROOM * self.largest_reserve_usd
        test = CostTest(w_usd=w_usd, min_saving=rules.min_saving, number=number, share=share)
        return replace(self, cost=CostState(test=test, prices=prices, since=since))

    def _has_outgrown(self, test: CostTest, rules: Rules) -> bool:
        seen = test.conversations + test.too_large
        return self.rescales < MOST_RESCALES and seen >= RESCALE_AFTER and test.too_large > rules.max_missing * seen

    def dumped(self) -> str:
        """Write it down. Numbers come back as they were, to the last bit."""
        return json.dumps(_plain(self), separators=(",", ":"), sort_keys=True)

    @classmethod
    def loaded(cls, text: str) -> LedgerState:
        """Read what `dumped` wrote; `{}` is the state of nothing."""
        return _state(json.loads(text))


def _with_guards(guards: Mapping[str, Differences], found: Mapping[str, float]) -> Mapping[str, Differences]:
    if not found:
        return guards
    return {**guards, **{name: guards.get(name, Differences()).add(value) for name, value in found.items()}}


def _with_failures(failures: FailureShares, outcome: Outcome) -> FailureShares:
    if outcome.primary_failures is not None:
        failures = failures.add_primary(outcome.primary_failures)
    return failures if outcome.failures is None else failures.add_candidate(outcome.failures)


def _added(counts: Mapping[str, int], more: Mapping[str, int]) -> Mapping[str, int]:
    return {name: counts.get(name, 0) + more.get(name, 0) for name in sorted({*counts, *more})} if more else counts


_PLAIN = ("turns", "pairs", "scored", "spent_usd", "late", "largest_reserve_usd", "rescales", "duplicates")


def _plain(state: LedgerState) -> dict[str, Any]:
    cost = state.cost
    return {
        "quality": _plain_differences(state.quality),
        "first_turns": _plain_differences(state.first_turns),
        "missing": state.missing,
        "unscored": state.unscored,
        "guards": {name: _plain_differences(found) for name, found in state.guards.items()},
        "failures": {"primary": _keyed(state.failures.primary), "candidate": _keyed(state.failures.candidate)},
        "cost": None
        if cost is None
        else {
            "prices": cost.prices,
            "since": cost.since.isoformat(),
            "test": {name: getattr(cost.test, name) for name in CostTest.__dataclass_fields__},
        },
        "headline": {
            "sums": {name: getattr(state.headline.sums, name) for name in ("conversations", "means", "moments")},
            "unknown": state.headline.unknown,
            "candidate_quality": _keyed(state.headline.candidate_quality),
            "primary_quality": _keyed(state.headline.primary_quality),
        },
        "faster": _plain_differences(state.faster),
        "faster_ttft": _plain_differences(state.faster_ttft),
        "watch": None if state.watch is None else [_keyed(block) for block in state.watch.blocks],
        "latched": {
            name: {"bound": latch.bound, "alpha": latch.alpha, "conversations": latch.conversations}
            for name, latch in state.latched.items()
        },
        **{name: getattr(state, name) for name in _PLAIN},
        "left_out": dict(state.left_out),
    }


def _state(found: Mapping[str, Any]) -> LedgerState:
    if not found:
        return LedgerState()
    cost, watch = found["cost"], found["watch"]
    return LedgerState(
        quality=_differences(found["quality"]),
        first_turns=_differences(found["first_turns"]),
        missing=found["missing"],
        unscored=found["unscored"],
        guards={name: _differences(each) for name, each in found["guards"].items()},
        failures=FailureShares(
            primary=_counts(found["failures"]["primary"]), candidate=_counts(found["failures"]["candidate"])
        ),
        cost=None
        if cost is None
        else CostState(
            prices=cost["prices"],
            since=datetime.fromisoformat(cost["since"]),
            test=CostTest(**{name: _tupled(value) for name, value in cost["test"].items()}),
        ),
        headline=HeadlineState(
            sums=Sums(**{name: _tupled(value) for name, value in found["headline"]["sums"].items()}),
            unknown=found["headline"]["unknown"],
            candidate_quality=_counts(found["headline"]["candidate_quality"]),
            primary_quality=_counts(found["headline"]["primary_quality"]),
        ),
        faster=_differences(found["faster"]),
        faster_ttft=_differences(found["faster_ttft"]),
        watch=None if watch is None else Watch(blocks=tuple(_counts(block) for block in watch)),
        latched={name: Latch(**each) for name, each in found["latched"].items()},
        **{name: found[name] for name in (*_PLAIN, "left_out") if name in found},  # an older state has fewer
    )


def _plain_differences(differences: Differences) -> dict[str, Any]:
    return {"good": _keyed(differences.good), "bad": _keyed(differences.bad)}


def _differences(found: Mapping[str, Any]) -> Differences:
    return Differences(good=_counts(found["good"]), bad=_counts(found["bad"]))


def _keyed(counts: Mapping[float, int]) -> dict[str, int]:
    return {repr(value): count for value, count in counts.items()}


def _counts(found: Mapping[str, int]) -> dict[float, int]:
    return {float(value): count for value, count in found.items()}


def _counted(counts: Mapping[float, int], value: float) -> dict[float, int]:
    return {**counts, value: counts.get(value, 0) + 1}


def _tupled(value: Any) -> Any:
    return tuple(_tupled(each) for each in value) if isinstance(value, list) else value


def write_outcome(outcome: Outcome) -> str:
    """Write down what one conversation taught."""
    return json.dumps(asdict(outcome), separators=(",", ":"), sort_keys=True)


def read_outcome(text: str) -> Outcome:
    """Read what `write_outcome` wrote."""
    found = json.loads(text)
    totals = found.pop("totals")
    return Outcome(**found, totals=None if totals is None else Totals(**totals))
