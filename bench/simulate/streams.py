"""Many streams at once: the product's e-process over numpy arrays, and the rules people use instead.

Every array is streams x conversations; a rule gives, for each stream, the number of conversations after which it first
said yes, or `NEVER`. That the arrays say what `shadow.verdict` says is tested in tests/integration/test_simulate.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from shadow.verdict import AlphaBook
from shadow.verdict.differences import WATCH_BLOCK, WATCH_GRID, watch_share
from shadow.verdict.eprocess import Grid, Side, bets

Array = np.ndarray

NEVER = np.iinfo(np.int64).max
ALPHA = 0.05
ALONE = AlphaBook(alpha=ALPHA).join(["candidate"]).of("candidate")
"""The alpha of a candidate that is measured alone."""

_CHUNK = 40


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is simulated: the full form, or the short one of `make test`."""

    streams: int = 1000
    length: int = 2000
    looks: int = 1000
    """Conversations where the demand names a thousand."""
    rounds: int = 20
    """Bursts against a real store."""

    @classmethod
    def short(cls) -> Size:
        """A form that takes seconds."""
        return cls(streams=300, length=1000, looks=600, rounds=2)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: what is demanded, what was measured, and what other rules do on the same streams."""

    name: str
    counted: str
    measured: float
    error: float | None
    """Standard error of the simulation; None for what is not a rate."""
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "%"
    others: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def holds(self) -> bool:
        """True when the demand is met."""
        above = self.at_least is None or self.measured >= self.at_least
        return above and (self.at_most is None or self.measured <= self.at_most)


def rate(name: str, counted: str, hits: Array, *, others: dict[str, Array] | None = None, **demand: object) -> Row:
    """Give a row for the share of streams that are hit. Nothing hit: the error is the 95 % bound, 3 / streams."""
    share = float(np.mean(hits))
    error = math.sqrt(share * (1 - share) / len(hits)) or 3 / len(hits)
    named = {rule: float(np.mean(each)) for rule, each in (others or {}).items()}
    return Row(name=name, counted=counted, measured=share, error=error, others=named, **demand)  # type: ignore[arg-type]


def log_e(values: Array, m0: float, side: Side = "greater", grid: Grid = Grid()) -> Array:  # noqa: B008 (frozen)
    """Give the logarithm of the e-value after each conversation of each stream."""
    found = np.empty(values.shape)
    stakes = np.array(bets(m0, side, grid))[:, None, None]
    for start in range(0, len(values), _CHUNK):
        some = values[start : start + _CHUNK]
        wealth = np.cumsum(np.log1p(stakes * (some[None] - m0)), axis=2)
        top = wealth.max(axis=0)
        found[start : start + _CHUNK] = top + np.log(np.exp(wealth - top).mean(axis=0))
    return found


def watch_log_e(values: Array, margin: float) -> Array:
    """Give the logarithm of the evidence of `shadow.verdict.Watch` after each conversation since the promotion."""
    length = values.shape[1]
    blocks = math.ceil(length / WATCH_BLOCK)
    total = np.full(values.shape, 1 - sum(map(watch_share, range(blocks))))
    for number in range(blocks):
        start = number * WATCH_BLOCK
        share = watch_share(number)
        total[:, :start] += share
        total[:, start:] += share * np.exp(np.minimum(log_e(values[:, start:], -margin, "less", WATCH_GRID), 600))
    return np.log(total)


def first(crossed: Array, *, least: int = 1) -> Array:
    """Give, for each stream, after how many conversations (at least `least`) it was crossed, or `NEVER`."""
    late = crossed[:, least - 1 :]
    return np.where(late.any(axis=1), late.argmax(axis=1) + least, NEVER)


def proved(values: Array, m0: float, side: Side = "greater", *, alpha: float = ALONE, least: int = 1) -> Array:
    """Our rule: after how many conversations the e-value reached 1/alpha; latched, so `least` only delays it."""
    crossed = np.maximum.accumulate(log_e(values, m0, side) >= -math.log(alpha), axis=1)
    return first(crossed, least=least)


def promoted(values: Array, margin: float, *, alpha: float = ALONE) -> Array:
    """Our rule where cost and guards are in order: `promote` after so many conversations."""
    return proved(values, -margin, alpha=alpha, least=50)


def t_test(values: Array, m0: float, *, least: int = 10) -> Array:
    """The usual one-sided test at 5 %, after every conversation from `least` on."""
    mean, deviation, count = _running(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (mean - m0) / (deviation / np.sqrt(count))
    return first((z > 1.6449) & (mean > m0), least=least)


def asymptotic(values: Array, m0: float, *, least: int = 50, alpha: float = ALPHA) -> Array:
    """The lower end of an asymptotic confidence sequence above m0, from `least` conversations on."""
    mean, deviation, count = _running(values)
    return first(mean - half_widths(deviation, count, alpha) > m0, least=least)


def half_widths(deviation: Array, count: Array, alpha: float) -> Array:
    """`shadow.verdict.headline.half_width` over arrays."""
    log_alpha = -2 * math.log(alpha)
    rho2 = (log_alpha + math.log(log_alpha) + 1) / 300
    scaled = count * rho2 + 1
    return deviation * np.sqrt(2 * scaled / (count**2 * rho2) * np.log(np.sqrt(scaled) / alpha))


def weekly_mean(values: Array, *, prompts: int = 100) -> Array:
    """The article's alert: in one of the weekly benchmarks of a hundred prompts the candidate's mean was higher."""
    weeks = values.shape[1] // prompts
    return (values[:, : weeks * prompts].reshape(len(values), weeks, prompts).mean(axis=2) > 0).any(axis=1)


def losses(chance: np.random.Generator, size: tuple[int, int], share: float) -> Array:
    """Differences of a candidate that only ever loses, in this share of conversations."""
    return -(chance.random(size) < share).astype(float)


def coin(chance: np.random.Generator, size: tuple[int, int], *, worse: float, better: float) -> Array:
    """Differences -1, 0 and 1 with these shares."""
    drawn = chance.random(size)
    return np.where(drawn < worse, -1.0, np.where(drawn < worse + better, 1.0, 0.0))


def rounded_down(values: Array) -> Array:
    """`shadow.verdict.rounded_down` over arrays, cut to what differences of qualities may be."""
    return np.floor(np.clip(values, -1, 1) * 100 + 1e-7) / 100


def _running(values: Array) -> tuple[Array, Array, Array]:
    count = np.arange(1, values.shape[1] + 1)
    mean = np.cumsum(values, axis=1) / count
    variance = np.maximum(np.cumsum(values**2, axis=1) / count - mean**2, 0)
    return mean, np.sqrt(variance), count
