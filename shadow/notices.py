"""The nouns of watching, frozen: what is looked at, what is told when it changes, and how that travels."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

AlertKind = Literal["verdict", "lead", "drift", "trust", "budget", "drops"]
"""verdict: what is known of a candidate changed. lead: a weekly run proved a candidate better. drift: a model no longer
answers as it did. trust: the quality figures cannot be relied on. budget: the money is used up. drops: copies are
lost."""

ALERT_KINDS: tuple[AlertKind, ...] = get_args(AlertKind)

DeliveryState = Literal["pending", "sending", "sent", "failed"]


TargetKind = Literal["slack", "webhook", "apprise"]

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_HOST = re.compile(r"[a-z][a-z0-9+.-]*://(?:[^/?#\\@]*@)?([^/?#\\@]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertTarget:
    """Where alerts go. The address is a secret: whoever has it can write there. Made by the configuration."""

    kind: TargetKind
    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    """Signs the body of a webhook."""
    kinds: tuple[AlertKind, ...] | None = None
    """Only these kinds go there; None: all."""
    entry: int | None = None
    """Its place in the configuration's `alerts`, from 0."""

    @property
    def key(self) -> str:
        """Name it where the address must not be shown; the same as long as the address is."""
        digest = hashlib.blake2b(self.url.encode(), digest_size=4, person=b"alert-target").hexdigest()
        return f"{self.kind}-{digest}"

    @property
    def name(self) -> str:
        """Name it for people: which entry it is and where it leads, by the host alone, for the rest is the secret."""
        # An address of apprise may hold a token where others hold the host.
        place = (_SCHEME if self.kind == "apprise" else _HOST).match(self.url)
        where = self.kind if place is None else f"{self.kind} to {place[1]}"
        return f"{self.key} ({where})" if self.entry is None else f"alerts[{self.entry}] ({where})"

    def takes(self, kind: AlertKind) -> bool:
        """Tell whether alerts of this kind go there."""
        return self.kinds is None or kind in self.kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One look at one thing: the state it is in now, and all that is needed to tell it. No prompt, no answer."""

    kind: AlertKind
    subject: str
    """Names the thing over time, such as `verdict/support/claude-sonnet-4-5/gpt-4o`."""
    state: str
    looks: int = 1
    """In how many looks in a row this state must be seen before it counts."""
    silent: bool = False
    """A state that is remembered and not told (nothing to worry about, nothing to do)."""
    task: str | None = None
    primary: str | None = None
    candidate: str | None = None
    title: str = ""
    sentence: str = ""
    details: tuple[tuple[str, str], ...] = ()
    """Label and text, in the order they are shown."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The numbers behind the sentence, for machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What is remembered of one subject: the state that was last told, and the one seen lately."""

    subject: str
    told: str
    told_at: datetime
    seen: str
    looks: int
    """How often in a row `seen` was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One change of state, told once. Immutable: what is sent later is what was true then."""

    id: str
    kind: AlertKind | Literal["test"]
    subject: str
    state: str
    previous: str | None
    created_at: datetime
    task: str | None = None
    primary: str | None = None
    candidate: str | None = None
    title: str
    sentence: str
    details: tuple[tuple[str, str], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    muted: bool = False
    """Recorded and not sent: a mute was in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One alert on its way to one target."""

    alert: Alert
    target: str
    attempts: int
    """How often it was tried, this time included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mute:
    """Alerts that are recorded and not sent until then: all of them, of one kind, task or model."""

    scope: str
    """`all`, `kind:drift`, `task:support` or `model:gpt-4o`."""
    until: datetime

    def covers(self, alert: Observation | Alert) -> bool:
        """Tell whether this mute is about that alert."""
        name, _, value = self.scope.partition(":")
        if name == "all":
            return True
        about: dict[str, tuple[str | None, ...]] = {
            "kind": (alert.kind,),
            "task": (alert.task,),
            "model": (alert.primary, alert.candidate),
        }
        return value in about.get(name, ())
