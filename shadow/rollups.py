"""Sums and histograms by time and series: how they are named, added up, written and read. Pure.

A series is one task with one primary, and within it either the primary's own calls (candidate "") or one candidate.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from shadow import histogram
from shadow.histogram import bucket_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

Row = Mapping[str, Any]

MINUTE, HOUR, DAY = 60, 3600, 86_400
"""Grains of the rollups, in seconds."""
GRAINS = (MINUTE, HOUR, DAY)

WHOLE = ""
"""The detail of a series' own sums; others are the scores of one evaluator, what a judge did, what was dropped."""


class Key(NamedTuple):
    """Where a sum belongs: the start of its bucket in seconds since the epoch, its series, and what of it."""

    bucket: int
    task: str
    primary: str | None
    candidate: str
    detail: str = WHOLE


@dataclass(frozen=True, slots=True)
class Sums:
    """Named sums and histograms of one key. Sums and counts of what was taken away may be negative in a delta."""

    numbers: defaultdict[str, float] = field(default_factory=lambda: defaultdict(int))
    histograms: dict[str, dict[int, int]] = field(default_factory=dict)

    def observe(self, name: str, value: float) -> None:
        """Add one value to a distribution: `<name>.n`, `.sum`, `.sq` (of squares) and its histogram."""
        count, total, squares = _parts(name)
        numbers = self.numbers
        numbers[count] += 1
        numbers[total] += value
        numbers[squares] += value * value
        self.spread(name, value)

    def spread(self, name: str, value: float) -> None:
        """Add one value to a histogram alone."""
        buckets = self.histograms.get(name)
        if buckets is None:
            buckets = self.histograms[name] = {}
        bucket = bucket_of(value)
        buckets[bucket] = buckets.get(bucket, 0) + 1

    def add(self, other: Sums, sign: int = 1) -> None:
        """Add (or with -1 take away) all of another."""
        for name, value in other.numbers.items():
            self.numbers[name] += sign * value
        for name, counts in other.histograms.items():
            buckets = self.histograms.setdefault(name, {})
            for bucket, count in counts.items():
                buckets[bucket] = buckets.get(bucket, 0) + sign * count

    def pruned(self) -> Sums:
        """Give the same without zeros."""
        numbers = {name: value for name, value in self.numbers.items() if value}
        spread = {
            name: {bucket: count for bucket, count in counts.items() if count}
            for name, counts in self.histograms.items()
        }
        return Sums(defaultdict(int, numbers), {name: counts for name, counts in spread.items() if counts})


@cache
def _parts(name: str) -> tuple[str, str, str]:
    return f"{name}.n", f"{name}.sum", f"{name}.sq"


class Deltas:
    """Sums by key, of one transaction. What nothing changes leaves no row."""

    def __init__(self) -> None:
        self._sums: dict[Key, Sums] = {}

    def at(self, key: Key) -> Sums:
        """Give the sums of one key, to add to."""
        found = self._sums.get(key)
        if found is None:
            found = self._sums[key] = Sums()
        return found

    def add(self, other: Deltas, sign: int = 1) -> None:
        """Add (or with -1 take away) all of another."""
        for key, sums in other._sums.items():
            self.at(key).add(sums, sign)

    def items(self) -> Iterator[tuple[Key, Sums]]:
        """Give every key whose sums are not all zero."""
        for key, sums in self._sums.items():
            pruned = sums.pruned()
            if pruned.numbers or pruned.histograms:
                yield key, pruned


def minute_of(when: datetime) -> int:
    """Give the start of the minute of an aware time, in seconds since the epoch."""
    seconds = int(when.timestamp() // 1)
    return seconds - seconds % MINUTE


def score_detail(evaluator: str, version: str) -> str:
    """Name the detail under which the scores of one evaluator in one version are added up."""
    return msgspec.json.encode(("score", evaluator, version)).decode()


def judge_detail(evaluator: str, version: str, model: str) -> str:
    """Name the detail under which is counted what one judge did about one candidate."""
    return msgspec.json.encode(("judge", evaluator, version, model)).decode()


def label_detail(version: str, model: str) -> str:
    """Name the detail under which people's labels are counted beside the rulings of one judge."""
    return msgspec.json.encode(("label", version, model)).decode()


def noise_detail(evaluator: str, version: str) -> str:
    """Name the detail of the primary's differences from itself by one evaluator: conversations by hundredths."""
    return msgspec.json.encode(("noise", evaluator, version)).decode()


NOISE = msgspec.json.encode(("noise",)).decode()
"""The detail under which the primary's second answers are added up."""
FEEDBACK = msgspec.json.encode(("feedback",)).decode()
"""The detail under which is added up what users of the app said about a primary's answers."""
DROPPED = msgspec.json.encode(("dropped",)).decode()
"""The detail under which copies and records lost are added up, by reason, with no task and no model."""


def read_detail(detail: str) -> tuple[str, ...]:
    """Give the parts of a detail, its kind first; empty for a series' own sums."""
    return tuple(msgspec.json.decode(detail, type=list[str])) if detail else ()


def encode_numbers(numbers: Mapping[str, float]) -> str:
    """Write sums as a JSON object, so that people can ask the file with SQLite's own JSON functions."""
    return msgspec.json.encode(dict(numbers)).decode()


def decode_numbers(text: str) -> dict[str, float]:
    """Invert `encode_numbers`."""
    return _NUMBERS.decode(text)


def encode_histograms(histograms: Mapping[str, Mapping[int, int]]) -> bytes | None:
    """Pack histograms by name; None when there are none."""
    if not histograms:
        return None
    return msgspec.msgpack.encode({name: histogram.encode(counts) for name, counts in histograms.items()})


def decode_histograms(packed: bytes | None) -> dict[str, bytes]:
    """Unpack to packed histograms by name, to be joined and merged, or decoded."""
    return {} if packed is None else _PACKINGS.decode(packed)


_NUMBERS = msgspec.json.Decoder(dict[str, int | float])
_PACKINGS = msgspec.msgpack.Decoder(dict[str, bytes])


# --- many rows ---


class Series(NamedTuple):
    """One task with one primary (None: its model could not be read) and its own part ("") or one candidate's."""

    task: str
    primary: str | None
    candidate: str
    detail: str = WHOLE


class Totals:
    """Sums and histograms of one series over one window. A sum that is not there is 0."""

    def __init__(self) -> None:
        self.numbers: dict[str, float] = {}
        self.last = 0
        """The start of the last bucket that has anything of it, where buckets are known."""
        self._packed: dict[str, list[bytes]] = {}
        self._summed: dict[str, histogram.Distribution] = {}

    def add(self, numbers: Mapping[str, float], packed: Mapping[str, bytes], *, bucket: int = 0) -> None:
        """Add one row."""
        self.last = max(self.last, bucket)
        own = self.numbers
        if own:
            for name, value in numbers.items():
                own[name] = own.get(name, 0) + value
        else:
            own.update(numbers)
        for name, packing in packed.items():
            self._packed.setdefault(name, []).append(packing)

    def __getitem__(self, name: str) -> float:
        return self.numbers.get(name, 0)

    def count(self, name: str) -> int:
        """Give a sum that is a count."""
        return round(self.numbers.get(name, 0))

    def named(self, prefix: str) -> dict[str, int]:
        """Give the counts whose names begin so, without that beginning and without zeros, by name."""
        found = {
            name.removeprefix(prefix): round(value) for name, value in self.numbers.items() if name.startswith(prefix)
        }
        return {name: found[name] for name in sorted(found) if found[name]}

    def spread(self, name: str) -> histogram.Distribution:
        """Add one histogram up, once: nothing is added to it afterwards."""
        found = self._summed.get(name)
        if found is None:
            found = self._summed[name] = histogram.Distribution(self._packed.get(name, ()))
        return found

    def compact(self) -> Totals:
        """Give the same with every histogram in one piece, to be added to often."""
        found = Totals()
        found.numbers, found.last = dict(self.numbers), self.last
        found._packed = {name: [histogram.encode(histogram.merged(packed))] for name, packed in self._packed.items()}
        return found

    def absorb(self, other: Totals) -> None:
        """Add all of another."""
        self.add(other.numbers, {}, bucket=other.last)
        for name, packings in other._packed.items():
            self._packed.setdefault(name, []).extend(packings)

    def encoded(self) -> tuple[str, bytes | None]:
        """Give columns `numbers` and `histograms`, without zeros."""
        numbers = {name: value for name, value in self.numbers.items() if value}
        spread = {name: histogram.decode(b"".join(packings)) for name, packings in self._packed.items()}
        return encode_numbers(numbers), encode_histograms({name: counts for name, counts in spread.items() if counts})


RollupRow = tuple[int, str, str | None, str, str, str, bytes | None]
"""Bucket, task, primary, candidate, detail, numbers, histograms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summed:
    """Buckets of a stretch of time, added up."""

    totals: Mapping[Series, Totals]
    first: int | None
    """The start of the first bucket that counts exchanges, None when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What was kept of [since, until), seconds since the epoch."""

    since: int
    until: int
    rows: Sequence[RollupRow]
    """What is not added up yet."""
    summed: Sequence[Summed] = ()
    """What is added up already; never to be changed."""

    def first(self) -> int | None:
        """Give the start of the first bucket that counts exchanges, None when there are none."""
        known = [part.first for part in self.summed if part.first is not None]
        return min([*known, *_with_exchanges(self.rows)], default=None)

    def totals(self, *, detail: str | None = None) -> dict[Series, Totals]:
        """Add the rows up by series and detail, or those of one detail. Takes milliseconds: for a thread."""
        totals: dict[Series, Totals] = {}
        for part in self.summed:
            for series, known in part.totals.items():
                if detail is not None and series.detail != detail:
                    continue
                found = totals.get(series)
                if found is None:
                    found = totals[series] = Totals()
                found.absorb(known)
        for bucket, task, primary, candidate, of, numbers, packed in self.rows:
            if detail is not None and of != detail:
                continue
            series = Series(task, primary, candidate, of)
            found = totals.get(series)
            if found is None:
                found = totals[series] = Totals()
            found.add(decode_numbers(numbers), decode_histograms(packed), bucket=bucket)
        return totals


def summed(rows: Sequence[RollupRow]) -> Summed:
    """Add rows up, to be added to others often."""
    totals = Window(since=0, until=0, rows=rows).totals()
    return Summed(
        totals={series: sums.compact() for series, sums in totals.items()},
        first=min(_with_exchanges(rows), default=None),
    )


def _with_exchanges(rows: Iterable[RollupRow]) -> Iterator[int]:
    return (row[0] for row in rows if not row[3] and row[4] == WHOLE)


def by_grain(rows: Iterable[Row], grains: Iterable[int] = GRAINS) -> dict[tuple[int, Key], Totals]:
    """Add deltas up into the buckets of each grain."""
    wanted = tuple(grains)
    totals: dict[tuple[int, Key], Totals] = {}
    for row in rows:
        numbers, packed = decode_numbers(row["numbers"]), decode_histograms(row["histograms"])
        for grain in wanted:
            bucket = row["bucket"] - row["bucket"] % grain
            key = (grain, Key(bucket, row["task"], row["primary"], row["candidate"], row["detail"]))
            found = totals.get(key)
            if found is None:
                found = totals[key] = Totals()
            found.add(numbers, packed)
    return totals


Span = tuple[int, int, int]
"""Grain, from, until: seconds since the epoch."""


def spans(since: datetime, until: datetime, *, kept_from: Mapping[int, int]) -> tuple[int, int, list[Span]]:
    """Fill a window with as few buckets as can be: days within, hours and minutes at its edges.

    The window is widened to whole minutes; an edge before `kept_from` of a grain lies on the next coarser one. Returns
    the widened window in seconds, and its spans.
    """
    start = _widened(since, kept_from, up=False)
    end = max(start, _widened(until, kept_from, up=True))
    found = list(_filled(start, end, GRAINS))
    return start, end, [span for span in found if span[1] < span[2]]


def _widened(edge: datetime, kept_from: Mapping[int, int], *, up: bool) -> int:
    seconds = math.ceil(edge.timestamp()) if up else math.floor(edge.timestamp())
    grain = next((each for each in (DAY, HOUR) if seconds < kept_from.get(_FINER[each], 0)), MINUTE)
    return -(-seconds // grain) * grain if up else seconds // grain * grain


def _filled(start: int, end: int, grains: Sequence[int]) -> Iterator[Span]:
    *finer, grain = grains
    first, last = -(-start // grain) * grain, end // grain * grain
    if first >= last:
        if finer:
            yield from _filled(start, end, finer)
        return
    yield (grain, first, last)
    if finer:
        yield from _filled(start, first, finer)
        yield from _filled(last, end, finer)


_FINER = {DAY: HOUR, HOUR: MINUTE}
