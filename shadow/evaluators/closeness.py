"""How close two numbers are, from 0 to 1."""

from __future__ import annotations

import math
from decimal import Decimal

Number = int | float | Decimal


def closeness(one: Number, other: Number) -> float:
    """1 for equal numbers, else 1 - |a - b| / (|a| + |b|) as autoevals' NumericDiff; 0 across the sign."""
    if one == other:
        return 1.0
    try:
        a, b = float(one), float(other)
    except OverflowError:
        return 0.0
    total = abs(a) + abs(b)
    if not math.isfinite(total) or total == 0.0:  # beyond, or too small for, a float: unequal is all that is known
        return 0.0
    return max(0.0, 1.0 - abs(a - b) / total)
