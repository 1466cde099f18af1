"""Is the candidate cheaper? Bets on the cost difference per conversation, bounded by what a call may cost at most."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from shadow.verdict.eprocess import BETS, bets, log_sum_exp

_SAVING_BETS, _NO_SAVING_BETS = bets(0.0, "less"), bets(0.0, "greater")
_NOTHING_WON = (0.0,) * BETS
_NO_MONEY_LEFT = (-math.inf,) * BETS


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
    """1 for the first cost epoch; a changed price opens the next one, see `renewed`."""
    conversations: int = 0
    too_large: int = 0
    """Conversations left out because what they may cost at most, known before they are asked, exceeds `w_usd`."""
    unpriced: int = 0
    """Conversations left out because a cost is not known."""
    sum_y: float = 0.0
    sum_y2: float = 0.0
    saving_wealths: tuple[float, ...] = _NOTHING_WON
    """Logarithms: the money of bets that the candidate saves at least `min_saving`."""
    no_saving_wealths: tuple[float, ...] = _NOTHING_WON
    """Logarithms: the money of bets that it does not."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.w_usd) and self.w_usd > 0):
            raise ValueError(f"w_usd, the largest worst-case reserve, must be above 0, not {self.w_usd}")

    def add(self, *, candidate_usd: float | None, primary_usd: float | None, reserve_usd: float) -> CostTest:
        """Give the test with one more conversation: both sides' uncached cost, and what was reserved beforehand.

        All three in the same unit, per request or per conversation, that `w_usd` is in. A cost above `w_usd` that its
        reserve did not foresee ends the case: a bet that may lose more than it has proves nothing any more.
        """
        if candidate_usd is None or primary_usd is None:
            return replace(self, unpriced=self.unpriced + 1)
        if max(reserve_usd, primary_usd) > self.w_usd:
            return replace(self, too_large=self.too_large + 1)
        y = (candidate_usd - (1 - self.min_saving) * primary_usd) / self.w_usd
        return replace(
            self,
            conversations=self.conversations + 1,
            sum_y=self.sum_y + y,
            sum_y2=self.sum_y2 + y * y,
            saving_wealths=_after(self.saving_wealths, _SAVING_BETS, y) if y <= 1 else _NO_MONEY_LEFT,
            no_saving_wealths=_after(self.no_saving_wealths, _NO_SAVING_BETS, y),
        )

    def renewed(self, *, w_usd: float | None = None) -> CostTest:
        """Begin the next cost epoch, at new prices, with nothing counted yet; `w_usd` where it has changed."""
        return CostTest(w_usd=w_usd or self.w_usd, min_saving=self.min_saving, number=self.number + 1)

    @property
    def log_e_saving(self) -> float:
        """Evidence (its logarithm) that the saving is at least `min_saving`."""
        return log_sum_exp(self.saving_wealths) - math.log(BETS)

    @property
    def log_e_no_saving(self) -> float:
        """Evidence (its logarithm) that the saving is below `min_saving`."""
        return log_sum_exp(self.no_saving_wealths) - math.log(BETS)


def _after(wealths: tuple[float, ...], stakes: tuple[float, ...], y: float) -> tuple[float, ...]:
    return tuple(wealth + math.log1p(stake * y) for wealth, stake in zip(wealths, stakes, strict=True))
