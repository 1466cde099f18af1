"""Which answer of a pair a person sees as A: drawn from the pair and a seed that is kept with the label. Pure."""

from __future__ import annotations

import hashlib
from typing import Literal

Side = Literal["primary", "candidate"]
Winner = Literal["primary", "candidate", "tie"]

DEFAULT_SEED = "blind-1"
"""No secret: whoever looks at a label later can tell what was shown where."""

CHOICES = ("A", "tie", "B", "primary", "candidate")


def side_a(pair_id: str, seed: str) -> Side:
    """Say which answer stands as A; the same for the same pair and seed, even over all pairs."""
    digest = hashlib.blake2b(f"{seed}\x1f{pair_id}".encode("utf-8", "replace"), digest_size=1).digest()
    return "primary" if digest[0] % 2 == 0 else "candidate"


def winner_of(choice: str, shown_as_a: Side) -> Winner:
    """Say whose answer was chosen. Raises ValueError for what is no choice."""
    shown_as_b: Side = "candidate" if shown_as_a == "primary" else "primary"
    meant: dict[str, Winner] = {
        "A": shown_as_a,
        "B": shown_as_b,
        "tie": "tie",
        "primary": "primary",
        "candidate": "candidate",
    }
    if choice not in meant:
        raise ValueError(f"choice must be one of {', '.join(CHOICES)}, not {choice[:80]!r}")
    return meant[choice]
