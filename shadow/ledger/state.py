"""All that is kept of one candidate's conversations in one epoch: small, and the same in whatever pieces it came."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from shadow.ledger.outcome import Kinds, Outcome, Totals
from shadow.ledger.pace import Stretches
from shadow.verdict import Calls, CostTest, Differences, FailureShares, Latch, Rules, Sums, Watch, rounded_down


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadlineState:
    """What cost per quality point and its interval need: sums over conversations, and both sides' quality.

    The sums are of one pair of prices: when one changes they begin anew. Quality is what it was.
    """

    sums: Sums = field(default_factory=Sums)
    unknown: int = 0
    """Conversations left out: a cost is not known, no pair has qualities, or it began at other prices."""
    prices: str | None = None
    """Fingerprint of both models' prices; None before they are known."""
    since: datetime | None = None
    """When they changed to these; None: they are the first of the epoch."""
    candidate_quality: Mapping[float, int] = field(default_factory=dict)
    """Mean quality of a conversation, rounded down to 0.01 -> how often."""
    primary_quality: Mapping[float, int] = field(default_factory=dict)

    def at(self, prices: str, *, now: datetime) -> HeadlineState:
        """Give it at these prices: as it is, or begun anew."""
        if self.prices in {None, prices}:
            return replace(self, prices=prices)
        return replace(self, sums=Sums(), unknown=0, prices=prices, since=now)

    def add(self, totals: Totals | None, *, started_at: datetime) -> HeadlineState:
        """Give it with one more conversation."""
        if totals is None or (self.since is not None and started_at < self.since):
            return replace(self, unknown=self.unknown + 1)
        names = ("candidate_usd", "candidate_quality", "primary_usd", "primary_quality")
        qualities = [rounded_down(totals.candidate_quality / totals.pairs)]
        qualities.append(rounded_down(totals.primary_quality / totals.pairs))
        return replace(
            self,
            sums=self.sums.add(**{name: getattr(totals, name) for name in names}),
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


_SAVING = "; saving "
"""Between the fingerprint of prices and the saving asked for, in `CostState.prices`."""

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
    calls: Calls | None = field(default_factory=Calls)
    """The calls behind them; None where an older version did not count some."""
    kinds: Kinds = field(default_factory=Kinds)
    """Turns that were asked, by kind."""
    stretches: Stretches = field(default_factory=Stretches)
    """How fast conversations came in lately, for the estimate of what is still needed; part of no decision."""
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
    set_back: int = 0
    """How often the clock went back behind what had entered, so that the order of starts was taken up again there."""
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
            calls=self._with_calls(outcome),
            kinds=self._with_kinds(outcome),
            stretches=self.stretches.add(outcome, started_at=started_at),
            cost=self._with_cost(outcome, started_at),
            largest_reserve_usd=max(self.largest_reserve_usd, outcome.reserve_usd),
            headline=self.headline.add(outcome.totals, started_at=started_at),
            faster=self.faster if outcome.faster is None else self.faster.add(outcome.faster),
            faster_ttft=self.faster_ttft if outcome.faster_ttft is None else self.faster_ttft.add(outcome.faster_ttft),
            watch=self.watch if self.watch is None or difference is None else self.watch.add(difference),
            turns=self.turns + outcome.turns,
            pairs=self.pairs + outcome.pairs,
            scored=self.scored + outcome.scored,
            spent_usd=self.spent_usd + outcome.spent_usd,
            left_out=_added(self.left_out, outcome.left_out),
        )

    def pass_over(self, outcome: Outcome, *, started_at: datetime) -> LedgerState:
        """Give the state after a conversation of which nothing counts; the primary's own failures still do."""
        return replace(
            self,
            failures=_with_failures(self.failures, outcome),
            calls=self._with_calls(outcome),
            kinds=self._with_kinds(outcome),
            stretches=self.stretches.add(outcome, started_at=started_at),
            turns=self.turns + outcome.turns,
            spent_usd=self.spent_usd + outcome.spent_usd,
            left_out=_added(self.left_out, outcome.left_out),
        )

    def _with_calls(self, outcome: Outcome) -> Calls | None:
        """Add its calls; once some were not counted their sum is not known any more."""
        if outcome.calls is None:
            return self.calls if outcome.failures is None and outcome.primary_failures is None else None
        return None if self.calls is None else self.calls + outcome.calls

    def _with_kinds(self, outcome: Outcome) -> Kinds:
        more = _kinds_by_reason(outcome) if outcome.kinds is None else outcome.kinds
        return Kinds(compared=self.kinds.compared + more.compared, others=self.kinds.others + more.others)

    def _with_cost(self, outcome: Outcome, started_at: datetime) -> CostState | None:
        if self.cost is None:
            return None
        # At the first prices of an epoch that is all of it, whatever the clock says of its start.
        of_these_prices = self.headline.since is None or started_at >= self.cost.since
        test = self.cost.test.add(
            candidate_usd=outcome.candidate_usd if of_these_prices else None,
            primary_usd=outcome.primary_usd if of_these_prices else None,
            reserve_usd=outcome.reserve_usd,
        )
        return replace(self.cost, test=test)

    def priced(self, *, prices: str, rules: Rules, first: datetime, now: datetime) -> LedgerState:
        """Give the state with its cost test at these prices: as it is, or begun, or begun anew.

        `first` is when the epoch began, `now` when another price was noticed. The scale of the test, W, is set by
        reserves alone, which are known before any cost is: nothing that a call really cost has a say in it. What is
        shown of costs begins anew with changed prices alone.
        """
        shown = self.headline.at(prices, now=now)
        tested = self._tested(f"{prices}{_SAVING}{rules.min_saving:g}", rules, first=shown.since or first, now=now)
        return replace(tested, headline=shown)

    def _tested(self, prices: str, rules: Rules, *, first: datetime, now: datetime) -> LedgerState:
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


def _kinds_by_reason(known: Outcome | LedgerState) -> Kinds:
    """Tell the kinds of what an older version counted, as far as it did."""
    inapplicable = known.left_out.get("not_applicable", 0)
    others = inapplicable + known.left_out.get("redaction_changed", 0)
    return Kinds(compared=max(known.pairs - inapplicable, 0), others=others)


_PLAIN = ("turns", "pairs", "scored", "spent_usd", "late", "set_back", "largest_reserve_usd", "rescales", "duplicates")


def _plain(state: LedgerState) -> dict[str, Any]:
    cost = state.cost
    return {
        "quality": _plain_differences(state.quality),
        "first_turns": _plain_differences(state.first_turns),
        "missing": state.missing,
        "unscored": state.unscored,
        "guards": {name: _plain_differences(found) for name, found in state.guards.items()},
        "failures": {"primary": _keyed(state.failures.primary), "candidate": _keyed(state.failures.candidate)},
        "calls": None if state.calls is None else asdict(state.calls),
        "kinds": asdict(state.kinds),
        "stretches": state.stretches.plain(),
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
            "prices": state.headline.prices,
            "since": None if state.headline.since is None else state.headline.since.isoformat(),
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
    cost, watch = _cost(found["cost"]), found["watch"]
    state = LedgerState(
        quality=_differences(found["quality"]),
        first_turns=_differences(found["first_turns"]),
        missing=found["missing"],
        unscored=found["unscored"],
        guards={name: _differences(each) for name, each in found["guards"].items()},
        failures=FailureShares(
            primary=_counts(found["failures"]["primary"]), candidate=_counts(found["failures"]["candidate"])
        ),
        calls=Calls(**found["calls"]) if found.get("calls") else None,
        stretches=Stretches.loaded(found.get("stretches") or ()),
        cost=cost,
        headline=_headline(found["headline"], cost, rescales=found.get("rescales", 0)),
        faster=_differences(found["faster"]),
        faster_ttft=_differences(found["faster_ttft"]),
        watch=None if watch is None else Watch(blocks=tuple(_counts(block) for block in watch)),
        latched={name: Latch(**each) for name, each in found["latched"].items()},
        **{name: found[name] for name in (*_PLAIN, "left_out") if name in found},  # an older state has fewer
    )
    return replace(state, kinds=Kinds(**found["kinds"]) if "kinds" in found else _kinds_by_reason(state))


def _cost(found: Mapping[str, Any] | None) -> CostState | None:
    if found is None:
        return None
    return CostState(
        prices=found["prices"],
        since=datetime.fromisoformat(found["since"]),
        test=CostTest(**{name: _tupled(value) for name, value in found["test"].items()}),
    )


def _headline(found: Mapping[str, Any], cost: CostState | None, *, rescales: int) -> HeadlineState:
    """Read what is shown of costs. An older version did not begin it anew at other prices: then it does now."""
    state = HeadlineState(
        sums=Sums(**{name: _tupled(value) for name, value in found["sums"].items()}),
        unknown=found["unknown"],
        candidate_quality=_counts(found["candidate_quality"]),
        primary_quality=_counts(found["primary_quality"]),
    )
    if "prices" in found:
        since = None if found["since"] is None else datetime.fromisoformat(found["since"])
        return replace(state, prices=found["prices"], since=since)
    if cost is None:
        return state
    prices = cost.prices.partition(_SAVING)[0]
    if cost.test.number == 1 + rescales:
        return replace(state, prices=prices)
    return replace(state, sums=Sums(), unknown=0, prices=prices, since=cost.since)


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
    kinds: dict[str, Any] = {"totals": Totals, "calls": Calls, "kinds": Kinds}
    parts = {name: kind(**found.pop(name)) for name, kind in kinds.items() if found.get(name) is not None}
    return Outcome(**{**found, **parts})
