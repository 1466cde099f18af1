"""The rollups of a store beside what its raw rows say: the oracle of every test of rollups."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from shadow import histogram
from shadow.rollups import DROPPED, Series, Totals, decode_histograms, encode_histograms
from shadow.store.sqlite.rollups import DeltaLog

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from shadow.store.sqlite.store import SqliteStore

Plain = dict[Series, tuple[dict[str, float], dict[str, dict[int, int]]]]


async def told(store: SqliteStore, *, since: datetime, until: datetime, task: str | None = None) -> Plain:
    """What the rollups say of a window, without zeros and without what raw rows cannot tell."""
    window = await store.rollups.window(since=since, until=until, task=task)
    return plain({series: totals for series, totals in window.totals().items() if series.detail != DROPPED})


async def truth(store: SqliteStore, *, since: datetime, until: datetime, task: str | None = None) -> Plain:
    """What the raw rows say of the same window, in whole minutes."""
    start = math.floor(since.timestamp()) // 60 * 60
    end = -(-math.ceil(until.timestamp()) // 60) * 60
    deltas, _ = await store._reader.look(lambda moment: DeltaLog().raw(moment, since=start, until=end))
    totals: dict[Series, Totals] = {}
    for key, sums in deltas.items():
        if task in {None, key.task}:
            packed = decode_histograms(encode_histograms(sums.histograms))
            totals.setdefault(Series(*key[1:]), Totals()).add(sums.numbers, packed)
    return plain(totals)


def plain(totals: Mapping[Series, Totals]) -> Plain:
    """Numbers and histograms by series, without zeros."""
    found: Plain = {}
    for series, sums in totals.items():
        numbers = {name: value for name, value in sums.numbers.items() if abs(value) > 1e-12}
        spread = {name: dict(histogram.decode(b"".join(packed))) for name, packed in sums._packed.items()}
        spread = {name: counts for name, counts in spread.items() if counts}
        if numbers or spread:
            found[series] = (numbers, spread)
    return found


def differences(one: Plain, other: Plain) -> list[str]:
    """Where two of them differ: counts and histograms exactly, sums of fractions but for rounding."""
    found = [f"only in one of both: {series}" for series in one.keys() ^ other.keys()]
    for series in one.keys() & other.keys():
        (numbers, spread), (others, other_spread) = one[series], other[series]
        found += [
            f"{series} {name}: {numbers.get(name)} and {others.get(name)}"
            for name in sorted(numbers.keys() | others.keys())
            if not _same(numbers.get(name, 0), others.get(name, 0))
        ]
        if spread != other_spread:
            found.append(f"{series}: histograms of {[n for n in spread if spread[n] != other_spread.get(n)]}")
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
