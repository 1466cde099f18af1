"""How the permitted error is shared among candidates, and among those that join later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_SHARE = 0.8
LATER_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class AlphaBook:
    """Who joined when, in one task, primary and epoch; `batches` is all there is to keep.

    Batch b (from 1) gets 0.8 * 0.2^(b-1) * alpha, split equally among its members, so that all batches there will ever
    be stay within alpha. A candidate that was taken out and comes back keeps what it had.
    """

    alpha: float
    batches: Sequence[Sequence[str]] = ()

    def join(self, candidates: Sequence[str]) -> AlphaBook:
        """Give the book with those of `candidates` that are new to it as one more batch."""
        known = {name for batch in self.batches for name in batch}
        new = tuple(dict.fromkeys(name for name in candidates if name not in known))
        return AlphaBook(alpha=self.alpha, batches=(*self.batches, new)) if new else self

    def of(self, candidate: str) -> float:
        """Give the candidate's own alpha; KeyError when it never joined."""
        for number, batch in enumerate(self.batches):
            if candidate in batch:
                return FIRST_SHARE * LATER_SHARE**number * self.alpha / len(batch)
        raise KeyError(candidate)
