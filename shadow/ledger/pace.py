"""How fast conversations came in lately: stretches of time, each at one sample rate and one pair of prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.ledger.outcome import Outcome

STRETCH = timedelta(days=1)
"""How long one lasts at least, where nothing changes."""

LATELY = timedelta(days=7)
"""What ended longer ago is forgotten."""

MOST = 32
"""Stretches kept at most, however often the configuration changes."""

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """From `since` until the next one begins: conversations that began in it and were asked, and what they cost."""

    since: datetime
    sample_rate: float
    prices: str | None
    asked: int = 0
    usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What comes in, as the stretches tell it for one sample rate and one pair of prices."""

    conversations_per_day: float
    usd_per_conversation: float | None
    """None where none was asked at these prices yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretches:
    """The stretches of the last days, oldest first."""

    kept: Sequence[Stretch] = ()

    def at(
        self, *, sample_rate: float, prices: str | None, first: datetime, in_force: datetime, now: datetime
    ) -> Stretches:
        """Give them with one under way at this rate and these prices, which are in force since then.

        The very first begins at `first`.
        """
        if not self.kept:
            return Stretches(kept=(Stretch(since=first, sample_rate=sample_rate, prices=prices),))
        last = self.kept[-1]
        if (last.sample_rate, last.prices) == (sample_rate, prices):
            return self
        since = min(max(in_force, last.since), now)
        return self._followed_by(Stretch(since=since, sample_rate=sample_rate, prices=prices))

    def add(self, outcome: Outcome, *, started_at: datetime) -> Stretches:
        """Give them with one more conversation, where the candidate was asked; one from before them is left out."""
        place = sum(each.since <= started_at for each in self.kept) - 1
        if outcome.failures is None or place < 0:
            return self
        found = self.kept[place]
        days = (started_at - found.since) // STRETCH
        if found is self.kept[-1] and days:
            # Where one ends is told by conversations alone, so that it does not matter when somebody looked.
            fresh = replace(found, since=found.since + days * STRETCH, asked=0, usd=0.0)
            return self._followed_by(fresh).add(outcome, started_at=started_at)
        longer = replace(found, asked=found.asked + 1, usd=found.usd + outcome.spent_usd)
        return Stretches(kept=(*self.kept[:place], longer, *self.kept[place + 1 :]))

    def _followed_by(self, fresh: Stretch) -> Stretches:
        """Give them with another one at the end, and without those that ended long ago."""
        # After a clock that went back none may begin later than the one under way.
        earlier = [each for each in self.kept if each.since < fresh.since]
        ends = [*(each.since for each in earlier[1:]), fresh.since]
        lately = [each for each, end in zip(earlier, ends, strict=False) if end > fresh.since - LATELY]
        return Stretches(kept=(*lately[1 - MOST :], fresh))

    def intake(self, *, sample_rate: float, prices: str | None, until: datetime, least: timedelta) -> Intake | None:
        """Say what comes in a day at this rate, and what one costs; None where nothing was asked lately.

        Conversations asked = traffic x the sum of (rate x time): a stretch at another rate tells the traffic as well.
        `until` is the moment before which all that began is counted, `least` what one takes at least to be counted.
        """
        asked = sum(each.asked for each in self.kept)
        ends = [*(each.since for each in self.kept[1:]), until]
        exposed_s = sum(
            each.sample_rate * max((min(end, until) - each.since).total_seconds(), 0.0)
            for each, end in zip(self.kept, ends, strict=False)
        )
        exposed_s = max(exposed_s, least.total_seconds() * max((each.sample_rate for each in self.kept), default=0.0))
        if not asked or not exposed_s:
            return None
        of_these = [each for each in self.kept if each.prices == prices]
        counted = sum(each.asked for each in of_these)
        return Intake(
            conversations_per_day=asked / exposed_s * _DAY_S * sample_rate,
            usd_per_conversation=sum(each.usd for each in of_these) / counted if counted else None,
        )

    def plain(self) -> list[dict[str, Any]]:
        """Write them down."""
        names = ("sample_rate", "prices", "asked", "usd")
        return [
            {"since": each.since.isoformat(), **{name: getattr(each, name) for name in names}} for each in self.kept
        ]

    @classmethod
    def loaded(cls, found: Sequence[Mapping[str, Any]]) -> Stretches:
        """Read what `plain` wrote."""
        return cls(kept=tuple(Stretch(**{**each, "since": datetime.fromisoformat(each["since"])}) for each in found))
