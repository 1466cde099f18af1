"""Sparse histograms with logarithmic buckets: any quantile within 1 % of the exact one, exact to merge, small to keep.

The rule is DDSketch's (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch", VLDB 2019): bucket
borders are powers of gamma = (1 + e) / (1 - e), and the value told for the bucket (gamma^(k-1), gamma^k] is
2 gamma^k / (gamma + 1), which lies within e of everything in it. Negative values mirror the positive ones, so that
differences can be kept too. Counts may be negative: what is taken away again merges like what is added.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RELATIVE_ERROR = 0.01
"""How far a told quantile may lie from the member of the sample that it stands for."""

_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_PER_LOG = 1 / math.log(_GAMMA)
_MIDDLE = 2 / (_GAMMA + 1)
_SHIFT = 8192
"""Added to a bucket's power, so that the number of every positive value is positive."""
_LEAST, _MOST = 1, 2 * _SHIFT - 1
"""Powers from -8191 to 8191: values from 1e-71 to 1e71; what lies beyond is told as the nearest of them."""
_PAIR = struct.Struct("<hi")
_MAX_COUNT = 2**31 - 1


def bucket_of(value: float) -> int:
    """Number the bucket of a finite value: ascending with the value, 0 for zero."""
    if not value:
        return 0
    power = math.ceil(math.log(abs(value)) * _PER_LOG) + _SHIFT
    number = min(max(power, _LEAST), _MOST)
    return number if value > 0 else -number


@cache
def value_of(bucket: int) -> float:
    """Give the value that stands for a bucket, within 1 % of everything in it."""
    if not bucket:
        return 0.0
    return math.copysign(_MIDDLE * _GAMMA ** (abs(bucket) - _SHIFT), bucket)


def encode(counts: Mapping[int, int]) -> bytes:
    """Pack buckets as pairs of a 16-bit number and a 32-bit count; joined packings are the packing of the sum."""
    return b"".join(_PAIR.pack(bucket, part) for bucket in sorted(counts) for part in _parts(counts[bucket]) if part)


def decode(packed: bytes) -> Counter[int]:
    """Invert `encode`; buckets that come several times are added up, and empty ones left out."""
    counts: Counter[int] = Counter()
    for bucket, count in _PAIR.iter_unpack(packed):
        counts[bucket] += count
    return Counter({bucket: count for bucket, count in counts.items() if count})


def merged(packings: Iterable[bytes]) -> Counter[int]:
    """Add up many packed histograms, quicker than one by one."""
    lowest, counts = _summed(packings)
    held = counts.nonzero()[0]
    return Counter(dict(zip((held + lowest).tolist(), counts[held].astype(int).tolist(), strict=True)))


class Distribution:
    """Many packed histograms added up, to be asked often."""

    def __init__(self, packings: Iterable[bytes]) -> None:
        self._lowest, counts = _summed(packings)
        self._below = counts.cumsum()
        self.total = int(self._below[-1]) if len(self._below) else 0

    def quantiles(self, percents: Sequence[int]) -> list[float | None]:
        """Give for each percent the smallest value at or below which so many lie (nearest rank); None of nothing."""
        if self.total <= 0:
            return [None] * len(percents)
        return list(self.values_at([max(1, -(-self.total * percent // 100)) for percent in percents]))

    def values_at(self, ranks: Sequence[int]) -> list[float]:
        """Give the members at these ranks (1: the smallest)."""
        # The first bucket that reaches a rank is never an empty one.
        return [value_of(self._lowest + place) for place in self._below.searchsorted(ranks).tolist()]

    def counts_to(self, buckets: Sequence[int]) -> list[int]:
        """Count what lies in each of these buckets or below it."""
        last = len(self._below) - 1
        places = (min(bucket - self._lowest, last) for bucket in buckets)
        return [int(self._below[place]) if place >= 0 else 0 for place in places]


def _summed(packings: Iterable[bytes]) -> tuple[int, Any]:
    """Give the lowest bucket, and the counts from there on as an array; whole numbers, exact up to 2**53."""
    import numpy as np  # noqa: PLC0415  (a live process packs, and never needs the memory of this library)

    pairs = np.frombuffer(b"".join(packings), dtype=[("bucket", "<i2"), ("count", "<i4")])
    if not len(pairs):
        return 0, np.zeros(0)
    numbers = pairs["bucket"].astype(np.intp)
    lowest = int(numbers.min())
    return lowest, np.bincount(numbers - lowest, weights=pairs["count"])


def _parts(count: int) -> Iterable[int]:
    """Split a count into such as fit into 32 bits."""
    while abs(count) > _MAX_COUNT:
        part = _MAX_COUNT if count > 0 else -_MAX_COUNT
        yield part
        count -= part
    yield count
