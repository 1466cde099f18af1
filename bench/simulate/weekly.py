"""Years of weekly runs: false alerts, how soon changes and leads are seen, and that no period is run twice or lost.

A run asks 100 prompts of the run before again and 25 fresh ones, each twice (`shadow.rebenchmark`). That the arrays
say what `shadow.drift` and `shadow.trends` say is tested in tests/integration/test_simulate_weekly.py.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from bench.simulate.streams import NEVER, Array, Row, Size, coin, first, proved, rate
from shadow.drift import _LOG_SHARES as LOG_SHARES
from shadow.drift import ALPHA, WHOLE_SHARE
from shadow.drift import _stakes as stakes
from shadow.schedule import due_period, next_run, schedule_of

if TYPE_CHECKING:
    from collections.abc import Iterator

Chance = np.random.Generator

WEEKS = 52
AGAIN, FRESH = 100, 25
LIFE = AGAIN // FRESH + 1
"""In how many runs a prompt is asked."""
_PRICE_W = 10.0
"""Largest reserve, in units of what the primary's answer costs on average."""
_MARGIN = 0.05


def equal_years(chance: Chance, size: Size) -> Iterator[Row]:
    """A year in which candidate and primary are the same: is anybody told that one outperforms the other?"""
    years = size.streams
    for discordance in (0.05, 0.2):
        fresh = coin(chance, (years, AGAIN + (WEEKS - 1) * FRESH), worse=discordance / 2, better=discordance / 2)
        costs = _costs(chance, (years, fresh.shape[1]))
        better = proved(fresh, 0.0) < NEVER
        switched = (proved(fresh, -_MARGIN, least=50) < NEVER) & (proved(costs, 0.0, "less") < NEVER)
        yield rate(
            f"A/A year of {WEEKS} runs, discordance {discordance:g}",
            "some alert says that the candidate is better, or does the work for less",
            better | switched,
            at_most=0.05,
            others=_article(chance, years, discordance=discordance),
        )


def _costs(chance: Chance, shape: tuple[int, int], *, candidate: float = 1.0) -> Array:
    """What the cost test sees: lengths of answers vary, and the same for both sides on average."""
    sides = [price * np.minimum(chance.lognormal(-0.125, 0.5, shape), _PRICE_W) for price in (candidate, 1.0)]
    return (sides[0] - 0.95 * sides[1]) / _PRICE_W


def _article(
    chance: Chance, years: int, *, discordance: float, loss: float = 0.0, price: float = 1.0
) -> dict[str, Array]:
    """The article's rule: each week a hundred prompts anew, an alert where the cost per quality point is lower."""
    shape = (years, WEEKS, AGAIN)
    both = chance.random(shape)
    primary = both < 0.9
    candidate = np.where(chance.random(shape) < discordance / 2 / 0.9, ~primary, primary) & (
        chance.random(shape) >= loss
    )
    costs = [each * chance.lognormal(-0.125, 0.5, shape).sum(axis=2) for each in (price, 1.0)]
    points = [np.maximum(side.sum(axis=2), 0.01) for side in (candidate, primary)]
    alerts = costs[0] / points[0] < costs[1] / points[1]
    return {"the article's rule": alerts.any(axis=1)}


def worse_but_cheap(chance: Chance, size: Size) -> Iterator[Row]:
    """A candidate that is 10 points worse, at a tenth of the price: is it recommended?"""
    years = size.streams
    fresh = coin(chance, (years, AGAIN + (WEEKS - 1) * FRESH), worse=0.12, better=0.02)
    yield rate(
        "10 points worse at a tenth of the price",
        "recommended in some week of a year",
        proved(fresh, -_MARGIN, least=50) < NEVER,
        at_most=0.05,
        others=_article(chance, years, discordance=0.04, loss=0.1, price=0.1),
    )


def real_leads(chance: Chance, size: Size) -> Iterator[Row]:
    """A real lead: in which run is it told?"""
    years = size.streams
    length = AGAIN + (WEEKS - 1) * FRESH
    equal = coin(chance, (years, length), worse=0.05, better=0.05)
    cheaper = proved(_costs(chance, (years, length), candidate=0.25), 0.0, "less")
    told = _runs(np.maximum(proved(equal, -_MARGIN, least=50), cheaper))
    yield Row(
        name="as good (discordance .10) at a quarter of the price",
        counted="weekly runs until it is told, median",
        measured=float(np.median(told)),
        error=None,
        at_most=WEEKS,
        unit="n",
        note=_quantile(told),
    )
    better = _runs(proved(coin(chance, (years, length), worse=0.02, better=0.12), 0.0))
    yield Row(
        name="10 points better (12 won, 2 lost of a hundred)",
        counted="weekly runs until it is told, median",
        measured=float(np.median(better)),
        error=None,
        at_most=8,
        unit="n",
        note=_quantile(better),
    )


def _runs(prompts: Array) -> Array:
    """Turn "after so many fresh prompts" into "in the n-th run"."""
    late = np.maximum(prompts.astype(float) - AGAIN, 0)
    return np.where(prompts == NEVER, np.inf, 1 + np.ceil(late / FRESH))


def _quantile(told: Array) -> str:
    within = np.mean(told <= WEEKS)
    return f"told within the year in {100 * within:.0f} %"


# --- drift ---


def drift_counts(chance: Chance, years: int, *, noise: float, drop: float = 0.0, at: int = NEVER) -> Array:
    """Simulate a year of runs; returns how many pairs were worse and better, by year and run: (years, WEEKS, 2).

    A share of prompts is a coin toss, so that two answers of a run differ in `noise` of all prompts; nine of ten others
    are always right. From run `at` on, `drop` of all prompts are lost for good.
    """
    counts = np.zeros((years, WEEKS, 2))
    for joins, leaves in _cohorts():
        shape = (years, FRESH)
        share = np.where(chance.random(shape) < 2 * noise, 0.5, chance.random(shape) < 0.9)
        lost = (share == 1.0) & (chance.random(shape) < drop / (0.9 * (1 - 2 * noise)))
        unused: list[tuple[int, Array]] = []
        for week in range(joins, min(leaves, WEEKS)):
            right = np.where(lost & (week >= at), 0.0, share)[:, :, None]
            answers = (chance.random((*shape, 2)) < right).astype(int)
            fresh = [(week, answers[:, :, 0]), (week, answers[:, :, 1])]
            if unused:
                difference = fresh.pop(0)[1] - unused.pop(0)[1]
                counts[:, week, 0] += (difference < 0).sum(axis=1)
                counts[:, week, 1] += (difference > 0).sum(axis=1)
            unused = [each for each in (*unused, *fresh) if each[0] >= week - 1]
    return counts


def _cohorts() -> list[tuple[int, int]]:
    """Prompts that come and go together: the run that first asks them, and the first that does not any more."""
    starters = [(0, 2 + number) for number in range(AGAIN // FRESH)]
    return [*starters, *((week, week + LIFE) for week in range(1, WEEKS))]


def drift_log_e(counts: Array) -> tuple[Array, Array]:
    """Give the evidence for worse and for better after each run, as `shadow.drift` does until the first change."""
    bets = np.array(stakes(0.0))
    won = [
        counts[:, :, lost, None] * np.log1p(bets) + counts[:, :, 1 - lost, None] * np.log1p(-bets) for lost in (0, 1)
    ]
    return _mixture(won[0]), _mixture(won[1])


def _mixture(won: Array) -> Array:
    """Mix over the beginnings; the first run has nothing to compare and is no beginning."""
    years, weeks, _ = won.shape
    money = np.array(LOG_SHARES)
    found = np.zeros((years, weeks))
    totals = np.cumsum(won, axis=1)
    for week in range(1, weeks):
        before = totals[:, :week]
        wealth = totals[:, week, None] - before + money
        top = wealth.max(axis=2)
        each = top + np.log(np.exp(wealth - top[:, :, None]).sum(axis=2))
        starts = np.arange(week)
        shares = (1 - WHOLE_SHARE) / ((starts + 1) * (starts + 2))
        shares[0] += WHOLE_SHARE
        rest = (1 - WHOLE_SHARE) / (week + 1)
        high = np.maximum(each.max(axis=1), 0.0)
        mixed = (np.exp(each - high[:, None]) * shares).sum(axis=1) + rest * np.exp(-high)
        found[:, week] = high + np.log(mixed)
    return found


def quiet_years(chance: Chance, size: Size) -> Iterator[Row]:
    """A year in which the model does not change: is drift told?"""
    for noise in (0.01, 0.1, 0.3):
        counts = drift_counts(chance, size.streams, noise=noise)
        worse, better = drift_log_e(counts)
        line = math.log(1 / ALPHA)
        yield rate(
            f"nothing changes, noise floor {noise:g}, {WEEKS} runs",
            "told that the model became worse",
            (worse >= line).any(axis=1),
            at_most=ALPHA,
            others={
                "mean of a week 3 points below the week before": _raw_weeks(counts),
                "t-test on all weeks so far, every week": _weekly_t_test(counts),
            },
            note=f"better: {100 * np.mean((better >= line).any(axis=1)):.1f} %",
        )


def judged_years(chance: Chance, size: Size) -> Iterator[Row]:
    """A year without change, before a judge that tells a fifth of equal answers apart and leans to one place."""
    apart, lean = 0.2, 0.8  # the share of those in which the one in the candidate's place wins
    shape = (size.streams, WEEKS)
    drawn = drift_log_e(chance.multinomial(AGAIN, (apart / 2, apart / 2, 1 - apart), shape)[..., :2])
    fixed = drift_log_e(chance.multinomial(AGAIN, (apart * (1 - lean), apart * lean, 1 - apart), shape)[..., :2])
    line = math.log(1 / ALPHA)
    told, untrue = (((worse >= line) | (better >= line)).any(axis=1) for worse, better in (drawn, fixed))
    yield rate(
        f"nothing changes, a judge that leans, {WEEKS} runs",
        "told that the model became worse or better",
        told,
        at_most=2 * ALPHA,
        others={"the later answer always in the candidate's place": untrue},
    )


def _raw_weeks(counts: Array) -> Array:
    return ((counts[:, 1:, 0] - counts[:, 1:, 1]) / AGAIN >= 0.03).any(axis=1)


def _weekly_t_test(counts: Array) -> Array:
    worse, better = np.cumsum(counts[:, 1:, 0], axis=1), np.cumsum(counts[:, 1:, 1], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (worse - better) / np.sqrt(worse + better)
    return (np.nan_to_num(z) > 1.6449).any(axis=1)


NOISES = (0.005, 0.01, 0.02, 0.05, 0.1)


def real_drift(chance: Chance, size: Size) -> Iterator[Row]:
    """A loss of so many points: is it told in the run in which it happens, or in the next?"""
    for drop, needed in ((0.05, 0.8), (0.1, 0.95), (0.2, 0.95)):
        by_noise = {noise: _seen(chance, size, noise=noise, drop=drop, at=12) for noise in (0.0, *NOISES)}
        late = _seen(chance, size, noise=0.0, drop=drop, at=45)
        told = ", ".join(f"{noise:.1%}: {np.mean(seen):.0%}" for noise, seen in by_noise.items() if noise)
        yield rate(
            f"{100 * drop:g} points lost in run 12, no noise",
            "told within two weekly runs",
            by_noise[0.0],
            at_least=needed,
            note=f"lost in run 45: {np.mean(late):.0%}; with a noise floor of {told}",
        )


def _seen(chance: Chance, size: Size, *, noise: float, drop: float, at: int) -> Array:
    years = size.streams // 2 if noise else 2 * size.streams
    worse, _ = drift_log_e(drift_counts(chance, years, noise=noise, drop=drop, at=at))
    told = first(worse >= math.log(1 / ALPHA))  # from 1
    return (told >= at + 1) & (told <= at + 2)


def never_twice(chance: Chance, size: Size) -> Iterator[Row]:
    """Years of a process that is often down, in zones with every kind of daylight saving: periods run twice or lost."""
    zones = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Cairo")
    wrong = periods = 0
    for year in range(max(size.rounds, len(zones))):
        zone = zones[year % len(zones)]
        twice, lost, made = _year(chance, zone)
        wrong += twice + lost
        periods += made
    yield Row(
        name="a year of Sundays with downtime, in six time zones",
        counted="periods run twice, or forgotten though the process came back before the next",
        measured=float(wrong),
        error=None,
        at_most=0,
        unit="n",
        note=f"{periods:,} runs made",
    )


def _year(chance: Chance, zone: str) -> tuple[int, int, int]:
    schedule = schedule_of("30 2 * * sun", zone)  # 02:30 does not exist on some Sundays, and twice on others
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    made: list[datetime] = []
    looks: list[datetime] = []
    now = start
    while now < end:
        looks.append(now)
        period = due_period(now, schedule, known_since=start, last_slot=max(made, default=None))
        if period is not None:
            made.append(datetime.fromisoformat(period))
        down = chance.random() < 0.02
        now += timedelta(hours=float(chance.exponential(200.0))) if down else timedelta(minutes=30)
    slots, at = [], start
    while (at := next_run(at, schedule)) <= looks[-1]:
        slots.append(at)
    # The latest slot before each look must have been made by then, and none twice.
    due = {
        slot
        for slot, after in zip(slots, [*slots[1:], end], strict=True)
        if any(slot <= look < after for look in looks)
    }
    return len(made) - len(set(made)), len(due - set(made)), len(made)


SIMULATIONS = (equal_years, worse_but_cheap, real_leads, quiet_years, judged_years, real_drift, never_twice)
