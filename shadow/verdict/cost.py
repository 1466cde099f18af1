"""Is the candidate cheaper? Bets on the cost difference per conversation, bounded by what a call may cost at most."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from shadow.verdict.eprocess import BETS, bets, log_sum_exp

_SAVING_BETS, _NO_SAVING_BETS = bets(0.0, "less"), bets(0.0, "greater")
_NOTHING_WON = (0.0,) * BETS


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTest:
    """Evidence for and against "the candidate costs at most (1 - min_saving) of the primary", in one cost epoch.

    y = (c_cand - (1 - min_saving) * c_prim) / w_usd, one value a conversation, in uncached costs. `w_usd` is fixed when
    the epoch begins, the largest worst-case reserve, so that y lies in [-1, 1]. The state is the running log-wealth of
    each of the 24 bets on either side: nothing is rounded, and it does not grow.
    """

    w_usd: float
    min_saving: float
    number: int = 1
    """1 for the first one; a changed price opens the next, and so does a scale that was outgrown."""
    share: float = 1.0
    """Part of the candidate's alpha this test may use, where others ask the same: its evidence counts so much less."""
    conversations: int = 0
    too_large: int = 0
    """Conversations left out because what they may cost at most, known before they are asked, exceeds `w_usd`."""
    unpriced: int = 0
    """Conversations left out because a cost is not known."""
    above: int = 0
    """Conversations with y > 1, which no reserve allowed: no saving can be proved in this cost epoch any more."""
    below: int = 0
    """Conversations with y < -1: that there is no saving can not be proved any more."""
    candidate_usd: float = 0.0
    """Sum over `conversations`."""
    primary_usd: float = 0.0
    sum_y: float = 0.0
    sum_y2: float = 0.0
    saving_wealths: tuple[float, ...] = _NOTHING_WON
    """Logarithms: the money of bets that the candidate saves at least `min_saving`."""
    no_saving_wealths: tuple[float, ...] = _NOTHING_WON
    """Logarithms: the money of bets that it does not."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.w_usd) and self.w_usd > 0):
            raise ValueError(f"w_usd, the largest worst-case reserve, must be above 0, not {self.w_usd}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share lies above 0 and not above 1, not {self.share}")

    def add(self, *, candidate_usd: float | None, primary_usd: float | None, reserve_usd: float) -> CostTest:
        """Give the test with one more conversation: both sides' uncached cost, and what was reserved beforehand.

        All three in the unit of `w_usd`, per request or per conversation. A bet that could lose more than it has proves
        nothing, so a cost that W did not foresee ends what it speaks against (`above`, `below`).
        """
        if candidate_usd is None or primary_usd is None or not _amounts(candidate_usd, primary_usd):
            return replace(self, unpriced=self.unpriced + 1)
        if not reserve_usd <= self.w_usd:
            return replace(self, too_large=self.too_large + 1)
        y = (candidate_usd - (1 - self.min_saving) * primary_usd) / self.w_usd
        inside = min(max(y, -1.0), 1.0)
        return replace(
            self,
            conversations=self.conversations + 1,
            above=self.above + (y > 1),
            below=self.below + (y < -1),
            candidate_usd=self.candidate_usd + candidate_usd,
            primary_usd=self.primary_usd + primary_usd,
            sum_y=self.sum_y + y,
            sum_y2=self.sum_y2 + y * y,
            saving_wealths=_after(self.saving_wealths, _SAVING_BETS, inside),
            no_saving_wealths=_after(self.no_saving_wealths, _NO_SAVING_BETS, inside),
        )

    @property
    def log_e_saving(self) -> float | None:
        """Evidence (its logarithm) that the saving is at least `min_saving`; None once it can not be proved."""
        return None if self.above else log_sum_exp(self.saving_wealths) - math.log(BETS / self.share)

    @property
    def log_e_no_saving(self) -> float | None:
        """Evidence (its logarithm) that the saving is below `min_saving`; None once that can not be proved."""
        return None if self.below else log_sum_exp(self.no_saving_wealths) - math.log(BETS / self.share)

    @property
    def saving(self) -> float | None:
        """Share of the primary's cost that the candidate saved so far; None while there is nothing to compare."""
        return 1 - self.candidate_usd / self.primary_usd if self.primary_usd > 0 else None

    @property
    def left_out_share(self) -> float:
        """Share of conversations whose costs are not in the test."""
        out = self.too_large + self.unpriced
        return out / (self.conversations + out) if out else 0.0


def _amounts(*usd: float) -> bool:
    """Say whether these can be costs: one that is no number would spoil all that comes after it."""
    return all(math.isfinite(each) and each >= 0 for each in usd)


def _after(wealths: tuple[float, ...], stakes: tuple[float, ...], y: float) -> tuple[float, ...]:
    return tuple(wealth + math.log1p(stake * y) for wealth, stake in zip(wealths, stakes, strict=True))
