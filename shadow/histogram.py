"""Sparse histograms with logarithmic buckets: any quantile within 1 % of the exact one, exact to merge, small to keep.

The rule is DDSketch's (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch", VLDB 2019): bucket
borders are powers of gamma = (1 + e) / (1 - e), and the value told for the bucket (gamma^(k-1), gamma^k] is
2 gamma^k / (gamma + 1), which lies within e of everything in it. Negative values mirror the positive ones, so that
differences can be kept too. Counts may be negative: what is taken away again merges like what is added.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
    """Add up many packed histograms, some 20 times as fast as one by one."""
    import numpy as np  # noqa: PLC0415  (a live process packs, and never needs the memory of this library)

    joined = b"".join(packings)
    pairs = np.frombuffer(joined, dtype=np.dtype([("bucket", "<i2"), ("count", "<i4")]))
    sums = np.bincount(pairs["bucket"].astype(np.int64) + 2 * _SHIFT, weights=pairs["count"])
    held = np.flatnonzero(sums)
    return Counter(dict(zip((held - 2 * _SHIFT).tolist(), sums[held].astype(np.int64).tolist(), strict=True)))


def quantile(counts: Mapping[int, int], percent: int) -> float | None:
    """Give the smallest value at or below which `percent` of all lie (nearest rank), within 1 %; None of nothing."""
    total = sum(counts.values())
    if total <= 0:
        return None
    rank = max(1, -(-total * percent // 100))  # rounded up in integers: 0.95 * 20 is not 19 in floats
    ordered = sorted(counts)
    return value_of(
        next(bucket for bucket, seen in zip(ordered, _running(counts, ordered), strict=True) if seen >= rank)
    )


def _running(counts: Mapping[int, int], ordered: Iterable[int]) -> Iterable[int]:
    return itertools.accumulate(counts[bucket] for bucket in ordered)


def _parts(count: int) -> Iterable[int]:
    """Split a count into such as fit into 32 bits."""
    while abs(count) > _MAX_COUNT:
        part = _MAX_COUNT if count > 0 else -_MAX_COUNT
        yield part
        count -= part
    yield count
