"""What the admin port has to be told: the settings that may change at a reload, and the price book as it sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from shadow.judge.figures import MAX_MISSING
from shadow.stats import ConversationRules

if TYPE_CHECKING:
    from shadow.records import Cost, Usage


class Prices(Protocol):
    """The part of `shadow.pricing.PriceBook` that stats need."""

    def cost(self, usage: Usage | None, *, answered: str | None, asked: str | None) -> Cost:
        """Price one answer; unknown stays unknown, with the reason in `source`."""
        ...

    def price_of(self, model: str) -> Any | None:
        """Give the known price of a model, None when there is none."""
        ...

    def missing_line(self, model: str) -> str:
        """Write the line of `prices:` that would make the model known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """What the admin port needs of the configuration. A reload hands in a new one; answers under way keep the old.

    `token` None or "" means: no token, which the configuration allows on a loopback listen only. `hosts` are Host
    values without port that are answered besides the loopback names. `candidates` are the configured models, so that
    one without a single pair is shown too. `shadow_off_reason` says why nothing is shadowed, None when it is. `demo`
    marks every page of the dashboard as made up.
    """

    version: str
    prices: Prices
    token: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    conversations: ConversationRules = field(default_factory=ConversationRules)
    budget_usd_per_day: float = 5.0
    shadow_off_reason: str | None = None
    demo: bool = False
    loaded_at: datetime | None = None
    """When the configuration in force was read."""
    config_version: str | None = None
    """How the SHA-256 of its file begins; None where only the environment was read."""
    breakers: Mapping[str, bool] = field(default_factory=dict)
    """Candidate -> whether its circuit breaker lets calls through; one that is missing is asked by nobody here."""
    keep_text: Callable[[str], tuple[str, bool]] | None = None
    """Cut a text of a user's to what may be kept, and tell whether that changed it; None: nothing may be kept."""
    noise_floor_off_reason: str | None = None
    """Why the primary is not asked again; None when it is."""
    judges_unusable: Mapping[str, str] = field(default_factory=dict)
    """Task -> why its judge cannot be asked: no key, or its price is unknown."""
    max_missing: float = MAX_MISSING
    """The share of pairs without a ruling that a judge may leave; the verdict's own."""
